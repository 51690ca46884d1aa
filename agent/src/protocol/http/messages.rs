//! The messages of gRPC in one direction of a call: each has five bytes before it, of which four are its length. They are counted, and
//! passed over, whether they were captured or not. gRPC-Web has its trailers behind them, and may have all of it as text (base64).
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>

use std::io::Read as _;

use flate2::read::GzDecoder;

use super::grpc::Outcome;

/// Length of what comes before a message.
const PREFIX: u8 = 5;
/// In the first byte of that: the message is compressed.
const COMPRESSED: u8 = 0x01;
/// gRPC-Web: it is no message, but the trailers.
const TRAILERS: u8 = 0x80;
/// Bytes of gRPC-Web's trailers that are kept.
const MAX_TRAILERS: usize = 2048;

/// Where in its messages a direction is.
#[derive(Debug, Default)]
pub struct Messages {
    /// What has come of the next prefix.
    prefix: [u8; PREFIX as usize],
    have: u8,
    /// Bytes of the present message that are to come.
    left: u32,
    count: u64,
    /// A prefix was missed: the messages cannot be told apart any more.
    lost: bool,
    /// gRPC-Web's trailers, as far as they have come.
    trailers: Option<Vec<u8>>,
    /// They are compressed.
    packed: bool,
    /// As text, if it is: which shows in the first byte.
    text: Option<Text>,
    begun: bool,
}

/// Base64, four characters at a time. What was flushed by itself may end with padding, and more may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Text {
    /// The bits that have come, six of each character.
    bits: u32,
    have: u8,
    padding: u8,
}

impl Messages {
    /// More of them.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first().filter(|_| !self.begun) {
            self.begun = true;
            // What begins a message in base64 begins none without.
            self.text = matches!(first, b'A' | b'g').then(Text::default);
        }
        let Some(mut text) = self.text else {
            return self.binary(bytes);
        };
        for byte in bytes {
            match text.add(*byte) {
                Ok(Some((decoded, length))) => self.binary(decoded.get(..length).unwrap_or_default()),
                Ok(None) => {}
                Err(NotBase64) => self.lost = true,
            }
            if self.lost {
                break;
            }
        }
        self.text = Some(text);
    }

    fn binary(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            if self.left > 0 {
                let (message, rest) = bytes.split_at_checked(self.left as usize).unwrap_or((bytes, &[]));
                if let Some(trailers) = &mut self.trailers {
                    let room = MAX_TRAILERS.saturating_sub(trailers.len());
                    trailers.extend(message.iter().take(room));
                }
                // At most as long as what is left.
                self.left -= message.len() as u32;
                bytes = rest;
                continue;
            }
            for slot in self.prefix.iter_mut().skip(self.have.into()) {
                let [first, rest @ ..] = bytes else {
                    return;
                };
                *slot = *first;
                self.have += 1;
                bytes = rest;
            }
            self.begin();
        }
    }

    fn begin(&mut self) {
        let [flags, length @ ..] = self.prefix;
        self.have = 0;
        self.left = u32::from_be_bytes(length);
        if flags & !(COMPRESSED | TRAILERS) != 0 || self.trailers.is_some() {
            // Another coding of messages, or none at all.
            self.lost = true;
        } else if flags & TRAILERS != 0 {
            self.trailers = Some(Vec::new());
            self.packed = flags & COMPRESSED != 0;
        } else {
            self.count += 1;
        }
    }

    /// So many bytes of them were not captured.
    pub fn hole(&mut self, length: u64) {
        self.begun |= length > 0;
        match u32::try_from(length) {
            // How many bytes characters stand for depends on padding among them.
            Ok(1..) if self.text.is_some() => self.lose(),
            Ok(length) if length <= self.left => {
                self.left -= length;
                if length > 0 && self.trailers.is_some() {
                    self.lose();
                }
            }
            _ => self.lose(),
        }
    }

    /// An unknown number of bytes was missed.
    pub fn lose(&mut self) {
        self.lost = true;
        self.trailers = None;
    }

    /// Bytes up to the next prefix, none of which needs to be seen; `None` if it does not matter any more where it is.
    pub fn until_prefix(&self) -> Option<u32> {
        (!self.lost).then_some(if self.trailers.is_some() || self.text.is_some() { 0 } else { self.left })
    }

    /// How many there were, if that is certain.
    pub fn count(&self) -> Option<u64> {
        let whole = self.left == 0 && self.have == 0 && self.text.is_none_or(|text| text.have == 0);
        (!self.lost && whole).then_some(self.count)
    }

    /// Whether all there was is messages, one at least, as they are in gRPC itself.
    pub fn are_all(&self) -> bool {
        self.text.is_none() && self.trailers.is_none() && self.count().is_some_and(|count| count > 0)
    }

    /// What gRPC-Web's trailers say.
    pub fn read_trailers(&self, outcome: &mut Outcome) {
        let Some(trailers) = &self.trailers else {
            return;
        };
        let mut trailers = std::borrow::Cow::Borrowed(&trailers[..]);
        let mut whole = self.left == 0 && trailers.len() < MAX_TRAILERS;
        if self.packed {
            let mut unpacked = Vec::new();
            // By gzip, or by what nobody uses here. What there is of it is unpacked, and no more than is kept.
            let read = GzDecoder::new(&trailers[..]).take(MAX_TRAILERS as u64).read_to_end(&mut unpacked);
            whole &= read.is_ok() && unpacked.len() < MAX_TRAILERS;
            trailers = unpacked.into();
        }
        // Half a line may have half a number.
        let end = if whole { trailers.len() } else { trailers.iter().rposition(|b| *b == b'\n').unwrap_or(0) };
        for line in trailers.get(..end).unwrap_or_default().split(|b| *b == b'\n') {
            let mut parts = line.splitn(2, |b| *b == b':');
            if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                outcome.add(&name.trim_ascii().to_ascii_lowercase(), value.trim_ascii());
            }
        }
    }
}

