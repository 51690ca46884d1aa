//! `runtime.moduledata`: where the runtime itself finds the begin of its functions.

use object::{
    Endianness,
    elf::{DT_RELA, DT_RELASZ, Dyn64, Rela64},
    read::{
        ReadRef as _,
        elf::{Dyn as _, FileHeader as _, ProgramHeader as _, Rela as _},
    },
};

use super::super::{Image, Refusal, Segment};

/// Offset of `text`; the first word is the address of the table of functions. The same from Go 1.20 to 1.27.
const TEXT: u64 = 176;
/// Addresses to be filled in when the program is moved.
#[cfg(target_arch = "x86_64")]
const RELATIVE: u32 = object::elf::R_X86_64_RELATIVE;
#[cfg(target_arch = "aarch64")]
const RELATIVE: u32 = object::elf::R_AARCH64_RELATIVE;
/// What is read at a time.
const CHUNK: usize = 1 << 16;

/// The address of the first function, by that of the table of functions.
pub fn text(image: &Image, table: u64) -> Result<u64, Refusal> {
    let missing = Refusal::Malformed("where its functions begin is not said");
    match moved(image, table)? {
        Some(text) => Ok(text),
        None => fixed(image, table)?.ok_or(missing),
    }
}

/// In a program that can be moved, by the addresses that are to be filled in.
fn moved(image: &Image, table: u64) -> Result<Option<u64>, Refusal> {
    image.elf(|elf| {
        let endian = elf.endian;
        let headers = elf.header.program_headers(endian, elf.data)?;
        let Some(dynamic) = headers.iter().find_map(|header| header.dynamic(endian, elf.data).transpose()) else {
            return Ok(None);
        };
        let dynamic: &[Dyn64<Endianness>] = dynamic?;
        let value = |tag| dynamic.iter().find(|d| d.d_tag(endian) == tag).map(|d| d.d_val(endian));
        let (Some(address), Some(size)) = (value(DT_RELA), value(DT_RELASZ)) else {
            return Ok(None);
        };
        let Some(offset) = image.offset_of(address) else {
            return Ok(None);
        };
        let count = usize::try_from(size).unwrap_or(0) / size_of::<Rela64<Endianness>>();
        let Ok(relocations) = elf.data.read_slice_at::<Rela64<Endianness>>(offset, count) else {
            return Err(Refusal::Malformed("its relocations cannot be read"));
        };
        let relative = |r: &&Rela64<Endianness>| r.r_type(endian, false) == RELATIVE;
        let addend = |r: &Rela64<Endianness>| r.r_addend(endian).cast_unsigned();
        let of_table = relocations.iter().filter(relative).filter(|r| addend(r) == table);
        for module in of_table {
            let at = module.r_offset(endian).wrapping_add(TEXT);
            if let Some(text) = relocations.iter().filter(relative).find(|r| r.r_offset(endian) == at) {
                return Ok(Some(addend(text)));
            }
        }
        Ok(None)
    })
}

/// In one that cannot, or whose addresses are in their places: looks for the word in what can be written.
fn fixed(image: &Image, table: u64) -> Result<Option<u64>, Refusal> {
    let mut buffer = vec![0; CHUNK];
    for segment in image.segments().iter().filter(|segment| segment.write) {
        let mut at = 0;
        while at < segment.size {
            let want = usize::try_from(segment.size - at).unwrap_or(CHUNK).min(CHUNK);
            let part = buffer.get_mut(..want).unwrap_or_default();
            let filled = image.read_some(part, segment.offset.saturating_add(at))?;
            let words = part.get(..filled).unwrap_or_default().chunks_exact(8);
            for (index, _) in words.enumerate().filter(|(_, word)| **word == table.to_le_bytes()) {
                if let Some(text) = text_at(image, segment, at + index as u64 * 8)? {
                    return Ok(Some(text));
                }
            }
            if filled < CHUNK {
                break;
            }
            at += filled as u64;
        }
    }
    Ok(None)
}

/// The text's address in a module; `None` when what is there cannot be one.
fn text_at(image: &Image, segment: &Segment, at: u64) -> Result<Option<u64>, Refusal> {
    let mut word = [0; 8];
    image.read_at(&mut word, segment.offset.saturating_add(at).saturating_add(TEXT))?;
    let text = u64::from_le_bytes(word);
    let inside = |s: &Segment| s.execute && text >= s.address && text - s.address < s.size;
    Ok(image.segments().iter().any(inside).then_some(text))
}
