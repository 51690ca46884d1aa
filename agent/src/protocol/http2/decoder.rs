//! A connection's two directions, walked frame by frame, over what is missing.

use std::collections::BTreeMap;

use super::{
    detect,
    frame::{Frame, Kind, USUAL_LENGTH},
    head::Head,
    hpack,
    open::{Open, Says},
    way::{Block, Greeting, Origin, Payload, State, Way},
};
use crate::{
    conn::{Connection, Content, Piece, Update},
    event::{Direction, Nanos},
    protocol::{Counts, Decoder, Exchange, Interest, Note, Over, Shared, shared::count},
};

/// What is asked for of a call: as much as the kernel side captures at most. Several frames go with one call, and what a header block
/// says that is not seen remains unknown for as long as others refer to it, which may be as long as the connection lasts. So all of
/// them are worth more than what a body's bytes cost that are captured with them, up to where it is skipped by its length.
const BYTES: u32 = 16 << 10;
/// The longest frame that is believed, besides DATA.
const MAX_FRAME: u32 = 1 << 20;
/// How often a connection may break the rules, each time in a way that missing bytes do not explain.
const MAX_BREACHES: u32 = 16;
/// How far ahead of the last request's stream the next one may be, where some may have been missed.
const AHEAD: u32 = 4096;

/// Decodes one connection.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Http2 {
    /// The way that requests go, once that is known.
    pub(super) asks: Option<Direction>,
    sent: Way,
    received: Way,
    /// The header block at hand.
    head: Head,
    /// Streams, by id, that are not finished.
    pub(super) open: BTreeMap<u32, Box<Open>>,
    /// The highest stream that a request was seen on.
    pub(super) highest: u32,
    /// A header block was understood.
    understood: bool,
    breaches: u32,
    /// When the open streams were last looked through.
    pub(super) checked: Nanos,
    pub(super) over: Option<Over>,
}

/// What goes with every update.
pub(super) struct Context<'a> {
    pub(super) shared: &'a Shared,
    pub(super) connection: &'a Connection,
    pub(super) out: &'a mut Vec<Note>,
}

impl Context<'_> {
    pub(super) fn counts(&self) -> &Counts {
        &self.shared.counts
    }
}

/// The state of one of the directions, while other parts of the decoder are in use.
macro_rules! way {
    ($this:expr, $direction:expr) => {
        match $direction {
            Direction::Send => &mut $this.sent,
            Direction::Receive => &mut $this.received,
        }
    };
}

impl Decoder for Http2 {
    fn update(&mut self, shared: &Shared, connection: &Connection, update: &Update<'_>, out: &mut Vec<Note>) {
        let cx = &mut Context { shared, connection, out };
        match update {
            _ if self.over.is_some() => {}
            Update::Piece(direction, piece) => self.piece(*direction, piece, cx),
            Update::End(direction, end) => {
                self.break_block(*direction, cx);
                self.end(*direction, *end, cx);
            }
            Update::Tick(now) => self.check(*now, cx),
        }
    }

    fn interest(&self, shared: &Shared, direction: Direction) -> Interest {
        let way = self.way(direction);
        let from = match &way.state {
            State::Payload(payload) => match payload.frame.kind {
                Kind::Headers | Kind::PushPromise | Kind::Continuation => 0,
                // The next message's length may be in it.
                Kind::Data => way.offset.saturating_add(payload.left().min(self.until_message(direction, payload))),
                _ => way.offset.saturating_add(payload.left()),
            },
            State::Preface(_) | State::Header | State::Seek => 0,
        };
        Interest { from, bytes: BYTES.max(shared.capture), never: false }
    }

    fn over(&self) -> Option<Over> {
        self.over
    }
}

