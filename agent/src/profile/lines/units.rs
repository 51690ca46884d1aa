//! Looks addresses up in the units of debug information. Bounded by a number of steps, because lengths and references in it may say
//! anything.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use gimli::{
    AttributeValue, DW_AT_MIPS_linkage_name, DW_AT_abstract_origin, DW_AT_call_file, DW_AT_call_line,
    DW_AT_linkage_name, DW_AT_name, DW_AT_specification, DebuggingInformationEntry, Dwarf, RangeIter, Unit, UnitHeader,
    UnitOffset,
};
use hashbrown::HashMap;

use super::{
    Lines, LinesError,
    sections::{Sections, Slice},
    tables,
};
use crate::profile::model::{Inlined, Source};

/// Units of a file; those of browsers have some 30,000.
const UNITS: usize = 1 << 18;
/// Functions inlined into each other at one place, at most.
const DEEPEST: usize = 128;
/// References that are followed from one description of a function to the next.
const HOPS: usize = 16;
/// Units that are kept because descriptions in others refer to them, and bytes of their tables.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 1 << 20;
/// Bytes of a name or of a path.
const NAME: usize = 4096;
/// How long a file may take: tables that units share may be read once for each.
const PATIENCE: Duration = Duration::from_secs(60);
/// Said of a function without a name.
const NAMELESS: &str = "[inlined]";

/// What is said of the addresses, which are in order, each once.
pub(super) fn find(sections: &Sections<'_>, addresses: &[u64]) -> Result<Vec<Lines>, LinesError> {
    let dwarf = sections.dwarf();
    let mut headers = Vec::new();
    let mut units = dwarf.units();
    while let Some(header) = units.next()? {
        if headers.len() >= UNITS {
            return Err(LinesError::TooLarge);
        }
        headers.push(header);
    }
    let mut found = vec![Lines::default(); addresses.len()];
    // A step is at least a byte; each address is met in a few rows and descriptions.
    let mut steps = Steps(sections.size() + (addresses.len() as u64 + 1) * (1 << 16));
    let mut names = Names { dwarf: &dwarf, headers: &headers, kept: HashMap::new(), kept_bytes: 0 };
    let start = Instant::now();
    for header in &headers {
        if start.elapsed() > PATIENCE {
            return Err(LinesError::TooMuch);
        }
        // One that is broken says nothing of the others.
        match unit(*header, &mut names, addresses, &mut found, &mut steps) {
            Err(LinesError::Dwarf(error)) => log::debug!("a malformed unit of debug information: {error}"),
            result => result?,
        }
    }
    Ok(found)
}

/// How many steps are left.
struct Steps(u64);

impl Steps {
    fn take(&mut self) -> Result<(), LinesError> {
        self.0 = self.0.checked_sub(1).ok_or(LinesError::TooMuch)?;
        Ok(())
    }
}

/// A function that an address is in.
struct Call {
    entry: UnitOffset,
    depth: isize,
    /// File and line of the call, of one that was inlined.
    call: (u64, u32),
}

/// What is known of an address.
#[derive(Default)]
struct Place {
    /// File and line.
    line: Option<(u64, u32)>,
    /// The function, and what was inlined there, the outermost first.
    calls: Vec<Call>,
}

/// The addresses in a range, by their indices.
fn within(addresses: &[u64], range: Range<u64>) -> Range<usize> {
    let at = |address: u64| addresses.partition_point(|other| *other < address);
    at(range.start)..at(range.end.max(range.start))
}

