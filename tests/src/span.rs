//! A span as `geophone run --output json` prints it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

/// One line of the JSON output. Every field named here is part of its contract.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// 16 hexadecimal digits, or empty.
    pub parent_span_id: String,
    /// `SERVER`, `CLIENT`, ...
    pub kind: String,
    /// Name.
    pub name: String,
    /// Nanoseconds since 1970, in decimal.
    pub start_time_unix_nano: String,
    /// Nanoseconds since 1970, in decimal.
    pub end_time_unix_nano: String,
    /// `UNSET`, `OK` or `ERROR`.
    pub status: String,
    /// Attributes.
    pub attributes: BTreeMap<String, Value>,
    /// Where it was recorded.
    pub resource: BTreeMap<String, Value>,
    /// Other spans that it belongs to.
    pub links: Vec<Value>,
    /// `tracestate`, where there is one.
    #[serde(default)]
    pub trace_state: String,
}

impl Span {
    /// Reads one line.
    ///
    /// # Errors
    /// When the line breaks the contract.
    pub fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("not a span: {line}"))
    }

    /// A text attribute, or "".
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.attributes.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A whole-number attribute.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.attributes.get(name).and_then(Value::as_u64)
    }

    /// Path and query, as the request line had them.
    #[must_use]
    pub fn target(&self) -> String {
        if self.kind == "CLIENT" {
            let full = self.text("url.full");
            let rest = full.split_once("://").map_or(full, |(_, rest)| rest);
            return rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default().to_owned();
        }
        match self.text("url.query") {
            "" => self.text("url.path").to_owned(),
            query => format!("{}?{query}", self.text("url.path")),
        }
    }

    /// The process it was recorded of; 0 when it does not say.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.resource.get("process.pid").and_then(Value::as_u64).and_then(|pid| pid.try_into().ok()).unwrap_or(0)
    }

    /// The service it was recorded of.
    #[must_use]
    pub fn service(&self) -> &str {
        self.resource.get("service.name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Nanoseconds since 1970; 0 when it is not a number.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start_time_unix_nano.parse().unwrap_or(0)
    }

    /// Nanoseconds since 1970; 0 when it is not a number.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end_time_unix_nano.parse().unwrap_or(0)
    }
}