/// See [`Text::add`].
struct NotBase64;

impl Text {
    /// Takes a character. Returns bytes, and how many they are, with every fourth.
    fn add(&mut self, byte: u8) -> Result<Option<([u8; 3], usize)>, NotBase64> {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' if self.have >= 2 => 0,
            _ => return Err(NotBase64),
        };
        if byte == b'=' {
            self.padding += 1;
        } else if self.padding > 0 {
            return Err(NotBase64);
        }
        self.bits = self.bits << 6 | u32::from(six);
        self.have += 1;
        if self.have < 4 {
            return Ok(None);
        }
        let [_, a, b, c] = self.bits.to_be_bytes();
        let length = usize::from(3 - self.padding.min(2));
        *self = Self::default();
        Ok(Some(([a, b, c], length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &[u8] = b"\x00\x00\x00\x00\x02ab\x01\x00\x00\x00\x00\x00\x00\x00\x00\x03abc";

    #[test]
    fn counted_in_any_split() {
        for size in 1..THREE.len() {
            let mut messages = Messages::default();
            THREE.chunks(size).for_each(|part| messages.bytes(part));
            assert_eq!(messages.count(), Some(3), "{size}");
        }
        let mut messages = Messages::default();
        messages.bytes(&THREE[..THREE.len() - 1]);
        assert_eq!(messages.count(), None);
    }

    #[test]
    fn holes_in_messages_are_no_loss_and_over_prefixes_are() {
        let mut messages = Messages::default();
        messages.bytes(b"\x00\x00\x01\x00\x00ab");
        assert_eq!(messages.until_prefix(), Some(65_534));
        messages.hole(65_534);
        messages.bytes(b"\x00\x00\x00\x00\x00");
        assert_eq!(messages.count(), Some(2));
        messages.hole(1);
        assert_eq!((messages.count(), messages.until_prefix()), (None, None));
    }

    #[test]
    fn trailers_of_grpc_web() {
        let mut messages = Messages::default();
        messages.bytes(b"\x00\x00\x00\x00\x01a\x80\x00\x00\x00\x23Grpc-Status: 5\r\ngrpc-message:no\r\n\r\n");
        let mut outcome = Outcome::default();
        messages.read_trailers(&mut outcome);
        assert_eq!((outcome.status, &*outcome.message, messages.count()), (Some(5), "no", Some(1)));
    }

    /// Base64, each part by itself.
    fn text(parts: &[&[u8]]) -> Vec<u8> {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = Vec::new();
        for three in parts.iter().flat_map(|part| part.chunks(3)) {
            let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for digit in 0..4 {
                let six = DIGITS[(bits >> (18 - 6 * digit)) as usize & 63];
                out.push(if digit <= three.len() { six } else { b'=' });
            }
        }
        out
    }

    #[test]
    fn text_in_any_split() {
        let trailers: &[u8] = b"\x80\x00\x00\x00\x0fgrpc-status:5\r\n";
        let all = text(&[THREE, trailers]);
        assert!(all.contains(&b'='), "padding in the middle");
        for size in 1..all.len() {
            let mut messages = Messages::default();
            all.chunks(size).for_each(|part| messages.bytes(part));
            let mut outcome = Outcome::default();
            messages.read_trailers(&mut outcome);
            assert_eq!((messages.count(), outcome.status), (Some(3), Some(5)), "{size}");
        }
        let mut alone = Messages::default();
        alone.bytes(&text(&[trailers]));
        assert_eq!(alone.count(), Some(0));
    }

    #[test]
    fn text_that_is_none_or_was_missed() {
        for bad in [&b"AAAAAAFh!"[..], b"A===", b"AA=A", b"AAAAAAFh\r\n"] {
            let mut messages = Messages::default();
            messages.bytes(bad);
            assert_eq!(messages.count(), None, "{}", bad.escape_ascii());
        }
        let mut messages = Messages::default();
        messages.bytes(&text(&[b"\x00\x00\x00\x00\x06abc"]));
        assert_eq!(messages.until_prefix(), Some(0));
        messages.hole(4);
        messages.bytes(&text(&[b"\x80\x00\x00\x00\x0fgrpc-status:5\r\n"]));
        let mut outcome = Outcome::default();
        messages.read_trailers(&mut outcome);
        assert_eq!((messages.count(), outcome.status), (None, None));
    }

    #[test]
    fn compressed_trailers() {
        let pack = |text: &[u8]| {
            let mut packed = Vec::new();
            flate2::read::GzEncoder::new(text, flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
            packed
        };
        let says = |content: &[u8], seen: usize| {
            let mut messages = Messages::default();
            messages
                .bytes(&[&[0x81], &u32::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()[..seen]);
            let mut outcome = Outcome::default();
            messages.read_trailers(&mut outcome);
            (outcome.status, outcome.message.len())
        };
        let packed = pack(b"grpc-status: 13\r\ngrpc-message: no\r\n");
        assert_eq!(says(&packed, 5 + packed.len()), (Some(13), 2));
        for seen in 5..packed.len() {
            assert!([None, Some(13)].contains(&says(&packed, seen).0), "{seen}");
        }
        assert_eq!(says(b"grpc-status: 13\r\n", 22), (None, 0));
        // As little is unpacked as is kept.
        let bomb = pack(&[b"grpc-status: 5\r\ngrpc-message: ", &[b'x'; 1 << 20][..]].concat());
        assert_eq!(says(&bomb, 5 + bomb.len()), (Some(5), 0));
    }

    #[test]
    fn half_a_line_says_nothing() {
        let mut messages = Messages::default();
        messages.bytes(b"\x80\x00\x00\x00\x23grpc-message:no\r\ngrpc-status: 1");
        let mut outcome = Outcome::default();
        messages.read_trailers(&mut outcome);
        assert_eq!((outcome.status, &*outcome.message), (None, "no"));
        messages.bytes(b"3\r\n");
        messages.read_trailers(&mut outcome);
        assert_eq!(outcome.status, Some(13));
    }

    #[test]
    fn trailers_are_wanted_and_lost_with_any_byte() {
        let mut messages = Messages::default();
        messages.bytes(b"\x80\x00\x00\x00\x23grpc-status:5");
        assert_eq!(messages.until_prefix(), Some(0));
        messages.hole(1);
        let mut outcome = Outcome::default();
        messages.read_trailers(&mut outcome);
        assert_eq!((outcome.status, messages.count()), (None, None));
    }
}
