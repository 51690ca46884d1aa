//! Spans that a service's own OpenTelemetry SDK made, one JSON object per line in a file that the service writes.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::shape::Kind;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    trace_id: String,
    span_id: String,
    kind: String,
    path: String,
    pid: u32,
}

/// A span of an SDK.
#[derive(Clone, Debug)]
pub struct SdkSpan {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// Which side.
    pub kind: Kind,
    /// Path of the request.
    pub path: String,
    /// Of which process of the plan.
    pub process: usize,
}

/// Reads a file of them; none when there is no such file, for most stacks have no SDK.
///
/// # Errors
/// When the file breaks the format, or names a process that is not there.
pub fn read(file: &Path, pids: &HashMap<u32, usize>) -> Result<Vec<SdkSpan>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| file.display().to_string()),
    };
    let mut spans = Vec::new();
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).with_context(|| format!("{}: {line}", file.display()))?;
        let kind = match line.kind.as_str() {
            "SERVER" => Kind::Server,
            "CLIENT" => Kind::Client,
            _ => continue,
        };
        let process = *pids.get(&line.pid).context("an SDK's span is of an unknown process")?;
        spans.push(SdkSpan { trace_id: line.trace_id, span_id: line.span_id, kind, path: line.path, process });
    }
    Ok(spans)
}
