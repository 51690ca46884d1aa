//! Connections and their streams: [`Event`](crate::event::Event)s in, [`Update`]s of one connection at a time out, in stream order.
//! Knows offsets, holes, ends and bounds of memory; knows no protocol.
//!
//! A call that continues its stream goes straight through as a borrowed slice, without a copy or an allocation. One that comes
//! ahead of its predecessors is copied and waits for them for a few milliseconds; after that they are lost, and a hole says so.

mod call;
mod entry;
mod life;
mod limits;
mod lists;
mod settle;
mod slots;
mod stats;
mod stream;
mod table;
mod update;
mod waiting;
mod ways;

#[cfg(test)]
mod tests;

pub use limits::Limits;
pub use stats::Stats;
pub use table::Table;
pub use update::{Connection, Content, End, Ending, Gap, Piece, Update};
