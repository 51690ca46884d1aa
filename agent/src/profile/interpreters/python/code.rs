//! Code objects in a process's memory: name, file, and lines of a function. All of it may be nonsense: every number is checked before
//! anything is read by it.

use std::sync::Arc;

use geophone_ebpf::interpreter::check;

use super::lines::Table;
use crate::{
    profile::interpreters::{Function, Id},
    runtime::memory::Memory,
};

/// Bytes of a name and of a path that are read.
const TEXT: u64 = 1024;
/// Bytes of a table of lines that are read: what is behind has the line of the last one.
const TABLE: u64 = 256 << 10;
/// From an object to its type.
const TYPE: u64 = 8;
/// From a `str` to its length, and from a `bytes` to its length.
const LENGTH: u64 = 16;
/// From a `str` to what it says of its text.
const STATE: u64 = 32;

/// Which bit of that is the first of its kind.
const KIND: u32 = 2;

/// Offsets, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// `PyCodeObject.co_firstlineno`
    pub line: u64,
    /// `PyCodeObject.co_name`
    pub name: u64,
    /// `PyCodeObject.co_qualname`, before 3.11 the name.
    pub qualified: u64,
    /// `PyCodeObject.co_filename`
    pub file: u64,
    /// `PyCodeObject.co_linetable`, before 3.10 `co_lnotab`.
    pub table: u64,
    /// What that is.
    pub kind: Table,
    /// `PyTypeObject.tp_name`
    pub tp_name: u64,
    /// From a `str` to its text, if that is ASCII.
    pub text: u64,
    /// From a `bytes` to what is in it.
    pub bytes: u64,
}

impl Code {
    /// The function that a code object describes; `None` when it is another one than was sampled, or none.
    pub fn read(&self, memory: &Memory, id: Id) -> Option<Function> {
        let word = |offset: u64| memory.word(id.address.wrapping_add(offset)).ok();
        let kind = memory.word(word(TYPE)?.wrapping_add(self.tp_name)).ok()?;
        if !memory.is_text(kind, "code") {
            return None;
        }
        let first_line = word(self.line)? as u32;
        if check(first_line, word(self.name)?) != id.check {
            return None;
        }
        let function = Function {
            name: self.text(memory, word(self.qualified)?)?,
            file: self.text(memory, word(self.file)?)?,
            first_line,
            lines: self.kind.lines(first_line, &self.bytes(memory, word(self.table)?)?),
        };
        // While it was read it may have become another one.
        (check(word(self.line)? as u32, word(self.name)?) == id.check).then_some(function)
    }

    /// What a `str` says.
    fn text(&self, memory: &Memory, address: u64) -> Option<Arc<str>> {
        let word = |offset: u64| memory.word(address.wrapping_add(offset)).ok();
        let length = word(LENGTH)?;
        let state = word(STATE)? >> KIND;
        let (width, is_compact, is_ascii) = (state & 7, state >> 3 & 1 == 1, state >> 4 & 1 == 1);
        if !is_compact || !matches!(width, 1 | 2 | 4) {
            return None;
        }
        // Behind `PyCompactUnicodeObject`: the UTF-8 text and its length, before 3.12 also the length of another one.
        let behind = if self.text == 48 { 24 } else { 16 };
        let at = if is_ascii { self.text } else { self.text + behind };
        let mut bytes = vec![0; (length.min(TEXT) * width) as usize];
        memory.read(address.wrapping_add(at), &mut bytes).ok()?;
        let points = bytes.chunks_exact(width as usize).map(|bytes| {
            let mut point = [0; 4];
            point.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            char::from_u32(u32::from_le_bytes(point)).unwrap_or(char::REPLACEMENT_CHARACTER)
        });
        let text: String = points.collect();
        Some(text.into())
    }

    /// What is in a `bytes`.
    fn bytes(&self, memory: &Memory, address: u64) -> Option<Vec<u8>> {
        let length = memory.word(address.wrapping_add(LENGTH)).ok()?;
        let mut bytes = vec![0; length.min(TABLE) as usize];
        memory.read(address.wrapping_add(self.bytes), &mut bytes).ok()?;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    const CODE: Code = Code {
        line: 24,
        name: 32,
        qualified: 40,
        file: 48,
        table: 56,
        kind: Table::Locations,
        tp_name: 24,
        text: 40,
        bytes: 32,
    };

    proptest! {
        /// Numbers that are addresses in the same memory, lengths of all sizes, or anything.
        #[test]
        fn nonsense_in_memory_is_bounded(
            words in proptest::collection::vec(prop_oneof![0..640u64, any::<u64>(), Just(0x64)], 80),
            address in 0..400u64,
        ) {
            let mut words = words;
            // A type that is called what it must be.
            let at = (address / 8) as usize;
            words[at + 1] = 560;
            words[(560 + 24) / 8] = 600;
            words[600 / 8] = u64::from_le_bytes(*b"code\0\0\0\0");
            let mut file = tempfile::tempfile().unwrap();
            words.iter().for_each(|word| file.write_all(&word.to_ne_bytes()).unwrap());
            let check = check(words[at + 3] as u32, words[at + 4]);
            let function = CODE.read(&Memory::from_file(file), Id { address: address / 8 * 8, check });
            prop_assert!(function.is_none_or(|function| function.bytes() < 1 << 20));
        }
    }
}
