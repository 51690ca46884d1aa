//! Opens units of debug information, after a look at how large the tables are that come with each: of abbreviations, and of files. A byte
//! of these becomes up to a hundred in memory, and any number of units may share one table.

use gimli::{AttributeValue, DW_AT_stmt_list, Dwarf, Reader as _, Section as _, Unit, UnitHeader};

use super::{LinesError, sections::Slice};

/// Bytes of a unit's tables; those of large programs that were compiled as one unit have some hundred thousand.
const MOST: usize = 1 << 20;

/// A unit, and how many bytes its tables have.
///
/// # Errors
/// When it is malformed, or its tables have more than [`MOST`] bytes: [`LinesError::TooLarge`].
pub(super) fn open<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    header: UnitHeader<Slice<'a>>,
) -> Result<(Unit<Slice<'a>>, usize), LinesError> {
    let abbreviations = abbreviations(dwarf, &header)?;
    let read = dwarf.abbreviations(&header)?;
    let mut entries = header.entries(&read);
    let files = match entries.next_dfs()? {
        // Which of several counts is the reader's affair.
        Some(root) => root
            .attrs()
            .iter()
            .filter(|attribute| attribute.name() == DW_AT_stmt_list)
            .map(|attribute| files(dwarf, &attribute.value()))
            .try_fold(0, |most: usize, files| Ok::<_, LinesError>(most.max(files?)))?,
        None => 0,
    };
    let unit = Unit::new_with_abbreviations(dwarf, header, read)?;
    Ok((unit, abbreviations + files))
}

/// Bytes of the table of abbreviations of a unit.
fn abbreviations<'a>(dwarf: &Dwarf<Slice<'a>>, header: &UnitHeader<Slice<'a>>) -> Result<usize, LinesError> {
    let mut rest = *dwarf.debug_abbrev.reader();
    rest.skip(header.debug_abbrev_offset().0)?;
    let all = rest.len();
    // A code of 0 is the end.
    while !rest.is_empty() && rest.read_uleb128()? != 0 {
        rest.read_uleb128()?;
        rest.skip(1)?;
        // A name and a form of 0 are the end.
        loop {
            let (name, form) = (rest.read_uleb128()?, rest.read_uleb128()?);
            if form == u64::from(gimli::DW_FORM_implicit_const.0) {
                rest.read_sleb128()?;
            }
            if (name, form) == (0, 0) {
                break;
            }
        }
        bounded(all - rest.len())?;
    }
    bounded(all - rest.len())
}

/// Bytes of the tables of folders and files of a unit.
fn files<'a>(dwarf: &Dwarf<Slice<'a>>, value: &AttributeValue<Slice<'a>>) -> Result<usize, LinesError> {
    let AttributeValue::DebugLineRef(offset) = value else {
        return Ok(0);
    };
    let mut rest = *dwarf.debug_line.reader();
    rest.skip(offset.0)?;
    let (_, format) = rest.read_initial_length()?;
    if rest.read_u16()? >= 5 {
        // Sizes of addresses and of segments.
        rest.skip(2)?;
    }
    bounded(rest.read_length(format)?)
}

fn bounded(bytes: usize) -> Result<usize, LinesError> {
    if bytes <= MOST { Ok(bytes) } else { Err(LinesError::TooLarge) }
}
