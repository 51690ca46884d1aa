//! Tells the search for causes what the protocols and the kernel tell, and gives out the [`Span`]s of what is settled.

use std::sync::Arc;

use rand::rngs::SysError;

use super::{
    Resource, Span,
    cause::{self, Engine, Samples, Serving},
    clock::{ClockOffset, ClockSample},
    headers::{self, Invalid},
    ids::Ids,
    made::made,
};
use crate::{
    event::{Carried, Greeted, Handover, Inject, Nanos, Open, Sample, SocketId, Usage},
    peer::Peers,
    protocol::{Answered, Asked, Exchange, Named},
};

/// What was seen while making spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TracerStats {
    /// Spans made.
    pub spans: u64,
    /// Spans that continue a trace which came in a header.
    pub continued: u64,
    /// Headers that should carry a context and are not valid: left out of account.
    pub invalid: Invalid,
    /// The search for causes.
    pub causes: cause::Stats,
}

/// Turns what the protocols tell into spans.
#[derive(Debug)]
pub struct Tracer {
    engine: Engine,
    clock: ClockOffset,
    stats: TracerStats,
}

impl Tracer {
    /// Takes the first sample of the clocks; see [`Tracer::sample_clock`].
    ///
    /// # Errors
    /// The operating system has no random numbers to give.
    pub fn new(sample: ClockSample) -> Result<Self, SysError> {
        Ok(Self {
            engine: Engine::new(cause::Limits::default(), Ids::new()?),
            clock: ClockOffset::new(sample),
            stats: TracerStats::default(),
        })
    }

    /// Takes another sample of the clocks: to be called every few seconds, so that a step of the wall clock is followed.
    pub fn sample_clock(&mut self, sample: ClockSample) {
        self.clock = self.clock.updated(sample);
    }

    /// What was seen so far.
    #[must_use]
    pub fn stats(&self) -> TracerStats {
        TracerStats { causes: self.engine.stats(), ..self.stats }
    }

    /// The kernel side writes contexts into requests, and makes trace ids of this.
    pub fn set_inject_key(&mut self, key: [u32; 4]) {
        self.engine.set_inject_key(key);
    }

    /// A context was written into a request that will be seen soon, or none will be any more.
    pub fn injected(&mut self, inject: &Inject) {
        if let Some(context) = &inject.context {
            self.engine.injected(context);
        }
    }

    /// A TCP option has carried a context.
    pub fn carried(&mut self, carried: &Carried) {
        self.engine.carried(carried);
    }

    /// A request's head was seen.
    pub fn asked(&mut self, asked: &Asked) {
        // On the server's side a valid context names the caller's span. On the client's side it was written by instrumentation inside of
        // the process, whose own span of the call it names; the exchange on the wire is a part of that.
        let carried = asked.carried.as_deref();
        let origin = carried.and_then(|carried| headers::origin(carried, &mut self.stats.invalid));
        let continues = |origin| !self.engine.is_injected(asked.side, origin);
        self.stats.continued += u64::from(origin.as_ref().is_some_and(continues));
        let ids = carried.map(headers::ids).unwrap_or_default();
        self.engine.asked(asked, origin, ids);
    }

    /// The addresses of a request have become known.
    pub fn named(&mut self, named: &Named) {
        self.engine.named(named);
    }

    /// The beginning of an answer was seen.
    pub fn answered(&mut self, answered: &Answered) {
        self.engine.answered(answered);
    }

    /// More was seen of what a process reads.
    pub fn went_on(&mut self, moved: &Answered) {
        self.engine.went_on(moved);
    }

    /// Work may have passed from one thread or task to another.
    pub fn handover(&mut self, handover: &Handover) {
        self.engine.handover(handover);
    }

    /// A sample of this number was taken. Whether it was for a request: then [`Self::take_samples`] says later for which.
    pub fn sampled(&mut self, number: u64, sample: &Sample) -> bool {
        self.engine.sampled(number, sample)
    }

    /// Samples of which it is settled now for which request they were taken.
    pub fn take_samples(&mut self) -> std::vec::Drain<'_, Samples> {
        self.engine.take_samples()
    }

    /// From now on, [`Self::take_serving`] says what threads serve.
    pub fn watch_serving(&mut self) {
        self.engine.watch_serving();
    }

    /// Threads that have begun to serve a request, or serve none any more.
    pub fn take_serving(&mut self) -> impl Iterator<Item = Serving> {
        self.engine.take_serving()
    }

    /// What a thread has done with its time, just before a call that moves bytes.
    pub fn used(&mut self, usage: &Usage) {
        self.engine.used(usage);
    }

    /// An exchange, recorded of `resource`, is complete. Its span comes out once its cause is settled.
    pub fn done(&mut self, exchange: Exchange, resource: Arc<Resource>) {
        self.engine.done(exchange, resource);
    }

    /// From now on, what an SDK in a process makes spans of has one of ours as well.
    pub fn keep_sdk_spans(&mut self) {
        self.engine.keep_sdk_spans();
    }

    /// Lets the agents of other hosts take part.
    pub fn set_peers(&mut self, peers: Peers) {
        self.engine.set_peers(peers);
    }

    /// A connection is seen for the first time.
    pub fn opened(&mut self, open: &Open) {
        self.engine.opened(open);
    }

    /// An agent of another host has said where it is.
    pub fn greeted(&mut self, greeted: &Greeted) {
        self.engine.greeted(greeted);
    }

    /// Takes what the agents of other hosts have told; to be called before the events of a round.
    pub fn hear(&mut self, now: Nanos) {
        self.engine.hear(now);
    }

    /// Lets the agents of other hosts know what there is to tell them; to be called after the events of a round.
    pub fn tell(&mut self) {
        self.engine.tell();
    }

    /// A connection is over.
    pub fn closed(&mut self, socket: SocketId) {
        self.engine.closed(socket);
    }

    /// A process has ended.
    pub fn ended(&mut self, tgid: u32) {
        self.engine.ended(tgid);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Nanos) {
        self.engine.tick(now);
    }

    /// Processes in which tasks have begun to work that nobody is known to have given work: each once.
    pub fn take_puzzling(&mut self) -> std::vec::Drain<'_, u32> {
        self.engine.take_puzzling()
    }

    /// Nothing more will come: what is held is given out as it is.
    pub fn finish(&mut self) {
        self.engine.finish();
    }

    /// Appends the spans whose causes have been settled.
    pub fn spans(&mut self, spans: &mut Vec<Span>) {
        let Self { engine, clock, stats } = self;
        for settled in engine.take_settled() {
            stats.spans += 1;
            spans.push(made(clock, settled));
        }
    }
}