impl Http2 {
    /// A decoder for a connection that was HTTP/1.1 and is now HTTP/2 (RFC 7540, section 3.2): the request that asked for that is the
    /// first stream's.
    pub(in crate::protocol) fn upgraded(asks: Direction, request: Option<Exchange>) -> Self {
        let mut this = Self { asks: Some(asks), highest: 1, understood: true, ..Self::default() };
        // Both directions begin anew, wherever that is.
        (this.sent.started, this.received.started) = (true, true);
        if let Some(exchange) = request {
            let origin = Origin { time: exchange.request_end, thread: exchange.request_thread };
            let mut open = Box::<Open>::default();
            open.ask(exchange, Says::Other, true, origin);
            this.open.insert(1, open);
        }
        this
    }

    fn way(&self, direction: Direction) -> &Way {
        match direction {
            Direction::Send => &self.sent,
            Direction::Receive => &self.received,
        }
    }

    /// Where the bytes at hand of a direction come from.
    pub(super) fn now(&self, direction: Direction) -> Origin {
        self.way(direction).now
    }

    fn piece(&mut self, direction: Direction, piece: &Piece<'_>, cx: &mut Context<'_>) {
        let way = way!(self, direction);
        way.now = Origin { time: piece.time, thread: piece.thread };
        if !way.started {
            way.started = true;
            if piece.joined || piece.offset > 0 {
                let begins =
                    matches!(piece.content, Content::Bytes(bytes) if Way::greeting(0, bytes) != Greeting::None);
                way.state = if begins { State::Preface(0) } else { State::Seek };
            }
        }
        way.offset = piece.offset;
        match piece.content {
            Content::Bytes(bytes) => self.bytes(direction, bytes, cx),
            Content::Hole(length, _) => self.hole(direction, length, cx),
        }
        way!(self, direction).offset = piece.offset.saturating_add(piece.content.len());
        self.check(piece.time, cx);
    }

