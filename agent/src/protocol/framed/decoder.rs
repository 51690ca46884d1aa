//! A connection's two streams of framed messages, handed to a protocol one message after the other.

use super::{Framing, Head, Origin, Role, Step, Stream, Tail, stream::MAX_WANT};
use crate::{
    conn::{Connection, Content, End, Gap, Piece, Update},
    event::{Direction, Nanos},
    protocol::{Answered, CallId, Decoder, Interest, Note, Over, Shared, Side, http::NoResponse, waiting::Waiting},
};

/// Times that what was taken for the beginning of a message, after a loss, may turn out to be none.
const MISTAKES: u32 = 16;

/// What goes with every message.
#[derive(Debug)]
pub struct Context<'a> {
    /// The configuration and the counters.
    pub shared: &'a Shared,
    /// Whose messages they are.
    pub connection: &'a Connection,
    /// Whether the process is asked or asks.
    pub side: Side,
    /// Counts updates.
    pub seq: u64,
    /// What is made known.
    pub out: &'a mut Vec<Note>,
    over: &'a mut Option<Over>,
    /// Length of `out` when the update came.
    before: usize,
}

impl Context<'_> {
    /// The protocol has finished with the connection.
    pub fn give_up(&mut self, over: Over) {
        self.over.get_or_insert(over);
    }

    /// The last byte of what a process reads has come, in another call than the beginning.
    pub(super) fn went_on(&mut self, id: CallId, last: Origin) {
        self.out.push(Note::WentOn(Answered { id, side: self.side, time: last.time, thread: last.thread }));
    }
}

/// Whether a response was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was.
    Yes,
    /// Its request, or the end of that, has not been seen yet: to be asked again. Only said as long as order is certain, or
    /// [`Calls::must_wait`].
    Later,
}

/// What a protocol makes of its messages.
pub trait Talk: Framing + Send + 'static {
    /// A request message has begun.
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>);

    /// A response message has begun.
    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken;

    /// A message is complete, the last one that began in its direction.
    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>);

    /// The requests that wait for their responses.
    fn calls(&mut self) -> &mut dyn Calls;

    /// Whether a request is being received that is several messages long, and whose call is not known yet.
    fn is_asking(&self) -> bool {
        false
    }

    /// Messages may have been missed: what is remembered of the direction's state holds no longer. [`Calls`] knows already.
    fn lost(&mut self, _role: Role) {}

    /// What goes on within TLS, after both ends have agreed to go on so.
    fn within(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }
}

/// The requests that wait for their responses, as far as all protocols have them in common: a [`Queue`](super::Queue) or a
/// [`Table`](super::Table).
pub trait Calls {
    /// Whether a response that has no request yet may belong to one that will be seen in a moment, because a send is seen when it
    /// returns.
    fn must_wait(&self) -> bool;

    /// Whether responses come in the order of their requests.
    fn in_order(&self) -> bool;

    /// How long it waits.
    fn patience(&self) -> Nanos;

    /// Something happened.
    fn touch(&mut self, now: Nanos);

