//! Packet captures that others made (`tcpdump`, Wireshark): TCP segments and lookups by UDP in, the [`Event`](crate::event::Event)s of the same connections
//! out, as the kernel would have reported them to the server. What comes after cannot tell them from live ones. Reading the file formats
//! ([`File`]) and the packets' headers ([`Segment`], [`Lookup`]) is done by libraries; [`Flows`] does the rest, without input or output.
//!
//! Left out: what is neither TCP nor DNS, IP fragments, tunnels.

mod file;
mod flows;
mod lookup;
mod segment;
#[cfg(test)]
mod tests;

pub use file::{File, FileError, Packet};
pub use flows::{Flows, Heard, Server};
pub use lookup::Lookup;
pub use segment::{Segment, Unusable};

/// What was seen of a packet capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets in the file.
    pub packets: u64,
    /// Segments of TCP among them.
    pub segments: u64,
    /// Datagrams from and to servers of names.
    pub lookups: u64,
    /// Packets that carry neither.
    pub other: u64,
    /// Fragments of IP packets: what they carry is missing in its stream.
    pub fragments: u64,
    /// Packets whose headers are cut off or broken.
    pub damaged: u64,
    /// Connections that were forgotten because there were too many at a time.
    pub evicted: u64,
}
