//! Where fields are, from a program's own debugging information: for versions of Go that the table does not know, and to check the
//! table. Most programs in production have none.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use gimli::{
    AttributeValue, DebuggingInformationEntry, Dwarf, DwarfSections, EndianSlice, EntriesCursor, NativeEndian,
    SectionId, constants,
};
use object::{
    elf::ELFCOMPRESS_ZLIB,
    read::elf::{CompressionHeader as _, SectionHeader as _},
};

use super::{
    super::{Image, Refusal},
    layout::Layout,
};

/// More than any section of a Go program has; what is longer is not looked at.
const LARGEST: u64 = 256 << 20;

/// The structures and fields that are looked for, in the order of [`Layout`].
const FIELDS: [(&str, &str); 11] = [
    ("runtime.g", "m"),
    ("runtime.g", "goid"),
    ("runtime.g", "parentGoid"),
    ("runtime.m", "curg"),
    ("net/http.persistConn", "conn"),
    ("net.netFD", "pfd"),
    ("internal/poll.FD", "Sysfd"),
    ("crypto/tls.Conn", "conn"),
    ("net/http.http2serverConn", "conn"),
    ("net/http/internal/http2.serverConn", "conn"),
    ("golang.org/x/net/http2.serverConn", "conn"),
];
/// What Go before 1.21 does not have, and what a program does not have that calls nobody, or serves nobody.
const OPTIONAL: [bool; 11] = [false, false, true, false, true, true, true, true, true, true, true];

type Slice<'a> = EndianSlice<'a, NativeEndian>;

/// The layout; `None` without debugging information.
///
/// # Errors
/// When it is malformed, or says that something is elsewhere than it has ever been.
pub fn layout(image: &Image) -> Result<Option<Layout>, Refusal> {
    let found = fields(image, FIELDS)?;
    if found.iter().all(Option::is_none) {
        return Ok(None);
    }
    if found.iter().zip(OPTIONAL).any(|(found, optional)| found.is_none() && !optional) {
        return Err(Refusal::Malformed("its debugging information lacks a structure of the runtime"));
    }
    let [g_m, g_goid, g_parent_goid, m_curg, persist_conn, pfd, sysfd, tls_conn, http2_conn, moved, x_http2_conn] =
        found.map(Option::unwrap_or_default);
    if tls_conn != 0 {
        return Err(Refusal::Malformed("a TLS connection does not begin with what it encrypts"));
    }
    Ok(Some(Layout {
        g_m,
        g_goid,
        g_parent_goid,
        m_curg,
        persist_conn,
        sysfd: pfd.saturating_add(sysfd),
        http2_conn: http2_conn.max(moved),
        x_http2_conn,
    }))
}

/// Where fields are, each after the name of its structure; `None` for what is not described.
///
/// # Errors
/// When it is malformed.
pub fn fields<const N: usize>(image: &Image, wanted: [(&str, &str); N]) -> Result<[Option<u64>; N], Refusal> {
    let parts = [SectionId::DebugInfo, SectionId::DebugAbbrev, SectionId::DebugStr];
    let sections =
        DwarfSections::load(|id| if parts.contains(&id) { section(image, id.name()) } else { Ok(Vec::new()) })?;
    let dwarf: Dwarf<Slice<'_>> = sections.borrow(|section| EndianSlice::new(section, NativeEndian));
    let mut found = [None; N];
    let malformed = |_: gimli::Error| Refusal::Malformed("its debugging information is malformed");
    let mut units = dwarf.units();
    while let Some(header) = units.next().map_err(malformed)? {
        // Not as a whole unit, which would want the line numbers.
        let abbreviations = dwarf.abbreviations(&header).map_err(malformed)?;
        structures(&dwarf, header.entries(&abbreviations), &wanted, &mut found).map_err(malformed)?;
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    Ok(found)
}

/// Looks at the structures of a unit.
fn structures<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    mut entries: EntriesCursor<'_, Slice<'a>>,
    wanted: &[(&str, &str)],
    found: &mut [Option<u64>],
) -> gimli::Result<()> {
    let mut inside: Option<(Slice<'a>, isize)> = None;
    while let Some(entry) = entries.next_dfs()? {
        let depth = entry.depth();
        inside = inside.filter(|(_, above)| depth > *above);
        if entry.tag() == constants::DW_TAG_structure_type {
            inside = name(dwarf, entry)?.map(|name| (name, depth));
        } else if let Some((structure, above)) = inside
            && entry.tag() == constants::DW_TAG_member
            && depth == above + 1
            && let Some(member) = name(dwarf, entry)?
        {
            let at = entry.attr_value(constants::DW_AT_data_member_location).and_then(|value| value.udata_value());
            for (found, (of, field)) in found.iter_mut().zip(wanted) {
                if structure.slice() == of.as_bytes() && member.slice() == field.as_bytes() && found.is_none() {
                    *found = at;
                }
            }
        }
    }
    Ok(())
}

/// As Go's linker writes names; C has other ways, too.
fn name<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    entry: &DebuggingInformationEntry<Slice<'a>>,
) -> gimli::Result<Option<Slice<'a>>> {
    match entry.attr_value(constants::DW_AT_name) {
        Some(AttributeValue::String(name)) => Ok(Some(name)),
        Some(AttributeValue::DebugStrRef(at)) => dwarf.debug_str.get_str(at).map(Some),
        _ => Ok(None),
    }
}

/// A section, unpacked; empty when there is none.
fn section(image: &Image, name: &str) -> Result<Vec<u8>, Refusal> {
    let too_long = Refusal::Malformed("its debugging information is too long");
    let place = image.elf(|elf| {
        let Some(header) = elf.section(name.as_bytes()) else {
            return Ok(None);
        };
        if let Some((compression, offset, size)) = header.compression(elf.endian, elf.data)? {
            let zlib = compression.ch_type(elf.endian) == ELFCOMPRESS_ZLIB;
            return Ok(zlib.then(|| (offset, size, Some(compression.ch_size(elf.endian)))));
        }
        Ok(header.file_range(elf.endian).map(|(offset, size)| (offset, size, None)))
    })?;
    let Some((offset, size, unpacked)) = place else {
        return Ok(Vec::new());
    };
    if size > LARGEST || unpacked.is_some_and(|size| size > LARGEST) {
        return Err(too_long);
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    image.read_at(&mut bytes, offset)?;
    let Some(unpacked) = unpacked else {
        return Ok(bytes);
    };
    let mut section = Vec::new();
    ZlibDecoder::new(bytes.as_slice()).take(unpacked).read_to_end(&mut section)?;
    Ok(section)
}
