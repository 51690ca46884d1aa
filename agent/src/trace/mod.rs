//! Traces: what the protocols tell in, [`Span`]s with ids, parents and wall-clock times out.

pub mod cause;
mod clock;
pub mod headers;
mod ids;
mod made;
mod span;
mod tracer;

pub use cause::{Sampled, Samples, Serving};
pub use clock::{ClockOffset, ClockSample};
pub use made::{CPU_TIME, INCOMPLETE, LINK, WAIT_DISK, WAIT_LOCK, WAIT_NETWORK, WAIT_RUN_QUEUE, WAIT_SLEEP};
pub use span::{Resource, Span};
pub use tracer::{Tracer, TracerStats};
