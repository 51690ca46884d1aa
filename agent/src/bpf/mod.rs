//! The kernel side as the agent sees it: loads the programs, reads their rings in time order, and writes back what it wants of
//! whom. All `unsafe` of the agent is here. Knows nothing of what the bytes mean.

pub mod btf;
mod context;
pub mod decode;
mod detach;
mod extents;
mod greeter;
mod groups;
mod hooks;
mod inject;
mod inject_test;
mod load;
mod offsets;
mod policy;
mod preempt;
mod rings;
mod rows;
mod sampler;
mod serving;
mod tables;
mod tracepoints;
mod waker;

pub use context::{Context, ContextError};
pub use greeter::GreetError;
pub use hooks::{AttachError, Attached, Hooks};
pub use inject::{InjectError, test_injection};
pub use inject_test::Failure as InjectFailure;
pub use load::{FrontEnd, Inject, Kernel, LoadError, Options};
pub use rings::now;
pub use rows::{Part, Rows};
pub use sampler::{Sampler, Target};
pub use tables::Tables;
pub use waker::Waker;

use geophone_ebpf::stats;

/// The kernel side's counters, summed over processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters([u64; stats::COUNT]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; stats::COUNT])
    }
}

impl Counters {
    /// One of them.
    #[must_use]
    pub fn get(&self, counter: stats::Counter) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or_default()
    }

    /// All of them, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        stats::NAMES.iter().copied().zip(self.0)
    }
}
