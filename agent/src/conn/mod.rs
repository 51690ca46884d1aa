//! Connections and their streams: [`Event`](crate::event::Event)s in, [`Update`]s of one connection at a time out, in stream order.
//! Knows offsets, holes, ends and bounds of memory; knows no protocol.

mod update;

pub use update::{Connection, Content, End, Ending, Gap, Piece, Update};
