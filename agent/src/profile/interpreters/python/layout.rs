//! Where in CPython's frames and code objects is what. As for asyncio, the interpreter says it itself from 3.13 on (`_Py_DebugOffsets`);
//! before, it is known by version, from the debugging information of 3.8.18, 3.9.18, 3.10.13, 3.11.7 and 3.12.1.

use geophone_ebpf::interpreter::{
    FIELDS,
    python::{
        CHAIN_FRAME, CHAIN_PREVIOUS, CODE_LINE, CODE_NAME, CODE_START, FRAME_BYTES, FRAME_BYTES_MOST, FRAME_CODE,
        FRAME_END, FRAME_POSITION, FRAME_PREVIOUS, NONE, RUNS, RUNS_OF_ONE, RUNS_TO_FLAG, RUNS_TO_FRAME, STATE_CHAIN,
        STATE_FRAME,
    },
};

use super::{code::Code, lines::Table};
use crate::runtime::{
    Refusal,
    memory::words,
    python::{Located, layout::Version},
};

/// See the module.
#[derive(Debug)]
pub struct Layout {
    /// What the kernel side reads by, but for where threads have their states.
    pub frames: [u64; FIELDS],
    /// What code objects are read by.
    pub code: Code,
    /// Code of the functions that evaluate frames, where runs have no anchors.
    pub evaluates: [u64; 4],
}

/// Versions whose C functions leave nothing of theirs behind: they are known by their code.
const WITHOUT_ANCHORS: Version = Version(9);

impl Layout {
    /// Of the interpreter in a process.
    ///
    /// # Errors
    /// When the version is not known, or what the interpreter says of itself cannot be right.
    pub fn new(located: &Located) -> Result<Self, Refusal> {
        let version = located.layout.version;
        let words: Vec<u64> = words(located.header.as_slice()).collect();
        let (frames, code) = of(version, &words)?;
        let evaluates = match located.interpreter.evaluates {
            Some(code) if version <= WITHOUT_ANCHORS => {
                code.map(|at| if at == 0 { 0 } else { at.wrapping_add(located.base) })
            }
            _ => [0; 4],
        };
        Ok(Self { frames, code, evaluates })
    }
}

/// By version; `header`: the beginning of `_PyRuntime`.
fn of(version: Version, header: &[u64]) -> Result<([u64; FIELDS], Code), Refusal> {
    let word = |index: usize| header.get(index).copied().unwrap_or_default();
    let known = |line, name, qualified, file, table, kind| Code {
        line,
        name,
        qualified,
        file,
        table,
        kind,
        tp_name: 24,
        text: if version.0 < 12 { 48 } else { 40 },
        bytes: 32,
    };
    let (frames, code): (&[(usize, u64)], _) = match version.0 {
        8..=10 => (
            &[
                (STATE_FRAME, 24),
                (STATE_CHAIN, if version.0 < 10 { NONE } else { 48 }),
                (CHAIN_PREVIOUS, 8),
                (CHAIN_FRAME, NONE),
                (FRAME_BYTES, 112),
                (FRAME_PREVIOUS, 24),
                (FRAME_CODE, 32),
                (FRAME_POSITION, if version.0 < 10 { 104 } else { 96 }),
                (RUNS, RUNS_OF_ONE),
                (CODE_START, NONE),
            ],
            known(40, 112, 112, 104, 120, if version.0 < 10 { Table::Deltas } else { Table::Ranges }),
        ),
        11 => (
            &[
                (STATE_CHAIN, 56),
                (CHAIN_PREVIOUS, 16),
                (CHAIN_FRAME, 8),
                (FRAME_BYTES, 72),
                (FRAME_PREVIOUS, 48),
                (FRAME_CODE, 32),
                (FRAME_POSITION, 56),
                (FRAME_END, 68),
                (RUNS, RUNS_TO_FLAG),
                (CODE_START, 184),
            ],
            known(72, 120, 128, 112, 136, Table::Locations),
        ),
        12 => (
            &[
                (STATE_CHAIN, 56),
                (CHAIN_PREVIOUS, 8),
                (CHAIN_FRAME, 0),
                (FRAME_BYTES, 72),
                (FRAME_PREVIOUS, 8),
                (FRAME_CODE, 0),
                (FRAME_POSITION, 56),
                (FRAME_END, 70),
                (RUNS, RUNS_TO_FRAME),
                (CODE_START, 192),
            ],
            known(68, 120, 128, 112, 136, Table::Locations),
        ),
        13..=15 => {
            // Where in the interpreter's own table are: what is known of threads' states, of frames, of code objects; a type's name,
            // the bytes of `bytes`, the size of an ASCII `str`.
            let [state, frame, code, name, bytes, text] = match version.0 {
                13 => [23, 28, 34, 47, 66, 70],
                14 => [26, 31, 39, 53, 76, 80],
                _ => [26, 39, 47, 61, 88, 92],
            };
            let frames = &[
                (STATE_FRAME, word(state)),
                (STATE_CHAIN, NONE),
                (CHAIN_FRAME, NONE),
                (FRAME_BYTES, (word(frame + 5) / 8 + 1).saturating_mul(8)),
                (FRAME_PREVIOUS, word(frame + 1)),
                (FRAME_CODE, word(frame + 2)),
                (FRAME_POSITION, word(frame + 3)),
                (FRAME_END, word(frame + 5)),
                (RUNS, RUNS_TO_FRAME),
                (CODE_START, word(code + 9)),
            ];
            let code = Code {
                file: word(code + 1),
                name: word(code + 2),
                qualified: word(code + 3),
                table: word(code + 4),
                line: word(code + 5),
                kind: Table::Locations,
                tp_name: word(name),
                text: word(text),
                bytes: word(bytes),
            };
            return checked(frames, code);
        }
        _ => return Err(Refusal::Version(format!("Python 3.{}", version.0))),
    };
    checked(frames, code)
}

