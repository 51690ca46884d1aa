//! Profiles that were written to files, read again as stacks with their counts: folded text and pprof, whoever has written them.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use flate2::read::GzDecoder;
use hashbrown::HashMap;
use prost::Message as _;
use thiserror::Error;

use super::{
    model::PYTHON,
    output::Format,
    part::Filter,
    pprof::{Pprof, Sample},
};

/// Bytes of a file at most, after it is decompressed.
const MOST: u64 = 256 << 20;
/// Frames of a stack at most.
const DEEPEST: usize = 4096;

/// Stacks as folded text has them, each with how often it was seen.
pub type Stacks = BTreeMap<String, u64>;

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum InputError {
    /// The name says nothing of the format, or one that is for looking at.
    #[error("{0}: the name must end in .folded (text) or .pb.gz (pprof)")]
    Format(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// Which request a sample belongs to is not in it.
    #[error("{0}: only pprof files (NAME.pb.gz) say which requests samples were taken for")]
    NoLabels(String),
    /// It is larger than is read.
    #[error("{0} is too large: profiles of up to 256 MiB are read")]
    TooLarge(String),
    /// It is no such file.
    #[error("{path}: {why}")]
    Malformed {
        /// Which.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// Reads a file.
///
/// # Errors
/// See [`InputError`].
pub fn read(path: &Path) -> Result<Stacks, InputError> {
    read_part(path, &Filter::default())
}

/// Reads a part of a file.
///
/// # Errors
/// See [`InputError`].
pub fn read_part(path: &Path, filter: &Filter) -> Result<Stacks, InputError> {
    let name = || path.display().to_string();
    let failed = |error| InputError::Read { path: name(), error };
    let malformed = |why| InputError::Malformed { path: name(), why };
    match Format::of(path) {
        Ok(Format::Folded) if !filter.is_everything() => Err(InputError::NoLabels(name())),
        Ok(Format::Folded) => {
            let bytes = all(File::open(path).map_err(failed)?).map_err(failed)?;
            folded(&bytes.ok_or_else(|| InputError::TooLarge(name()))?).map_err(malformed)
        }
        Ok(Format::Pprof) => {
            let bytes = all(GzDecoder::new(File::open(path).map_err(failed)?)).map_err(failed)?;
            pprof(&bytes.ok_or_else(|| InputError::TooLarge(name()))?, filter).map_err(malformed)
        }
        Ok(Format::Svg) | Err(_) => Err(InputError::Format(name())),
    }
}

/// All bytes; `None`: there are too many.
fn all(from: impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    from.take(MOST + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= MOST).then_some(bytes))
}

/// Reads folded text.
fn folded(bytes: &[u8]) -> Result<Stacks, String> {
    let mut stacks = Stacks::new();
    for (number, line) in String::from_utf8_lossy(bytes).lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let read = line.rsplit_once(' ').and_then(|(stack, count)| Some((stack, count.parse::<u64>().ok()?)));
        let (stack, count) = read.ok_or_else(|| format!("line {} is no stack with a count", number + 1))?;
        let sum = stacks.entry(stack.to_owned()).or_default();
        *sum = sum.saturating_add(count);
    }
    Ok(stacks)
}

/// Reads pprof's format, decompressed.
fn pprof(bytes: &[u8], filter: &Filter) -> Result<Stacks, String> {
    let pprof = Pprof::decode(bytes).map_err(|error| format!("it is no pprof file: {error}"))?;
    let text = |index: i64| {
        usize::try_from(index).ok().and_then(|index| pprof.string_table.get(index)).map_or("", String::as_str)
    };
    let functions: HashMap<u64, _> = pprof.function.iter().map(|function| (function.id, function)).collect();
    let mappings: HashMap<u64, &str> = pprof.mapping.iter().map(|m| (m.id, text(m.filename))).collect();
    let locations: HashMap<u64, _> = pprof.location.iter().map(|location| (location.id, location)).collect();
    let label = |sample: &Sample, key: &str| {
        let label = sample.label.iter().find(|label| text(label.key) == key);
        label.map(|label| text(label.str))
    };
    let mut stacks = Stacks::new();
    for sample in pprof.sample.iter().filter(|sample| filter.takes(|key| label(sample, key))) {
        // By convention the first number is how often, in profiles of processor time.
        let Some(count) = sample.value.first().and_then(|count| u64::try_from(*count).ok()) else {
            return Err("a sample has no number, or one below 0".to_owned());
        };
        let mut frames: Vec<String> = label(sample, "service.name").map(super::output::clean).into_iter().collect();
        for id in sample.location_id.iter().rev().take(DEEPEST) {
            let Some(location) = locations.get(id) else {
                return Err("a sample is in a place that is not described".to_owned());
            };
            let mapping = mappings.get(&location.mapping_id);
            let mark = match mapping {
                Some(&"[kernel]") => "_[k]",
                Some(&"[jit]") => "_[j]",
                _ => "",
            };
            for line in location.line.iter().rev() {
                let name: Cow<'_, str> = match functions.get(&line.function_id) {
                    Some(function) if mapping == Some(&PYTHON) && function.start_line != 0 => {
                        let start = u32::try_from(function.start_line).unwrap_or_default();
                        super::output::label(text(function.name), text(function.filename), start).into()
                    }
                    Some(function) => text(function.name).into(),
                    None => "?".into(),
                };
                frames.push(format!("{}{mark}", super::output::clean(&name)));
            }
            if location.line.is_empty() {
                frames.push(format!("{:#x}", location.address));
            }
        }
        let sum = stacks.entry(frames.join(";")).or_default();
        *sum = sum.saturating_add(count);
    }
    Ok(stacks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::model::tests::example;

    #[test]
    fn both_formats_give_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let again = |name: &str| {
            let path = folder.path().join(name);
            Format::of(&path).unwrap().write(&example(), File::create(&path).unwrap()).unwrap();
            read(&path)
        };
        let stacks = again("a.folded").unwrap();
        assert_eq!(stacks.get("shop;main;heavy;do_syscall_64_[k]"), Some(&1), "{stacks:?}");
        assert_eq!(again("a.pb.gz").unwrap(), stacks);
        assert!(matches!(again("a.svg"), Err(InputError::Format(_))));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(folded(b"a;b 1\n\na;b 2\n").unwrap(), Stacks::from([("a;b".to_owned(), 3)]));
        assert_eq!(folded(b"a;b 1\nno count\n").unwrap_err(), "line 2 is no stack with a count");
        assert!(pprof(b"no protocol buffer", &Filter::default()).unwrap_err().starts_with("it is no pprof file"));
        let missing = Path::new("/nonexistent/a.folded");
        assert!(matches!(read(missing), Err(InputError::Read { .. })));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pb.gz");
        std::fs::write(&path, "not compressed").unwrap();
        assert!(matches!(read(&path), Err(InputError::Read { .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = folded(&bytes);
            let _ = pprof(&bytes, &Filter::default());
        }
    }
}
