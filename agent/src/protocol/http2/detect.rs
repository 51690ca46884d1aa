//! Whether bytes are HTTP/2: by the client's preface, or, for a connection that is joined, by a chain of frame headers that are likely.
//! Evidence is added up over the chain; one header that is not likely, and it is none.

use super::{
    frame::{Frame, HEADER, Kind, PREFACE, likely_settings},
    hpack,
    way::{Greeting, Way},
};
use crate::protocol::Verdict;

/// Evidence that convinces where nothing is known.
const ENOUGH: u32 = 4;
/// Evidence that convinces where the connection is known to be HTTP/2, and only the place in its frames is not.
const ENOUGH_WITHIN: u32 = 2;
/// Bytes of the preface that no other protocol's message begins with.
const CERTAIN: usize = 16;

/// Whether the bytes begin a connection, or with a frame.
pub(super) fn detect(bytes: &[u8]) -> Verdict {
    match Way::greeting(0, bytes) {
        Greeting::Whole(_) => return Verdict::Yes,
        Greeting::More(have) if have >= CERTAIN => return Verdict::Yes,
        Greeting::More(_) => return Verdict::More,
        Greeting::None => {}
    }
    match chain(bytes, |_| 0) {
        Some(evidence) if evidence >= ENOUGH => Verdict::Yes,
        Some(_) => Verdict::More,
        None => Verdict::No,
    }
}

/// Whether a piece of a connection that is HTTP/2 begins with a frame. `trust`: what is known of the stream that it names.
pub(super) fn found(bytes: &[u8], trust: impl Fn(&Frame) -> u32) -> bool {
    bytes.starts_with(PREFACE) || chain(bytes, trust).is_some_and(|evidence| evidence >= ENOUGH_WITHIN)
}

/// What speaks for the bytes being frames; `None` if something speaks against it.
fn chain(bytes: &[u8], trust: impl Fn(&Frame) -> u32) -> Option<u32> {
    let (mut evidence, mut rest) = (0_u32, bytes);
    while let Some((header, after)) = rest.split_first_chunk::<HEADER>() {
        let frame = Frame::parse(*header);
        let (payload, next) = after.split_at_checked(frame.length as usize).unwrap_or((after, &[]));
        if !frame.is_likely(*header) {
            return None;
        }
        evidence = evidence.saturating_add(weight(&frame, payload)?).saturating_add(trust(&frame));
        rest = next;
    }
    may_begin(rest).then_some(evidence)
}

/// Whether a header that is likely may begin with these bytes, which are less than one.
fn may_begin(bytes: &[u8]) -> bool {
    [0, 1].into_iter().any(|stream| {
        let mut header = [0, 0, 0, 0, 0, 0, 0, 0, stream];
        for (slot, byte) in header.iter_mut().zip(bytes) {
            *slot = *byte;
        }
        Frame::parse(header).is_likely(header)
    })
}

/// What a frame says for itself, whose payload may be cut off; `None` if it cannot be.
fn weight(frame: &Frame, payload: &[u8]) -> Option<u32> {
    let word = payload.first_chunk().map(|word| u32::from_be_bytes(*word));
    let likely = match frame.kind {
        Kind::Settings if frame.length > 0 => {
            return likely_settings(payload).then_some(if payload.len() >= 6 { ENOUGH } else { 0 });
        }
        Kind::Headers => return headers(frame, payload),
        // An empty one that does not end its stream has no use.
        Kind::Data if frame.length == 0 && !frame.ends_stream() => return None,
        // An increment is not 0, an error is one of those that there are.
        Kind::WindowUpdate => word.is_none_or(|word| (1..1 << 31).contains(&word)),
        Kind::RstStream => word.is_none_or(|word| word <= 0xd),
        Kind::GoAway => word.is_none_or(|word| word < 1 << 31),
        Kind::Settings | Kind::Ping => return Some(2),
        Kind::Data | Kind::Priority | Kind::PushPromise | Kind::Continuation => return Some(1),
        Kind::Other(_) => return None,
    };
    likely.then_some(if word.is_some() { 2 } else { 0 })
}

