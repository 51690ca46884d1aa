//! Protocols whose messages begin with a header that tells their length: what they have in common. A protocol says how long
//! the message at hand is ([`Framing`]) and what it means ([`Talk`]); [`Framed`] walks both streams of a connection, over holes, and
//! finds its place again after a loss; [`Queue`] and [`Table`] know which request a response belongs to; a [`Call`] says at the right
//! moments what the search for causes has to know.
//!
//! `docs/protocols.md` shows a protocol written on this.

mod call;
mod decoder;
#[cfg(test)]
mod ping;
mod queue;
mod stream;
mod table;
#[cfg(test)]
mod tests;

pub use call::{Call, Unit};
pub use decoder::{Calls, Context, Framed, Taken, Talk};
pub use queue::Queue;
pub use stream::{Found, Frame, Framing, Head, Role, Step, Stream, Tail};
pub use table::Table;

pub use super::waiting::Origin;
