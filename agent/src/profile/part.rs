//! A part of a profile that was written to a pprof file: what was sampled for one endpoint, or for one trace.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    path::Path,
};

use super::{
    input::{self, InputError, Stacks},
    report,
};

/// Functions in the table.
const ROWS: usize = 20;

/// Which part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this trace: its id in hexadecimal.
    pub trace: Option<String>,
    /// Of requests whose spans have this name.
    pub endpoint: Option<String>,
}

impl Filter {
    /// Whether there is nothing to be left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a sample belongs to it, by the texts of its labels.
    pub(super) fn takes<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let is = |key, wanted: Option<&str>| wanted.is_none_or(|wanted| label(key) == Some(wanted));
        is("trace_id", self.trace.as_deref()) && is("endpoint", self.endpoint.as_deref())
    }
}

/// The part.
#[derive(Clone, Debug, Default)]
pub struct Part {
    stacks: Stacks,
}

impl Part {
    /// Reads it.
    ///
    /// # Errors
    /// See [`InputError`].
    pub fn read(path: &Path, filter: &Filter) -> Result<Self, InputError> {
        Ok(Self { stacks: input::read_part(path, filter)? })
    }

    /// How many samples it has.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.stacks.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Folded text.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.stacks.iter().map(|(stack, count)| format!("{stack} {count}")).collect()
    }

    /// Writes the table of functions.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn table(&self, to: &mut impl Write) -> io::Result<()> {
        let mut functions: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (stack, count) in &self.stacks {
            // Behind the service. Functions that call themselves count once.
            let frames: BTreeSet<&str> = stack.split(';').skip(1).collect();
            for name in frames {
                let total = &mut functions.entry(name).or_default().1;
                *total = total.saturating_add(*count);
            }
            let own = &mut functions.entry(stack.rsplit(';').next().unwrap_or(stack)).or_default().0;
            *own = own.saturating_add(*count);
        }
        let mut rows: Vec<(&str, (u64, u64))> = functions.into_iter().collect();
        rows.sort_by(|(a, left), (b, right)| (right, a).cmp(&(left, b)));
        rows.truncate(ROWS);
        let all = self.samples();
        if all == 0 {
            return Ok(());
        }
        let share = |count: u64| format!("{:.1}%", count as f64 * 100.0 / all as f64);
        writeln!(to, "{:>7}  {:>7}  function", "self", "total")?;
        for (name, (own, total)) in rows {
            writeln!(to, "{:>7}  {:>7}  {}", share(own), share(total), report::cut(name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::profile::{
        model::{Link, tests::example},
        output::Format,
    };

    #[test]
    fn of_an_endpoint_and_of_a_trace() {
        let mut profile = example();
        let link = |trace: u128, endpoint: &str| {
            Some(Link { trace_id: trace.into(), span_id: 7.into(), endpoint: endpoint.into() })
        };
        for (stack, link) in profile.stacks.iter_mut().zip([link(1, "GET /a"), link(2, "GET /a"), None]) {
            stack.link = link;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pb.gz");
        Format::Pprof.write(&profile, File::create(&path).unwrap()).unwrap();
        let read = |trace: Option<u128>, endpoint: Option<&str>| {
            let trace = trace.map(|trace| format!("{trace:032x}"));
            Part::read(&path, &Filter { trace, endpoint: endpoint.map(Into::into) }).unwrap()
        };
        let of_endpoint = read(None, Some("GET /a"));
        assert_eq!((read(None, None).samples(), of_endpoint.samples()), (4, 3));
        assert_eq!(read(Some(2), Some("GET /a")).lines(), ["shop;main;heavy;do_syscall_64_[k] 1"]);
        assert_eq!((read(Some(3), None).samples(), read(Some(1), Some("GET /b")).samples()), (0, 0));
        let mut table = Vec::new();
        of_endpoint.table(&mut table).unwrap();
        let table = String::from_utf8(table).unwrap();
        let first: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(first, ["66.7%", "100.0%", "heavy"]);
        let folded = folder.path().join("a.folded");
        Format::Folded.write(&profile, File::create(&folded).unwrap()).unwrap();
        let filter = Filter { trace: None, endpoint: Some("GET /a".into()) };
        assert!(matches!(Part::read(&folded, &filter), Err(InputError::NoLabels(_))));
    }
}
