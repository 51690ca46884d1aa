//! The sections of a file that debug information is in, a bounded number of bytes of them.

use std::{borrow::Cow, io::Read as _};

use flate2::read::ZlibDecoder;
use gimli::{Dwarf, DwarfSections, EndianSlice, RunTimeEndian, SectionId};
use object::{CompressionFormat, Object as _, ObjectSection as _, ReadRef};

use super::LinesError;

/// Bytes of all sections of a file at most, decompressed.
pub(super) const MOST: u64 = 512 << 20;

/// Bytes of a section whose tables take many times as much when they are read.
const TABLES: u64 = 64 << 20;

/// Debug information as it is read.
pub(super) type Slice<'a> = EndianSlice<'a, RunTimeEndian>;

/// See the module.
pub(super) struct Sections<'a> {
    sections: DwarfSections<Cow<'a, [u8]>>,
    endian: RunTimeEndian,
    size: u64,
}

impl<'a> Sections<'a> {
    /// Reads them.
    pub(super) fn read<R: ReadRef<'a>>(object: &object::File<'a, R>) -> Result<Self, LinesError> {
        let mut left = MOST;
        let sections = DwarfSections::load(|id| section(object, id, &mut left))?;
        let endian = if object.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        Ok(Self { sections, endian, size: MOST - left })
    }

    /// What is in them.
    pub(super) fn dwarf(&self) -> Dwarf<Slice<'_>> {
        self.sections.borrow(|bytes| EndianSlice::new(bytes, self.endian))
    }

    /// How many bytes they have altogether.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

fn section<'a, R: ReadRef<'a>>(
    object: &object::File<'a, R>,
    id: SectionId,
    left: &mut u64,
) -> Result<Cow<'a, [u8]>, LinesError> {
    // What is not looked at need not be read.
    let is_needed = !matches!(
        id,
        SectionId::DebugLoc
            | SectionId::DebugLocLists
            | SectionId::DebugMacinfo
            | SectionId::DebugMacro
            | SectionId::DebugTypes
    );
    let Some(section) = object.section_by_name(id.name()).filter(|_| is_needed) else {
        return Ok(Cow::Borrowed(&[]));
    };
    let range = section.compressed_file_range()?;
    let size = range.uncompressed_size;
    if size > TABLES && matches!(id, SectionId::DebugLine | SectionId::DebugAbbrev) {
        return Err(LinesError::TooLarge);
    }
    *left = left.checked_sub(size.max(range.compressed_size)).ok_or(LinesError::TooLarge)?;
    match range.format {
        CompressionFormat::None => Ok(Cow::Borrowed(section.data()?)),
        CompressionFormat::Zlib => {
            let mut bytes = Vec::new();
            // It may hold more than it says, or less.
            let decoder = ZlibDecoder::new(section.compressed_data()?.data);
            let read = decoder.take(size + 1).read_to_end(&mut bytes);
            if read.is_ok_and(|read| read as u64 == size) {
                Ok(Cow::Owned(bytes))
            } else {
                Err(gimli::Error::Io.into())
            }
        }
        _ => Err(LinesError::Compression),
    }
}
