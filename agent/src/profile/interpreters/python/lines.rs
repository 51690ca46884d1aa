//! Which line is where in the code of a function. CPython has had three kinds of tables for that; positions are those of a frame: bytes to
//! 3.9, instructions of two bytes in 3.10, bytes since.

use crate::profile::interpreters::Lines;

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// `co_lnotab`, to 3.9 (`Objects/lnotab_notes.txt`): by how much position and line grow, two bytes each time.
    Deltas,
    /// `co_linetable` of 3.10 (PEP 626): how long a part is, and by how much its line differs from the last one's.
    Ranges,
    /// `co_linetable` since 3.11 (PEP 657; `InternalDocs/code_objects.md`): parts with lines and columns, of one byte or more.
    Locations,
}

/// As the difference of lines: the part has none.
const NO_LINE: i8 = -128;

impl Table {
    /// What a table says of a function that begins in a line.
    pub fn lines(self, first_line: u32, table: &[u8]) -> Lines {
        let mut lines = Lines::default();
        match self {
            Self::Deltas => deltas(first_line, table, &mut lines),
            Self::Ranges => ranges(first_line, table, &mut lines),
            Self::Locations => locations(first_line, table, &mut lines),
        }
        lines
    }
}

fn deltas(first_line: u32, table: &[u8], lines: &mut Lines) {
    let (mut position, mut line) = (0u32, first_line);
    lines.push(position, line);
    for [grown, change] in table.as_chunks::<2>().0 {
        position = position.saturating_add((*grown).into());
        line = line.saturating_add_signed((*change as i8).into());
        lines.push(position, line);
    }
}

fn ranges(first_line: u32, table: &[u8], lines: &mut Lines) {
    let (mut position, mut line) = (0u32, first_line);
    for [bytes, change] in table.as_chunks::<2>().0 {
        let change = *change as i8;
        if change == NO_LINE {
            lines.push(position / 2, 0);
        } else {
            line = line.saturating_add_signed(change.into());
            // A part without bytes only moves the line.
            if *bytes != 0 {
                lines.push(position / 2, line);
            }
        }
        position = position.saturating_add((*bytes).into());
    }
}

fn locations(first_line: u32, table: &[u8], lines: &mut Lines) {
    let (mut position, mut line) = (0u32, first_line);
    let mut bytes = table.iter().copied();
    while let Some(first) = bytes.next() {
        // Each part begins with a byte whose highest bit is set: what is in between is not.
        let (code, length) = (first >> 3 & 15, u32::from(first & 7) + 1);
        let change = match code {
            // Columns in one byte.
            0..=9 => {
                bytes.next();
                Some(0)
            }
            // Columns in two.
            10..=12 => {
                bytes.nth(1);
                Some(i32::from(code) - 10)
            }
            13 => Some(signed(number(&mut bytes))),
            14 => {
                let change = signed(number(&mut bytes));
                // Last line, first and last column.
                for _ in 0..3 {
                    number(&mut bytes);
                }
                Some(change)
            }
            _ => None,
        };
        match change {
            Some(change) => {
                line = line.saturating_add_signed(change);
                lines.push(position, line);
            }
            None => lines.push(position, 0),
        }
        position = position.saturating_add(2 * length);
    }
}

/// A number in parts of six bits, the lowest first; the seventh bit says that there is more.
fn number(bytes: &mut impl Iterator<Item = u8>) -> u32 {
    let mut value = 0;
    for shift in (0..32).step_by(6) {
        let Some(byte) = bytes.next() else {
            break;
        };
        value |= u32::from(byte & 63) << shift;
        if byte & 64 == 0 {
            break;
        }
    }
    value
}

/// The lowest bit is the sign.
fn signed(value: u32) -> i32 {
    let half = (value >> 1) as i32;
    if value & 1 == 0 { half } else { -half }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_is_understood() {
        // As the interpreters make them of three lines, the last of which is before the second.
        let lines = Table::Deltas.lines(10, &[6, 2, 4, 0xff, 8, 0]);
        assert_eq!([0, 5, 6, 9, 10, 99].map(|at| lines.at(at)), [10, 10, 12, 12, 11, 11].map(Some));
        let lines = Table::Ranges.lines(10, &[4, 1, 0, 1, 6, 0, 2, 0x80, 4, 0xff]);
        let expected = [Some(11), Some(11), Some(12), Some(12), Some(12), None, Some(11), Some(11)];
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(|at| lines.at(at)), expected);
        // One byte of columns, one line more, no line, without columns two lines less, a long one 70 lines more.
        let table = [
            0x80 | 1,
            0,
            0x80 | 11 << 3,
            0,
            0,
            0x80 | 15 << 3,
            0x80 | 13 << 3,
            5,
            0x80 | 14 << 3 | 1,
            64 | 12,
            2,
            0,
            1,
            1,
        ];
        let lines = Table::Locations.lines(10, &table);
        let expected = [Some(10), Some(10), Some(11), None, Some(9), Some(79), Some(79)];
        assert_eq!([0, 3, 4, 6, 8, 10, 13].map(|at| lines.at(at)), expected);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(table in proptest::collection::vec(any::<u8>(), 0..300), first in any::<u32>(), at in any::<i32>()) {
            for kind in [Table::Deltas, Table::Ranges, Table::Locations] {
                let _ = kind.lines(first, &table).at(at);
            }
        }
    }
}
