//! Which rows are where: in a mapping of a process, and in a file.

use geophone_ebpf::unwind::{LOADING, Range, WITHOUT_ROWS};

use super::Table;
use crate::{
    bpf::Part,
    profile::maps::{Mapped, Mapping},
};

/// What is known of a file's rows.
#[derive(Debug)]
pub(super) enum State {
    /// Its rows are being made, or will be.
    Loading,
    /// They are in the kernel. Of the table, its rows are not kept.
    Ready(Table, Vec<Part>),
    /// It has none: one of the values that say why.
    Without(u32),
}

/// Which rows are where in a file: as in a process that has each part of it mapped at the address which is its place.
pub(super) fn of_file(state: &State) -> Vec<Range> {
    const PAGE: u64 = 4096;
    let everything = |chunk| vec![Range { start: 0, end: u64::MAX, base: 0, chunk, rows: 0 }];
    let (table, parts) = match state {
        State::Ready(table, parts) => (table, parts),
        State::Without(why) => return everything(*why),
        State::Loading => return everything(LOADING),
    };
    let mut ranges = Vec::new();
    let mut segments = table.segments().to_vec();
    segments.sort_by_key(|segment| segment.offset);
    let mut end = 0;
    for segment in segments {
        let start = (segment.offset & !(PAGE - 1)).max(end);
        end = segment.offset.saturating_add(segment.size).div_ceil(PAGE).saturating_mul(PAGE).max(start);
        of_table(&Mapping { start, end, offset: start, what: Mapped::Anonymous }, table, parts, &mut ranges);
    }
    ranges
}

/// A mapping that has no rows, for a reason.
pub(super) fn whole(mapping: &Mapping, chunk: u32) -> Range {
    Range { start: mapping.start, end: mapping.end, base: 0, chunk, rows: 0 }
}

/// One range for each part of a table that a mapping has to do with.
pub(super) fn of_table(mapping: &Mapping, table: &Table, parts: &[Part], ranges: &mut Vec<Range>) {
    let Some(base) = table.base(mapping.start, mapping.offset) else {
        ranges.push(whole(mapping, WITHOUT_ROWS));
        return;
    };
    let mut start = mapping.start;
    for (index, part) in parts.iter().enumerate() {
        // Where the next one begins.
        let end = parts.get(index + 1).map(|next| base.wrapping_add(next.from));
        let end = end.map_or(mapping.end, |end| end.clamp(start, mapping.end));
        if start < end {
            ranges.push(Range { start, end, base, chunk: part.chunk, rows: part.rows });
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use geophone_ebpf::unwind::FOREIGN;

    use super::{
        super::{CompileError, compile},
        *,
    };

    #[test]
    fn a_table_in_several_parts_becomes_ranges_without_gaps() {
        let table = compile(fs::read("/proc/self/exe").unwrap().as_slice());
        if cfg!(not(target_arch = "x86_64")) {
            assert_eq!(table, Err(CompileError::Architecture));
            return;
        }
        let table = table.unwrap();
        let segment = table.segments[0];
        let (start, size) = (0x7f00_0000_0000, 0x9000);
        let mapping = Mapping { start, end: start + size, offset: segment.offset & !0xfff, what: Mapped::Anonymous };
        let shift = segment.offset & 0xfff;
        let part = |from, chunk| Part { from, chunk, rows: 5 << 16 };
        let parts = [part(0x10, 3), part(0x1000, 4), part(0x5000, 5), part(0x10_0000, 6)];
        let mut ranges = Vec::new();
        of_table(&mapping, &table, &parts, &mut ranges);
        let bounds: Vec<_> = ranges.iter().map(|range| (range.start - start, range.end - start, range.chunk)).collect();
        assert_eq!(bounds, [(0, 0x1000 + shift, 3), (0x1000 + shift, 0x5000 + shift, 4), (0x5000 + shift, size, 5)]);
        assert!(ranges.iter().all(|range| range.base == start + shift), "{ranges:x?}");
    }

    #[test]
    fn ranges_of_a_file_are_of_places_in_it() {
        let table = compile(fs::read("/proc/self/exe").unwrap().as_slice());
        if cfg!(not(target_arch = "x86_64")) {
            assert_eq!(table, Err(CompileError::Architecture));
            return;
        }
        let table = table.unwrap();
        let segment = table.segments()[0];
        let (base, from) = (table.base(0x7000_0000_0000, segment.offset & !0xfff).unwrap(), segment.offset & !0xfff);
        let part = |from, chunk| Part { from, chunk, rows: 5 << 16 };
        let ranges = of_file(&State::Ready(table, vec![part(0x10, 3), part(0x1000, 4)]));
        let [first, second] = ranges[..] else { panic!("{ranges:x?}") };
        assert_eq!((first.start, first.end, first.chunk, second.chunk), (from, second.start, 3, 4));
        assert!(second.end >= segment.offset + segment.size && second.end % 0x1000 == 0);
        // As in a process that has it mapped somewhere else.
        assert_eq!(first.base.wrapping_add(0x7000_0000_0000).wrapping_sub(from), base);
        let Range { start, end, chunk, .. } = of_file(&State::Without(FOREIGN))[0];
        assert_eq!((start, end, chunk), (0, u64::MAX, FOREIGN));
    }
}
