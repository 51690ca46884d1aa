//! What is known of an interpreted function.

use std::sync::Arc;

/// A function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Its name, with those of what it is in where the language keeps that.
    pub name: Arc<str>,
    /// The file that its source is in, as the program knows it.
    pub file: Arc<str>,
    /// The line that it begins in.
    pub first_line: u32,
    /// Which line is where.
    pub lines: Lines,
}

/// Positions and their lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lines {
    /// From which position on which line (0: none), in order.
    from: Vec<(u32, u32)>,
}

/// Entries that are kept of a function: what is behind has the line of the last one.
const MOST: usize = 1 << 16;

impl Lines {
    /// The next part begins at this position, and has this line. Positions must not become less.
    pub fn push(&mut self, position: u32, line: u32) {
        let count = self.from.len();
        match self.from.last_mut() {
            Some((_, last)) if *last == line => {}
            Some((from, last)) if *from == position => *last = line,
            _ if count < MOST => self.from.push((position, line)),
            _ => {}
        }
    }

    /// The line of a position; `None` before the first one, and where there is none.
    #[must_use]
    pub fn at(&self, position: i32) -> Option<u32> {
        let position = u32::try_from(position).ok()?;
        let behind = self.from.partition_point(|(from, _)| *from <= position);
        let (_, line) = self.from.get(behind.checked_sub(1)?)?;
        (*line != 0).then_some(*line)
    }
}

impl Function {
    /// The line of a position: that in which the function begins, where none is known.
    #[must_use]
    pub fn line(&self, position: i32) -> u32 {
        self.lines.at(position).unwrap_or(self.first_line)
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.file.len() + self.lines.from.len() * 8
    }
}

#[test]
fn lines_are_found() {
    let mut lines = Lines::default();
    for (position, line) in [(0, 10), (4, 10), (6, 12), (6, 13), (8, 0), (12, 14)] {
        lines.push(position, line);
    }
    let at = [-1, 0, 5, 6, 7, 8, 11, 12, i32::MAX].map(|position| lines.at(position));
    assert_eq!(at, [None, Some(10), Some(10), Some(13), Some(13), None, None, Some(14), Some(14)]);
    let function = Function { name: "f".into(), file: "f.py".into(), first_line: 9, lines };
    assert_eq!((function.line(-2), function.line(9), function.line(6)), (9, 9, 13));
}
