//! Reading one HTTP/1.x answer off a connection.

use std::io::{self, Read, Write};

use anyhow::{Context as _, Result, bail};

/// Heads are never longer in the tests.
const MAX_HEAD: usize = 64 * 1024;

/// What a finished answer was.
#[derive(Debug, Default)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Bytes of the body.
    pub body: u64,
    /// The body's beginning.
    pub text: Vec<u8>,
    /// The connection cannot be used again.
    pub closed: bool,
}

enum Framing {
    Length(u64),
    Chunked,
    Close,
}

/// Buffers what was read ahead, so that pipelined answers are found.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    at: usize,
}

impl Reader {
    /// Reads the next answer to a request with `method`. An interim answer (1xx but 101) is returned as well.
    ///
    /// # Errors
    /// When the connection fails, or the bytes are no HTTP/1.x.
    pub fn response(&mut self, stream: &mut dyn Stream, method: &str) -> Result<Response> {
        let (mut response, framing) = self.head(stream, method)?;
        match framing {
            Framing::Length(length) => self.body(stream, length, &mut response)?,
            Framing::Chunked => loop {
                let line = self.line(stream)?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).with_context(|| format!("chunk size {line:?}"))?;
                if size == 0 {
                    while !self.line(stream)?.is_empty() {}
                    break;
                }
                self.body(stream, size, &mut response)?;
                self.line(stream)?;
            },
            Framing::Close => {
                response.closed = true;
                loop {
                    self.take(usize::MAX, &mut response);
                    if self.fill(stream)? == 0 {
                        break;
                    }
                }
            }
        }
        Ok(response)
    }

    /// Takes what was read beyond the last answer.
    pub fn rest(&mut self) -> Vec<u8> {
        let rest = self.buffer.split_off(self.at.min(self.buffer.len()));
        self.buffer.clear();
        self.at = 0;
        rest
    }

    fn head(&mut self, stream: &mut dyn Stream, method: &str) -> Result<(Response, Framing)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut parsed = httparse::Response::new(&mut headers);
            let bytes = self.buffer.get(self.at..).unwrap_or_default();
            if let httparse::Status::Complete(size) = parsed.parse(bytes)? {
                let status = parsed.code.unwrap_or(0);
                let mut response = Response { status, ..Response::default() };
                let header = |name: &str| {
                    let found = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
                    found.map(|h| String::from_utf8_lossy(h.value).to_ascii_lowercase())
                };
                let connection = header("connection").unwrap_or_default();
                response.closed =
                    connection.contains("close") || (parsed.version == Some(0) && !connection.contains("keep-alive"));
                let framing = if method == "HEAD" || status < 200 || status == 204 || status == 304 {
                    Framing::Length(0)
                } else if header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
                    Framing::Chunked
                } else if let Some(length) = header("content-length") {
                    Framing::Length(length.parse().with_context(|| format!("Content-Length {length:?}"))?)
                } else {
                    Framing::Close
                };
                self.at += size;
                return Ok((response, framing));
            }
            if bytes.len() > MAX_HEAD {
                bail!("an answer's head is longer than {MAX_HEAD} bytes");
            }
            self.need(stream)?;
        }
    }

    fn line(&mut self, stream: &mut dyn Stream) -> Result<String> {
        loop {
            let bytes = self.buffer.get(self.at..).unwrap_or_default();
            if let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
                self.at += end + 2;
                return Ok(line);
            }
            self.need(stream)?;
        }
    }

    fn body(&mut self, stream: &mut dyn Stream, length: u64, response: &mut Response) -> Result<()> {
        let end = response.body + length;
        while response.body < end {
            if self.at == self.buffer.len() {
                self.need(stream)?;
            }
            self.take(usize::try_from(end - response.body)?, response);
        }
        Ok(())
    }

    /// Moves up to `most` buffered bytes into the body.
    fn take(&mut self, most: usize, response: &mut Response) {
        let bytes = self.buffer.get(self.at..).unwrap_or_default();
        let part = bytes.get(..most.min(bytes.len())).unwrap_or_default();
        let room = 64_usize.saturating_sub(response.text.len()).min(part.len());
        response.text.extend_from_slice(part.get(..room).unwrap_or_default());
        response.body += part.len() as u64;
        self.at += part.len();
    }

    fn need(&mut self, stream: &mut dyn Stream) -> Result<()> {
        if self.fill(stream)? == 0 {
            bail!("the server has closed the connection in the middle of an answer");
        }
        Ok(())
    }

    fn fill(&mut self, stream: &mut dyn Stream) -> io::Result<usize> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        let old = self.buffer.len();
        self.buffer.resize(old + 256 * 1024, 0);
        let read = stream.read(self.buffer.get_mut(old..).unwrap_or_default());
        self.buffer.truncate(old + read.as_ref().copied().unwrap_or(0));
        read
    }
}

/// A TCP or Unix connection.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}
