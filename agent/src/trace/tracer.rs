//! Makes a [`Span`] of an exchange: ids, parent, wall-clock times, and what geophone itself has to say about it.

use std::sync::Arc;

use compact_str::CompactString;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceFlags, TraceState};
use rand::rngs::SysError;

use super::{
    Resource, Span,
    clock::{ClockOffset, ClockSample},
    context::{TraceParent, parse_tracestate},
    ids::Ids,
};
use crate::protocol::{Exchange, Holes, Side, Value};

/// Attribute: what of the span is not certain, a list of names of [`Holes`].
pub const INCOMPLETE: &str = "geophone.incomplete";
/// Attribute: the evidence that linked the span to its parent. Not set on roots.
pub const LINK: &str = "geophone.link";

/// What was seen while making spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TracerStats {
    /// Spans made.
    pub spans: u64,
    /// Spans that continue a trace which came in a header.
    pub continued: u64,
    /// `traceparent` headers that are not valid: a new trace was begun.
    pub invalid_traceparent: u64,
    /// `tracestate` headers that are not valid, or came without a valid `traceparent`: dropped.
    pub invalid_tracestate: u64,
}

/// Turns exchanges into spans.
#[derive(Debug)]
pub struct Tracer {
    ids: Ids,
    clock: ClockOffset,
    stats: TracerStats,
}

impl Tracer {
    /// Takes the first sample of the clocks; see [`Tracer::sample_clock`].
    ///
    /// # Errors
    /// The operating system has no random numbers to give.
    pub fn new(sample: ClockSample) -> Result<Self, SysError> {
        Ok(Self { ids: Ids::new()?, clock: ClockOffset::new(sample), stats: TracerStats::default() })
    }

    /// Takes another sample of the clocks: to be called every few seconds, so that a step of the wall clock is followed.
    pub fn sample_clock(&mut self, sample: ClockSample) {
        self.clock = self.clock.updated(sample);
    }

    /// What was seen so far.
    #[must_use]
    pub fn stats(&self) -> TracerStats {
        self.stats
    }

    /// The span of an exchange that was recorded of `resource`.
    ///
    /// A valid `traceparent` in the request is continued: the span belongs to its trace, under its parent id. On the server's
    /// side that is the caller's span. On the client's side the header was written by instrumentation inside of the process,
    /// whose own span of the call it names; the exchange on the wire is a part of that.
    pub fn span(&mut self, exchange: Exchange, resource: Arc<Resource>) -> Span {
        self.stats.spans += 1;
        let (context, parent) = self.context(&exchange);
        let start_unix_nano = self.clock.wall(exchange.start);
        // From the monotonic clock: a step of the wall clock changes no duration.
        let duration = exchange.end.saturating_sub(exchange.start);

        let mut attributes = exchange.attributes;
        if let Some(names) = hole_names(exchange.holes) {
            attributes.push(INCOMPLETE, Value::List(names));
        }
        if parent != SpanId::INVALID {
            attributes.push(LINK, "header");
        }
        Span {
            context,
            parent,
            kind: match exchange.side {
                Side::Server => SpanKind::Server,
                Side::Client => SpanKind::Client,
            },
            name: exchange.name,
            start_unix_nano,
            end_unix_nano: start_unix_nano.saturating_add(duration),
            attributes,
            status: exchange.status,
            links: Vec::new(),
            resource,
        }
    }

    /// The span's own context, and its parent.
    fn context(&mut self, exchange: &Exchange) -> (SpanContext, SpanId) {
        let parent = exchange.traceparent.as_deref().and_then(|text| {
            let parent = TraceParent::parse(text);
            self.stats.invalid_traceparent += u64::from(parent.is_none());
            parent
        });
        // Without a valid `traceparent`, `tracestate` means nothing.
        let state = exchange.tracestate.as_deref().and_then(|text| {
            let state = parent.and_then(|_| parse_tracestate(text));
            self.stats.invalid_tracestate += u64::from(state.is_none());
            state
        });
        let span_id = self.ids.span();
        match parent {
            Some(parent) => {
                self.stats.continued += 1;
                let state = state.unwrap_or(TraceState::NONE);
                (SpanContext::new(parent.trace_id, span_id, parent.flags, false, state), parent.parent_id)
            }
            None => {
                let trace_id = self.ids.trace();
                let context = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::NONE);
                (context, SpanId::INVALID)
            }
        }
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

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceId;