    /// A response has waited for too long: its request was missed.
    fn impatient(&mut self, cx: &mut Context<'_>);

    /// A direction begins somewhere. `missed`: something was before, for certain.
    fn joined(&mut self, role: Role, missed: bool, cx: &mut Context<'_>);

    /// Messages may have been missed. `alone`: no request is being received that these calls do not hold yet.
    fn lost(&mut self, role: Role, gap: Gap, alone: bool, cx: &mut Context<'_>);

    /// The beginning of a message was found after a loss.
    fn found(&mut self, _role: Role, _alone: bool, _cx: &mut Context<'_>) {}

    /// Bytes were seen in which no message could be found.
    fn passed(&mut self, role: Role, origin: Origin, alone: bool, cx: &mut Context<'_>);

    /// Time has passed.
    fn tick(&mut self, now: Nanos, cx: &mut Context<'_>);

    /// Nothing will be answered any more.
    fn end(&mut self, why: NoResponse, now: Nanos, cx: &mut Context<'_>);
}

/// Decodes one connection.
pub struct Framed<T> {
    /// The way that requests go.
    asks: Direction,
    requests: Stream,
    responses: Stream,
    /// The beginning of a response whose request has not been seen yet, and what came after it.
    stalled: Option<Head<'static>>,
    waiting: Waiting,
    /// Counts updates.
    seq: u64,
    /// Something was told.
    told: bool,
    /// A beginning of a message was found after a loss.
    found: bool,
    mistakes: u32,
    over: Option<Over>,
    talk: T,
}

impl<T: Talk> Framed<T> {
    /// A decoder for a connection on which requests go this way.
    #[must_use]
    pub fn new(asks: Direction, talk: T) -> Self {
        Self {
            asks,
            requests: Stream::default(),
            responses: Stream::default(),
            stalled: None,
            waiting: Waiting::default(),
            seq: 0,
            told: false,
            found: false,
            mistakes: 0,
            over: None,
            talk,
        }
    }

    /// The protocol's own state.
    #[must_use]
    pub fn talk(&self) -> &T {
        &self.talk
    }

    fn stream(&mut self, role: Role) -> &mut Stream {
        match role {
            Role::Request => &mut self.requests,
            Role::Response => &mut self.responses,
        }
    }

    fn piece(&mut self, role: Role, piece: &Piece<'_>, cx: &mut Context<'_>) {
        let origin = Origin { time: piece.time, thread: piece.thread, offset: piece.offset, seq: self.seq };
        if self.is_waiting() && self.waiting.enough(piece.time, self.talk.calls().patience()) {
            self.wait_no_longer(cx);
        }
        if self.stream(role).start() && (piece.joined || piece.offset > 0) {
            self.stream(role).lose();
            self.talk.calls().joined(role, piece.offset > 0, cx);
            self.talk.lost(role);
        }
        if role == Role::Response && self.is_waiting() {
            self.waiting.push(origin, piece.content);
        } else {
            self.feed(role, origin, piece.content, cx);
        }
        if role == Role::Request {
            self.resume(cx);
        }
        self.talk.calls().touch(piece.time);
    }

    fn is_waiting(&self) -> bool {
        self.stalled.is_some() || !self.waiting.is_empty()
    }

    fn feed(&mut self, role: Role, mut origin: Origin, mut content: Content<'_>, cx: &mut Context<'_>) {
        while cx.over.is_none() {
            if self.is_early(role, &content) {
                return self.waiting.push_front(origin, content);
            }
            let at = origin;
            let stream = match role {
                Role::Request => &mut self.requests,
                Role::Response => &mut self.responses,
            };
            let Some(step) = stream.next(role, &mut origin, &mut content, &self.talk) else {
                return;
            };
            // By reference: to move heads costs as much as to read them.
            match &step {
                Step::Head(head) if role == Role::Request => self.talk.request(head, cx),
                Step::Head(head) => {
                    if self.talk.response(head, cx) == Taken::Later {
                        self.stalled = Some(head.clone().into_owned());
                        return self.waiting.push_front(origin, content);
                    }
                }
                Step::Tail(tail) => self.talk.complete(role, tail, cx),
                Step::Found => {
                    self.found = true;
                    let alone = self.requests.is_between() && !self.talk.is_asking();
                    self.talk.calls().found(role, alone, cx);
                }
                Step::Lost(gap) => {
                    let alone = self.requests.is_between() && !self.talk.is_asking();
                    self.talk.calls().lost(role, *gap, alone, cx);
                    self.talk.lost(role);
                }
                Step::Passed => {
                    let alone = self.requests.is_between() && !self.talk.is_asking();
                    self.talk.calls().passed(role, at, alone, cx);
                    self.talk.lost(role);
                }
                Step::Malformed => self.malformed(role, at, cx),
            }
        }
    }

    /// Whether a hole between two responses has to wait for the request that it may be the response to.
    fn is_early(&mut self, role: Role, content: &Content<'_>) -> bool {
        role == Role::Response
            && matches!(content, Content::Hole(1.., _))
            && self.responses.is_between()
            && self.talk.calls().in_order()
            && self.talk.calls().must_wait()
    }

    /// What follows begins no message: after a loss, that was a mistake; else the protocol is broken.
    fn malformed(&mut self, role: Role, at: Origin, cx: &mut Context<'_>) {
        self.mistakes += 1;
        if self.found && self.mistakes <= MISTAKES {
            let alone = self.requests.is_between() && !self.talk.is_asking();
            self.talk.calls().passed(role, at, alone, cx);
            self.talk.lost(role);
            return;
        }
        let told = self.told || cx.out.len() > cx.before;
        cx.give_up(if told { Over::Malformed } else { Over::NotMine });
    }

    /// Takes what had to wait, as far as its requests have come.
    fn resume(&mut self, cx: &mut Context<'_>) {
        while self.is_waiting() && cx.over.is_none() {
            if let Some(head) = self.stalled.take()
                && self.talk.response(&head, cx) == Taken::Later
            {
                self.stalled = Some(head);
                return;
            }
            let Some((origin, kept)) = self.waiting.pop() else {
                return;
            };
            if self.is_early(Role::Response, &kept.content()) {
                return self.waiting.push_front(origin, kept.content());
            }
            self.feed(Role::Response, origin, kept.content(), cx);
        }
    }

    /// Takes what had to wait, although its request has not come.
    fn wait_no_longer(&mut self, cx: &mut Context<'_>) {
        while self.is_waiting() && cx.over.is_none() {
            self.talk.calls().impatient(cx);
            if let Some(head) = self.stalled.take() {
                self.talk.response(&head, cx);
            }
            self.resume(cx);
        }
    }

    fn end(&mut self, direction: Direction, end: End, cx: &mut Context<'_>) {
        self.wait_no_longer(cx);
        if direction != self.asks {
            self.talk.calls().end(NoResponse::from(end.how), end.time, cx);
        }
    }

    fn tick(&mut self, now: Nanos, cx: &mut Context<'_>) {
        if self.is_waiting() && self.waiting.enough(now, self.talk.calls().patience()) {
            self.wait_no_longer(cx);
        }
        self.talk.calls().tick(now, cx);
    }
}

impl<T: Talk> Decoder for Framed<T> {
    fn update(&mut self, shared: &Shared, connection: &Connection, update: &Update<'_>, out: &mut Vec<Note>) {
        if self.over.is_some() {
            return;
        }
        self.seq += 1;
        let mut over = None;
        let side = if self.asks == Direction::Receive { Side::Server } else { Side::Client };
        let before = out.len();
        let cx = &mut Context { shared, connection, side, seq: self.seq, out, before, over: &mut over };
        match update {
            Update::Piece(direction, piece) => {
                let role = if *direction == self.asks { Role::Request } else { Role::Response };
                self.piece(role, piece, cx);
            }
            Update::End(direction, end) => self.end(*direction, *end, cx),
            Update::Tick(now) => self.tick(*now, cx),
        }
        if cx.over.is_some() {
            let last = self.requests.last().max(self.responses.last());
            self.talk.calls().end(NoResponse::Unseen, last, cx);
        }
        self.told |= out.len() > before;
        self.over = over;
    }

    fn interest(&self, shared: &Shared, direction: Direction) -> Interest {
        let stream = if direction == self.asks { &self.requests } else { &self.responses };
        let bytes = if stream.is_wide() { shared.capture.max(MAX_WANT as u32) } else { shared.capture };
        Interest { from: stream.skip_until(), bytes, never: false }
    }

    fn over(&self) -> Option<Over> {
        self.over
    }

    fn within(&self) -> Option<Box<dyn Decoder>> {
        Some(Box::new(Self::new(self.asks, self.talk.within()?)))
    }
}