/// A header block convinces if it is one, and begins with what a message begins with.
fn headers(frame: &Frame, payload: &[u8]) -> Option<u32> {
    let whole = payload.len() >= frame.length as usize;
    let padding = if frame.is_padded() { payload.first().map_or(0, |length| u32::from(*length)) } else { 0 };
    let end = frame.length.checked_sub(padding)? as usize;
    let Some(block) = payload.get(frame.prefix() as usize..end.min(payload.len())) else {
        return if whole { None } else { Some(0) };
    };
    let (mut fields, mut pseudo, mut regular, mut odd) = (0_u32, 0_u32, false, false);
    let what = hpack::Decoder::default().decode(block, whole && frame.ends_headers(), &mut |field| {
        fields += 1;
        let Some(name) = field.name else {
            return;
        };
        let is_pseudo = name.first() == Some(&b':');
        // Pseudo-header fields come first, and names are in lower case (RFC 9113, section 8.2 and 8.3). One that refers to what was
        // said before the connection was joined may be either.
        odd |= is_pseudo && regular;
        regular |= !is_pseudo;
        pseudo += u32::from(is_pseudo);
        odd |= is_pseudo && field.value.is_some_and(<[u8]>::is_empty);
        odd |= !name.iter().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase());
    });
    if odd || what == hpack::Block::Malformed {
        return None;
    }
    Some(match (pseudo, fields) {
        (0, _) => 1,
        (1.., _) if whole && frame.ends_headers() => ENOUGH,
        _ => 2,
    })
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::RngSeed};

    use super::*;

    const GET: &[u8] = b"\x00\x00\x04\x01\x05\x00\x00\x00\x01\x82\x86\x84\xbe";

    #[test]
    fn beginnings() {
        assert_eq!(detect(PREFACE), Verdict::Yes);
        assert_eq!(detect(b"PRI * HTTP/2.0\r\n"), Verdict::Yes);
        assert_eq!(detect(b"PRI * HTTP/1.1\r\n"), Verdict::No);
        assert_eq!(detect(b"PRI"), Verdict::More);
        // A server's settings; an empty one alone could be anything.
        assert_eq!(detect(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80"), Verdict::Yes);
        assert_eq!(detect(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x80"), Verdict::No);
        assert_eq!(detect(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), Verdict::More);
    }

    #[test]
    fn the_middle() {
        assert_eq!(detect(GET), Verdict::Yes);
        assert_eq!(detect(&GET[..9]), Verdict::More);
        let response = b"\x00\x00\x02\x01\x04\x00\x00\x00\x01\x88\xc0\x00\x00\x01\x00\x01\x00\x00\x00\x01x";
        assert_eq!(detect(response), Verdict::Yes);
        // nghttp2 (Node, curl): what was said before, `:authority` first, then a path.
        let request = b"\x00\x00\x09\x01\x04\x00\x00\x00\x07\xbe\x83\x86\x04\x04/a/7";
        assert_eq!(detect(request), Verdict::Yes);
        assert_eq!(detect(b"\x00\x00\x0b\x01\x04\x00\x00\x00\x07\x53\x01x\x83\x86\x04\x03/a7"), Verdict::No);
        let pings = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00abcdefgh".repeat(4);
        assert_eq!((detect(&pings), detect(&pings[..17])), (Verdict::Yes, Verdict::More));
        let update = b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x10\x00";
        assert_eq!((detect(update), found(update, |_| 0)), (Verdict::More, true));
        assert!(found(b"\x00\x40\x00\x00\x00\x00\x00\x00\x05xxx", |frame| if frame.stream == 5 { 3 } else { 0 }));
        assert!(!found(b"\x00\x40\x00\x00\x00\x00\x00\x00\x05xxx", |_| 0));
    }

    #[test]
    fn other_protocols() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            // Lengths of four bytes: Kafka, PostgreSQL's startup, MongoDB, Thrift; AMQP; MySQL.
            b"\x00\x00\x00\x2a\x00\x12\x00\x03\x00\x00\x00\x01\x00\x07adminclient",
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            b"\x00\x00\x00\x54\x00\x03\x00\x00user\x00postgres\x00",
            b"\x3f\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00",
            b"\x00\x00\x00\x1f\x80\x01\x00\x01\x00\x00\x00\x04ping",
            b"\x01\x00\x01\x00\x00\x00\x05\x00\x0a\x00\x0a\x00\xce",
            b"\x4a\x00\x00\x00\x0a8.0.36\x00",
            b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            b"*1\r\n$4\r\nPING\r\n",
            b"{\"a\":1}\n{\"b\":2}\n",
        ] {
            assert_eq!(detect(bytes), Verdict::No, "{}", bytes.escape_ascii());
            assert!(!found(bytes, |_| 0), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 9..64)) {
            prop_assert_eq!(detect(&bytes), Verdict::No);
            prop_assert!(!found(&bytes, |_| 0));
        }
    }

    proptest! {
        // Always the same: some of all such bytes are HTTP/2.
        #![proptest_config(ProptestConfig { cases: 50_000, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

        /// Mostly zeros and small numbers, as in the binary protocols of others.
        #[test]
        fn small_numbers(bytes in prop::collection::vec(prop_oneof![5 => Just(0_u8), 3 => 0..16_u8, 1 => any::<u8>()], 9..64)) {
            prop_assert_ne!(detect(&bytes), Verdict::Yes);
        }
    }
}
