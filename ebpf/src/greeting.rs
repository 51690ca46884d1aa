//! The TCP option by which agents find each other: its bytes, and what the agent tells the program that writes and reads it.
//!
//! ```text
//!  0      1      2             6              10       14     16
//!  | 253  | len  | 'g' 'e' 'o' 'p' | first byte | agent | port | address (IPv4), or nothing |
//! ```
//!
//! An experimental option with a 32-bit identifier (RFC 6994). *First byte* is the sequence number of the first byte that this side sends, as
//! it was when it left: what rewrites sequence numbers on the way does not know of it. All numbers are in network order.

/// Its kind: experiment 1.
pub const KIND: u8 = 253;
/// What tells it from other experiments.
pub const MAGIC: [u8; 4] = *b"geop";
/// Its length without an address: the agent is where the segment comes from.
pub const SHORT: usize = 16;
/// Its length with an address. On a SYN with all usual options this is all the room that there is.
pub const LONG: usize = 20;
/// Where the number of the first byte is.
pub const FIRST: usize = 6;
/// Where the agent's identity is.
pub const AGENT: usize = 10;
/// Where its port is.
pub const PORT: usize = 14;
/// Where its address is.
pub const ADDRESS: usize = 16;

/// What the program is told.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Greeting {
    /// The option, with zeroes for the number of the first byte.
    pub option: [u8; LONG],
    /// Its length: [`SHORT`] or [`LONG`].
    pub len: u32,
    /// 1 where the option is told to other than private addresses, too.
    pub anywhere: u32,
}
