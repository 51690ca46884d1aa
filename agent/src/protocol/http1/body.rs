//! A body, walked over: by length, by chunks (RFC 9112, section 7.1), or to the end of the stream. Its bytes are never kept here.

/// Where in a body the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    state: State,
    /// Bytes of content so far.
    size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are left.
    Length(u64),
    /// Until the stream ends.
    Close,
    /// In a chunk's size: its value and how many digits it has so far.
    Size(u64, u8),
    /// After the size, before the line's end.
    Extension(u64),
    /// After the size and CR: LF.
    SizeLf(u64),
    /// In a chunk's data.
    Data(u64),
    /// After a chunk's data: CR.
    DataCr,
    /// After a chunk's data and CR: LF.
    DataLf,
    /// At the beginning of a line after the last chunk.
    Trailer,
    /// After a CR at the beginning of such a line.
    TrailerLf,
    /// In such a line.
    TrailerField,
    /// Nothing is left.
    Done,
}

/// The chunked coding is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk is malformed")]
pub(super) struct Malformed;

/// What became of a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// All of it was within the body.
    Inside,
    /// The body ended with it or in it: so many bytes of it come after the body.
    Done(u64),
    /// How far the body goes is not known any more. `likely_end` if the hole is as long as what is missing of the body if this
    /// was its last chunk.
    Lost { likely_end: bool },
}

/// `CRLF` after a chunk's data.
const CRLF: u64 = 2;
/// `0 CRLF CRLF`.
const LAST_CHUNK: u64 = 5;

impl Body {
    pub(super) fn length(length: u64) -> Self {
        Self { state: if length == 0 { State::Done } else { State::Length(length) }, size: 0 }
    }

    pub(super) fn chunked() -> Self {
        Self { state: State::Size(0, 0), size: 0 }
    }

    pub(super) fn until_close() -> Self {
        Self { state: State::Close, size: 0 }
    }

    /// Bytes of content so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether only the stream's end ends it.
    pub(super) fn ends_with_stream(&self) -> bool {
        self.state == State::Close
    }

    /// How many of the next bytes need not be seen.
    pub(super) fn known(&self) -> u64 {
        match self.state {
            State::Length(left) => left,
            State::Data(left) => left.saturating_add(CRLF),
            State::DataCr => CRLF,
            _ => 0,
        }
    }

