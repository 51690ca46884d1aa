//! Which request caused which: notes of requests and answers in, in order of time, with what is known of who hands work to whom; each
//! call comes out once its cause is settled. Knows threads, tasks and connections; knows no protocol, no clock, and no headers' formats.
//!
//! A *request* is a call that a process is asked (it serves it), an *outgoing call* one that it asks. The cause of an outgoing call is
//! the request that its process was working for; the cause of a request is the outgoing call at the other end of its connection.

mod answers;
mod asked;
mod assign;
mod call;
mod carried;
mod claims;
mod contexts;
mod endpoints;
mod ends;
mod engine;
mod followers;
mod forget;
mod handover;
mod held;
mod hosts;
mod injected;
mod locks;
mod loops;
mod orphans;
mod patterns;
mod pending;
mod puzzles;
mod rhythm;
mod samples;
mod sdks;
mod serving;
mod sessions;
mod settle;
mod streams;
#[cfg(test)]
mod tests;
mod trust;
mod turns;
mod unclaimed;
mod usage;
mod values;
mod wakes;
mod work;

pub use call::{Cause, Link, Origin, Trace};
pub use ends::Name;
pub use engine::{Engine, Limits, Settled, Stats};
pub use samples::{Sampled, Samples};
pub use serving::Serving;
