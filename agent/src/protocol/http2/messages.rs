//! The messages of gRPC in one direction of a stream: each has five bytes before it, of which four are its length. They are counted, and
//! passed over, whether they were captured or not.

use crate::protocol::http::GrpcOutcome;

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
pub(super) struct Messages {
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
}

impl Messages {
    /// More of them.
    pub(super) fn bytes(&mut self, mut bytes: &[u8]) {
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
            // Another coding of messages (gRPC-Web as text), or none at all.
            self.lost = true;
        } else if flags & TRAILERS != 0 {
            self.trailers = Some(Vec::new());
        } else {
            self.count += 1;
        }
    }

    /// So many bytes of them were not captured.
    pub(super) fn hole(&mut self, length: u64) {
        match u32::try_from(length) {
            Ok(length) if length <= self.left => {
                self.left -= length;
                if length > 0 && self.trailers.is_some() {
                    self.trailers = Some(Vec::new());
                    self.lost = true;
                }
            }
            _ => self.lost = true,
        }
    }

    /// An unknown number of bytes was missed.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    /// Bytes up to the next prefix; `None` if it does not matter any more where it is.
    pub(super) fn until_prefix(&self) -> Option<u32> {
        (!self.lost).then_some(self.left)
    }

    /// How many there were, if that is certain.
    pub(super) fn count(&self) -> Option<u64> {
        (!self.lost && self.left == 0 && self.have == 0).then_some(self.count)
    }

    /// What gRPC-Web's trailers say.
    pub(super) fn read_trailers(&self, outcome: &mut GrpcOutcome) {
        let lines = self.trailers.iter().flat_map(|trailers| trailers.split(|b| *b == b'\n'));
        for line in lines {
            let mut parts = line.splitn(2, |b| *b == b':');
            if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                outcome.add(&name.trim_ascii().to_ascii_lowercase(), value.trim_ascii());
            }
        }
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
        let mut outcome = GrpcOutcome::default();
        messages.read_trailers(&mut outcome);
        assert_eq!((outcome.status, &*outcome.message, messages.count()), (Some(5), "no", Some(1)));
        // As text, which is base64.
        let mut messages = Messages::default();
        messages.bytes(b"AAAAAAFh");
        assert_eq!(messages.count(), None);
    }
}
