//! Traces: [`Exchange`](crate::protocol::Exchange)s in, [`Span`]s with ids, parents and wall-clock times out.

mod span;

pub use span::{Resource, Span};
