//! Python objects in another process's memory: looking up a name in a dict. Every number is checked before anything is read by it.

use std::io;

use geophone_ebpf::python::{
    DICT_KEYS, ENTRY_SIZE, ENTRY_VALUE, KEYS_ENTRIES, KEYS_HEADER, KEYS_LOG2, OLD_KEYS_ENTRIES, OLD_KEYS_HEADER,
    OLD_KEYS_SIZE,
};

use super::layout::{Layout, Version};
use crate::runtime::memory::{Memory, words};

/// The version from which on a dict's keys have their layout of today.
pub const NEW_KEYS: Version = Version(11);
/// `PyDictKeysObject.dk_log2_index_bytes`, and behind it `dk_kind` with its value for keys that are any objects.
const LOG2_INDEX_BYTES: usize = KEYS_LOG2 as usize + 1;
const KIND: usize = LOG2_INDEX_BYTES + 1;
const KIND_GENERAL: u8 = 0;
/// `PyDictUnicodeEntry`: key, value.
const NAMED_ENTRY_SIZE: u64 = 16;
/// Entries of a dict that is looked at: a large program has some thousand modules.
const ENTRIES_MOST: u64 = 1 << 16;
/// Bytes between a dict's header and its entries: four for each place, and up to twice as many places as entries can be.
const INDICES_MOST: u64 = 8 * ENTRIES_MOST;

/// The value of a name in a dict; `None` also where the dict cannot be understood, as it may be just changing.
///
/// # Errors
/// When memory is not mapped that should be.
pub fn lookup(memory: &Memory, layout: &Layout, dict: u64, name: &str) -> io::Result<Option<u64>> {
    let keys = memory.word(dict.wrapping_add(DICT_KEYS))?;
    let mut header = [0; OLD_KEYS_HEADER as usize];
    memory.read(keys, &mut header)?;
    let word = |at: u64| words(header.get(at as usize..).unwrap_or_default()).next().unwrap_or_default();
    let byte = |at: usize| header.get(at).copied().unwrap_or_default();
    let (indices, entries, size, header) = if layout.version >= NEW_KEYS {
        let indices = 1_u64.checked_shl(byte(LOG2_INDEX_BYTES).into()).unwrap_or(u64::MAX);
        let size = if byte(KIND) == KIND_GENERAL { ENTRY_SIZE } else { NAMED_ENTRY_SIZE };
        (indices, word(KEYS_ENTRIES), size, KEYS_HEADER)
    } else {
        let places = word(OLD_KEYS_SIZE);
        let width = match places {
            0..=0xff => 1,
            0x100..=0xffff => 2,
            _ => 4,
        };
        (places.saturating_mul(width), word(OLD_KEYS_ENTRIES), ENTRY_SIZE, OLD_KEYS_HEADER)
    };
    if entries > ENTRIES_MOST || indices > INDICES_MOST {
        return Ok(None);
    }
    // Key and value are the last two words of an entry.
    let mut all = vec![0; (entries * size) as usize];
    memory.read(keys.wrapping_add(header).wrapping_add(indices), &mut all)?;
    for entry in all.chunks_exact(size as usize) {
        let mut last = words(entry.get((size - NAMED_ENTRY_SIZE) as usize..).unwrap_or_default());
        if let (Some(key @ 1..), Some(value @ 1..)) = (last.next(), last.next())
            && memory.is_text(key.wrapping_add(layout.text), name)
        {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

const _: () = assert!(ENTRY_VALUE + 8 == ENTRY_SIZE, "the value is the last word");
