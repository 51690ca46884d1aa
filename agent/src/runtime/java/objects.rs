//! What the head of a Java object says, of which class it is; and how objects refer to each other.

use std::io;

use super::tables::Tables;
use crate::runtime::{Refusal, memory::Memory};

/// Flags of a JVM that are looked at.
const FLAGS: u64 = 8192;
/// Bytes of a flag's name.
const NAME: usize = 64;
/// Where in the head's first word the class is, if it is in there (`markWord::klass_shift`).
const IN_FIRST: u32 = 42;

/// Where the class of an object is, and how it is written.
#[derive(Clone, Copy, Debug)]
pub struct Objects {
    /// From an object to the word that says it.
    pub offset: u64,
    /// The bits of that word which do.
    pub mask: u64,
    base: u64,
    shift: u32,
    up: u32,
    /// The same for what refers to objects.
    pub references: References,
}

/// How a field refers to an object: `base + (word & mask << shift)`.
#[derive(Clone, Copy, Debug)]
pub struct References {
    /// What is added.
    pub base: u64,
    /// Bits by which it is shifted.
    pub shift: u64,
    /// The bits of a word that belong to it.
    pub mask: u64,
}

impl Objects {
    /// In a JVM; `None`: the collector (ZGC) marks its pointers, and moves what they point to at any time.
    ///
    /// # Errors
    /// When the JVM does not publish it, or keeps the addresses of objects in another way.
    pub fn new(memory: &Memory, tables: &Tables) -> Result<Option<Self>, Refusal> {
        let [compressed, in_first, coloured, narrow] = flags(
            memory,
            tables,
            ["UseCompressedClassPointers", "UseCompactObjectHeaders", "UseZGC", "UseCompressedOops"],
        )?;
        if coloured == Some(true) {
            return Ok(None);
        }
        let references = if narrow == Some(true) {
            let base = memory.word(tables.address("CompressedOops", &["_base", "_narrow_oop._base"])?)?;
            let shift = memory.word(tables.address("CompressedOops", &["_shift", "_narrow_oop._shift"])?)? & 0xff;
            if shift > 7 {
                return Err(Refusal::Malformed("how it compresses the addresses of objects cannot be right"));
            }
            References { base, shift, mask: u32::MAX.into() }
        } else {
            References { base: 0, shift: 0, mask: u64::MAX }
        };
        // Where there is no such choice any more, they are.
        if compressed == Some(false) {
            let offset = tables.offset("oopDesc", "_metadata._klass")?;
            return Ok(Some(Self { offset, mask: u64::MAX, base: 0, shift: 0, up: 0, references }));
        }
        let base = memory.word(tables.address("CompressedKlassPointers", &["_base", "_narrow_klass._base"])?)?;
        let shift = memory.word(tables.address("CompressedKlassPointers", &["_shift", "_narrow_klass._shift"])?)?;
        let shift = (shift & 0xff) as u32;
        if shift > 16 {
            return Err(Refusal::Malformed("how it compresses the addresses of classes cannot be right"));
        }
        Ok(Some(if in_first == Some(true) {
            Self { offset: 0, mask: u64::MAX << IN_FIRST, base, shift, up: IN_FIRST, references }
        } else {
            let offset = tables.offset("oopDesc", "_metadata._compressed_klass")?;
            Self { offset, mask: u32::MAX.into(), base, shift, up: 0, references }
        }))
    }

    /// What stands for a class in the head of its objects.
    #[must_use]
    pub fn value(&self, class: u64) -> u64 {
        (class.wrapping_sub(self.base) >> self.shift) << self.up
    }

    /// What stands for the class of an object.
    ///
    /// # Errors
    /// When it is not mapped.
    pub fn class(&self, memory: &Memory, object: u64) -> io::Result<u64> {
        Ok(memory.word(object.wrapping_add(self.offset))? & self.mask)
    }
}

/// Flags of the JVM; `None`: it has none of this name.
fn flags<const N: usize>(memory: &Memory, tables: &Tables, names: [&str; N]) -> Result<[Option<bool>; N], Refusal> {
    let first = memory.word(tables.address("JVMFlag", &["flags"])?)?;
    let count = memory.word(tables.address("JVMFlag", &["numFlags"])?)?;
    let (name_at, value_at) = (tables.offset("JVMFlag", "_name")?, tables.offset("JVMFlag", "_addr")?);
    let size = tables.size("JVMFlag")?;
    let mut found = [None; N];
    for index in 0..count.min(FLAGS) {
        let flag = first.wrapping_add(index.wrapping_mul(size));
        let name = memory.text(memory.word(flag.wrapping_add(name_at))?, NAME).unwrap_or_default();
        for (wanted, found) in names.iter().zip(&mut found) {
            if *wanted == name {
                let mut value = [0; 1];
                memory.read(memory.word(flag.wrapping_add(value_at))?, &mut value)?;
                *found = Some(value != [0]);
            }
        }
    }
    Ok(found)
}
