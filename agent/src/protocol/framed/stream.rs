//! One direction of a connection, walked message by message: headers and the wanted beginning of each message are looked at, the rest is
//! passed over by its length, whether it was captured or not.

use std::borrow::Cow;

use super::Origin;
use crate::{
    conn::{Content, Gap},
    event::Nanos,
};

/// The most that is kept of a message: what the kernel side captures of a call at most.
pub const MAX_WANT: usize = 16 << 10;
/// The most that is kept of what may be the beginning of a message.
const MAX_CANDIDATE: usize = 1024;
/// A buffer that is larger is given back.
const KEEP_BUFFER: usize = 1024;

/// Which of a connection's directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one in which requests go.
    Request,
    /// The other one.
    Response,
}

/// What the beginning of a message says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Its length does not show yet.
    More,
    /// It is a message.
    Message {
        /// Its length, header included; at least 1.
        length: u64,
        /// Bytes of its beginning that are wanted, header included.
        want: usize,
    },
    /// It is none: an unknown type, or a length beyond sanity.
    Malformed,
    /// It is one, but nothing tells where it ends: the next one has to be found.
    Endless,
}

/// What the beginning of a piece is, where it is not known how it continues what was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A message begins so many bytes into it, for certain.
    At(usize),
    /// One may begin with it.
    More,
    /// Nothing that can be told.
    No,
}

/// How the messages of a protocol are told apart.
pub trait Framing {
    /// How long the message is that begins with these bytes, which are not empty.
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame;

    /// Whether a message begins in these bytes, which come after some that were missed. Where it cannot be certain, `No`.
    fn find(&self, role: Role, bytes: &[u8]) -> Found;
}

/// The beginning of a message.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// Length of the message.
    pub length: u64,
    /// Its beginning: as much as is wanted of it, unless it is `cut`.
    pub bytes: Cow<'a, [u8]>,
    /// Something of what is wanted is missing.
    pub cut: bool,
    /// Where its first byte comes from.
    pub first: Origin,
    /// Where the last byte that is wanted comes from.
    pub now: Origin,
}

impl Head<'_> {
    /// The same, kept.
    #[must_use]
    pub fn into_owned(self) -> Head<'static> {
        let Self { length, bytes, cut, first, now } = self;
        Head { length, bytes: Cow::Owned(bytes.into_owned()), cut, first, now }
    }
}

/// The end of a message.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// Length of the message.
    pub length: u64,
    /// Where its first byte comes from.
    pub first: Origin,
    /// Where its last byte comes from.
    pub last: Origin,
    /// The record that brought the last byte was lost: it came earlier than that.
    pub lost: bool,
}

