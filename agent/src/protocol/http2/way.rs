//! One direction of a connection, walked frame by frame: what each byte, captured or not, belongs to.

use super::{
    frame::{Frame, HEADER, Kind, PREFACE},
    hpack,
};
use crate::event::{Nanos, Thread};

/// Bytes of a header block that are kept until it is complete.
const MAX_BLOCK: usize = 32 << 10;
/// A buffer that is larger is given back.
const KEEP_BLOCK: usize = 2048;

/// Where bytes come from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin {
    pub(super) time: Nanos,
    pub(super) thread: Thread,
}

/// Where in its frames a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// At the beginning of the stream: so much of the client's preface has come.
    Preface(usize),
    /// Between frames, or in a header, of which the beginning is in the buffer.
    Header,
    /// In a payload.
    Payload(Payload),
    /// Not known: waiting for a piece that begins with what is certainly a frame's header.
    Seek,
}

/// A frame of which the header has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) frame: Frame,
    /// Bytes that are to come before what the frame is about; what has come of them is in the buffer.
    pub(super) prefix: u32,
    /// Bytes that are to come of what the frame is about; with the padding, as long as its length is not known.
    pub(super) content: u32,
    /// Bytes of padding that are to come.
    pub(super) padding: u32,
    /// Something of the prefix was missed.
    pub(super) cut: bool,
}

impl Payload {
    pub(super) fn new(frame: Frame) -> Self {
        // What frames of fixed form say is read as if it came before something.
        let prefix = match frame.kind {
            Kind::RstStream => 4,
            Kind::GoAway => 8,
            _ => frame.prefix(),
        };
        Self { frame, prefix, content: frame.length.saturating_sub(prefix), padding: 0, cut: false }
    }

    /// Bytes of the frame that are to come.
    pub(super) fn left(&self) -> u64 {
        u64::from(self.prefix) + u64::from(self.content) + u64::from(self.padding)
    }
}

/// A header block that is being received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    /// It is a promise of the server's.
    pub(super) promise: bool,
    /// Nothing follows in its direction of the stream.
    pub(super) ends_stream: bool,
    /// Where the frame's first byte comes from.
    pub(super) first: Origin,
    /// Something of it was missed: what is in the buffer is its beginning.
    pub(super) cut: bool,
}

/// One direction's state.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) state: State,
    /// Offset of the next byte.
    pub(super) offset: u64,
    /// Where the bytes at hand come from.
    pub(super) now: Origin,
    /// Where the present frame's first byte comes from.
    pub(super) first: Origin,
    /// Something has come.
    pub(super) started: bool,
    /// What has come of a header, or of a payload's prefix.
    small: [u8; HEADER],
    have: usize,
    pub(super) hpack: hpack::Decoder,
    pub(super) block: Option<Block>,
    /// What has come of the block, unless it was read in place.
    pub(super) buffer: Vec<u8>,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            state: State::Preface(0),
            offset: 0,
            now: Origin::default(),
            first: Origin::default(),
            started: false,
            small: [0; HEADER],
            have: 0,
            hpack: hpack::Decoder::default(),
            block: None,
            buffer: Vec::new(),
        }
    }
}

/// What the client's preface has turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// So many bytes of it; there are more to come.
    More(usize),
    /// It ends after so many bytes.
    Whole(usize),
    /// It is none.
    None,
}

impl Way {
    /// Compares what follows `have` bytes of the preface.
    pub(super) fn greeting(have: usize, bytes: &[u8]) -> Greeting {
        let wanted = PREFACE.get(have..).unwrap_or_default();
        if bytes.starts_with(wanted) {
            Greeting::Whole(wanted.len())
        } else if wanted.starts_with(bytes) {
            Greeting::More(bytes.len())
        } else {
            Greeting::None
        }
    }

    /// Takes what the bytes have of the next frame's header: how many that are, and the frame, if the header is complete.
    pub(super) fn header(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        if self.have == 0 {
            self.first = self.now;
            if let Some(frame) = Frame::first(bytes) {
                return (HEADER, Some(frame));
            }
        }
        let taken = self.collect(HEADER, bytes);
        if self.have < HEADER {
            return (taken, None);
        }
        self.have = 0;
        (taken, Some(Frame::parse(self.small)))
    }

    /// Takes what the bytes have of a payload's prefix: how many that are. It is complete when `payload.prefix` is 0.
    pub(super) fn prefix(&mut self, payload: &mut Payload, bytes: &[u8]) -> usize {
        let taken = self.collect(self.have.saturating_add(payload.prefix as usize), bytes);
        // At most as many as the prefix has.
        payload.prefix -= taken as u32;
        if payload.prefix == 0 {
            self.have = 0;
        }
        taken
    }

    /// The payload's prefix; what it does not have is 0.
    pub(super) fn small(&self) -> [u8; HEADER] {
        self.small
    }

    /// The rest of the prefix was missed.
    pub(super) fn forget_prefix(&mut self) {
        self.have = 0;
    }

    fn collect(&mut self, whole: usize, bytes: &[u8]) -> usize {
        let mut taken = 0;
        let slots = self.small.iter_mut().take(whole).skip(self.have);
        for (slot, byte) in slots.zip(bytes) {
            *slot = *byte;
            taken += 1;
        }
        self.have += taken;
        taken
    }

    /// Keeps more of the header block.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        let Some(block) = self.block.as_mut().filter(|block| !block.cut) else {
            return;
        };
        let room = MAX_BLOCK.saturating_sub(self.buffer.len());
        self.buffer.extend(bytes.iter().take(room));
        block.cut = bytes.len() > room;
    }

    /// Gives the buffer back, empty, unless it has grown large.
    pub(super) fn reset(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEEP_BLOCK {
            buffer.clear();
            self.buffer = buffer;
        }
    }

    /// It is not known any more where the frames are, and which header blocks have passed.
    pub(super) fn lose(&mut self) {
        self.state = State::Seek;
        self.have = 0;
        self.hpack.forget();
    }
}
