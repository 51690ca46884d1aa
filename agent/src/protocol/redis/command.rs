//! What a span says of a command, and what a command changes about how its answers come.
//! <https://opentelemetry.io/docs/specs/semconv/database/redis/>

use compact_str::CompactString;

use crate::protocol::db::Operation;

/// Arguments that are kept of a command: its name, and what may be a subcommand.
pub(super) const KEPT: usize = 3;
/// Bytes of each that are kept.
pub(super) const LENGTH: usize = 64;
/// Arguments that are shown, as `?`.
const SHOWN: u64 = 16;

/// Commands whose first argument says which of several they are.
const CONTAINERS: &[&str] = &[
    "acl", "client", "cluster", "command", "config", "debug", "function", "latency", "memory", "module", "object",
    "pubsub", "script", "sentinel", "slowlog", "xgroup", "xinfo",
];

/// How a command is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answers {
    /// Once.
    #[default]
    One,
    /// Once for each channel.
    Subscription(u64),
    /// Once, and then the connection is a stream of something else.
    Stream,
    /// Perhaps not at all.
    None,
}

/// The name of a command: letters first, and nothing that could be data.
pub(super) fn is_name(name: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=32).contains(&name.len()) && name.first().is_some_and(u8::is_ascii_alphabetic) && name.iter().all(plain)
}

/// What a command does, and how it is answered. `count`: of its arguments, its name included.
pub(super) fn read(arguments: &[Vec<u8>], count: u64) -> (Operation, Answers) {
    let argument = |i: usize| arguments.get(i).map(Vec::as_slice).unwrap_or_default();
    let text = |bytes: &[u8]| CompactString::from_utf8_lossy(bytes);
    let name = argument(0);
    if !is_name(name) {
        return (Operation::default(), Answers::One);
    }
    let lower = text(&name.to_ascii_lowercase());
    let mut full = text(name);
    let mut values = count.saturating_sub(1);
    if CONTAINERS.contains(&lower.as_str()) && is_name(argument(1)) {
        full.push(' ');
        full.push_str(&text(argument(1)));
        values = values.saturating_sub(1);
    }
    let mut query = full.clone();
    for _ in 0..values.min(SHOWN) {
        query.push_str(" ?");
    }
    if values > SHOWN {
        query.push_str(" ...");
    }
    let answers = match lower.as_str() {
        "subscribe" | "psubscribe" | "ssubscribe" | "unsubscribe" | "punsubscribe" | "sunsubscribe" => {
            Answers::Subscription(count.saturating_sub(1).max(1))
        }
        "monitor" | "sync" | "psync" => Answers::Stream,
        "client" if argument(1).eq_ignore_ascii_case(b"reply") && !argument(2).eq_ignore_ascii_case(b"on") => {
            Answers::None
        }
        _ => Answers::One,
    };
    (Operation { name: Some(full), text: query, ..Operation::default() }, answers)
}

/// The database that a command changes to.
pub(super) fn selected(arguments: &[Vec<u8>]) -> Option<CompactString> {
    let (name, database) = (arguments.first()?, arguments.get(1)?);
    let digits = (1..=5).contains(&database.len()) && database.iter().all(u8::is_ascii_digit);
    (name.eq_ignore_ascii_case(b"select") && digits).then(|| CompactString::from_utf8_lossy(database))
}