/// What a stream has come to.
#[derive(Debug)]
pub enum Step<'a> {
    /// A message has begun. Its end follows.
    Head(Head<'a>),
    /// The message is complete.
    Tail(Tail),
    /// Bytes are missing in which messages may have begun or ended.
    Lost(Gap),
    /// Bytes were passed over in which no message was found.
    Passed,
    /// The beginning of a message was found again.
    Found,
    /// What follows begins no message. Nothing more of this input will come.
    Malformed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between messages, or in a header: what has come of it is in the buffer.
    #[default]
    Header,
    /// In what is wanted of a message.
    Head { length: u64, want: usize },
    /// In the rest of one.
    Body { length: u64, left: u64 },
    /// Not known: waiting for a piece with the beginning of a message.
    Seek,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Stream {
    state: State,
    buffer: Vec<u8>,
    first: Origin,
    /// Offset of the end of the message at hand.
    end: u64,
    /// When the last byte moved.
    last: Nanos,
    /// A header was not captured because of the limit of a call.
    wide: bool,
    started: bool,
}

impl Stream {
    /// Whether this is the first piece; afterwards, it is not.
    pub fn start(&mut self) -> bool {
        !std::mem::replace(&mut self.started, true)
    }

    /// Whether the stream is exactly between two messages.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.state == State::Header && self.buffer.is_empty()
    }

    /// Whether it is not known where the messages begin.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.state == State::Seek
    }

    /// Whether more must be captured of each call, lest headers are missed.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.wide
    }

    /// The offset before which nothing needs to be seen: the end of the message at hand. 0 when that is not ahead.
    #[must_use]
    pub fn skip_until(&self) -> u64 {
        match self.state {
            State::Body { left: 1.., .. } => self.end,
            _ => 0,
        }
    }

    /// When the last byte moved.
    #[must_use]
    pub fn last(&self) -> Nanos {
        self.last
    }

    /// Nothing is known any more of where the messages begin.
    pub fn lose(&mut self) {
        self.clear();
        self.state = State::Seek;
    }

    /// Goes on with a piece, of which `content` and `origin` become what is left of it. `None` when nothing is left.
    pub fn next<'a>(
        &mut self,
        role: Role,
        origin: &mut Origin,
        content: &mut Content<'a>,
        framing: &impl Framing,
    ) -> Option<Step<'a>> {
        self.last = self.last.max(origin.time);
        if let State::Body { length, left: 0 } = self.state {
            self.state = State::Header;
            return Some(Step::Tail(Tail { length, first: self.first, last: *origin, lost: false }));
        }
        if content.is_empty() {
            return None;
        }
        match *content {
            Content::Bytes(bytes) => self.bytes(role, bytes, origin, content, framing),
            Content::Hole(length, gap) => self.hole(length, gap, origin, content),
        }
    }

    fn bytes<'a>(
        &mut self,
        role: Role,
        bytes: &'a [u8],
        origin: &mut Origin,
        content: &mut Content<'a>,
        framing: &impl Framing,
    ) -> Option<Step<'a>> {
        match self.state {
            State::Header if self.buffer.is_empty() => {
                self.first = *origin;
                match framing.frame(role, bytes) {
                    Frame::More => self.keep(bytes, origin, content),
                    Frame::Endless => {
                        // Not here again.
                        advance(1, origin, content);
                        Some(self.endless())
                    }
                    Frame::Malformed | Frame::Message { length: 0, .. } => self.malformed(content),
                    Frame::Message { length, want } => {
                        let want = wanted(length, want);
                        let Some(head) = bytes.get(..want) else {
                            self.state = State::Head { length, want };
                            self.buffer.extend_from_slice(bytes);
                            advance(bytes.len(), origin, content);
                            return None;
                        };
                        let step = self.head(length, Cow::Borrowed(head), false, *origin);
                        advance(want, origin, content);
                        Some(step)
                    }
                }
            }
            State::Header => {
                let before = self.buffer.len();
                let room = MAX_WANT.saturating_sub(before).min(bytes.len());
                self.buffer.extend(bytes.iter().take(room));
                match framing.frame(role, &self.buffer) {
                    Frame::More if self.buffer.len() < MAX_WANT => {
                        advance(room, origin, content);
                        None
                    }
                    Frame::Endless => Some(self.endless()),
                    Frame::More | Frame::Malformed | Frame::Message { length: 0, .. } => self.malformed(content),
                    Frame::Message { length, want } => {
                        // What the header alone has needed was wanted, too.
                        let want = wanted(length, want).max(before);
                        self.buffer.truncate(want);
                        let taken = self.buffer.len().saturating_sub(before);
                        let step = if self.buffer.len() < want {
                            self.state = State::Head { length, want };
                            None
                        } else {
                            Some(self.buffered(length, false, *origin))
                        };
                        advance(taken, origin, content);
                        step.or_else(|| self.next(role, origin, content, framing))
                    }
                }
            }
            State::Head { length, want } => {
                let taken = want.saturating_sub(self.buffer.len()).min(bytes.len());
                self.buffer.extend(bytes.iter().take(taken));
                let step = (self.buffer.len() >= want).then(|| self.buffered(length, false, *origin));
                advance(taken, origin, content);
                step
            }
            State::Body { length, left } => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.state = State::Body { length, left: left.saturating_sub(taken as u64) };
                let last = *origin;
                advance(taken, origin, content);
                self.complete(last, false)
            }
            State::Seek => self.seek(role, bytes, origin, content, framing),
        }
    }

    fn hole<'a>(&mut self, hole: u64, gap: Gap, origin: &mut Origin, content: &mut Content<'a>) -> Option<Step<'a>> {
        match self.state {
            State::Header | State::Seek => {
                self.wide |= gap == Gap::NotCaptured;
                self.lose();
                advance_hole(hole, origin, content);
                Some(Step::Lost(gap))
            }
            State::Head { length, .. } => Some(self.buffered(length, true, *origin)),
            State::Body { length, left } => {
                let taken = left.min(hole);
                self.state = State::Body { length, left: left - taken };
                let last = *origin;
                advance_hole(taken, origin, content);
                self.complete(last, gap == Gap::Lost)
            }
        }
    }

    fn seek<'a>(
        &mut self,
        role: Role,
        bytes: &'a [u8],
        origin: &mut Origin,
        content: &mut Content<'a>,
        framing: &impl Framing,
    ) -> Option<Step<'a>> {
        if !self.buffer.is_empty() {
            let before = self.buffer.len();
            self.buffer.extend(bytes.iter().take(MAX_CANDIDATE));
            match framing.find(role, &self.buffer) {
                Found::At(0) => {
                    // As if it had come just now, but for when it began.
                    let first = self.first;
                    self.buffer.truncate(before);
                    self.state = State::Header;
                    self.first = first;
                    return Some(Step::Found);
                }
                Found::More if self.buffer.len() < MAX_CANDIDATE => {
                    advance(bytes.len(), origin, content);
                    return None;
                }
                Found::At(_) | Found::More | Found::No => self.clear(),
            }
        }
        match framing.find(role, bytes) {
            Found::At(at) if at < bytes.len() => {
                advance(at, origin, content);
                self.state = State::Header;
                Some(Step::Found)
            }
            Found::More if bytes.len() < MAX_CANDIDATE => {
                self.first = *origin;
                self.buffer.extend_from_slice(bytes);
                advance(bytes.len(), origin, content);
                None
            }
            Found::At(_) | Found::More | Found::No => {
                advance(bytes.len(), origin, content);
                Some(Step::Passed)
            }
        }
    }

    /// Keeps the beginning of a header.
    fn keep<'a>(&mut self, bytes: &[u8], origin: &mut Origin, content: &mut Content<'a>) -> Option<Step<'a>> {
        if bytes.len() >= MAX_WANT {
            return self.malformed(content);
        }
        self.buffer.extend_from_slice(bytes);
        advance(bytes.len(), origin, content);
        None
    }

    /// The rest of the piece is searched, too.
    fn endless<'a>(&mut self) -> Step<'a> {
        self.lose();
        Step::Lost(Gap::NotCaptured)
    }

    fn malformed<'a>(&mut self, content: &mut Content<'a>) -> Option<Step<'a>> {
        self.lose();
        *content = Content::Bytes(&[]);
        Some(Step::Malformed)
    }

    fn head<'a>(&mut self, length: u64, bytes: Cow<'a, [u8]>, cut: bool, now: Origin) -> Step<'a> {
        self.state = State::Body { length, left: length.saturating_sub(bytes.len() as u64) };
        self.end = self.first.offset.saturating_add(length);
        Step::Head(Head { length, bytes, cut, first: self.first, now })
    }

    fn buffered<'a>(&mut self, length: u64, cut: bool, now: Origin) -> Step<'a> {
        let bytes = std::mem::take(&mut self.buffer);
        self.head(length, Cow::Owned(bytes), cut, now)
    }

    fn complete<'a>(&mut self, last: Origin, lost: bool) -> Option<Step<'a>> {
        let State::Body { length, left: 0 } = self.state else {
            return None;
        };
        self.state = State::Header;
        Some(Step::Tail(Tail { length, first: self.first, last, lost }))
    }

    fn clear(&mut self) {
        if self.buffer.capacity() > KEEP_BUFFER {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
    }
}

/// How much of a message is taken as its head.
fn wanted(length: u64, want: usize) -> usize {
    want.clamp(1, MAX_WANT).min(usize::try_from(length).unwrap_or(usize::MAX))
}

fn advance(by: usize, origin: &mut Origin, content: &mut Content<'_>) {
    if let Content::Bytes(bytes) = content {
        *bytes = bytes.get(by..).unwrap_or_default();
    }
    origin.offset = origin.offset.saturating_add(by as u64);
}

fn advance_hole(by: u64, origin: &mut Origin, content: &mut Content<'_>) {
    if let Content::Hole(length, _) = content {
        *length = length.saturating_sub(by);
    }
    origin.offset = origin.offset.saturating_add(by);
}
