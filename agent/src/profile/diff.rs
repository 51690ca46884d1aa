//! What has become more, and what less, from one profile to another. Shares are compared, not samples: the two may have been taken for
//! different times.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use super::{
    input::{self, InputError, Stacks},
    report,
};

/// Functions in the table.
const ROWS: usize = 20;
/// A change that is too small to be shown, in percent of all samples.
const SMALL: f64 = 0.05;

/// Two profiles.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    before: Stacks,
    after: Stacks,
}

/// How a function has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The function.
    pub name: String,
    /// Its own share of all samples before, in percent.
    pub before: f64,
    /// And after.
    pub after: f64,
}

impl Change {
    /// Percentage points, above 0 where it has become more.
    #[must_use]
    pub fn points(&self) -> f64 {
        self.after - self.before
    }
}

impl Difference {
    /// Reads both files.
    ///
    /// # Errors
    /// See [`InputError`].
    pub fn read(before: &Path, after: &Path) -> Result<Self, InputError> {
        Ok(Self { before: input::read(before)?, after: input::read(after)? })
    }

    /// Samples before and after.
    #[must_use]
    pub fn samples(&self) -> (u64, u64) {
        (sum(&self.before), sum(&self.after))
    }

    /// Functions by their own shares, those that have changed most first.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let mut own = BTreeMap::<&str, (u64, u64)>::new();
        for (stacks, is_after) in [(&self.before, false), (&self.after, true)] {
            for (stack, count) in stacks {
                let name = stack.rsplit(';').next().unwrap_or(stack);
                let (before, after) = own.entry(name).or_default();
                let sum = if is_after { after } else { before };
                *sum = sum.saturating_add(*count);
            }
        }
        let (all_before, all_after) = self.samples();
        let share = |count: u64, all: u64| if all == 0 { 0.0 } else { count as f64 * 100.0 / all as f64 };
        let change = |(name, (before, after)): (&str, (u64, u64))| Change {
            name: name.to_owned(),
            before: share(before, all_before),
            after: share(after, all_after),
        };
        let mut changes: Vec<Change> = own.into_iter().map(change).collect();
        changes.sort_by(|a, b| b.points().abs().total_cmp(&a.points().abs()));
        changes
    }

    /// Folded text with two counts for each stack; what was before is scaled to as many samples as there are after.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let (all_before, all_after) = self.samples();
        let scale = if all_before == 0 { 0.0 } else { all_after as f64 / all_before as f64 };
        let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (stack, count) in &self.before {
            counts.entry(stack).or_default().0 = (*count as f64 * scale).round() as u64;
        }
        for (stack, count) in &self.after {
            counts.entry(stack).or_default().1 = *count;
        }
        counts.into_iter().map(|(stack, (before, after))| format!("{stack} {before} {after}")).collect()
    }

    /// Writes the table of functions.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn table(&self, to: &mut impl Write) -> io::Result<()> {
        let rows: Vec<Change> =
            self.changes().into_iter().filter(|row| row.points().abs() >= SMALL).take(ROWS).collect();
        if rows.is_empty() {
            return writeln!(to, "no function's own share has changed by {SMALL} % of all samples");
        }
        writeln!(to, "{:>7}  {:>7}  {:>7}  function", "before", "after", "change")?;
        for row in rows {
            let (name, points) = (report::cut(&row.name), row.points());
            writeln!(to, "{:>6.1}%  {:>6.1}%  {points:>+6.1}   {name}", row.before, row.after)?;
        }
        Ok(())
    }
}

fn sum(stacks: &Stacks) -> u64 {
    stacks.values().fold(0, |sum, count| sum.saturating_add(*count))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn stacks(all: &[(&str, u64)]) -> Stacks {
        all.iter().map(|(stack, count)| ((*stack).to_owned(), *count)).collect()
    }

    pub(in crate::profile) fn example() -> Difference {
        Difference {
            before: stacks(&[("shop;main;parse", 30), ("shop;main;write", 10)]),
            after: stacks(&[("shop;main;parse", 30), ("shop;main;write", 50), ("shop;main;parse;copy", 20)]),
        }
    }

    #[test]
    fn shares_are_compared() {
        let changes = example().changes();
        let rows: Vec<_> = changes.iter().map(|c| (c.name.as_str(), c.before, c.after, c.points())).collect();
        assert_eq!(rows, [("parse", 75.0, 30.0, -45.0), ("write", 25.0, 50.0, 25.0), ("copy", 0.0, 20.0, 20.0)]);
    }

    #[test]
    fn what_was_before_is_scaled() {
        let lines = example().lines();
        assert_eq!(lines, ["shop;main;parse 75 30", "shop;main;parse;copy 0 20", "shop;main;write 25 50"]);
        let empty = Difference { before: Stacks::new(), ..example() };
        assert!(empty.lines().iter().all(|line| line.contains(" 0 ")));
        assert!(Difference::default().lines().is_empty());
    }

    #[test]
    fn the_table_leaves_out_what_is_the_same() {
        let mut text = Vec::new();
        example().table(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("  75.0%    30.0%   -45.0   parse\n"), "{text}");
        let (same, mut text) = (Difference { before: example().after, after: example().after }, Vec::new());
        same.table(&mut text).unwrap();
        assert!(String::from_utf8(text).unwrap().starts_with("no function"));
    }
}
