//! Unwinding without frame pointers: the frame descriptions of ELF files (`.eh_frame`, `.debug_frame`) become rows that the sampling
//! program looks up in the kernel.
//!
//! [`elf`] finds what there is in a file, [`rule`] says what one description means for the three registers that matter, [`table`] puts
//! them together: bytes in, rows out. `loader` does that on a
//! thread of its own, `places` says which rows are where in a mapping or a file, and `ranges` tells the kernel side so for processes.

pub mod elf;
mod identity;
mod loader;
mod places;
mod ranges;
pub mod rule;
pub mod table;

pub use elf::{CompileError, compile};
pub use ranges::Ranges;
pub use table::Table;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod readelf;