    use super::*;
    use crate::{
        event::{SocketId, Thread},
        protocol::{Attributes, Status},
    };

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn exchange(side: Side) -> Exchange {
        Exchange {
            socket: SocketId { sock: 1, born: 1 },
            protocol: "http",
            side,
            start: 2_000,
            request_end: 2_100,
            first_byte: Some(2_500),
            end: 3_000,
            request_thread: Thread::default(),
            response_thread: None,
            request_offset: 0,
            name: "GET".into(),
            status: Status::Unset,
            attributes: Attributes::default(),
            traceparent: None,
            tracestate: None,
            holes: Holes::default(),
        }
    }

    fn tracer() -> Tracer {
        Tracer::new(ClockSample { before: 1_000, wall: 1_000_000, after: 1_000 }).unwrap()
    }

    #[test]
    fn begins_a_trace() {
        let resource = Arc::new(Resource::default());
        let span = tracer().span(exchange(Side::Client), Arc::clone(&resource));
        assert_ne!(span.context.trace_id(), TraceId::INVALID);
        assert_ne!(span.context.span_id(), SpanId::INVALID);
        assert_eq!(span.context.trace_flags(), TraceFlags::SAMPLED);
        assert_eq!(span.parent, SpanId::INVALID);
        assert_eq!(span.kind, SpanKind::Client);
        assert_eq!((span.start_unix_nano, span.end_unix_nano), (1_001_000, 1_002_000));
        assert_eq!(span.attributes, Attributes::default());
        assert!(Arc::ptr_eq(&span.resource, &resource));
    }

    #[test]
    fn continues_a_trace_on_both_sides() {
        for side in [Side::Server, Side::Client] {
            let mut tracer = tracer();
            let request = Exchange {
                traceparent: Some(PARENT.into()),
                tracestate: Some("rojo=1,congo=2".into()),
                ..exchange(side)
            };
            let span = tracer.span(request, Arc::default());
            assert_eq!(span.context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
            assert_eq!(span.parent.to_string(), "b7ad6b7169203331");
            assert_ne!(span.context.span_id(), span.parent);
            assert_eq!(span.context.trace_flags(), TraceFlags::NOT_SAMPLED);
            assert_eq!(span.context.trace_state().header(), "rojo=1,congo=2");
            assert_eq!(span.attributes.get(LINK), Some(&"header".into()));
            assert_eq!(tracer.stats(), TracerStats { spans: 1, continued: 1, ..TracerStats::default() });
        }
    }

    #[test]
    fn counts_what_is_not_valid() {
        let mut tracer = tracer();
        let request = Exchange {
            traceparent: Some("00-garbage".into()),
            tracestate: Some("a=1".into()),
            ..exchange(Side::Server)
        };
        let span = tracer.span(request, Arc::default());
        assert_eq!(span.parent, SpanId::INVALID);
        assert_eq!(span.context.trace_state().header(), "");
        let request =
            Exchange { traceparent: Some(PARENT.into()), tracestate: Some("broken".into()), ..exchange(Side::Server) };
        assert_eq!(tracer.span(request, Arc::default()).parent.to_string(), "b7ad6b7169203331");
        let expected = TracerStats { spans: 2, continued: 1, invalid_traceparent: 1, invalid_tracestate: 2 };
        assert_eq!(tracer.stats(), expected);
    }

    #[test]
    fn says_what_is_missing() {
        let holes = Holes { length: true, no_response: true, ..Holes::default() };
        let span = tracer().span(Exchange { holes, ..exchange(Side::Server) }, Arc::default());
        let names = vec![CompactString::from("length"), CompactString::from("no_response")];
        assert_eq!(span.attributes.get(INCOMPLETE), Some(&Value::List(names)));
    }

    #[test]
    fn a_step_of_the_wall_clock_changes_no_duration() {
        let mut tracer = tracer();
        let before = tracer.span(exchange(Side::Server), Arc::default());
        tracer.sample_clock(ClockSample { before: 2_500, wall: 500, after: 2_500 });
        let after = tracer.span(exchange(Side::Server), Arc::default());
        assert!(after.start_unix_nano < before.start_unix_nano);
        assert_eq!(after.end_unix_nano - after.start_unix_nano, 1_000);
        let backwards = Exchange { end: 1, ..exchange(Side::Server) };
        let span = tracer.span(backwards, Arc::default());
        assert_eq!(span.start_unix_nano, span.end_unix_nano);
    }
}
