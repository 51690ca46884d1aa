//! Running the agent: the kernel side and the pipeline on one thread, the outputs on another runtime, and an account at the end.

mod capture;
mod clock;
mod packets;
mod recorder;
mod replay;
mod select;
mod summary;

pub use capture::{Capture, Finished, Settings};
pub use clock::sample_clock;
pub use packets::{ReplayedPackets, packet_clock, packet_limits, replay_packets};
pub use recorder::Recorder;
pub use replay::{Replayed, replay};
pub use select::Selection;
pub use summary::{Account, write_summary};
