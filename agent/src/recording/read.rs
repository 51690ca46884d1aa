//! Reading a recording. It may come from anybody: every length is checked.

use std::io::{self, Read};

use thiserror::Error;

use super::{Header, LONGEST, MAGIC, kind};
use crate::{process::Facts, trace::ClockSample};

/// Why a recording cannot be read, or not any further.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It does not begin as one.
    #[error("this is not a recording of geophone (`geophone run --record FILE` makes one)")]
    NotARecording,
    /// It ends in the middle of a frame: whoever wrote it did not finish.
    #[error("the recording ends in the middle of a record")]
    Cut,
    /// A frame contradicts the format.
    #[error("the recording is damaged: {0}")]
    Damaged(&'static str),
    /// It was made on a machine whose records this one cannot read.
    #[error("the recording was made on {0}, whose byte order is another one")]
    Foreign(String),
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A part of a recording.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A record, as the kernel side wrote it.
    Record(&'a [u8]),
    /// What was known of a process.
    Process(Facts),
    /// A sample of the clocks.
    Clock(ClockSample),
}

/// A recording that is being read.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    payload: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn new(mut input: R) -> Result<Self, ReadError> {
        let mut magic = [0; MAGIC.len()];
        match input.read_exact(&mut magic) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(ReadError::NotARecording),
            result => result?,
        }
        if &magic != MAGIC {
            return Err(ReadError::NotARecording);
        }
        let mut reader = Self { input, header: Header::default(), payload: Vec::new() };
        match reader.frame()? {
            Some(kind::HEADER) => {}
            Some(_) => return Err(ReadError::Damaged("it has no header")),
            None => return Err(ReadError::Cut),
        }
        reader.header = serde_json::from_slice(&reader.payload).map_err(|_| ReadError::Damaged("its header"))?;
        if cfg!(target_endian = "big") {
            return Err(ReadError::Foreign(reader.header.arch));
        }
        Ok(reader)
    }

    /// Where it was made.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// See [`ReadError`].
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its buffer")]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        Ok(match self.frame()? {
            None => None,
            Some(kind::RECORD) => Some(Frame::Record(&self.payload)),
            Some(kind::PROCESS) => Some(Frame::Process(
                serde_json::from_slice(&self.payload).map_err(|_| ReadError::Damaged("what it says of a process"))?,
            )),
            Some(kind::CLOCK) => {
                let number = |at: usize| {
                    let bytes = self.payload.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
                    bytes.map(u64::from_le_bytes).ok_or(ReadError::Damaged("a clock sample"))
                };
                Some(Frame::Clock(ClockSample { before: number(0)?, wall: number(8)?, after: number(16)? }))
            }
            Some(_) => return Err(ReadError::Damaged("a frame of an unknown kind")),
        })
    }

    /// Reads a frame's payload, and returns its kind.
    fn frame(&mut self) -> Result<Option<u8>, ReadError> {
        let mut head = [0; 5];
        let mut got = 0;
        while let Some(rest) = head.get_mut(got..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if got == 0 => return Ok(None),
                Ok(0) => return Err(ReadError::Cut),
                Ok(n) => got += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let [a, b, c, d, kind] = head;
        let len = u32::from_le_bytes([a, b, c, d]);
        if len > LONGEST {
            return Err(ReadError::Damaged("a frame is too long"));
        }
        self.payload.resize(len as usize, 0);
        match self.input.read_exact(&mut self.payload) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ReadError::Cut),
            result => result.map(|()| Some(kind)).map_err(Into::into),
        }
    }
}
