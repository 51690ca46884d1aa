//! The frames of HTTP/2 in what a client is about to send, followed from message to message, and which of them are given a field. Messages are read and
//! changed by the caller, between one step and the next; all that steps tell each other is in memory, where numbers are unknown to the verifier.

use crate::{
    hpack::{self, CARRIED, DONE, Fields, SIGNED, TABLE, UNSURE, WINDOW},
    inject::FIELD,
};

#[cfg(not(target_arch = "bpf"))]
pub mod play;
#[cfg(test)]
mod tests;

/// What a client sends first.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's header.
pub const HEADER: u32 = 9;
/// Frames of a message that are followed.
pub const FRAMES: u32 = 32;
/// Fields that are written in one call at most.
pub const PUTS: usize = 8;
/// The longest payload that every server takes (`SETTINGS_MAX_FRAME_SIZE`).
const LONGEST: u32 = 16_384;
/// The longest header block that is made longer. Servers bound what they take, decoded; the lowest usual limit is 8 KiB.
const BLOCK: u32 = 4096;

const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// A frame that was given a field, until the call that sends it is reported.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Put {
    /// Position in the stream of the frame's header.
    pub frame: u64,
    /// Position of the field.
    pub at: u64,
    /// The length of the frame's payload, with the field.
    pub length: u32,
    /// Trace flags.
    pub flags: u32,
    /// Trace id.
    pub trace: [u64; 2],
    /// Span id.
    pub span: u64,
}

/// Where a connection is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    /// Position in the stream of the message at hand.
    pub position: u64,
    /// Position behind it, with what was written into it.
    pub end: u64,
    /// Position where the next frame's header begins, or goes on.
    pub next: u64,
    /// Position behind the header of the frame before it.
    pub payload: u64,
    /// Where in the message the walk is.
    pub offset: u32,
    /// The length of the message.
    pub size: u32,
    /// Bytes of a frame's header that earlier messages have had.
    pub have: u32,
    /// Bytes of it that are read now.
    pub need: u32,
    /// Where in the message the frame at hand begins.
    pub from: u32,
    /// The length of its payload, as it is, or is to be.
    pub length: u32,
    /// Its flags.
    pub flags: u32,
    /// Its stream.
    pub id: u32,
    /// Where in its payload the header block begins.
    pub begin: u32,
    /// Where in the message the block ends.
    pub at: u32,
    /// The highest stream that was opened.
    pub stream: u32,
    /// The header at hand. Longer, so that where it is filled is inside whatever the verifier believes of it.
    pub header: [u8; 24],
    /// The header block at hand.
    pub fields: Fields,
    /// Bytes of it.
    pub window: [u8; WINDOW],
    /// Fields that were written and not reported.
    pub puts: [Put; PUTS],
    /// Which thread has sent requests, as `pid_tgid`; 0: none has.
    pub thread: u64,
    /// 1: others have, too.
    pub shared: u32,
    /// How many of `puts` there are.
    pub count: u32,
    /// The first one that the call at hand has sent.
    pub first: u32,
    /// [`Step`]: what is to be done next.
    pub what: u32,
    /// For whoever reads messages: where the header block is.
    pub address: u64,
    /// For whoever writes: the field.
    pub field: [u8; 72],
}

/// What comes of a frame, or is to be done with it.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing; on to the next one.
    Next,
    /// The message has come to its end.
    End,
    /// `need` bytes of its header are to be read at `offset`: [`Frames::parse`].
    Header,
    /// `length` bytes of payload are to be read at `offset`: [`Frames::block`].
    Block,
    /// A request begins: `FIELD` bytes are to be written at `at`, and `length` to the frame's beginning at `from`: [`Frames::written`].
    Put,
    /// That was done.
    Written,
    /// A request begins, and is signed, or may be.
    Signed,
    /// A request begins, and its head is too long.
    Long,
    /// A request begins, and there was no room.
    Busy,
    /// The connection is left alone from here on: it carries contexts.
    OverCarried,
    /// The same: it is signed.
    OverSigned,
    /// The same: a head is not whole in one message, or in one frame.
    OverIncomplete,
    /// The same: where frames begin is not known any more.
    OverLost,
    /// The same: this is no HTTP/2.
    OverOther,
    /// What was begun could not be ended: the message must not be sent.
    Broken,
}

impl Frames {
    /// Makes what is all zeroes a connection that has sent nothing.
    #[inline(always)]
    pub fn start(&mut self) {
        self.next = PREFACE.len() as u64;
        self.fields.table = TABLE;
    }

    /// Whether this thread sends a request, and no other one has sent any.
    #[inline(always)]
    #[must_use]
    pub fn is_of(&mut self, thread: u64) -> bool {
        if self.thread == 0 {
            self.thread = thread;
        } else if self.thread != thread {
            self.shared = 1;
        }
        self.shared == 0
    }

