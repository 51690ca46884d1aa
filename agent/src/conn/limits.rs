//! How much memory and time the table may spend.

use crate::event::Nanos;

const MILLISECOND: Nanos = 1_000_000;
const SECOND: Nanos = 1_000 * MILLISECOND;

/// Bounds of a [`Table`](super::Table). Times are nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that are remembered; one more, and another is forgotten. At least 1, at most 2^31.
    pub connections: usize,
    /// Bytes that one connection may hold back because they came ahead of others; what a held call costs besides its bytes is counted too.
    pub held: usize,
    /// The same for all connections together.
    pub held_total: usize,
    /// How long a call that came ahead waits for the calls before it, until these are taken for lost.
    pub reorder: Nanos,
    /// A connection on which nothing happens is told the time this often ([`Update::Tick`](super::Update::Tick)).
    pub quiet: Nanos,
    /// A connection on which nothing happened for so long ends as evicted. Its addresses are still known if it wakes up.
    pub idle: Nanos,
    /// The same for a connection that is over by all appearances, but for which the kernel reports no close (Unix sockets).
    pub doubtful: Nanos,
    /// How long a closed connection is still remembered: a process may read what had come before the close, and late
    /// records must not be taken for a new connection.
    pub linger: Nanos,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            held: 64 << 10,
            held_total: 16 << 20,
            reorder: 5 * MILLISECOND,
            // Decoders keep what is uncertain back for half a second: so it is out within one.
            quiet: 500 * MILLISECOND,
            idle: 600 * SECOND,
            doubtful: 5 * SECOND,
            linger: 250 * MILLISECOND,
        }
    }
}
