//! Where in a thread's state, in frames and in code objects is what is needed to find a local variable. From 3.13 on the interpreter says it
//! itself; before, it is known by version, from the debugging information of those that [`layout`](super::layout) names.

use geophone_ebpf::python::NONE;

use super::layout::{HEADER, Version};
use crate::runtime::{Refusal, memory::words};

/// Offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    /// In a thread's state, the innermost frame, or the record that has it.
    pub state: u64,
    /// In that record, the innermost frame, or [`NONE`]: there is no record.
    pub chain: u64,
    /// In a frame, its caller's.
    pub previous: u64,
    /// In a frame, its code object.
    pub code: u64,
    /// In a frame, the first local variable.
    pub locals: u64,
    /// In a code object, the tuple of the names of local variables, in their order.
    pub names: u64,
}

/// No offset is larger.
const MOST: u64 = 4096;

impl Frames {
    /// By version, and by the beginning of `_PyRuntime`.
    ///
    /// # Errors
    /// When the version is not known, or what the interpreter says of itself cannot be right.
    pub fn new(version: Version, header: &[u8; HEADER]) -> Result<Self, Refusal> {
        let header: Vec<u64> = words(header).collect();
        let word = |index: usize| header.get(index).copied().unwrap_or_default();
        // The interpreter's own table: where it has what is known of threads' states, of frames, of code objects.
        let published = |state, frame: usize, code: usize| Self {
            state: word(state),
            chain: NONE,
            previous: word(frame + 1),
            code: word(frame + 2),
            locals: word(frame + 4),
            names: word(code + 7),
        };
        let frames = match version.0 {
            8 | 9 => Self { state: 24, chain: NONE, previous: 24, code: 32, locals: 360, names: 72 },
            10 => Self { state: 24, chain: NONE, previous: 24, code: 32, locals: 352, names: 72 },
            11 => Self { state: 56, chain: 8, previous: 48, code: 32, locals: 72, names: 96 },
            12 => Self { state: 56, chain: 0, previous: 8, code: 0, locals: 72, names: 96 },
            13 => published(23, 28, 34),
            14 => published(26, 31, 39),
            15 => published(26, 39, 47),
            _ => return Err(Refusal::Version(format!("Python 3.{}", version.0))),
        };
        let Self { state, chain: _, previous, code, locals, names } = frames;
        if [state, previous, code, locals, names].into_iter().any(|offset| offset > MOST || offset % 8 != 0) {
            return Err(Refusal::Malformed("the offsets that it publishes cannot be right"));
        }
        Ok(frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_known_or_not() {
        let mut header = [0; HEADER];
        for minor in 8..=15 {
            Frames::new(Version(minor), &header).unwrap();
        }
        for minor in [7, 16] {
            assert!(matches!(Frames::new(Version(minor), &header), Err(Refusal::Version(_))), "{minor}");
        }
        // What is published: the first local variable of a frame of 3.14.
        header[35 * 8] = 80;
        assert_eq!(Frames::new(Version(14), &header).unwrap().locals, 80);
        for nonsense in [81_u64, 1 << 40] {
            header[35 * 8..36 * 8].copy_from_slice(&nonsense.to_ne_bytes());
            assert!(matches!(Frames::new(Version(14), &header), Err(Refusal::Malformed(_))), "{nonsense}");
        }
    }
}
