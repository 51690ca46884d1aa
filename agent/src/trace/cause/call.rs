//! A call as the search for its cause sees it.

use std::{net::IpAddr, sync::Arc};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::{
    ends::Names,
    samples::Held,
    usage::Cost,
    work::{Key, Lender},
};
use crate::{
    event::{Nanos, Thread},
    protocol::{CallId, Exchange, OtherEnd, Side},
    trace::Resource,
};

/// Numbers the calls in the order in which they were seen.
pub(super) type Serial = u64;

/// What kind of evidence linked a call to its cause: the value of `geophone.link`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// A header of the request carries the context of its cause.
    Header,
    /// A header carries an id that one open request of the process brought.
    Correlation,
    /// The runtime's own task worked for it, or a task that started it.
    Task,
    /// The thread worked for it.
    Thread,
    /// The answer to an earlier call of it was the last thing that the thread read.
    Answer,
    /// The event loop takes up what it has read in order, and sends as much: this followed from that.
    Order,
    /// The thread opened the connection while it worked for it.
    Connect,
    /// A thread was created by one that worked for it.
    Clone,
    /// A thread was woken by one that worked for it, or woke it when it was done.
    Wake,
    /// Both ends of the connection were seen.
    Socket,
    /// The agent of the other host said so.
    Peer,
    /// A TCP option has carried the context of its cause.
    Option,
    /// It alone has brought a value that this one carries.
    Value,
    /// Its request's endpoint makes such calls, that one lacks it, and no other one can have made it.
    Pattern,
    /// No other request was open at the time.
    Time,
    /// It was sent with another trace than that of its cause, which is no parent therefore, but linked.
    Apart,
}

impl Link {
    /// The value of `geophone.link`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Correlation => "correlation",
            Self::Task => "task",
            Self::Thread => "thread",
            Self::Answer => "answer",
            Self::Order => "order",
            Self::Connect => "connect",
            Self::Clone => "clone",
            Self::Wake => "wake",
            Self::Socket => "socket",
            Self::Peer => "peer",
            Self::Option => "option",
            Self::Value => "value",
            Self::Pattern => "pattern",
            Self::Time => "time",
            Self::Apart => "apart",
        }
    }
}

/// The trace that a call belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Its id.
    pub id: TraceId,
    /// Its flags, as they came.
    pub flags: TraceFlags,
    /// Its state, as it came.
    pub state: TraceState,
}

/// A context that came from outside: in a header, or from another agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The trace.
    pub trace: Trace,
    /// The span that is the parent.
    pub span: SpanId,
}

/// The cause of a call, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Not known yet; evidence may still come.
    Open,
    /// Another call that was seen here.
    Call(Serial, Link),
    /// A span that was not seen here.
    Outside(Box<Origin>, Link),
    /// None, or none that could be told.
    None,
}

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) side: Side,
    pub(super) start: Nanos,
    pub(super) thread: Thread,
    pub(super) other_end: OtherEnd,
    pub(super) remote: Option<IpAddr>,
    /// What the other end knows it by.
    pub(super) names: Names,
    /// The id of its span.
    pub(super) span: SpanId,
    pub(super) cause: Cause,
    /// The id of the cause's span.
    pub(super) parent: SpanId,
    /// Known as soon as the cause's is, and that of a root as soon as something has to carry it.
    pub(super) trace: Option<Trace>,
    /// A request whose other end is not seen: an SDK in its process may begin a trace for it.
    pub(super) may_be_begun: bool,
    /// What is to become its span, once it is complete.
    pub(super) done: Option<Box<(Exchange, Arc<Resource>)>>,
    /// Its span has come out.
    pub(super) is_out: bool,
    /// When its answer began. That it is complete may be known much later.
    pub(super) answered: Option<Nanos>,
    /// When it was complete.
    pub(super) end: Option<Nanos>,
    /// Something that hangs under it is complete, and waits for its trace.
    pub(super) is_awaited: bool,
    /// Calls that wait for this one's trace, or for its cause.
    pub(super) effects: Vec<Serial>,
    /// Outgoing calls that have the same cause as this one, whatever that is.
    pub(super) alike: Vec<Serial>,
    /// The same, if what its event loop has read last means anything.
    pub(super) perhaps_alike: Vec<Serial>,
    /// A request: the span that its headers name, so that one which is only passed on is known.
    pub(super) brought: Option<Box<Brought>>,
    /// An outgoing call: the trace that the kernel side has sent with it, with the id of its span.
    pub(super) injected: Option<Box<Trace>>,
    /// What would be its parent, if that were not of another trace than was sent.
    pub(super) apart: Option<Box<SpanContext>>,
    /// The context that its headers carry, until it is decided what that means.
    pub(super) origin: Option<Box<Origin>>,
    /// An outgoing call without a cause: what is known of it.
    pub(super) search: Option<Box<Search>>,
    /// A request: outgoing calls that it may have caused.
    pub(super) suspects: Vec<Serial>,
    /// An outgoing call without a cause: who has read its answer.
    pub(super) reader: Option<Key>,
    /// An outgoing call: who it is for, was said by whoever has it sent.
    pub(super) is_claimed: bool,
    /// An SDK has made a span of it too, which goes out: ours stays here.
    pub(super) is_sdks: bool,
    /// Spans of ours hang under its.
    pub(super) is_parent: bool,
    /// An outgoing call that nothing has shown the cause of.
    pub(super) is_orphan: bool,
    /// How likely its cause is, where that is not certain.
    pub(super) confidence: Option<f64>,
    /// A request that is answered: something still may turn out to have been for it.
    pub(super) is_kept: bool,
    /// An outgoing call that carries the context of a span within its process: the request that it was made for.
    pub(super) by: Option<Serial>,
    /// Samples that were taken for a request; of an outgoing call, for whatever caused it.
    pub(super) samples: Vec<Held>,
    /// A request: what it has cost so far, as far as that can be told.
    pub(super) cost: Option<Box<Cost>>,
}

/// What a request's headers brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Brought {
    pub(super) span: Option<(TraceId, SpanId)>,
    pub(super) ids: Vec<u64>,
}

/// What is known of an outgoing call whose cause is not.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Who may be found to have worked for a request when it answers: the task and those that started it, or the thread.
    pub(super) keys: Vec<Key>,
    /// The requests of the process that were open when it began.
    pub(super) candidates: Vec<Serial>,
    /// What points to one of them, and may be contradicted yet.
    pub(super) hint: Option<Hint>,
}

/// What points to the cause of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hint {
    pub(super) request: Serial,
    pub(super) link: Link,
    pub(super) sign: Sign,
}

/// What kind of sign that is, which has to prove that it means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Its link: who has created or woken whom.
    Link,
    /// It is what an event loop has read last.
    Loop,
    /// The same, when it had read nothing else since it had sent something.
    Lone,
    /// It is what the callback of a connection has read there before it sent that.
    Own,
    /// It was lent to a worker that has made another call for it since.
    Loan(Lender),
    /// Whoever has made it has answered the request, which somebody else has read.
    Answerer,
}

impl Call {
    pub(super) fn is_answered(&self) -> bool {
        self.answered.is_some()
    }

    pub(super) fn tgid(&self) -> u32 {
        self.thread.tgid
    }
}
