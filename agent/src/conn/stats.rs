//! What the table counts.

/// Counters of a [`Table`](super::Table), from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls that moved bytes, whatever became of them.
    pub calls: u64,
    /// Connections made known by an `Open`.
    pub opened: u64,
    /// Connections seen first in a call: their `Open` was lost, so their addresses are not known.
    pub opened_unseen: u64,
    /// Connections forgotten because there were too many.
    pub evicted_full: u64,
    /// Connections on which nothing happened for too long.
    pub evicted_idle: u64,
    /// Connections without a close that were over by all appearances.
    pub evicted_doubtful: u64,
    /// Connections whose `struct sock` turned out to serve another one.
    pub replaced: u64,
    /// Bytes handed on.
    pub captured_bytes: u64,
    /// Bytes whose absence is expected.
    pub not_captured_bytes: u64,
    /// Bytes whose record did not come.
    pub lost_bytes: u64,
    /// Places where such bytes are missing.
    pub lost_gaps: u64,
    /// Calls held back because they, or others of their connection, came ahead of what was expected.
    pub held: u64,
    /// Times that calls were no longer held back because they were too many.
    pub held_overflows: u64,
    /// Calls that began before the end of what had been handed on.
    pub overlaps: u64,
    /// Bytes in which they overlapped.
    pub overlap_bytes: u64,
    /// Calls that moved bytes in a direction which had ended; ignored.
    pub after_end: u64,
    /// Events of a connection whose `struct sock` serves a newer one; ignored.
    pub stale: u64,
    /// Ends and changes of state of connections that are not known; ignored.
    pub unknown: u64,
    /// Calls whose lengths contradict each other: bytes beyond the call's length were cut off.
    pub malformed: u64,
    /// Encrypted calls of connections whose decrypted bytes are known; ignored.
    pub encrypted: u64,
    /// Calls at an offset that no stream can have, or absurdly far from where the stream is; ignored.
    pub implausible: u64,
}
