//! Makes a [`Span`] of an exchange whose cause is settled: its kind, its times by the wall clock, and what geophone has to say about it.

use compact_str::CompactString;
use opentelemetry::trace::{SpanContext, SpanKind};

use super::{ClockOffset, Span, cause::Settled};
use crate::{
    event::{Nanos, Spent},
    protocol::{Attributes, Exchange, Holes, Side, Value},
};

/// Attribute: what of the span is not certain, a list of names of [`Holes`].
pub const INCOMPLETE: &str = "geophone.incomplete";
/// Attribute: the evidence that linked the span to its parent. Not set on roots.
pub const LINK: &str = "geophone.link";
/// Attribute: how likely the parent is the true one, from 0 to 1, where nothing has shown it and it follows from other requests.
pub const CONFIDENCE: &str = "geophone.link.confidence";

/// Attribute: for how many seconds the thread that served the request ran on a processor for it.
pub const CPU_TIME: &str = "geophone.cpu.time";
/// Attribute: for how many seconds it waited for another thread, in `futex`.
pub const WAIT_LOCK: &str = "geophone.wait.lock";
/// Attribute: the same for a disk.
pub const WAIT_DISK: &str = "geophone.wait.disk";
/// Attribute: the same for the other end of a connection.
pub const WAIT_NETWORK: &str = "geophone.wait.network";
/// Attribute: the same until some time had passed.
pub const WAIT_SLEEP: &str = "geophone.wait.sleep";
/// Attribute: for how many seconds it was ready to run, and waited for a processor.
pub const WAIT_RUN_QUEUE: &str = "geophone.wait.runqueue";

/// The span of a call that is settled.
pub fn made(clock: &ClockOffset, settled: Settled) -> Span {
    let Settled { exchange, resource, span, trace, parent, link, confidence, apart, spent } = settled;
    let start_unix_nano = clock.wall(exchange.start);
    // From the monotonic clock: a step of the wall clock changes no duration.
    let duration = exchange.end.saturating_sub(exchange.start);
    let kind = kind(&exchange);
    let mut attributes = exchange.attributes;
    if let Some(names) = hole_names(exchange.holes) {
        attributes.push(INCOMPLETE, Value::List(names));
    }
    if let Some(link) = link {
        attributes.push(LINK, link.name());
    }
    if let Some(confidence) = confidence {
        attributes.push(CONFIDENCE, Value::Float(confidence));
    }
    if let Some(spent) = spent {
        push_spent(&mut attributes, spent);
    }
    Span {
        context: SpanContext::new(trace.id, span, trace.flags, false, trace.state),
        parent,
        kind,
        name: exchange.name,
        start_unix_nano,
        end_unix_nano: start_unix_nano.saturating_add(duration),
        attributes,
        status: exchange.status,
        links: apart.into_iter().map(|context| *context).collect(),
        resource,
    }
}

/// What the time of a request was spent with, in seconds; of waits, those that there were.
fn push_spent(attributes: &mut Attributes, spent: Spent) {
    let Spent { cpu, lock, disk, network, sleep, run_queue } = spent;
    let seconds = |nanos: Nanos| Value::Float(nanos as f64 / 1e9);
    attributes.push(CPU_TIME, seconds(cpu));
    let waits = [
        (WAIT_LOCK, lock),
        (WAIT_DISK, disk),
        (WAIT_NETWORK, network),
        (WAIT_SLEEP, sleep),
        (WAIT_RUN_QUEUE, run_queue),
    ];
    for (key, nanos) in waits.into_iter().filter(|(_, nanos)| *nanos != 0) {
        attributes.push(key, seconds(nanos));
    }
}

/// The kind of a call's span: a message that a broker hands on is produced and consumed, anything else is asked and served.
fn kind(exchange: &Exchange) -> SpanKind {
    let handed_on = exchange.attributes.get("messaging.operation.type") == Some(&Value::from("process"));
    match (exchange.side, handed_on) {
        (Side::Server, false) => SpanKind::Server,
        (Side::Client, false) => SpanKind::Client,
        (Side::Server, true) => SpanKind::Consumer,
        (Side::Client, true) => SpanKind::Producer,
    }
}

/// The names of what is missing; `None` when nothing is.
fn hole_names(holes: Holes) -> Option<Vec<CompactString>> {
    if holes == Holes::default() {
        return None;
    }
    let Holes { request_head, response_head, length, no_response, pairing } = holes;
    let names = [
        (request_head, "request_head"),
        (response_head, "response_head"),
        (length, "length"),
        (no_response, "no_response"),
        (pairing, "pairing"),
    ];
    Some(names.into_iter().filter(|(set, _)| *set).map(|(_, name)| CompactString::const_new(name)).collect())
}
