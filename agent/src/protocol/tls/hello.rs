//! The server's hello, the one message of a handshake that says what was agreed on, and that is never encrypted: TLS 1.0 to 1.3
//! (RFC 5246, section 7.4.1.3; RFC 8446, section 4.1.3). Nothing is believed that does not fit its own lengths.

/// What a server has agreed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// `ProtocolVersion`: 0x0303 is TLS 1.2.
    pub version: u16,
    /// `CipherSuite`.
    pub cipher: u16,
}

/// What the beginning of a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hello {
    /// A server's hello.
    Server(ServerHello),
    /// Something else: the client's side, an alert, the middle of a connection.
    Other,
    /// Not enough bytes to tell.
    Short,
}

/// Content type of a handshake's record.
const HANDSHAKE: u8 = 22;
/// Handshake type of the message.
const SERVER_HELLO: u8 = 2;
/// Of the extension that says the version since TLS 1.3.
const SUPPORTED_VERSIONS: u16 = 43;
/// Record header and handshake header.
const HEADERS: usize = 9;

impl Hello {
    /// Looks at the first bytes of a direction.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [HANDSHAKE, 3, _, _, _, SERVER_HELLO, ..] => {}
            [HANDSHAKE, 3, ..] | [HANDSHAKE] | [] if bytes.len() <= 5 => return Self::Short,
            _ => return Self::Other,
        }
        let Some((header, rest)) = bytes.split_at_checked(HEADERS) else {
            return Self::Short;
        };
        let length =
            header.get(6..).map_or(0, |length| length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
        // The record may be longer than the message, and is never shorter in practice; what is longer than any hello is none.
        if length > LONGEST {
            return Self::Other;
        }
        match rest.get(..length) {
            Some(message) => server(message).map_or(Self::Other, Self::Server),
            None => Self::Short,
        }
    }
}

/// The longest hello that is believed; real ones have some 100 bytes.
const LONGEST: usize = 1024;

/// Bytes of a direction that are enough to tell.
pub const ENOUGH: usize = HEADERS + LONGEST;

fn server(message: &[u8]) -> Option<ServerHello> {
    let mut rest = message;
    let mut version = word(&mut rest)?;
    take(&mut rest, 32)?;
    let session = usize::from(*take(&mut rest, 1)?.first()?);
    if session > 32 {
        return None;
    }
    take(&mut rest, session)?;
    let cipher = word(&mut rest)?;
    take(&mut rest, 1)?;
    if !rest.is_empty() {
        let length = word(&mut rest)?;
        let mut extensions = take(&mut rest, usize::from(length))?;
        while !extensions.is_empty() {
            let (kind, length) = (word(&mut extensions)?, word(&mut extensions)?);
            let mut value = take(&mut extensions, usize::from(length))?;
            if kind == SUPPORTED_VERSIONS {
                version = word(&mut value)?;
            }
        }
    }
    Some(ServerHello { version, cipher })
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(head)
}

fn word(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes, 2)?.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From OpenSSL 3.0's `s_server`, to a client that offers TLS 1.3: random and key share shortened to one byte each, repeated.
    fn tls13() -> Vec<u8> {
        let mut bytes = vec![0x16, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3];
        bytes.extend([7; 32]);
        bytes.push(32);
        bytes.extend([9; 32]);
        bytes.extend([0x13, 0x02, 0, 0, 46, 0, 43, 0, 2, 3, 4, 0, 51, 0, 36, 0, 29, 0, 32]);
        bytes.extend([5; 32]);
        bytes
    }

    fn tls12() -> Vec<u8> {
        let mut bytes = vec![0x16, 3, 3, 0, 49, 2, 0, 0, 45, 3, 3];
        bytes.extend([7; 32]);
        bytes.extend([0, 0xc0, 0x2f, 0, 0, 5, 0xff, 1, 0, 1, 0]);
        bytes
    }

    #[test]
    fn what_was_agreed_on() {
        assert_eq!(Hello::of(&tls13()), Hello::Server(ServerHello { version: 0x0304, cipher: 0x1302 }));
        assert_eq!(Hello::of(&tls12()), Hello::Server(ServerHello { version: 0x0303, cipher: 0xc02f }));
        // Before there were extensions.
        let mut old = tls12();
        old.truncate(old.len() - 7);
        (old[4], old[8]) = (42, 38);
        assert_eq!(Hello::of(&old), Hello::Server(ServerHello { version: 0x0303, cipher: 0xc02f }));
    }

    #[test]
    fn what_is_none() {
        assert_eq!(Hello::of(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"), Hello::Other);
        assert_eq!(Hello::of(b"\x17\x03\x03\x00\x20"), Hello::Other);
        assert_eq!(Hello::of(b"\x15\x03\x03\x00\x02\x02\x28"), Hello::Other);
        assert_eq!(Hello::of(b"HTTP/1.1 200 OK"), Hello::Other);
        // Lengths that do not fit.
        for (at, value) in [(7, 0xff), (43, 33), (80, 200)] {
            let mut bytes = tls13();
            bytes[at] = value;
            assert_eq!(Hello::of(&bytes), Hello::Other, "{at}");
        }
    }

    proptest! {
        #[test]
        fn every_beginning_of_a_hello_is_short(cut in 0usize..126) {
            prop_assert_eq!(Hello::of(&tls13()[..cut]), Hello::Short);
        }

        #[test]
        fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (at, value) in [0x16, 3, 3, 1, 0, 2, 0].into_iter().enumerate().take(bytes.len()) {
                bytes[at] = value;
            }
            let _ = Hello::of(&bytes);
        }
    }
}