fn unit<'a>(
    header: UnitHeader<Slice<'a>>,
    names: &mut Names<'_, 'a>,
    addresses: &[u64],
    found: &mut [Lines],
    steps: &mut Steps,
) -> Result<(), LinesError> {
    let dwarf = names.dwarf;
    steps.take()?;
    let (unit, _) = tables::open(dwarf, header)?;
    let mut is_wanted = false;
    let mut entries = unit.entries();
    let Some(root) = entries.next_dfs()? else {
        return Ok(());
    };
    let mut ranges = ranges(dwarf, &unit, root)?;
    while let Some(range) = ranges.next()? {
        steps.take()?;
        is_wanted |= !within(addresses, range.begin..range.end).is_empty();
    }
    if !is_wanted {
        return Ok(());
    }
    let mut places: HashMap<usize, Place> = HashMap::new();
    lines(&unit, addresses, &mut places, steps)?;
    functions(dwarf, &unit, addresses, &mut places, steps)?;
    let mut files = HashMap::new();
    let mut source = |(file, line): (u64, u32)| {
        let file = files.entry(file).or_insert_with(|| path(dwarf, &unit, file)).clone()?;
        Some(Source { file, line })
    };
    let mut known: HashMap<UnitOffset, Option<Arc<str>>> = HashMap::new();
    for (index, place) in places {
        let Some(lines) = found.get_mut(index) else {
            continue;
        };
        let mut name = |call: &Call| known.entry(call.entry).or_insert_with(|| names.of(&unit, call.entry)).clone();
        let mut calls = place.calls.iter();
        lines.name = calls.next().and_then(&mut name);
        // Each is where the next one was called, the last one where the address is.
        let mut at = place.calls.iter().skip(1).map(|call| Some(call.call)).chain([place.line]);
        lines.source = at.next().flatten().and_then(&mut source);
        lines.inlined = calls
            .zip(at)
            .map(|(call, at)| Inlined {
                name: name(call).unwrap_or_else(|| NAMELESS.into()),
                source: at.and_then(&mut source),
            })
            .collect();
    }
    Ok(())
}

/// Finds the addresses in the unit's table of lines.
fn lines(
    unit: &Unit<Slice<'_>>,
    addresses: &[u64],
    places: &mut HashMap<usize, Place>,
    steps: &mut Steps,
) -> Result<(), LinesError> {
    let Some(program) = unit.line_program.clone() else {
        return Ok(());
    };
    let mut rows = program.rows();
    let mut last: Option<(u64, u64, u32)> = None;
    while let Some((_, row)) = rows.next_row()? {
        steps.take()?;
        if let Some((start, file, line)) = last {
            for index in within(addresses, start..row.address()) {
                steps.take()?;
                places.entry(index).or_default().line.get_or_insert((file, line));
            }
        }
        let line = row.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or(0));
        last = (!row.end_sequence()).then(|| (row.address(), row.file_index(), line));
    }
    Ok(())
}

/// The addresses of what is described, unless they go beyond the last one there is: what reads them adds lengths without a look.
fn ranges<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    entry: &DebuggingInformationEntry<Slice<'a>>,
) -> gimli::Result<RangeIter<Slice<'a>>> {
    let (mut begin, mut length) = (0, 0);
    for attribute in entry.attrs() {
        match (attribute.name(), attribute.value()) {
            (gimli::DW_AT_high_pc, AttributeValue::Udata(size)) => length = size.max(length),
            (gimli::DW_AT_low_pc, value) => begin = dwarf.attr_address(unit, value)?.unwrap_or(0).max(begin),
            _ => {}
        }
    }
    begin.checked_add(length).ok_or(gimli::Error::AddressOverflow)?;
    dwarf.die_ranges(unit, entry)
}

/// Finds the functions that the addresses are in.
fn functions<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    addresses: &[u64],
    places: &mut HashMap<usize, Place>,
    steps: &mut Steps,
) -> Result<(), LinesError> {
    let mut entries = unit.entries();
    while let Some(entry) = entries.next_dfs()? {
        steps.take()?;
        let is_inlined = match entry.tag() {
            gimli::DW_TAG_subprogram => false,
            gimli::DW_TAG_inlined_subroutine => true,
            _ => continue,
        };
        let number = |name| match entry.attr_value(name) {
            Some(AttributeValue::FileIndex(index)) => Some(index),
            value => value?.udata_value(),
        };
        let line = number(DW_AT_call_line).and_then(|line| u32::try_from(line).ok());
        let call = (number(DW_AT_call_file).unwrap_or(0), line.unwrap_or(0));
        let mut ranges = ranges(dwarf, unit, entry)?;
        while let Some(range) = ranges.next()? {
            steps.take()?;
            for index in within(addresses, range.begin..range.end) {
                steps.take()?;
                let calls = &mut places.entry(index).or_default().calls;
                // Descriptions are nested as calls are; what is beside another one is not in it.
                if is_inlined {
                    calls.truncate(calls.iter().take_while(|call| call.depth < entry.depth()).count());
                } else {
                    calls.clear();
                }
                let is_in_one = !is_inlined || !calls.is_empty();
                if is_in_one && calls.len() <= DEEPEST {
                    calls.push(Call { entry: entry.offset(), depth: entry.depth(), call });
                }
            }
        }
    }
    Ok(())
}

