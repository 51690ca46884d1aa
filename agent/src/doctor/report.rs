//! What was found, for people and for programs.

use std::{
    io::{self, Write},
    path::Path,
};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::{Check, Verdict, examine, is_ready, machine::Machine};

/// Looks at this machine and prints what was found on standard output, as a table or as JSON. Whether `geophone run` can work.
///
/// # Errors
/// Those of standard output.
pub fn print(as_json: bool) -> io::Result<bool> {
    let checks = examine(&Machine::read(Path::new("/")));
    let mut out = anstream::stdout().lock();
    if as_json {
        json(&checks, &mut out)?;
    } else {
        text(&checks, &mut out)?;
    }
    out.flush()?;
    Ok(is_ready(&checks))
}

/// Writes an aligned table, with what to do under it. The colours are ANSI sequences; give it a stream that strips them where they
/// are not wanted (`anstream::stdout()`).
///
/// # Errors
/// Those of the stream.
pub fn text(checks: &[Check], out: &mut dyn Write) -> io::Result<()> {
    let width = |of: fn(&Check) -> &str| checks.iter().map(|check| of(check).chars().count()).max().unwrap_or(0);
    let (names, found) = (width(|c| c.name), width(|c| &c.found));
    for check in checks {
        let (mark, style) = mark(check.verdict);
        writeln!(out, "{style}{mark}{style:#}  {:names$}  {:found$}  {}", check.name, check.found, check.needed_for)?;
    }
    let advice = checks.iter().filter(|check| !check.remedy.is_empty());
    for (index, check) in advice.enumerate() {
        if index == 0 {
            writeln!(out)?;
        }
        let (_, style) = mark(check.verdict);
        writeln!(out, "{style}{}{style:#}: {}", check.name, check.remedy)?;
    }
    writeln!(out)?;
    writeln!(
        out,
        "Capabilities: CAP_BPF and CAP_PERFMON to trace; CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH to name other users' services."
    )?;
    let (verdict, sentence) = if is_ready(checks) {
        (Verdict::Ok, "geophone run can work here.")
    } else {
        (Verdict::Fatal, "geophone run cannot work here.")
    };
    let (_, style) = mark(verdict);
    writeln!(out, "{style}{sentence}{style:#}")
}

/// The same as one JSON object: `ready`, and `checks` with `name`, `verdict`, `found`, `needed_for` and `remedy`.
///
/// # Errors
/// Those of the stream.
pub fn json(checks: &[Check], out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Report<'a> {
        ready: bool,
        checks: &'a [Check],
    }
    serde_json::to_writer_pretty(&mut *out, &Report { ready: is_ready(checks), checks })?;
    writeln!(out)
}

/// A word of four letters, and its colour.
fn mark(verdict: Verdict) -> (&'static str, Style) {
    let (word, colour) = match verdict {
        Verdict::Ok => ("ok  ", AnsiColor::Green),
        Verdict::Note => ("note", AnsiColor::BrightBlack),
        Verdict::Degraded => ("less", AnsiColor::Yellow),
        Verdict::Fatal => ("FAIL", AnsiColor::Red),
    };
    (word, colour.on_default())
}
