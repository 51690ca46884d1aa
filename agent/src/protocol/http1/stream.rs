//! One direction of a connection: where in its messages the stream is, and what of an incomplete head has come.

use super::{body::Body, head};
use crate::event::{Nanos, Thread};
pub(super) use crate::protocol::waiting::Origin;

/// The longest head that is waited for.
pub(super) const MAX_HEAD: usize = 16 << 10;
/// A buffer that is larger is given back once its head is complete.
const KEEP_BUFFER: usize = 2048;

/// One direction's state.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) state: State,
    /// Where the message began.
    pub(super) message: Origin,
    /// What has come of a head, or of what could be one.
    pub(super) buffer: Vec<u8>,
    /// Where what is in the buffer began, when that has just turned out to be a message.
    pub(super) candidate: Option<Origin>,
    /// How much of `buffer` holds no end of a head.
    scanned: usize,
    /// Offset of the next byte.
    pub(super) offset: u64,
    /// When the last byte moved.
    pub(super) last: Nanos,
    /// Who moves the bytes at hand.
    pub(super) mover: Thread,
    /// Something has come.
    pub(super) started: bool,
    /// Nothing will.
    pub(super) ended: bool,
}

/// Where in a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Between messages.
    #[default]
    Start,
    /// In a head; its beginning is in the buffer.
    Head,
    /// In a body.
    Body(Body),
    /// Not known: waiting for a piece that begins with what is certainly the start of a message. What could be one is in the
    /// buffer.
    Seek,
}

impl Stream {
    /// Appends to the head in the buffer: how many of the bytes belong to it, and whether it is complete.
    pub(super) fn grow(&mut self, bytes: &[u8]) -> (usize, bool) {
        let before = self.buffer.len();
        let room = MAX_HEAD.saturating_sub(before).min(bytes.len());
        self.buffer.extend(bytes.iter().take(room));
        match head::end(&self.buffer, self.scanned) {
            Some(end) => {
                self.buffer.truncate(end);
                (end.saturating_sub(before), true)
            }
            None => {
                // The end may have begun with the last three bytes.
                self.scanned = self.buffer.len().saturating_sub(3);
                (room, false)
            }
        }
    }

    /// Whether the head is as long as may be and yet incomplete.
    pub(super) fn overflowed(&self) -> bool {
        self.buffer.len() >= MAX_HEAD
    }

    /// Takes the buffer, to be given back with [`Stream::reset`].
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.scanned = 0;
        std::mem::take(&mut self.buffer)
    }

    /// Gives the buffer back, empty, unless it has grown large.
    pub(super) fn reset(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEEP_BUFFER {
            buffer.clear();
            self.buffer = buffer;
        }
    }

    /// Nothing is known any more of where the stream is.
    pub(super) fn lose(&mut self) {
        let buffer = self.take();
        self.reset(buffer);
        self.state = State::Seek;
    }
}
