//! geophone: kernel events become spans and profiles.
//!
//! Data flows one way: [`bpf`] → [`conn`] → [`protocol`] → [`trace`] → [`export`]. A stage knows the stage before it only
//! by the values that it receives. `conn`, `protocol` and `trace` do no input or output and know no clock: time comes in with
//! each [`event::Event`], so they run in tests, fuzzers, benchmarks and replays without a kernel.

pub mod bpf;
pub mod cli;
pub mod conn;
pub mod demo;
pub mod doctor;
pub mod event;
pub mod export;
pub mod opaque;
pub mod packets;
mod parts;
pub mod peer;
pub mod pipeline;
pub mod process;
pub mod profile;
pub mod protocol;
pub mod recording;
pub mod run;
pub mod runtime;
pub mod trace;
