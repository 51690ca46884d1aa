//! Unwinding without frame pointers: the tables that the agent writes and the sampling program reads.
//!
//! A *row* says how the caller's frame is found from a place in code on. It is one number: the place (relative to its table's base, in
//! the upper half) and a [`Rule`]. Rows are in *chunks* of one size; a *range* of a process's memory says which rows of which chunk
//! belong to it. Registers are named by what they are used for: the stack pointer (`rsp`), the frame pointer (`rbp`).

/// Rows of a chunk; a power of two.
pub const CHUNK: usize = 32_768;
/// Steps after which a search of a chunk has found its row.
pub const CHUNK_STEPS: u32 = 16;
/// Chunks at most: 64 MiB.
pub const CHUNKS: usize = 256;
/// Ranges of all processes together.
pub const RANGES: usize = 131_072;
/// Ranges of one process at most.
pub const RANGES_OF_ONE: u32 = 16_384;
/// Steps after which a search of so many has found its range.
pub const RANGES_STEPS: u32 = 15;
const _: () = assert!(1 << (CHUNK_STEPS - 1) >= CHUNK && 1 << (RANGES_STEPS - 1) >= RANGES_OF_ONE);
/// Processes with ranges.
pub const SPACES: usize = 8192;

/// Nothing is known of the code: frame pointers are all there is.
pub const NONE: u32 = 0;
/// The canonical frame address (CFA: the stack pointer before the call) is an offset from the stack pointer.
pub const FROM_SP: u32 = 1;
/// The CFA is an offset from the frame pointer.
pub const FROM_FP: u32 = 2;
/// The CFA is what is stored at an offset from the frame pointer.
pub const AT_FP: u32 = 3;
/// An entry of a procedure linkage table: the CFA is the stack pointer and 8, and 8 more if the lower four bits of the place are at
/// least the offset in words.
pub const PLT: u32 = 4;
/// A signal's handler returns to here: all registers are where the kernel has put them.
pub const SIGNAL: u32 = 5;
/// Nobody called this: the stack ends here.
pub const END: u32 = 6;
/// It is known, but not one of the ways above.
pub const UNSUPPORTED: u32 = 7;

/// The caller's frame pointer is still in its register.
pub const FP_SAME: u32 = 0;
/// It is stored at an offset from the CFA.
pub const FP_AT_CFA: u32 = 1;
/// It is stored at an offset from the frame pointer.
pub const FP_AT_FP: u32 = 2;
/// It is lost.
pub const FP_LOST: u32 = 3;

/// Where the kernel puts registers for a signal's handler (x86_64, `struct rt_sigframe`): offsets from the stack pointer with which the
/// handler returns.
pub mod signal {
    /// `rbp`
    pub const FP: u64 = 120;
    /// `rsp`
    pub const SP: u64 = 160;
    /// `rip`
    pub const IP: u64 = 168;
}

/// How a caller's frame is found, in 32 bits: the kind of the CFA (3), the kind of the frame pointer (2), the frame pointer's offset in
/// words (8), and the CFA's (19), both signed.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule(pub u32);

impl Rule {
    /// A rule without offsets.
    #[must_use]
    pub const fn plain(kind: u32) -> Self {
        Self(kind)
    }

    /// A rule; offsets in bytes. `None` when one of them does not fit, or is no multiple of a word.
    #[must_use]
    pub fn new(kind: u32, offset: i64, fp: u32, fp_offset: i64) -> Option<Self> {
        let words = |bytes: i64, bits: u32| {
            let words = bytes / 8;
            let fits = bytes % 8 == 0 && words >= -(1 << (bits - 1)) && words < 1 << (bits - 1);
            fits.then_some(words as u32 & ((1 << bits) - 1))
        };
        Some(Self(kind & 7 | (fp & 3) << 3 | words(fp_offset, 8)? << 5 | words(offset, 19)? << 13))
    }

    /// What the CFA is found by.
    #[inline(always)]
    #[must_use]
    pub const fn kind(self) -> u32 {
        self.0 & 7
    }

    /// Its offset in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn offset(self) -> i64 {
        (self.0 as i32 >> 13) as i64 * 8
    }

    /// What the frame pointer is found by.
    #[inline(always)]
    #[must_use]
    pub const fn fp(self) -> u32 {
        self.0 >> 3 & 3
    }

    /// Its offset in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn fp_offset(self) -> i64 {
        ((self.0 << 19) as i32 >> 24) as i64 * 8
    }
}

/// Code in the memory of a process, and its rows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Behind the last one.
    pub end: u64,
    /// What to take from an address to get the place in the table.
    pub base: u64,
    /// Which chunk, or one of [`WITHOUT_ROWS`], [`LOADING`], [`NO_ROOM`], [`FOREIGN`].
    pub chunk: u32,
    /// The first row in it (lower half) and the last one (upper half).
    pub rows: u32,
}

/// As `chunk` of a [`Range`]: code without rows, to be walked by frame pointers.
pub const WITHOUT_ROWS: u32 = u32::MAX;
/// The rows are not there yet.
pub const LOADING: u32 = u32::MAX - 1;
/// There was no room for the rows, or the file could not be read.
pub const NO_ROOM: u32 = u32::MAX - 2;
/// Code of another architecture.
pub const FOREIGN: u32 = u32::MAX - 3;

/// Where the ranges of a process are, or of a file: those are of places in it instead of addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// The first one.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// Files with ranges.
pub const FILES: usize = 4096;

/// What a file is told by: another one may get its number, once nobody has it open, and one that is written to changes its time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileKey {
    /// Inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// When it was written: seconds.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanos: u32,
    /// Device, as the kernel writes it: the minor number in the lower 20 bits.
    pub device: u32,
}

impl FileKey {
    /// The code that the kernel puts into processes.
    pub const VDSO: Self = Self { inode: 0, size: 0, seconds: 0, nanos: 0, device: 0 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_come_out_as_they_went_in() {
        for (kind, offset, fp, fp_offset) in
            [(FROM_SP, 8, FP_SAME, 0), (FROM_FP, 2_097_144, FP_AT_CFA, -1024), (AT_FP, -2_097_152, FP_AT_FP, 1016)]
        {
            let rule = Rule::new(kind, offset, fp, fp_offset).unwrap();
            assert_eq!((rule.kind(), rule.offset(), rule.fp(), rule.fp_offset()), (kind, offset, fp, fp_offset));
        }
        for (offset, fp_offset) in [(2_097_152, 0), (-2_097_160, 0), (4, 0), (0, 1024), (0, -1032), (i64::MIN, 0)] {
            assert_eq!(Rule::new(FROM_SP, offset, FP_AT_CFA, fp_offset), None);
        }
    }
}
