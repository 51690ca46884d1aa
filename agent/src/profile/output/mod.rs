//! Profiles as files.

mod folded;
pub mod pprof;
mod svg;

use std::{
    fs::{self, File},
    io::{self, BufWriter, Seek as _, Write},
    path::{Path, PathBuf},
};

use thiserror::Error;

pub use folded::{clean, label};

use super::{Difference, Part, model::Profile};

/// What a file holds, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.svg`: an interactive flame graph for a browser.
    Svg,
    /// `.pb.gz`, `.pprof`: for `go tool pprof` and others that read its format.
    Pprof,
    /// `.folded`, `.txt`: one line for each stack.
    Folded,
}

impl Format {
    /// The format of a file of this name.
    ///
    /// # Errors
    /// When its end is none of those above.
    pub fn of(path: &Path) -> Result<Self, OutputError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        if ends(&[".svg"]) {
            Ok(Self::Svg)
        } else if ends(&[".pb.gz", ".pprof"]) {
            Ok(Self::Pprof)
        } else if ends(&[".folded", ".txt"]) {
            Ok(Self::Folded)
        } else {
            Err(OutputError::Format(path.display().to_string()))
        }
    }

    /// Writes a profile.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(self, profile: &Profile, to: impl Write) -> io::Result<()> {
        match self {
            Self::Svg => svg::write(profile, to),
            Self::Pprof => pprof::write(profile, to),
            Self::Folded => folded::write(profile, to),
        }
    }
}

/// Why a profile cannot be written.
#[derive(Debug, Error)]
pub enum OutputError {
    /// The name says nothing of the format.
    #[error("{0}: the name must end in .svg (flame graph), .pb.gz (pprof) or .folded (text)")]
    Format(String),
    /// The format has no place for a difference.
    #[error("{0}: a difference is written to a name that ends in .svg (flame graph) or .folded (text)")]
    NoDifference(String),
    /// The file cannot be written.
    #[error("cannot write {path}: {error}")]
    Write {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
}

/// A file that a profile will be written to. Opened before sampling, so that nobody waits in vain.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    format: Format,
    file: File,
    /// It was made for this, and nothing was written to it yet.
    is_new: bool,
}

impl Drop for Output {
    fn drop(&mut self) {
        // Nobody is to take an empty file for a profile. What somebody else has written there meanwhile stays.
        if self.is_new && self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Output {
    /// Opens it. What is in it stays until there is something to be written; if that never happens, it is as if it had not been opened.
    ///
    /// # Errors
    /// See [`OutputError`].
    pub fn open(path: &Path) -> Result<Self, OutputError> {
        let format = Format::of(path)?;
        let (file, is_new) = match File::options().create_new(true).write(true).open(path) {
            Ok(file) => (Ok(file), true),
            // Or it is a link to a file that is not there yet.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (File::options().create(true).write(true).truncate(false).open(path), false)
            }
            Err(error) => (Err(error), false),
        };
        let failed = |error| OutputError::Write { path: path.display().to_string(), error };
        Ok(Self { path: path.to_owned(), format, file: file.map_err(failed)?, is_new })
    }

    /// The same, for a difference.
    ///
    /// # Errors
    /// See [`OutputError`].
    pub fn for_difference(path: &Path) -> Result<Self, OutputError> {
        match Format::of(path)? {
            Format::Pprof => Err(OutputError::NoDifference(path.display().to_string())),
            Format::Svg | Format::Folded => Self::open(path),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a profile.
    ///
    /// # Errors
    /// [`OutputError::Write`]
    pub fn write(self, profile: &Profile) -> Result<(), OutputError> {
        let format = self.format;
        self.replace(|to| format.write(profile, to))
    }

    /// Writes a difference, to what was opened for one.
    ///
    /// # Errors
    /// [`OutputError::Write`]
    pub fn write_difference(self, difference: &Difference) -> Result<(), OutputError> {
        let is_graph = self.format == Format::Svg;
        self.replace(|to| {
            if is_graph {
                svg::difference(difference, to)
            } else {
                difference.lines().iter().try_for_each(|line| writeln!(to, "{line}"))
            }
        })
    }

    /// Writes a part of a profile, to what was opened for a difference.
    ///
    /// # Errors
    /// [`OutputError::Write`]
    pub fn write_part(self, part: &Part) -> Result<(), OutputError> {
        let is_graph = self.format == Format::Svg;
        self.replace(|to| {
            if is_graph { svg::part(part, to) } else { part.lines().iter().try_for_each(|line| writeln!(to, "{line}")) }
        })
    }

    fn replace(mut self, content: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<(), OutputError> {
        let write = || {
            // A pipe or a device has no beginning to go back to, and nothing to be removed.
            if self.file.metadata()?.is_file() {
                self.file.set_len(0)?;
                self.file.rewind()?;
            }
            let mut writer = BufWriter::new(&self.file);
            content(&mut writer)?;
            writer.flush()
        };
        self.is_new = false;
        write().map_err(|error| OutputError::Write { path: self.path.display().to_string(), error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::tests::example;

    #[test]
    fn names_say_the_format() {
        for (name, format) in [
            ("a.svg", Format::Svg),
            ("/tmp/x/cpu.pb.gz", Format::Pprof),
            ("cpu.pprof", Format::Pprof),
            ("a.b.folded", Format::Folded),
            ("a.txt", Format::Folded),
        ] {
            assert_eq!(Format::of(Path::new(name)).unwrap(), format, "{name}");
        }
        for name in ["a", "a.gz", "svg", "a.svg/", "a.pdf"] {
            assert_eq!(Format::of(Path::new(name)).is_ok(), name == "a.svg/", "{name}");
        }
    }

    #[test]
    fn a_file_is_replaced_only_by_a_whole_profile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.folded");
        fs::write(&path, "x".repeat(10_000)).unwrap();
        let output = Output::open(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), 10_000);
        output.write(&example()).unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("shop;main;"));
        drop(Output::open(&path).unwrap());
        assert!(path.exists(), "it was there before");
        let unused = folder.path().join("b.svg");
        drop(Output::open(&unused).unwrap());
        assert!(!unused.exists(), "nothing was written");
        let missing = folder.path().join("no/such/folder/a.svg");
        assert!(matches!(Output::open(&missing), Err(OutputError::Write { .. })));
    }
}
