//! Writing a recording.

use std::io::{self, Write};

use super::{Header, LONGEST, MAGIC, kind};
use crate::{process::Facts, trace::ClockSample};

/// A recording that is being written. What it is given is buffered by the stream, if at all.
pub struct Writer<W: Write> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// Those of the stream, here and below.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        let mut writer = Self { out };
        writer.frame(kind::HEADER, &serde_json::to_vec(header)?)?;
        Ok(writer)
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn record(&mut self, record: &[u8]) -> io::Result<()> {
        self.frame(kind::RECORD, record)
    }

    /// Adds what is known of a process; to come after the record that makes it known, which would put less in its place.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn process(&mut self, facts: &Facts) -> io::Result<()> {
        self.frame(kind::PROCESS, &serde_json::to_vec(facts)?)
    }

    /// Adds a sample of the clocks.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn clock(&mut self, sample: ClockSample) -> io::Result<()> {
        let mut payload = [0; 24];
        for (to, from) in payload.chunks_exact_mut(8).zip([sample.before, sample.wall, sample.after]) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        self.frame(kind::CLOCK, &payload)
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let len = u32::try_from(payload.len()).ok().filter(|len| *len <= LONGEST);
        let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long"))?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(&[kind])?;
        self.out.write_all(payload)
    }
}
