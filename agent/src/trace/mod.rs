//! Traces: what the protocols tell in, [`Span`]s with ids, parents and wall-clock times out.

pub mod cause;
mod clock;
mod context;
mod ids;
mod span;
mod tracer;

pub use clock::{ClockOffset, ClockSample};
pub use context::{TraceParent, parse_tracestate};
pub use span::{Resource, Span};
pub use tracer::{INCOMPLETE, LINK, Tracer, TracerStats};