#[cfg(test)]
mod tests {
    use compact_str::CompactString;
    use opentelemetry::trace::{SpanId, SpanKind, TraceFlags, TraceId};

    use super::*;
    use crate::{
        event::Thread,
        protocol::{Attributes, CallId, Carried, ContextHeader, Holes, OtherEnd, Side, Status, Value, Values},
        trace::{INCOMPLETE, LINK},
    };

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn id() -> CallId {
        CallId { socket: SocketId { sock: 1, born: 1 }, place: 0 }
    }

    fn exchange(side: Side) -> Exchange {
        Exchange {
            id: id(),
            protocol: "http",
            side,
            start: 2_000,
            request_end: 2_100,
            first_byte: Some(2_500),
            end: 3_000,
            request_thread: Thread::default(),
            response_thread: None,
            name: "GET".into(),
            status: Status::Unset,
            attributes: Attributes::default(),
            holes: Holes::default(),
        }
    }

    fn tracer() -> Tracer {
        Tracer::new(ClockSample { before: 1_000, wall: 1_000_000, after: 1_000 }).unwrap()
    }

    impl Tracer {
        fn span(&mut self, exchange: Exchange, carried: Carried, resource: Arc<Resource>) -> Span {
            let carried = (carried != Carried::default()).then(|| Box::new(carried));
            let (thread, other_end) = (Thread::default(), OtherEnd::Unknown);
            self.asked(&Asked {
                id: exchange.id,
                side: exchange.side,
                time: exchange.start,
                thread,
                other_end,
                remote: None,
                addresses: None,
                carried,
                values: Values::default(),
            });
            self.done(exchange, resource);
            self.finish();
            let mut spans = Vec::new();
            self.spans(&mut spans);
            assert_eq!(spans.len(), 1);
            spans.remove(0)
        }
    }

    fn carried(traceparent: &str, tracestate: &str) -> Carried {
        let mut carried = Carried::default();
        carried.push(ContextHeader::TraceParent, traceparent.into());
        carried.push(ContextHeader::TraceState, tracestate.into());
        carried
    }

    #[test]
    fn messages_are_produced_and_consumed() {
        for (side, kind) in [(Side::Client, SpanKind::Producer), (Side::Server, SpanKind::Consumer)] {
            let mut message = exchange(side);
            message.attributes.push("messaging.operation.type", "process");
            assert_eq!(tracer().span(message, Carried::default(), Arc::default()).kind, kind);
        }
    }

    #[test]
    fn begins_a_trace() {
        let resource = Arc::new(Resource::default());
        let span = tracer().span(exchange(Side::Client), Carried::default(), Arc::clone(&resource));
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
            let span = tracer.span(exchange(side), carried(PARENT, "rojo=1,congo=2"), Arc::default());
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
        let span = tracer.span(exchange(Side::Server), carried("00-garbage", "a=1"), Arc::default());
        assert_eq!(span.parent, SpanId::INVALID);
        assert_eq!(span.context.trace_state().header(), "");
        let span = tracer.span(exchange(Side::Server), carried(PARENT, "broken"), Arc::default());
        assert_eq!(span.parent.to_string(), "b7ad6b7169203331");
        let invalid = Invalid { traceparent: 1, tracestate: 2, other: 0 };
        let expected = TracerStats { spans: 2, continued: 1, invalid, ..TracerStats::default() };
        assert_eq!(tracer.stats(), expected);
    }

    #[test]
    fn says_what_is_missing() {
        let holes = Holes { length: true, no_response: true, ..Holes::default() };
        let incomplete = Exchange { holes, ..exchange(Side::Server) };
        let span = tracer().span(incomplete, Carried::default(), Arc::default());
        let names = vec![CompactString::from("length"), CompactString::from("no_response")];
        assert_eq!(span.attributes.get(INCOMPLETE), Some(&Value::List(names)));
    }

    #[test]
    fn a_step_of_the_wall_clock_changes_no_duration() {
        let mut tracer = tracer();
        let before = tracer.span(exchange(Side::Server), Carried::default(), Arc::default());
        tracer.sample_clock(ClockSample { before: 2_500, wall: 500, after: 2_500 });
        let after = tracer.span(exchange(Side::Server), Carried::default(), Arc::default());
        assert!(after.start_unix_nano < before.start_unix_nano);
        assert_eq!(after.end_unix_nano - after.start_unix_nano, 1_000);
        let backwards = Exchange { end: 1, ..exchange(Side::Server) };
        let span = tracer.span(backwards, Carried::default(), Arc::default());
        assert_eq!(span.start_unix_nano, span.end_unix_nano);
    }
}
