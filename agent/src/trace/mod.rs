//! Traces: what the protocols tell in, [`Span`]s with ids, parents and wall-clock times out.

pub mod cause;
mod clock;
pub mod headers;
mod ids;
mod span;
mod tracer;

pub use cause::{Sampled, Samples, Serving};
pub use clock::{ClockOffset, ClockSample};
pub use span::{Resource, Span};
pub use tracer::{
    CPU_TIME, INCOMPLETE, LINK, Tracer, TracerStats, WAIT_DISK, WAIT_LOCK, WAIT_NETWORK, WAIT_RUN_QUEUE, WAIT_SLEEP,
};
