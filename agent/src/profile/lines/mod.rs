//! What debug information (DWARF) says of places in code: the lines of their sources, and which functions were inlined there. Read when
//! it is asked for, of the units that the places are in. Split DWARF (`.dwo`, `.dwp`) and what `dwz` has moved to other files are not read.
//!
//! [`separate`] finds the file that has it, [`sections`] reads that, [`units`] looks places up in it, and [`tables`] bounds what that takes.

mod sections;
mod separate;
mod tables;
mod units;

use std::{fs::File, path::Path, sync::Arc};

use object::{Object as _, ObjectSegment as _, ReadCache, ReadRef};
use sections::Sections;
use thiserror::Error;

use super::model::{Inlined, Source};
use crate::parts::Parts;

/// What is said of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// The function whose code it is; `None` where there are only lines.
    pub name: Option<Arc<str>>,
    /// Where the function is in its source.
    pub source: Option<Source>,
    /// What was inlined there, the outermost first.
    pub inlined: Vec<Inlined>,
}

/// Why nothing is said of a file.
#[derive(Debug, Error)]
pub enum LinesError {
    /// It is no ELF file, or a broken one.
    #[error("a malformed ELF file: {0}")]
    Elf(#[from] object::read::Error),
    /// Its debug information is broken.
    #[error("malformed debug information: {0}")]
    Dwarf(#[from] gimli::Error),
    /// It has none, and there is no file that has it for it.
    #[error("no debug information, and no file with it")]
    Nothing,
    /// It would take too much memory.
    #[error("more debug information than is read")]
    TooLarge,
    /// It is compressed in a way that is not read.
    #[error("debug information that is compressed with neither zlib nor nothing")]
    Compression,
    /// It takes more steps than honest debug information of that size.
    #[error("debug information that takes too many steps")]
    TooMuch,
}

/// Says what is known of positions in a file, in their order. `processes`: below `/proc`, those that have mapped it, at `path`.
///
/// # Errors
/// When there is nothing to be said of any of them.
pub fn find(
    file: &File,
    path: &str,
    processes: &[impl AsRef<Path>],
    offsets: &[u64],
) -> Result<Vec<Lines>, LinesError> {
    let cache = ReadCache::new(file);
    let object = object::File::parse(Parts::new(&cache, sections::MOST))?;
    let segments: Vec<_> = object.segments().map(|segment| (segment.file_range(), segment.address())).collect();
    let address = |offset: u64| {
        segments.iter().find_map(|((start, size), address)| {
            let inside = offset.checked_sub(*start)?;
            if inside < *size { address.checked_add(inside) } else { None }
        })
    };
    // Each address once, in order; and for each position which of them.
    let mut sorted: Vec<u64> = offsets.iter().filter_map(|offset| address(*offset)).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let found = if separate::has_any(&object) {
        units::find(&Sections::read(&object)?, &sorted)?
    } else {
        let file = separate::open(&object, path, processes).ok_or(LinesError::Nothing)?;
        look_up(Parts::new(&ReadCache::new(&file), sections::MOST), &sorted)?
    };
    let of = |offset: &u64| {
        let index = sorted.binary_search(&address(*offset)?).ok()?;
        found.get(index).cloned()
    };
    Ok(offsets.iter().map(|offset| of(offset).unwrap_or_default()).collect())
}

/// Says what the debug information in a file says of addresses, which are in order, each once.
///
/// # Errors
/// When there is nothing to be said of any of them.
pub fn look_up<'a>(file: impl ReadRef<'a>, addresses: &[u64]) -> Result<Vec<Lines>, LinesError> {
    units::find(&Sections::read(&object::File::parse(file)?)?, addresses)
}

#[cfg(test)]
mod tests;
