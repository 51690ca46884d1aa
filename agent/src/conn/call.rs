//! A call whose lengths have been checked.

use super::Stats;
use crate::event::{Data, Nanos, Thread};

/// No stream gets so far: 2^62 bytes are 146 years at 1 GB/s. Ends of calls stay below `u64::MAX` by this.
const OFFSET_MAX: u64 = 1 << 62;

/// What [`Data`] says, in terms that cannot overflow: `offset + len` fits, `skipped + bytes.len() <= len`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) time: Nanos,
    pub(super) thread: Thread,
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) skipped: u32,
    pub(super) bytes: &'a [u8],
    pub(super) relative: bool,
    pub(super) end: bool,
    pub(super) wire: Option<u64>,
}

impl<'a> Call<'a> {
    /// `None` when its place in the stream is impossible. Bytes beyond the call's length are cut off. Both are counted.
    #[inline]
    pub(super) fn new(data: &Data<'a>, stats: &mut Stats) -> Option<Self> {
        if data.offset > OFFSET_MAX {
            stats.implausible += 1;
            return None;
        }
        let skipped = data.skipped.min(data.len);
        let room = (data.len - skipped) as usize;
        let bytes = data.bytes.get(..room).unwrap_or(data.bytes);
        if skipped != data.skipped || bytes.len() != data.bytes.len() {
            stats.malformed += 1;
        }
        Some(Self {
            time: data.time,
            thread: data.thread,
            offset: data.offset,
            len: data.len,
            skipped,
            bytes,
            relative: data.relative,
            end: data.end,
            wire: data.wire,
        })
    }

    /// Position after its last byte.
    #[inline]
    pub(super) fn end_offset(&self) -> u64 {
        self.offset + u64::from(self.len)
    }
}
