//! Profiles: samples of what runs, or of what waits, become flame graphs.
//!
//! [`sample`] decodes, [`waits`] keeps those of threads that sleep, [`stacks`] adds up, [`spaces`] keeps what is known of processes that may end, [`symbols`] gives names when
//! sampling is over, [`interpreters`] knows the functions of interpreted programs, [`output`] writes; [`unwind`] makes what stacks are walked by, and [`walks`] counts how that went. [`collect`]
//! drives them. [`input`] reads what was written, for [`diff`]. What works and what does not: `docs/profiles.md`.

mod adder;
pub mod beside;
pub mod collect;
pub mod diff;
mod files;
#[cfg(test)]
mod hostile;
pub mod input;
pub mod interpreters;
pub mod lines;
pub mod maps;
pub mod model;
pub mod output;
pub mod part;
pub mod perf_map;
mod pprof;
pub mod report;
pub mod sample;
pub mod spaces;
pub mod stacks;
mod sum;
mod symbol_tables;
pub mod symbols;
pub mod unwind;
pub mod waits;
pub mod walks;

pub use beside::{Periods, Profiler, Start};
pub use collect::{Collection, Counts, Settings};
pub use diff::Difference;
pub use input::InputError;
pub use model::{Kind, Link, Profile};
pub use output::{Output, OutputError};
pub use part::{Filter, Part};
