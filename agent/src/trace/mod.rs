//! Traces: what the protocols tell in, [`Span`]s with ids, parents and wall-clock times out.

pub mod cause;
mod clock;
pub mod headers;
mod ids;
mod span;
mod tracer;

pub use clock::{ClockOffset, ClockSample};
pub use span::{Resource, Span};
pub use tracer::{INCOMPLETE, LINK, Tracer, TracerStats};