/// The path of a file of a unit's table of lines.
fn path(dwarf: &Dwarf<Slice<'_>>, unit: &Unit<Slice<'_>>, index: u64) -> Option<Arc<str>> {
    let header = unit.line_program.as_ref()?.header();
    let file = header.file(index)?;
    let text = |value| dwarf.attr_string(unit, value).ok().map(|text| text.to_string_lossy());
    let mut path = String::new();
    let mut push = |part: &str| {
        if part.starts_with('/') {
            path.clear();
        } else if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part);
    };
    if let Some(folder) = unit.comp_dir {
        push(&folder.to_string_lossy());
    }
    // The first folder is the one that the compiler ran in.
    if file.directory_index() != 0
        && let Some(folder) = file.directory(header).and_then(text)
    {
        push(&folder);
    }
    push(&text(file.path_name())?);
    (path.len() <= NAME).then(|| path.into())
}

/// Finds names of functions, which may be in other units.
struct Names<'d, 'a> {
    dwarf: &'d Dwarf<Slice<'a>>,
    headers: &'d [UnitHeader<Slice<'a>>],
    kept: HashMap<usize, Arc<Unit<Slice<'a>>>>,
    kept_bytes: usize,
}

impl<'a> Names<'_, 'a> {
    /// The name of the function that a description is of.
    fn of(&mut self, unit: &Unit<Slice<'a>>, entry: UnitOffset) -> Option<Arc<str>> {
        let mut plain = None;
        let mut other: Option<Arc<Unit<Slice<'a>>>> = None;
        let mut offset = entry;
        for _ in 0..HOPS {
            let unit = other.as_deref().unwrap_or(unit);
            let entry = unit.entry(offset).ok()?;
            let text = |name| {
                let value = entry.attr_value(name)?;
                let text = self.dwarf.attr_string(unit, value).ok()?.to_string_lossy();
                (!text.is_empty() && text.len() <= NAME).then(|| text.into_owned())
            };
            if let Some(linkage) = text(DW_AT_linkage_name).or_else(|| text(DW_AT_MIPS_linkage_name)) {
                return Some(demangled(&linkage));
            }
            plain = plain.or_else(|| text(DW_AT_name));
            let next = entry.attr_value(DW_AT_abstract_origin).or_else(|| entry.attr_value(DW_AT_specification));
            match next {
                Some(AttributeValue::UnitRef(next)) => offset = next,
                Some(AttributeValue::DebugInfoRef(next)) => {
                    let index = self.headers.partition_point(|header| begin(header) <= next.0).checked_sub(1)?;
                    offset = UnitOffset(next.0.checked_sub(begin(self.headers.get(index)?))?);
                    other = Some(self.unit(index)?);
                }
                _ => break,
            }
        }
        plain.map(Into::into)
    }

    fn unit(&mut self, index: usize) -> Option<Arc<Unit<Slice<'a>>>> {
        if let Some(known) = self.kept.get(&index) {
            return Some(Arc::clone(known));
        }
        let (unit, bytes) = tables::open(self.dwarf, *self.headers.get(index)?).ok()?;
        if self.kept.len() >= KEPT || self.kept_bytes + bytes > KEPT_BYTES {
            self.kept.clear();
            self.kept_bytes = 0;
        }
        self.kept_bytes += bytes;
        let unit = Arc::new(unit);
        self.kept.insert(index, Arc::clone(&unit));
        Some(unit)
    }
}

/// Where a unit begins in its section.
fn begin(header: &UnitHeader<Slice<'_>>) -> usize {
    header.debug_info_offset().map_or(usize::MAX, |offset| offset.0)
}

/// A name as its programmer wrote it, as names of symbols are shown.
fn demangled(name: &str) -> Arc<str> {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}").into();
    }
    let cpp = cpp_demangle::Symbol::new(name).ok().and_then(|symbol| symbol.demangle().ok());
    cpp.map_or_else(|| name.into(), Into::into)
}
