//! Finds the frame descriptions in an ELF file. Reads only what it needs, a bounded number of bytes, and takes nothing for granted.

use gimli::{BaseAddresses, DebugFrame, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, Pointer};
use object::{
    LittleEndian as Little,
    elf::{ELFCLASS64, EM_X86_64, FileHeader64, PF_X, PT_GNU_EH_FRAME, PT_LOAD, ProgramHeader64, SHF_COMPRESSED},
    read::{
        ReadRef,
        elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable},
    },
};
use thiserror::Error;

use super::table::{Builder, Segment, Table};
use crate::parts::USUAL;

/// Linux itself takes no more than a page of program headers.
const SEGMENTS: usize = 128;

/// Why a file has no rows.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CompileError {
    /// It is no ELF file, or a broken one.
    #[error("no ELF file, or a malformed one")]
    Malformed,
    /// It is for another kind of processor, or for 32 bits.
    #[error("code of another architecture")]
    Architecture,
    /// It has no frame descriptions.
    #[error("no frame descriptions")]
    Nothing,
}

impl From<object::read::Error> for CompileError {
    fn from(_: object::read::Error) -> Self {
        Self::Malformed
    }
}

type Sections<'a, R> = SectionTable<'a, FileHeader64<Little>, R>;

/// Makes rows of a file's frame descriptions.
///
/// # Errors
/// When there is nothing to make them of. Single descriptions that are malformed are counted in the table instead.
pub fn compile<'a, R: ReadRef<'a>>(data: R) -> Result<Table, CompileError> {
    let ident = data.read_bytes_at(0, 20).map_err(|()| CompileError::Malformed)?;
    if !ident.starts_with(b"\x7fELF") {
        return Err(CompileError::Malformed);
    }
    if ident.get(4) != Some(&ELFCLASS64) || ident.get(18..20) != Some(EM_X86_64.to_le_bytes().as_slice()) {
        return Err(CompileError::Architecture);
    }
    let header = FileHeader64::<Little>::parse(data)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let segments = segments.get(..SEGMENTS).unwrap_or(segments);
    let code = segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD && segment.p_flags(endian) & PF_X != 0)
        .map(|segment| Segment {
            offset: segment.p_offset(endian),
            address: segment.p_vaddr(endian),
            size: segment.p_filesz(endian),
        });
    let mut builder = Builder::new(code.collect());
    // A file can do without sections.
    let sections = header.sections(endian, data).unwrap_or_default();
    let address = |name: &[u8]| sections.section_by_name(endian, name).map(|(_, section)| section.sh_addr(endian));
    let mut bases = BaseAddresses::default();
    if let Some(text) = address(b".text") {
        bases = bases.set_text(text);
    }
    if let Some(got) = address(b".got") {
        bases = bases.set_got(got);
    }
    let mut found = false;
    let eh_frame = section(&sections, b".eh_frame", data).or_else(|| by_segment(segments, data));
    if let Some((address, bytes)) = eh_frame {
        found = true;
        builder.section(&EhFrame::new(bytes, LittleEndian), &bases.clone().set_eh_frame(address));
    }
    if let Some((_, bytes)) = section(&sections, b".debug_frame", data) {
        found = true;
        builder.section(&DebugFrame::new(bytes, LittleEndian), &bases);
    }
    if found { Ok(builder.finish()) } else { Err(CompileError::Nothing) }
}

/// A section's address and bytes, if it is of a sane size and not compressed.
fn section<'a, R: ReadRef<'a>>(sections: &Sections<'a, R>, name: &[u8], data: R) -> Option<(u64, &'a [u8])> {
    let endian = Little;
    let (_, section) = sections.section_by_name(endian, name)?;
    let is_plain = section.sh_flags(endian) & u64::from(SHF_COMPRESSED) == 0 && section.sh_size(endian) <= USUAL;
    let bytes = section.data(endian, data).ok().filter(|bytes| is_plain && !bytes.is_empty())?;
    Some((section.sh_addr(endian), bytes))
}

/// The same of `.eh_frame`, by the program header that unwinders use: in files whose section headers were stripped.
fn by_segment<'a, R: ReadRef<'a>>(segments: &[ProgramHeader64<Little>], data: R) -> Option<(u64, &'a [u8])> {
    let endian = Little;
    let index = segments.iter().find(|segment| segment.p_type(endian) == PT_GNU_EH_FRAME)?;
    let bytes = data.read_bytes_at(index.p_offset(endian), index.p_filesz(endian).min(USUAL)).ok()?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(index.p_vaddr(endian));
    let Pointer::Direct(address) =
        EhFrameHdr::from(EndianSlice::new(bytes, LittleEndian)).parse(&bases, 8).ok()?.eh_frame_ptr()
    else {
        return None;
    };
    let loaded = segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD);
    let (segment, inside) = loaded
        .filter_map(|segment| Some((segment, address.checked_sub(segment.p_vaddr(endian))?)))
        .find(|(segment, inside)| *inside < segment.p_filesz(endian))?;
    let size = segment.p_filesz(endian).checked_sub(inside)?.min(USUAL);
    let bytes = data.read_bytes_at(segment.p_offset(endian).checked_add(inside)?, size).ok()?;
    Some((address, bytes))
}
