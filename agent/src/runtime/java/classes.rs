//! Java's classes in the memory of a JVM: which there are below another one, and where in their objects fields are.

use std::{collections::HashMap, io};

use super::tables::Tables;
use crate::runtime::{Refusal, memory::Memory};

/// Classes that are looked at.
const CLASSES: usize = 4096;
/// Classes beside each other that are looked at: most of a large program's.
const CHILDREN: usize = 200_000;
/// Bytes that describe the fields of one class.
const FIELDS: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub struct Classes<'a> {
    memory: &'a Memory,
    name: u64,
    below: u64,
    beside: u64,
    fields: u64,
    constants: u64,
    /// The size of a pool of constants' head, behind which its entries are.
    pool: u64,
    length: u64,
    text: u64,
}

impl<'a> Classes<'a> {
    /// How they are read in a process.
    ///
    /// # Errors
    /// When the JVM does not publish it.
    pub fn new(memory: &'a Memory, tables: &Tables) -> Result<Self, Refusal> {
        Ok(Self {
            memory,
            name: tables.offset("Klass", "_name")?,
            below: tables.offset("Klass", "_subklass")?,
            beside: tables.offset("Klass", "_next_sibling")?,
            fields: tables.offset("InstanceKlass", "_fieldinfo_stream")?,
            constants: tables.offset("InstanceKlass", "_constants")?,
            pool: tables.size("ConstantPool")?,
            length: tables.offset("Symbol", "_length")?,
            text: tables.offset("Symbol", "_body")?,
        })
    }

    /// A class and those that are derived from it, with their names: `java/lang/Thread`.
    ///
    /// # Errors
    /// When memory is not mapped that should be.
    pub fn family(&self, class: u64) -> io::Result<Vec<(u64, String)>> {
        let mut found = vec![(class, self.name(class)?)];
        let mut next = 0;
        while let Some((class, _)) = found.get(next).cloned() {
            next += 1;
            let mut child = self.memory.word(class.wrapping_add(self.below))?;
            while child != 0 && found.len() < CLASSES {
                found.push((child, self.name(child)?));
                child = self.memory.word(child.wrapping_add(self.beside))?;
            }
        }
        Ok(found)
    }

    /// The classes that are derived from another one directly and are loaded, by their names.
    ///
    /// # Errors
    /// When memory is not mapped that should be.
    pub fn children(&self, class: u64) -> io::Result<HashMap<String, u64>> {
        let mut found = HashMap::new();
        let mut child = self.memory.word(class.wrapping_add(self.below))?;
        for _ in 0..CHILDREN {
            if child == 0 {
                break;
            }
            found.insert(self.name(child)?, child);
            child = self.memory.word(child.wrapping_add(self.beside))?;
        }
        Ok(found)
    }

    fn name(&self, class: u64) -> io::Result<String> {
        self.symbol(self.memory.word(class.wrapping_add(self.name))?)
    }

    fn symbol(&self, symbol: u64) -> io::Result<String> {
        let length = self.memory.word(symbol.wrapping_add(self.length))? & 0xffff;
        let mut text = vec![0; length as usize];
        self.memory.read(symbol.wrapping_add(self.text), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Where in an object of a class a field is that the class itself declares; `None`: there is none of this name.
    ///
    /// # Errors
    /// When memory is not mapped that should be.
    pub fn offset(&self, class: u64, field: &str) -> io::Result<Option<u64>> {
        let stream = self.memory.word(class.wrapping_add(self.fields))?;
        let mut length = [0; 4];
        self.memory.read(stream, &mut length)?;
        let mut bytes = vec![0; (u32::from_ne_bytes(length) as usize).min(FIELDS)];
        self.memory.read(stream.wrapping_add(4), &mut bytes)?;
        let pool = self.memory.word(class.wrapping_add(self.constants))?.wrapping_add(self.pool);
        for (name, offset) in fields(&bytes) {
            let name = self.memory.word(pool.wrapping_add(8 * u64::from(name)))?;
            if self.symbol(name)? == field {
                return Ok(Some(offset.into()));
            }
        }
        Ok(None)
    }
}

/// Each field's name, as an index of constants, and offset: HotSpot's `FieldInfoStream`, since JDK 21.
fn fields(bytes: &[u8]) -> Vec<(u32, u32)> {
    /// Flags that another number follows for: an initial value, a generic signature, a group for contention.
    const WITH: [u32; 3] = [1 << 0, 1 << 2, 1 << 4];
    /// Flags that are known.
    const KNOWN: u32 = (1 << 5) - 1;
    let mut left = bytes;
    let mut next = || unsigned5(&mut left);
    let mut found = Vec::new();
    // Those that the JVM has put in come behind, and are named in another way.
    let (Some(count), Some(_)) = (next(), next()) else {
        return found;
    };
    for _ in 0..count {
        let (Some(name), Some(_signature), Some(offset), Some(_access), Some(flags)) =
            (next(), next(), next(), next(), next())
        else {
            break;
        };
        found.push((name, offset));
        // What follows for others is not known.
        if flags & !KNOWN != 0 || !WITH.iter().all(|flag| flags & flag == 0 || next().is_some()) {
            break;
        }
    }
    found
}

/// A number of one to five bytes (`UNSIGNED5`): digits of base 64 on top of 191 values that end it.
fn unsigned5(bytes: &mut &[u8]) -> Option<u32> {
    const LOW: u32 = 191;
    let mut sum = 0_u32;
    for place in 0..5 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let digit = u32::from(*byte).checked_sub(1)?;
        sum = sum.wrapping_add(digit << (6 * place));
        if digit < LOW {
            break;
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_to_five_bytes() {
        let decode = |bytes: &[u8]| {
            let mut left = bytes;
            (unsigned5(&mut left), left.len())
        };
        // From the description of the encoding: the largest of one, two and three bytes.
        assert_eq!(decode(&[1]), (Some(0), 0));
        assert_eq!(decode(&[191, 7]), (Some(0xBE), 1));
        assert_eq!(decode(&[192, 1]), (Some(0xBF), 0));
        assert_eq!(decode(&[255, 191]), (Some(0x307E), 0));
        assert_eq!(decode(&[255, 255, 191]), (Some(0xC_207E), 0));
        assert_eq!(decode(&[192]).0, None, "it is cut off");
        assert_eq!(decode(&[0]).0, None, "no number begins like that");
    }

    #[test]
    fn fields_end_where_something_is_not_known() {
        // Two fields of its own, none of the JVM's; the first has an initial value and a generic signature.
        let good = [3, 1, 11, 12, 13, 1, 1 + 5, 99, 98, 21, 22, 23, 1, 1];
        assert_eq!(fields(&good), [(10, 12), (20, 22)]);
        let unknown = [3, 1, 11, 12, 13, 1, 1 + 32, 99, 98, 21, 22, 23, 1, 1];
        assert_eq!(fields(&unknown), [(10, 12)]);
        assert_eq!(fields(&good[..6]), []);
        assert_eq!(fields(&[]), []);
    }
}
