//! The memory of a process, which runs on while it is read: everything read may be of different moments, and may be nonsense.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use crate::runtime::{Refusal, Target};

/// A process's memory.
#[derive(Debug)]
pub struct Memory(File);

impl Memory {
    /// Of a process.
    ///
    /// # Errors
    /// When it is gone, or may not be looked at.
    pub fn open(target: &Target) -> Result<Self, Refusal> {
        Ok(Self(File::open(target.proc.join("mem"))?))
    }

    /// A file in the place of memory: its offsets are the addresses.
    #[must_use]
    pub fn from_file(file: File) -> Self {
        Self(file)
    }

    /// Fills `buffer`.
    ///
    /// # Errors
    /// When not all of it is mapped.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, address)
    }

    /// A word.
    ///
    /// # Errors
    /// When it is not mapped.
    pub fn word(&self, address: u64) -> io::Result<u64> {
        let mut word = [0; 8];
        self.read(address, &mut word)?;
        Ok(u64::from_ne_bytes(word))
    }

    /// As many words of those from `address` on as can be read, at most `count`.
    pub fn words(&self, address: u64, count: usize) -> Vec<u64> {
        let mut bytes = vec![0; count * 8];
        let read = self.0.read_at(&mut bytes, address).unwrap_or_default();
        bytes.truncate(read);
        words(&bytes).collect()
    }

    /// The text at an address, up to a zero, if it is one and has no more than `most` bytes.
    pub fn text(&self, address: u64, most: usize) -> Option<String> {
        let mut bytes = vec![0; most + 1];
        let read = self.0.read_at(&mut bytes, address).unwrap_or_default();
        bytes.truncate(read);
        let end = bytes.iter().position(|byte| *byte == 0)?;
        bytes.truncate(end);
        String::from_utf8(bytes).ok()
    }

    /// Whether `text` is at an address, with a zero behind it.
    pub fn is_text(&self, address: u64, text: &str) -> bool {
        let mut bytes = vec![0; text.len() + 1];
        self.read(address, &mut bytes).is_ok() && bytes.strip_suffix(&[0]) == Some(text.as_bytes())
    }
}

/// The words that some bytes hold.
pub fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word))
}
