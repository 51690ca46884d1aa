//! The rows of one file: sorted, each place once, neighbours that say the same merged. Bounded in memory and in work, because a process
//! can map any file.

use geophone_ebpf::unwind::{NONE, Rule, UNSUPPORTED};
use gimli::{BaseAddresses, CieOrFde, CommonInformationEntry, UnwindContext, UnwindOffset, UnwindSection};

use super::rule::{Bytes, rule};

/// Rows of one file while it is compiled; the largest programs (browsers) have some two millions.
const MOST: usize = 4 << 20;
/// Bytes of descriptions that are gone through, counting each function's share of what it has in common with others: a few bytes of a
/// file could ask for endless work otherwise.
const WORK: usize = 512 << 20;
/// Bytes between two functions that are padding: no instruction there is ever run, so the row before holds on.
const PADDING: u64 = 16;

/// Which rule holds from where on, in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The lowest address of code in the file.
    pub(super) base: u64,
    /// Address less `base` in the upper half, [`Rule`] in the lower; sorted.
    pub(super) rows: Vec<u64>,
    /// Parts of the file that are mapped as code.
    pub(super) segments: Vec<Segment>,
    /// Functions whose descriptions could not be read, or for which there was no room.
    pub(super) malformed: u64,
}

/// Code in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where in the file.
    pub offset: u64,
    /// At which address, before the file is moved as a whole.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

impl Table {
    /// The rows: see [`geophone_ebpf::unwind`].
    #[must_use]
    pub fn rows(&self) -> &[u64] {
        &self.rows
    }

    /// The rule at an address of the file.
    #[must_use]
    pub fn find(&self, address: u64) -> Rule {
        let place = address.checked_sub(self.base).and_then(|place| u32::try_from(place).ok());
        let Some(place) = place else {
            return Rule::plain(NONE);
        };
        let behind = self.rows.partition_point(|row| row >> 32 <= u64::from(place));
        let row = behind.checked_sub(1).and_then(|at| self.rows.get(at));
        row.map_or(Rule::plain(NONE), |row| Rule(*row as u32))
    }

    /// What to take from an address in a process to get the place in the table, where a part of the file from `offset` on is mapped at
    /// `start`. `None`: no code of this file begins there.
    #[must_use]
    pub fn base(&self, start: u64, offset: u64) -> Option<u64> {
        // Segments are mapped in whole pages, so a mapping may begin before what it is there for.
        const PAGE: u64 = 64 << 10;
        let holds = |segment: &&Segment| {
            offset < segment.offset.saturating_add(segment.size) && offset.saturating_add(PAGE) > segment.offset
        };
        let segment = self.segments.iter().find(holds)?;
        let address = segment.address.wrapping_sub(segment.offset).wrapping_add(offset);
        Some(start.wrapping_sub(address).wrapping_add(self.base))
    }

    /// Parts of the file that are mapped as code.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Gives the memory of the rows back; the rest is still needed to find them where they have been put.
    pub fn forget_rows(&mut self) {
        self.rows = Vec::new();
    }

    /// Functions that are left out.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }
}

/// Collects rows.
#[derive(Debug)]
pub(super) struct Builder {
    table: Table,
    work: usize,
}

impl Builder {
    pub(super) fn new(mut segments: Vec<Segment>) -> Self {
        segments.sort_by_key(|segment| segment.address);
        let base = segments.first().map_or(0, |segment| segment.address);
        Self { table: Table { base, segments, ..Table::default() }, work: WORK }
    }

    /// Adds what a section says.
    pub(super) fn section<'a, S>(&mut self, section: &S, bases: &BaseAddresses)
    where
        S: UnwindSection<Bytes<'a>>,
        S::Offset: UnwindOffset<usize>,
    {
        let mut context = UnwindContext::new();
        let mut entries = section.entries(bases);
        // Nearly all functions have the one before's in common.
        let mut last: Option<(usize, CommonInformationEntry<Bytes<'a>>)> = None;
        loop {
            let entry = match entries.next() {
                Ok(Some(CieOrFde::Fde(entry))) => entry,
                Ok(Some(CieOrFde::Cie(_))) => continue,
                Ok(None) => return,
                Err(_) => {
                    self.table.malformed += 1;
                    return;
                }
            };
            let parsed = entry.parse(|section, bases, offset| {
                let at: usize = UnwindOffset::into(offset);
                if let Some((_, cie)) = last.as_ref().filter(|(known, _)| *known == at) {
                    return Ok(cie.clone());
                }
                let cie = section.cie_from_offset(bases, offset)?;
                last = Some((at, cie.clone()));
                Ok(cie)
            });
            let Ok(function) = parsed else {
                self.table.malformed += 1;
                continue;
            };
            let work = function.entry_len().saturating_add(function.cie().entry_len());
            let Some(left) = self.work.checked_sub(work).filter(|_| self.table.rows.len() < MOST) else {
                self.table.malformed += 1;
                return;
            };
            self.work = left;
            let (start, end) = (function.initial_address(), function.end_address());
            if !self.is_code(start, end) {
                continue;
            }
            let before = self.table.rows.len();
            let whole = function.rows(section, bases, &mut context).and_then(|mut rows| {
                let mut previous = None;
                while let Some(row) = rows.next_row()? {
                    let rule = rule(row, section);
                    let is_empty = row.start_address() >= row.end_address();
                    if previous != Some(rule) && !is_empty && self.table.rows.len() < MOST {
                        self.push(row.start_address(), rule);
                        previous = Some(rule);
                    }
                }
                Ok(())
            });
            if whole.is_err() {
                self.table.malformed += 1;
                self.table.rows.truncate(before);
                self.push(start, Rule::plain(UNSUPPORTED));
            }
            self.push(end, Rule::plain(NONE));
        }
    }

    /// Whether this is a place in code, and not that of a function which the linker has left out.
    fn is_code(&self, start: u64, end: u64) -> bool {
        let is_in = |segment: &Segment| {
            start.checked_sub(segment.address).is_some_and(|at| at < segment.size)
                && end.checked_sub(segment.address).is_some_and(|at| at <= segment.size)
        };
        start < end && self.table.segments.iter().any(is_in)
    }

    fn push(&mut self, address: u64, rule: Rule) {
        let place = address.checked_sub(self.table.base).and_then(|place| u32::try_from(place).ok());
        if let Some(place) = place {
            self.table.rows.push(u64::from(place) << 32 | u64::from(rule.0));
        }
    }

    /// Sorts and merges what has been added.
    pub(super) fn finish(mut self) -> Table {
        let rows = &mut self.table.rows;
        // Most files are in order for long stretches, which this makes use of.
        rows.sort();
        let mut merged: Vec<u64> = Vec::with_capacity(rows.len());
        let mut coming = rows.iter().copied().peekable();
        while let Some(row) = coming.next() {
            let next = coming.peek().copied();
            // At one place, the beginning of a function counts, and not the end of the one before, which is sorted before it.
            let is_replaced = next.is_some_and(|next| next >> 32 == row >> 32);
            let is_padding = row as u32 == NONE && next.is_some_and(|next| (next >> 32) - (row >> 32) < PADDING);
            let is_same = merged.last().is_some_and(|last| *last as u32 == row as u32);
            if (merged.is_empty() || !is_padding) && !is_same && !is_replaced {
                merged.push(row);
            }
        }
        merged.shrink_to_fit();
        self.table.rows = merged;
        self.table
    }
}