    /// Begins with a message at a position. `false`: where frames begin is not known any more.
    ///
    /// When the kernel could not send a message to its end, the program is not run for what the process sends next, which is the rest of it as a rule; nothing can have
    /// been written into that. So what was walked still holds, if it ends where the next message begins, or where a payload was left that has
    /// not come to its end.
    #[inline(always)]
    #[must_use]
    pub fn begin(&mut self, position: u64, size: u32) -> bool {
        let known = position == self.end || (position >= self.payload && position <= self.next && self.have == 0);
        self.position = position;
        self.end = position.wrapping_add(u64::from(size));
        self.offset = 0;
        self.size = size;
        known
    }

    /// Goes to the next frame: [`Step::Header`], or [`Step::End`].
    #[inline(always)]
    pub fn seek(&mut self) -> Step {
        let (offset, size) = (self.offset, self.size);
        let here = self.position.wrapping_add(u64::from(offset));
        let skip = self.next.wrapping_sub(here);
        if here < self.next {
            if skip >= u64::from(size.wrapping_sub(offset)) {
                return Step::End;
            }
            self.offset = offset.wrapping_add(skip as u32);
        }
        if self.offset >= size {
            return Step::End;
        }
        let (need, left) = (HEADER.wrapping_sub(self.have), size - self.offset);
        self.need = if left < need { left } else { need };
        Step::Header
    }

    /// Looks at a header, of which `need` bytes were added to the `have` that earlier messages have had.
    #[inline(always)]
    pub fn parse(&mut self) -> Step {
        let (have, from) = (self.have, self.offset);
        self.offset = from.wrapping_add(self.need);
        let here = self.position.wrapping_add(u64::from(self.offset));
        let all = have.wrapping_add(self.need);
        if all < HEADER {
            self.have = all;
            self.next = here;
            return Step::End;
        }
        self.have = 0;
        let [a, b, c, kind, flags, d, e, f, g, ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        self.payload = here;
        self.next = here.wrapping_add(u64::from(length));
        if kind != HEADERS {
            let block = kind == CONTINUATION || kind == PUSH_PROMISE;
            return if block { Step::OverIncomplete } else { Step::Next };
        }
        if have != 0 || flags & END_HEADERS == 0 || length > LONGEST || length > self.size.wrapping_sub(self.offset) {
            return Step::OverIncomplete;
        }
        self.from = from;
        self.length = length;
        self.flags = u32::from(flags);
        self.id = u32::from_be_bytes([d & 0x7f, e, f, g]);
        Step::Block
    }

    /// Finds the header block in a payload that begins with this byte: sets `begin`, its place in the payload, and begins with its fields.
    #[inline(always)]
    pub fn block(&mut self, first: u32) -> Step {
        let flags = self.flags as u8;
        let mut begin = if flags & PRIORITY != 0 { 5 } else { 0 };
        let mut padding = 0;
        if flags & PADDED != 0 {
            begin += 1;
            padding = first;
        }
        if self.id & 1 == 0 || self.length < begin + padding {
            return Step::OverOther;
        }
        self.begin = begin;
        // SAFETY: it is valid.
        unsafe { hpack::begin(&raw mut self.fields, self.length - begin - padding) };
        Step::Next
    }

    /// Decides about a frame whose fields were walked, `what` being the last result of that.
    #[inline(always)]
    pub fn decide(&mut self, what: u32) -> Step {
        let (found, len) = (self.fields.found, self.fields.end);
        if what != DONE {
            return Step::OverOther;
        }
        if found & CARRIED != 0 {
            return Step::OverCarried;
        }
        if found & SIGNED != 0 {
            return Step::OverSigned;
        }
        if self.id <= self.stream {
            // Trailers.
            return Step::Next;
        }
        self.stream = self.id;
        if found & UNSURE != 0 {
            return Step::Signed;
        }
        if len > BLOCK || self.length > LONGEST - FIELD as u32 {
            return Step::Long;
        }
        if self.count >= PUTS as u32 {
            return Step::Busy;
        }
        self.at = self.offset.wrapping_add(self.begin).wrapping_add(len);
        self.length += FIELD as u32;
        Step::Put
    }

    /// The frame has been given its field.
    #[inline(always)]
    pub fn written(&mut self) {
        self.size = self.size.wrapping_add(FIELD as u32);
        self.end = self.end.wrapping_add(FIELD as u64);
        self.next = self.next.wrapping_add(FIELD as u64);
        self.count = self.count.wrapping_add(1);
    }

    /// Forgets what was written but not sent: what is behind a position.
    #[inline(always)]
    pub fn unsent(&mut self, position: u64) {
        let mut i = 0;
        while i < PUTS {
            let count = self.count;
            // SAFETY: inside of the array.
            let at =
                unsafe { (*(&raw const self.puts).cast::<Put>().add(count.wrapping_sub(1) as usize & (PUTS - 1))).at };
            if count == 0 || at < position {
                break;
            }
            self.count = count - 1;
            i += 1;
        }
    }
}
