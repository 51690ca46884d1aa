//! The part of a function that compilers put elsewhere because it is seldom run (`.cold`): without symbols, where its jumps lead. It matters
//! only for interpreters that leave no trace of theirs on the stack, to Python 3.9.

use std::collections::BTreeMap;

use gimli::{BaseAddresses, EhFrame, NativeEndian, UnwindSection as _};
use object::read::elf::SectionHeader as _;

use crate::runtime::{Image, file::Elf};

/// Bytes of a function that are looked at.
const LARGEST: u64 = 1 << 20;
/// Jumps into the middle of another function that make it a part of this one: tail calls go to beginnings.
const JUMPS: usize = 2;
/// `jcc rel32`: two bytes and the distance.
const CONDITIONAL: usize = 6;

/// First address of the part, and behind the last one; `None` when there is none.
pub fn part(elf: &Elf<'_>, image: &Image, start: u64, size: u64) -> Option<(u64, u64)> {
    let functions = functions(elf)?;
    let mut code = vec![0; usize::try_from(size.min(LARGEST)).ok()?];
    image.read_at(&mut code, image.offset_of(start)?).ok()?;
    let mut led: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
    for (at, bytes) in code.windows(CONDITIONAL).enumerate() {
        let [0x0f, 0x80..=0x8f, distance @ ..] = bytes else {
            continue;
        };
        let distance = i32::from_le_bytes(<[u8; 4]>::try_from(distance).ok()?);
        let target = start.wrapping_add((at + CONDITIONAL) as u64).wrapping_add_signed(distance.into());
        if target.wrapping_sub(start) < size {
            continue;
        }
        if let Some((first, behind)) = functions.range(..target).next_back()
            && target < *behind
        {
            led.entry(*first).or_insert((*behind, 0)).1 += 1;
        }
    }
    let (first, (behind, jumps)) = led.into_iter().max_by_key(|(_, (_, jumps))| *jumps)?;
    (jumps >= JUMPS).then_some((first, behind))
}

/// First addresses of functions, by their frame descriptions, each with the address behind it.
fn functions(elf: &Elf<'_>) -> Option<BTreeMap<u64, u64>> {
    let section = elf.section(b".eh_frame")?;
    let data = section.data(elf.endian, elf.data).ok()?;
    let frames = EhFrame::new(data, NativeEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.sh_addr(elf.endian));
    let mut entries = frames.entries(&bases);
    let mut found = BTreeMap::new();
    while let Ok(Some(entry)) = entries.next() {
        if let gimli::CieOrFde::Fde(partial) = entry
            && let Ok(description) = partial.parse(EhFrame::cie_from_offset)
        {
            let first = description.initial_address();
            found.insert(first, first.wrapping_add(description.len()));
        }
    }
    Some(found)
}