    /// Walks over bytes; returns how many of them are the body's.
    ///
    /// # Errors
    /// When chunks are not as they must be.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        self.walk(bytes, |_| {})
    }

    /// The same, and hands on the content.
    ///
    /// # Errors
    /// When chunks are not as they must be.
    pub(super) fn walk(&mut self, bytes: &[u8], mut with: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let taken = match self.state {
                State::Done => break,
                State::Length(left) => self.content(left, rest.len(), State::Done, State::Length),
                State::Data(left) => self.content(left, rest.len(), State::DataCr, State::Data),
                State::Close => self.content(u64::MAX, rest.len(), State::Close, |_| State::Close),
                _ => {
                    self.control(*rest.first().ok_or(Malformed)?)?;
                    at += 1;
                    continue;
                }
            };
            with(rest.get(..taken).unwrap_or_default());
            at += taken;
        }
        Ok(at)
    }

    /// Takes content, of which `left` is left; returns how much.
    fn content(&mut self, left: u64, available: usize, done: State, more: fn(u64) -> State) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        let left = left - taken as u64;
        self.size = self.size.saturating_add(taken as u64);
        self.state = if left == 0 { done } else { more(left) };
        taken
    }

    /// Takes one byte of the chunked coding itself. A bare LF ends a line, too, as all parsers have it.
    fn control(&mut self, byte: u8) -> Result<(), Malformed> {
        self.state = match (self.state, byte) {
            (State::Size(value, digits), _) if byte.is_ascii_hexdigit() => {
                // 2^60 bytes are enough for anyone.
                if digits >= 15 && value != 0 {
                    return Err(Malformed);
                }
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                State::Size(value << 4 | u64::from(digit), digits.saturating_add(1))
            }
            (State::Size(_, 0), _) => return Err(Malformed),
            (State::Size(value, _) | State::SizeLf(value) | State::Extension(value), b'\n') => match value {
                0 => State::Trailer,
                _ => State::Data(value),
            },
            (State::Size(value, _), b'\r') => State::SizeLf(value),
            (State::Size(value, _), b';' | b' ' | b'\t') => State::Extension(value),
            (State::Extension(value), _) => State::Extension(value),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataCr | State::DataLf, b'\n') => State::Size(0, 0),
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::Trailer | State::TrailerLf, b'\n') => State::Done,
            (State::TrailerField, b'\n') => State::Trailer,
            (State::Trailer | State::TrailerField, _) => State::TrailerField,
            _ => return Err(Malformed),
        };
        Ok(())
    }

    /// Skips bytes that are known by length only.
    pub(super) fn skip(&mut self, hole: u64) -> Skipped {
        let (state, size, skipped) = match self.state {
            State::Done => (State::Done, 0, Skipped::Done(hole)),
            State::Close => (State::Close, hole, Skipped::Inside),
            State::Length(left) if hole < left => (State::Length(left - hole), hole, Skipped::Inside),
            State::Length(left) => (State::Done, left, Skipped::Done(hole - left)),
            State::Data(left) if hole < left => (State::Data(left - hole), hole, Skipped::Inside),
            State::Data(left) => Self::after_data(left, hole - left),
            State::DataCr => Self::after_data(0, hole),
            State::Size(_, 0) => (self.state, 0, Skipped::Lost { likely_end: hole == LAST_CHUNK }),
            _ => (self.state, 0, Skipped::Lost { likely_end: false }),
        };
        self.state = state;
        self.size = self.size.saturating_add(size);
        skipped
    }

    /// A hole that ends so many bytes after a chunk's data.
    fn after_data(data: u64, after: u64) -> (State, u64, Skipped) {
        match after {
            0 => (State::DataCr, data, Skipped::Inside),
            1 => (State::DataLf, data, Skipped::Inside),
            CRLF => (State::Size(0, 0), data, Skipped::Inside),
            _ => (State::DataCr, data, Skipped::Lost { likely_end: after == CRLF + LAST_CHUNK }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] = b"5\r\nhello\r\n00A;name=\"v\"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";

    #[test]
    fn chunks_in_any_split() {
        for split in 0..=CHUNKED.len() {
            let mut body = Body::chunked();
            let (before, after) = CHUNKED.split_at(split);
            assert_eq!(body.bytes(before), Ok(before.len()));
            assert_eq!(body.bytes(&[after, b"HTTP/1.1"].concat()), Ok(after.len()));
            assert!(body.is_done());
            assert_eq!(body.size(), 15);
        }
    }

    #[test]
    fn bare_line_feeds() {
        let mut body = Body::chunked();
        assert_eq!(body.bytes(b"1\na\n0\n\n!"), Ok(7));
        assert!(body.is_done());
    }

    #[test]
    fn bad_chunks() {
        for bad in [&b"\r\n"[..], b"x\r\n", b"-1\r\n", b"5\rx", b"1\r\nab", b"ffffffffffffffff\r\n", b"1\r\na\rb"] {
            assert_eq!(Body::chunked().bytes(bad), Err(Malformed), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn holes() {
        let mut body = Body::length(10);
        assert_eq!(body.skip(4), Skipped::Inside);
        assert_eq!(body.known(), 6);
        assert_eq!(body.skip(9), Skipped::Done(3));
        assert_eq!(body.size(), 10);

        for (hole, rest) in [
            (0, &b"llo\r\n0\r\n\r\n"[..]),
            (2, b"o\r\n0\r\n\r\n"),
            (3, b"\r\n0\r\n\r\n"),
            (4, b"\n0\r\n\r\n"),
            (5, b"0\r\n\r\n"),
        ] {
            let mut body = Body::chunked();
            assert_eq!(body.bytes(b"5\r\nhe"), Ok(5));
            assert_eq!(body.known(), 5);
            assert_eq!(body.skip(hole), Skipped::Inside);
            assert_eq!(body.bytes(rest), Ok(rest.len()));
            assert!(body.is_done());
            assert_eq!(body.size(), 5);
        }
        for (hole, likely_end) in [(6, false), (10, true), (11, false)] {
            let mut body = Body::chunked();
            assert_eq!(body.bytes(b"5\r\nhe"), Ok(5));
            assert_eq!(body.skip(hole), Skipped::Lost { likely_end });
        }
    }
}
