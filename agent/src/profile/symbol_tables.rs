//! A file's tables of symbols, copied into memory of the agent's own. What looks names up maps the file that it is given, and whoever may
//! write to a file that is mapped can end the process that has mapped it: by truncating it (`SIGBUS`). So it is given the copy.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use object::{
    Endianness, FileKind, SectionIndex,
    elf::{FileHeader32, FileHeader64, SHT_NOBITS},
    pod::{bytes_of, bytes_of_slice},
    read::{
        ReadCache,
        elf::{FileHeader, SectionHeader as _},
    },
};
use rustix::fs::{MemfdFlags, memfd_create};
use thiserror::Error;

use crate::parts::{self, Parts};

/// Bytes of all tables of a file; one with more has no names. Those of the largest programs have some 100 MiB.
pub const MOST: u64 = 256 << 20;
/// The sections that are copied.
const TABLES: [&[u8]; 4] = [b".symtab", b".strtab", b".dynsym", b".dynstr"];
/// Bytes that are copied at a time.
const BLOCK: usize = 64 << 10;

/// Why a file has no names.
#[derive(Debug, Error)]
pub enum TablesError {
    /// It is no ELF file.
    #[error("it is no ELF file")]
    Other,
    /// It says that it has more symbols than any honest file.
    #[error("its tables of symbols have more than {} MiB", MOST >> 20)]
    TooLarge,
    /// It is broken, or was cut off meanwhile.
    #[error("its tables of symbols are broken")]
    Malformed,
    /// There is no memory for the copy, or the file cannot be read.
    #[error("its tables of symbols cannot be copied: {0}")]
    Io(#[from] io::Error),
}

impl From<object::read::Error> for TablesError {
    fn from(_: object::read::Error) -> Self {
        Self::Malformed
    }
}

/// Copies them: an ELF file that has, in the same places, the headers and tables that names are found by, and holes for all else.
///
/// # Errors
/// See [`TablesError`].
pub fn copy(file: &File) -> Result<File, TablesError> {
    let cache = ReadCache::new(file);
    let data = Parts::new(&cache, parts::USUAL);
    match FileKind::parse(data) {
        Ok(FileKind::Elf64) => tables::<FileHeader64<Endianness>>(data, file),
        Ok(FileKind::Elf32) => tables::<FileHeader32<Endianness>>(data, file),
        _ => Err(TablesError::Other),
    }
}

fn tables<H: FileHeader<Endian = Endianness>>(data: Parts<'_>, file: &File) -> Result<File, TablesError> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let names = header.section_strings_index(endian, data).unwrap_or(SectionIndex(0));
    let copy = File::from(memfd_create(c"geophone-symbols", MemfdFlags::CLOEXEC).map_err(io::Error::from)?);
    copy.write_all_at(bytes_of(header), 0)?;
    copy.write_all_at(bytes_of_slice(header.program_headers(endian, data)?), header.e_phoff(endian).into())?;
    let mut room = MOST;
    for (index, section) in sections.enumerate() {
        let is_table = sections.section_name(endian, section).is_ok_and(|name| TABLES.contains(&name));
        // The first one says how many there are, if there are very many.
        if !is_table && index != names && index != SectionIndex(0) {
            continue;
        }
        let at = header.e_shoff(endian).into() + (index.0 * size_of::<H::SectionHeader>()) as u64;
        copy.write_all_at(bytes_of(section), at)?;
        if index == SectionIndex(0) || section.sh_type(endian) == SHT_NOBITS {
            continue;
        }
        let size: u64 = section.sh_size(endian).into();
        room = room.checked_sub(size).ok_or(TablesError::TooLarge)?;
        part(file, &copy, section.sh_offset(endian).into(), size)?;
    }
    // The headers of sections that were left out are holes, too: sections without names.
    let end = header.e_shoff(endian).into() + (sections.len() * size_of::<H::SectionHeader>()) as u64;
    if copy.metadata()?.len() < end {
        copy.set_len(end)?;
    }
    Ok(copy)
}

fn part(from: &File, to: &File, mut at: u64, size: u64) -> Result<(), TablesError> {
    let end = at.checked_add(size).ok_or(TablesError::Malformed)?;
    let mut block = vec![0; BLOCK];
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(BLOCK).min(BLOCK);
        let read = from.read_at(block.get_mut(..wanted).unwrap_or_default(), at)?;
        if read == 0 {
            return Err(TablesError::Malformed);
        }
        to.write_all_at(block.get(..read).unwrap_or_default(), at)?;
        at += read as u64;
    }
    Ok(())
}
