//! Protocols that are recognised in order to be left alone: saying what a connection is costs less than guessing on.

/// What a connection speaks that is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// TLS: a record header (RFC 8446, section 5.1).
    Tls,
    /// Nothing that is known.
    Unknown,
    /// It began as something that is understood, and then broke its rules.
    Malformed,
}

/// The longest TLS record, with the expansion that TLS 1.2 allows.
const TLS_RECORD: u16 = (1 << 14) + 2048;

/// What the bytes at the beginning of a message are for certain, if anything.
pub(super) fn foreign(bytes: &[u8]) -> Option<Foreign> {
    match *bytes {
        // Content type (change cipher spec to heartbeat), version 3.x, length.
        [20..=24, 3, 0..=4, high, low, ..] if (1..=TLS_RECORD).contains(&u16::from_be_bytes([high, low])) => {
            Some(Foreign::Tls)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_what_is_left_alone() {
        assert_eq!(foreign(b"\x16\x03\x01\x02\x00\x01\x00"), Some(Foreign::Tls));
        assert_eq!(foreign(b"\x17\x03\x03\x40\x11"), Some(Foreign::Tls));
        assert_eq!(foreign(b"\x17\x03\x03\xff\xff"), None);
        assert_eq!(foreign(b"\x16\x03\x01"), None);
        assert_eq!(foreign(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), None);
        assert_eq!(foreign(b"GET / HTTP/1.1\r\n"), None);
    }
}
