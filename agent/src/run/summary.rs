//! The account at the end of a run: what was captured, exported, lost and not understood. Lines of zeroes are left out, but for the
//! four that everyone looks for.

use std::{
    fmt::Write as _,
    io::{self, Write},
    sync::Arc,
};

use crate::{
    bpf::Counters,
    conn,
    export::{DropReason, Stats},
    opaque::Unreadable,
    packets, peer,
    pipeline::Pipeline,
    process, runtime,
    trace::TracerStats,
};

/// The counters of all stages.
#[derive(Debug, Default)]
pub struct Account {
    /// The kernel side, when there was one.
    pub kernel: Option<Counters>,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Connections.
    pub connections: conn::Stats,
    /// What was not understood, by reason.
    pub protocols: Vec<(&'static str, u64)>,
    /// Spans.
    pub spans: TracerStats,
    /// Processes.
    pub processes: process::Counts,
    /// Processes whose tasks were looked for.
    pub runtimes: runtime::Counts,
    /// TLS connections that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Outputs.
    pub outputs: Vec<(&'static str, Arc<Stats>)>,
    /// What was told to the agents of other hosts and heard from them, if they talk to each other.
    pub peers: Option<Arc<peer::Stats>>,
    /// The packets of a packet capture, if it was one.
    pub packets: Option<packets::Stats>,
    /// Records in a recording, and those that it missed.
    pub recorded: Option<(u64, u64)>,
}

impl Account {
    /// What the stages and outputs have counted; what only a capture or a recording knows is left to whoever asks.
    #[must_use]
    pub fn of(pipeline: &mut Pipeline, outputs: Vec<(&'static str, Arc<Stats>)>) -> Self {
        Self {
            connections: *pipeline.connections(),
            protocols: pipeline.shared().counts.iter().collect(),
            spans: pipeline.tracer().stats(),
            processes: pipeline.processes().counts(),
            outputs,
            ..Self::default()
        }
    }
}

/// Lines of processes whose TLS cannot be read.
const UNREADABLE: usize = 20;

/// Writes the account.
///
/// # Errors
/// Those of the stream.
pub fn write_summary(account: &Account, out: &mut impl Write) -> io::Result<()> {
    let conn = &account.connections;
    if let Some(packets::Stats { packets, segments, lookups, other, fragments, damaged, evicted }) = account.packets {
        let left_out = [
            ("something else", other),
            ("fragments", fragments),
            ("damaged", damaged),
            ("connections forgotten", evicted),
        ];
        writeln!(
            out,
            "packets:        {packets}, {segments} of TCP, {lookups} of DNS by UDP{}",
            list(left_out.to_vec())
        )?;
    }
    writeln!(
        out,
        "captured:       {} spans of {} calls on {} connections",
        account.spans.spans,
        conn.calls,
        conn.opened + conn.opened_unseen
    )?;
    for (name, stats) in &account.outputs {
        let stats = stats.snapshot();
        let mut line = format!("exported:       {} spans to {name}", stats.exported);
        if stats.dropped_total() > 0 {
            let _ = write!(line, "; dropped: {}", stats.dropped_total());
            for reason in DropReason::ALL {
                let count = stats.dropped_for(reason);
                if count > 0 {
                    let _ = write!(line, ", {} {count}", reason.name());
                }
            }
            if let Some(error) = &stats.last_error {
                let _ = write!(line, "; last error: {error}");
            }
        }
        writeln!(out, "{line}")?;
    }
    if let Some(stats) = &account.peers {
        writeln!(out, "other hosts:    {}", peers(stats))?;
    }
    let lost = lost(account);
    let total: u64 = lost.iter().map(|(_, count)| count).sum();
    writeln!(out, "lost:           {total}{}", list(lost))?;
    let mut not_understood: Vec<_> =
        account.protocols.iter().filter(|(name, _)| name.starts_with("given_up_")).copied().collect();
    // Of those that were seen to be TLS, some could be read.
    let decrypted = account.protocols.iter().find(|(name, _)| *name == "tls_decrypted").map_or(0, |(_, count)| *count);
    for (_, count) in not_understood.iter_mut().filter(|(name, _)| *name == "given_up_tls") {
        *count = count.saturating_sub(decrypted);
    }
    let total: u64 = not_understood.iter().map(|(_, count)| count).sum();
    writeln!(out, "not understood: {total} connections{}", list(not_understood))?;
    for Unreadable { service, why, connections } in account.unreadable.iter().take(UNREADABLE) {
        writeln!(out, "unreadable TLS: {connections} connections of {service}: {why}")?;
    }
    let notes = notes(account);
    if notes.iter().any(|(_, count)| *count > 0) {
        writeln!(out, "notes:          {}", list(notes).trim_start_matches(": "))?;
    }
    if let Some((records, missed)) = account.recorded {
        writeln!(out, "recorded:       {records} records{}", list(vec![("missed", missed)]))?;
    }
    Ok(())
}

/// What agents have told each other: what everyone looks for, then what else there is.
fn peers(stats: &peer::Stats) -> String {
    let first = ["told", "heard", "applied", "late", "forged"];
    let (shown, rest): (Vec<_>, Vec<_>) = stats.iter().partition(|(name, _)| first.contains(name));
    let mut text = String::new();
    for (name, count) in shown {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{name} {count}");
    }
    for (name, count) in rest {
        if count > 0 {
            let _ = write!(text, ", {name} {count}");
        }
    }
    text
}

/// Counters of the kernel side that begin so tell of contexts in requests, and not of what is traced.
const INJECT: &str = "inject_";
/// The same of how agents find each other, and of contexts in TCP options.
const OPTIONS: [&str; 2] = ["options_", "contexts_"];

fn of_options(name: &str) -> bool {
    OPTIONS.iter().any(|prefix| name.starts_with(prefix))
}

/// What should have become a part of a span and did not.
fn lost(account: &Account) -> Vec<(&'static str, u64)> {
    let mut lost = Vec::new();
    if let Some(kernel) = &account.kernel {
        let harmless = [
            "written",
            "skipped",
            "unreadable",
            "io_uring",
            "implausible_task",
            "unclaimed",
            "missed_returns",
            "tls_unplaced",
            "injected",
        ];
        let harmless = |name: &str| harmless.contains(&name) || of_options(name) || name.starts_with(INJECT);
        lost.extend(kernel.iter().filter(|(name, _)| !harmless(name)));
    }
    let conn = &account.connections;
    lost.extend([
        ("undecodable", account.undecodable),
        ("lost_gaps", conn.lost_gaps),
        ("evicted_full", conn.evicted_full),
        ("implausible", conn.implausible),
        ("malformed_calls", conn.malformed),
    ]);
    lost
}

/// What is no loss but good to know.
fn notes(account: &Account) -> Vec<(&'static str, u64)> {
    let mut notes = Vec::new();
    if let Some(kernel) = &account.kernel {
        let wanted =
            ["unreadable", "io_uring", "skipped", "implausible_task", "unclaimed", "missed_returns", "tls_unplaced"];
        let injected = |name: &str| name == "injected" || name.starts_with(INJECT);
        notes.extend(kernel.iter().filter(|(name, _)| wanted.contains(name) || of_options(name) || injected(name)));
    }
    notes.extend(account.protocols.iter().filter(|(name, _)| !name.starts_with("given_up_")));
    notes.extend([
        ("processes_gone", account.processes.gone),
        ("processes_unreadable", account.processes.failed),
        ("invalid_traceparent", account.spans.invalid.traceparent),
        ("invalid_tracestate", account.spans.invalid.tracestate),
        ("invalid_context", account.spans.invalid.other),
        ("unknown_cause", account.spans.causes.unknown),
        ("left_to_sdks", account.spans.causes.left_to_sdks),
        ("evicted_calls", account.spans.causes.evicted),
        ("forgotten_workers", account.spans.causes.forgotten),
        ("unlinked_samples", account.spans.causes.unlinked),
        ("injected_apart", account.spans.causes.apart),
        ("injected_unseen", account.spans.causes.unseen_injected),
        ("contexts_given", account.spans.causes.carried_out),
        ("contexts_taken", account.spans.causes.carried_in),
        ("contexts_unused", account.spans.causes.carried_unused),
    ]);
    notes.extend(account.runtimes.iter());
    notes
}

/// `: name 1, other 2`, without zeroes; empty when there is nothing else.
fn list(counts: Vec<(&'static str, u64)>) -> String {
    let mut text = String::new();
    for (name, count) in counts {
        if count > 0 {
            let separator = if text.is_empty() { ": " } else { ", " };
            let _ = write!(text, "{separator}{} {count}", name.trim_start_matches("given_up_"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_lost_and_what_is_not() {
        let account = Account {
            connections: conn::Stats { calls: 10, opened: 2, lost_gaps: 3, ..conn::Stats::default() },
            protocols: vec![("given_up_tls", 4), ("tls_decrypted", 1), ("given_up_unknown", 0), ("switched", 1)],
            unreadable: vec![Unreadable { service: "shop".into(), why: "no library".into(), connections: 3 }],
            spans: TracerStats { spans: 5, ..TracerStats::default() },
            ..Account::default()
        };
        let mut text = Vec::new();
        write_summary(&account, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(
            text,
            "captured:       5 spans of 10 calls on 2 connections\n\
             lost:           3: lost_gaps 3\n\
             not understood: 3 connections: tls 3\n\
             unreadable TLS: 3 connections of shop: no library\n\
             notes:          tls_decrypted 1, switched 1\n"
        );
    }
}
