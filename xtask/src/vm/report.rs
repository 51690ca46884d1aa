//! What the smoke test said in each guest, and the table of all guests. The lines come from the package `geophone-smoke`.

use std::fmt::Write as _;

use serde::Deserialize;

use super::{kernels::Kernel, qemu::Outcome};

/// One line of the smoke test. `check` is `area/name`; the table has a column for each area.
#[derive(Clone, Debug, Deserialize)]
pub struct Check {
    check: String,
    ok: bool,
    #[serde(default)]
    detail: String,
}

impl Check {
    /// Reads a line of output; `None` when it is something else.
    pub fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    fn area(&self) -> &str {
        self.check.split_once('/').map_or(self.check.as_str(), |(area, _)| area)
    }

    fn name(&self) -> &str {
        self.check.split_once('/').map_or("", |(_, name)| name)
    }
}

/// What became of one kernel.
pub struct Row<'a> {
    /// Which one.
    pub kernel: &'a Kernel,
    /// How its guest ended, or what kept it from doing so.
    pub outcome: anyhow::Result<Outcome>,
    /// What the smoke test checked.
    pub checks: Vec<Check>,
}

impl Row<'_> {
    /// Whether everything was as it should be.
    pub fn passed(&self) -> bool {
        self.faults().is_empty()
    }

    /// All that went wrong, one line each.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .checks
            .iter()
            .filter(|check| !check.ok)
            .map(|check| format!("{} failed: {}", check.check, check.detail))
            .collect();
        match &self.outcome {
            Err(error) => faults.push(format!("{error:#}")),
            Ok(outcome) => {
                faults.extend(outcome.complaints.iter().map(|line| format!("the kernel complains: {line}")));
                if self.checks.is_empty() {
                    faults.push("the smoke test checked nothing".to_owned());
                } else if outcome.status != 0 && faults.is_empty() {
                    faults.push(format!("the smoke test ended with status {}", outcome.status));
                }
            }
        }
        faults
    }

    fn cell(&self, area: &str) -> String {
        let mut failed = Vec::new();
        let mut count = 0;
        for check in self.checks.iter().filter(|check| check.area() == area) {
            count += 1;
            if !check.ok {
                failed.push(check.name());
            }
        }
        match (count, failed.as_slice()) {
            (0, _) => "–".to_owned(),
            (_, []) => format!("ok ({count})"),
            (_, failed) => format!("**failed**: {}", failed.join(", ")),
        }
    }
}

/// A Markdown table with a row per kernel and a column per area of checks, in the order in which they first came.
pub fn table(rows: &[Row<'_>]) -> String {
    let mut areas: Vec<&str> = Vec::new();
    for check in rows.iter().flat_map(|row| &row.checks) {
        if !areas.contains(&check.area()) {
            areas.push(check.area());
        }
    }
    let mut table = String::from("| kernel | architecture | release |");
    let mut rule = String::from("\n| --- | --- | --- |");
    for area in &areas {
        // Writing to a String does not fail, here and below.
        let _ = write!(table, " {area} |");
        rule.push_str(" --- |");
    }
    table.push_str(" kernel log | boot | test |");
    table.push_str(&rule);
    table.push_str(" --- | ---: | ---: |\n");
    for row in rows {
        let Kernel { series, arch, .. } = row.kernel;
        let release = row.outcome.as_ref().map_or("**did not run**", |outcome| &outcome.release);
        let _ = write!(table, "| {series} | {} | {release} |", arch.machine());
        for area in &areas {
            let _ = write!(table, " {} |", row.cell(area));
        }
        let _ = match &row.outcome {
            Ok(outcome) => {
                let log = if outcome.complaints.is_empty() { "clean" } else { "**warnings**" };
                let (boot, command) = (outcome.boot.as_secs_f64(), outcome.command.as_secs_f64());
                writeln!(table, " {log} | {boot:.1} s | {command:.1} s |")
            }
            Err(_) => writeln!(table, " – | – | – |"),
        };
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vm::kernels::KERNELS;

    fn row(lines: &[&str], status: i32) -> Row<'static> {
        let outcome = Outcome {
            release: "5.10.0-32-amd64".to_owned(),
            status,
            boot: Duration::from_millis(2_340),
            command: Duration::from_secs(11),
            complaints: Vec::new(),
        };
        let checks = lines.iter().filter_map(|line| Check::read(line)).collect();
        Row { kernel: &KERNELS[0], outcome: Ok(outcome), checks }
    }

    const GOOD: &str = r#"{"check":"syscalls/ipv4","ok":true}"#;
    const BAD: &str = r#"{"check":"syscalls/ipv6","ok":false,"detail":"no span"}"#;

    #[test]
    fn a_row_passes_when_all_its_checks_do() {
        assert!(row(&[GOOD, "other output"], 0).passed());
        assert_eq!(row(&[GOOD, BAD], 1).faults(), ["syscalls/ipv6 failed: no span"]);
        assert!(!row(&[], 0).passed(), "a test that checks nothing has not passed");
        assert!(!row(&[GOOD], 101).passed(), "a test that died on the way has not passed");
    }

    #[test]
    fn the_table_names_what_failed() {
        let died = Row { kernel: &KERNELS[3], outcome: Err(anyhow::anyhow!("killed")), checks: Vec::new() };
        let table = table(&[row(&[GOOD, BAD], 1), row(&[GOOD], 0), died]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "| kernel | architecture | release | syscalls | kernel log | boot | test |");
        assert_eq!(lines[2], "| 5.10 | x86_64 | 5.10.0-32-amd64 | **failed**: ipv6 | clean | 2.3 s | 11.0 s |");
        assert_eq!(lines[3], "| 5.10 | x86_64 | 5.10.0-32-amd64 | ok (1) | clean | 2.3 s | 11.0 s |");
        assert_eq!(lines[4], "| 7.2 | x86_64 | **did not run** | – | – | – | – |");
    }
}