    fn bytes(&mut self, direction: Direction, mut bytes: &[u8], cx: &mut Context<'_>) {
        while !bytes.is_empty() && self.over.is_none() {
            let way = way!(self, direction);
            let taken = match way.state {
                State::Preface(have) => match Way::greeting(have, bytes) {
                    Greeting::More(taken) => {
                        way.state = State::Preface(have + taken);
                        taken
                    }
                    Greeting::Whole(taken) => {
                        way.state = State::Header;
                        self.asks = Some(direction);
                        taken
                    }
                    Greeting::None if have == 0 => {
                        way.state = State::Header;
                        0
                    }
                    Greeting::None => return self.breach(direction, cx),
                },
                State::Header => {
                    let (taken, frame) = way.header(bytes);
                    if let Some(frame) = frame {
                        self.begin(direction, frame, cx);
                    }
                    taken
                }
                State::Payload(payload) => self.payload(direction, payload, bytes, cx),
                State::Seek => {
                    if !self.found(direction, bytes) {
                        return;
                    }
                    way!(self, direction).state = State::Preface(0);
                    0
                }
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// A frame's header is complete.
    fn begin(&mut self, direction: Direction, frame: Frame, cx: &mut Context<'_>) {
        let long = match frame.kind {
            Kind::Data => false,
            Kind::Other(_) => frame.length > USUAL_LENGTH,
            _ => frame.length > MAX_FRAME,
        };
        if !frame.is_valid() || long {
            return self.breach(direction, cx);
        }
        if frame.kind != Kind::Continuation {
            self.break_block(direction, cx);
        }
        let way = way!(self, direction);
        match frame.kind {
            Kind::Headers | Kind::PushPromise => {
                way.block = Some(Block {
                    stream: frame.stream,
                    promise: frame.kind == Kind::PushPromise,
                    ends_stream: frame.ends_stream(),
                    first: way.first,
                    cut: false,
                });
            }
            Kind::Continuation if way.block.is_none_or(|block| block.stream != frame.stream) => {
                // Of a block of which the beginning was missed.
                self.break_block(direction, cx);
                way!(self, direction).hpack.forget();
            }
            _ => {}
        }
        let mut payload = Payload::new(frame);
        if payload.prefix == 0 {
            self.prefixed(direction, &mut payload, cx);
        }
        self.went(direction, payload, None, cx);
    }

    /// Takes what the bytes have of a payload; returns how many that are.
    fn payload(&mut self, direction: Direction, mut payload: Payload, bytes: &[u8], cx: &mut Context<'_>) -> usize {
        if payload.prefix > 0 {
            let taken = way!(self, direction).prefix(&mut payload, bytes);
            if payload.prefix == 0 && !self.prefixed(direction, &mut payload, cx) {
                self.breach(direction, cx);
                return taken;
            }
            self.went(direction, payload, None, cx);
            return taken;
        }
        if payload.content > 0 {
            let (content, _) = bytes.split_at_checked(payload.content as usize).unwrap_or((bytes, &[]));
            // At most as long as the content.
            payload.content -= content.len() as u32;
            match payload.frame.kind {
                Kind::Data => {
                    if let Some(messages) = self.half(direction, payload.frame.stream).and_then(|h| h.messages.as_mut())
                    {
                        messages.bytes(content);
                    }
                    self.went(direction, payload, None, cx);
                }
                Kind::Headers | Kind::PushPromise | Kind::Continuation => {
                    let way = way!(self, direction);
                    let in_place = payload.content == 0 && payload.frame.ends_headers() && way.buffer.is_empty();
                    if !in_place {
                        way.keep(content);
                    }
                    self.went(direction, payload, in_place.then_some(content), cx);
                }
                _ => self.went(direction, payload, None, cx),
            }
            return content.len();
        }
        let taken = bytes.len().min(payload.padding as usize);
        payload.padding -= taken as u32;
        self.went(direction, payload, None, cx);
        taken
    }

    /// The prefix of a payload is complete, or there is none. Says whether it can be.
    fn prefixed(&mut self, direction: Direction, payload: &mut Payload, cx: &mut Context<'_>) -> bool {
        if payload.frame.is_padded() {
            let [padding, ..] = way!(self, direction).small();
            let Some(content) = payload.content.checked_sub(padding.into()) else {
                return false;
            };
            (payload.content, payload.padding) = (content, padding.into());
        }
        if payload.frame.kind == Kind::Data {
            self.data(direction, payload.frame.stream, payload.content, cx);
        }
        true
    }

    /// A payload has come so far: what is complete with that is used. `in_place`: a header block that is whole.
    fn went(&mut self, direction: Direction, payload: Payload, in_place: Option<&[u8]>, cx: &mut Context<'_>) {
        let frame = payload.frame;
        let way = way!(self, direction);
        way.state = if payload.left() == 0 { State::Header } else { State::Payload(payload) };
        let blocks = matches!(frame.kind, Kind::Headers | Kind::PushPromise | Kind::Continuation);
        if blocks && payload.prefix == 0 && payload.content == 0 && frame.ends_headers() && way.block.is_some() {
            self.block(direction, in_place, cx);
        }
        if payload.left() == 0 {
            self.end_frame(direction, &payload, cx);
        }
    }

    fn end_frame(&mut self, direction: Direction, payload: &Payload, cx: &mut Context<'_>) {
        let frame = payload.frame;
        let [a, b, c, d, e, f, g, h, _] = way!(self, direction).small();
        let first = u32::from_be_bytes([a, b, c, d]);
        match frame.kind {
            Kind::Data if frame.ends_stream() => self.ended(direction, frame.stream, cx),
            Kind::RstStream => self.reset(direction, frame.stream, (!payload.cut).then_some(first), cx),
            Kind::GoAway if !payload.cut && self.asks == Some(direction.opposite()) => {
                self.go_away(direction, first & 0x7fff_ffff, u32::from_be_bytes([e, f, g, h]), cx);
            }
            _ => {}
        }
    }

    /// A header block is complete, or as complete as it will be.
    fn block(&mut self, direction: Direction, in_place: Option<&[u8]>, cx: &mut Context<'_>) {
        let way = way!(self, direction);
        let Some(block) = way.block.take() else {
            return;
        };
        let mut head = std::mem::take(&mut self.head);
        let buffer = std::mem::take(&mut way.buffer);
        head.clear();
        let what = way.hpack.decode(in_place.unwrap_or(&buffer), !block.cut, &mut |field| head.add(field));
        way.reset(buffer);
        if what != hpack::Block::Whole {
            head.unknown = true;
            count(&cx.counts().truncated_heads);
        } else if head.unknown {
            count(&cx.counts().unknown_fields);
        }
        if what == hpack::Block::Malformed && !self.understood {
            self.over = Some(Over::NotMine);
        } else if !block.promise {
            self.understood |= what == hpack::Block::Whole;
            self.headers(direction, &block, &head, cx);
        }
        self.head = head;
    }

    /// No more will come of a header block.
    fn break_block(&mut self, direction: Direction, cx: &mut Context<'_>) {
        if let Some(block) = &mut way!(self, direction).block {
            block.cut = true;
            self.block(direction, None, cx);
        }
    }

    fn hole(&mut self, direction: Direction, mut length: u64, cx: &mut Context<'_>) {
        while length > 0 && self.over.is_none() {
            let way = way!(self, direction);
            let State::Payload(mut payload) = way.state else {
                if way.state != State::Seek {
                    self.lose(direction, cx);
                }
                return;
            };
            let within = length.min(payload.left());
            length -= within;
            // At most as long as a frame.
            self.skip(direction, &mut payload, within as u32, cx);
            self.went(direction, payload, None, cx);
        }
    }

    /// So much of a payload is missing.
    fn skip(&mut self, direction: Direction, payload: &mut Payload, length: u32, cx: &mut Context<'_>) {
        let stream = payload.frame.stream;
        if payload.prefix > 0 {
            // What is padding is not known any more.
            payload.content = payload.content.saturating_add(std::mem::take(&mut payload.prefix));
            payload.cut = true;
            way!(self, direction).forget_prefix();
            if payload.frame.kind == Kind::Data {
                self.data(direction, stream, payload.content, cx);
                if let Some(half) = self.half(direction, stream) {
                    half.miss();
                }
            }
        }
        let content = length.min(payload.content);
        payload.content -= content;
        payload.padding = payload.padding.saturating_sub(length - content);
        if content == 0 {
            return;
        }
        match payload.frame.kind {
            Kind::Data => {
                if let Some(messages) = self.half(direction, stream).and_then(|half| half.messages.as_mut()) {
                    messages.hole(content.into());
                }
            }
            Kind::Headers | Kind::PushPromise | Kind::Continuation => {
                let way = way!(self, direction);
                if let Some(block) = &mut way.block {
                    block.cut = true;
                } else {
                    way.hpack.forget();
                }
            }
            _ => {}
        }
    }

    /// Bytes up to the length of the next message of a stream.
    fn until_message(&self, direction: Direction, payload: &Payload) -> u64 {
        let open = self.open.get(&payload.frame.stream);
        let half = open.map(|open| if self.asks == Some(direction) { &open.request } else { &open.response });
        let messages = half.and_then(|half| half.messages.as_ref());
        messages.and_then(|messages| messages.until_prefix()).map_or(u64::MAX, u64::from)
    }

    /// Whether these bytes begin with a frame.
    fn found(&self, direction: Direction, bytes: &[u8]) -> bool {
        let asks = self.asks == Some(direction);
        detect::found(bytes, |frame| match frame.stream {
            0 => 0,
            id if self.open.contains_key(&id) => 3,
            id if asks && frame.kind == Kind::Headers && (1..=AHEAD).contains(&id.saturating_sub(self.highest)) => 2,
            _ => 0,
        })
    }

    /// It is not known any more where a direction's frames are.
    fn lose(&mut self, direction: Direction, cx: &mut Context<'_>) {
        self.break_block(direction, cx);
        way!(self, direction).lose();
        count(&cx.counts().lost_frames);
        self.missed(direction);
    }

    /// The rules are broken, or what was taken for a frame is none.
    fn breach(&mut self, direction: Direction, cx: &mut Context<'_>) {
        if !self.understood {
            self.over = Some(Over::NotMine);
            return;
        }
        self.breaches += 1;
        if self.breaches > MAX_BREACHES {
            self.over = Some(Over::Malformed);
            return self.give_up(cx);
        }
        self.lose(direction, cx);
    }
}