/// All that the kernel side reads in one piece must be in that.
fn checked(frames: &[(usize, u64)], code: Code) -> Result<([u64; FIELDS], Code), Refusal> {
    let mut at = [0; FIELDS];
    for (index, value) in frames.iter().chain(&[(CODE_LINE, code.line), (CODE_NAME, code.name)]) {
        if let Some(at) = at.get_mut(*index) {
            *at = *value;
        }
    }
    let get = |index: usize| at.get(index).copied().unwrap_or_default();
    let bytes = get(FRAME_BYTES);
    let fits = |at: u64, bytes: u64| at.checked_add(8).is_some_and(|end| end <= bytes);
    let in_frame =
        [FRAME_PREVIOUS, FRAME_CODE, FRAME_POSITION].map(get).iter().all(|at| at.is_multiple_of(8) && fits(*at, bytes));
    let in_code =
        code.name.is_multiple_of(8) && code.line.is_multiple_of(4) && fits(code.name.max(code.line), FRAME_BYTES_MOST);
    let small = |offset: u64| offset == NONE || offset < 1 << 16;
    let is_small = [STATE_FRAME, STATE_CHAIN, CODE_START].map(get).into_iter().all(small)
        && [code.file, code.qualified, code.table, code.tp_name, code.text, code.bytes].into_iter().all(small);
    if bytes > FRAME_BYTES_MOST || get(FRAME_END) >= bytes || !in_frame || !in_code || !is_small {
        return Err(Refusal::Malformed("the offsets that it publishes cannot be right"));
    }
    Ok((at, code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_known_or_not() {
        for minor in 8..=12 {
            of(Version(minor), &[]).unwrap();
        }
        assert!(matches!(of(Version(7), &[]), Err(Refusal::Version(_))));
        assert!(matches!(of(Version(16), &[]), Err(Refusal::Version(_))));
    }

    #[test]
    fn what_is_published_is_checked() {
        // As 3.14 has it.
        let mut header = vec![0; 108];
        for (index, value) in
            [(26, 72), (32, 8), (33, 0), (34, 56), (36, 74), (40, 112), (41, 120), (42, 128), (43, 136)]
        {
            header[index] = value;
        }
        for (index, value) in [(44, 68), (48, 208), (53, 24), (76, 32), (80, 40)] {
            header[index] = value;
        }
        let (frames, code) = of(Version(14), &header).unwrap();
        assert_eq!((frames[FRAME_BYTES], frames[FRAME_END], frames[CODE_START], code.qualified), (80, 74, 208, 128));
        for (index, value) in [(32, 121), (36, 200), (41, 4096), (34, u64::MAX - 7), (26, 1 << 30), (43, 1 << 40)] {
            let mut header = header.clone();
            header[index] = value;
            assert!(matches!(of(Version(14), &header), Err(Refusal::Malformed(_))), "{index}");
        }
    }
}
