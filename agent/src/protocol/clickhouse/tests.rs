//! Conversations of real programs, and what is not seen of others.

use crate::{
    conn::Gap,
    event::Direction::Receive,
    protocol::{
        ContextHeader, Holes, Understanding,
        promises::{captured, heard, keep, told},
        testing::{Part, Wire, int, text},
    },
};

const OLD: &str = include_str!("old.txt");
const OLD_COMPRESSED: &str = include_str!("old_compressed.txt");
const NEW: &str = include_str!("new.txt");
const KEYS: [&str; 3] = ["db.namespace", "db.response.returned_rows", "error.type"];

/// What is told, without pings.
fn queries(wire: &Wire) -> Vec<String> {
    told(wire, &KEYS).into_iter().filter(|told| !told.starts_with("PING")).collect()
}

#[test]
fn a_server_of_old_with_and_without_compression() {
    for recording in [OLD, OLD_COMPRESSED] {
        for server in [false, true] {
            let wire = heard(&captured(recording), server);
            assert_eq!(
                queries(&wire),
                [
                    "DROP TABLE orders | default | - | -",
                    "CREATE TABLE orders | default | - | -",
                    "INSERT orders | default | - | -",
                    "SELECT orders | default | 1 | -",
                    "SELECT orders | default | 2 | -",
                    "SELECT system.numbers | default | 300 | -",
                    "SELECT orders | default | 2 | -",
                    "SELECT | default | 1 | -",
                    "SELECT system.numbers | default | 5 | -",
                    "SELECT orders | default | - | 47",
                ]
            );
            assert_eq!(wire.out.len(), 20);
            assert!(wire.out.iter().all(|e| text(e, "db.system.name") == "clickhouse" && e.holes == Holes::default()));
            let all = format!("{:?}", wire.out);
            assert!(!all.contains("Ada") && all.contains("SELECT * FROM orders WHERE who = ?"));
            assert_eq!((wire.count("orphans"), wire.count("unpaired")), (0, 0));
        }
    }
}

#[test]
fn columns_of_many_types_and_a_trace() {
    for server in [false, true] {
        let wire = heard(&captured(NEW), server);
        assert_eq!(
            queries(&wire),
            [
                "SELECT orders | shop | 1 | -",
                "SELECT types | shop | 3 | -",
                "SELECT big | shop | 2800 | -",
                "INSERT orders | shop | - | -",
                "OPTIMIZE | shop | - | -",
                "SELECT orders | shop | 1 | -",
                "SELECT nothing | shop | - | 60",
            ]
        );
        let carried = wire.asked[0].carried.as_ref().unwrap();
        // This client writes the halves of the id the other way round.
        let parent = "00-a3ce929d0e0e47364bf92f3577b34da6-00f067aa0ba902b7-01";
        assert_eq!(carried.one(ContextHeader::TraceParent), Some(parent));
    }
}

#[test]
fn promises() {
    for recording in [OLD, OLD_COMPRESSED, NEW] {
        keep("clickhouse", &captured(recording));
    }
}

/// The beginning of a conversation: greetings, and the first query with all that answers it.
fn begun(recording: &str) -> (Wire, Vec<Part>) {
    let parts = captured(recording);
    let end = 2 + parts.iter().skip(2).position(|part| part.bytes == [4]).unwrap();
    let mut wire = Wire::new();
    for part in &parts[..end] {
        if part.request {
            wire.send(&part.bytes)
        } else {
            wire.receive(&part.bytes)
        };
    }
    (wire, parts)
}

/// A query that this recording asks, and what answers it.
fn asked(parts: &[Part], what: &str) -> (Vec<u8>, Vec<u8>) {
    let is = |part: &&Part| part.request && part.bytes.windows(what.len()).any(|window| window == what.as_bytes());
    let place = parts.iter().position(|part| is(&part)).unwrap();
    let until = |part: &&Part| part.bytes != [4];
    let turn = || parts[place..].iter().take_while(until);
    let bytes = |request: bool| turn().filter(|p| p.request == request).flat_map(|p| p.bytes.clone()).collect();
    (bytes(true), bytes(false))
}

#[test]
fn what_is_not_captured_of_numbers_is_passed_over() {
    let (mut wire, parts) = begun(NEW);
    let (query, answer) = asked(&parts, "FROM types");
    wire.send(query);
    // In the block of three rows, the first column: 24 bytes behind its header.
    let at = answer.windows(8).position(|w| w == b"n\x06UInt64").unwrap();
    let data = at + 8 + answer[at + 8..].windows(8).position(|w| w == b"n\x06UInt64").unwrap() + 9;
    wire.receive(&answer[..data + 2]).hole(Receive, 20, Gap::NotCaptured).receive(&answer[data + 22..]);
    let last = &wire.out[wire.out.len() - 1];
    assert_eq!(
        (&*last.name, int(last, "db.response.returned_rows"), last.holes),
        ("SELECT types", Some(3), Holes::default())
    );
}

#[test]
fn what_is_not_captured_of_strings_is_searched_for_the_end() {
    for ended in [true, false] {
        let (mut wire, parts) = begun(NEW);
        let (query, answer) = asked(&parts, "FROM big");
        wire.send(&query);
        let (seen, rest) = answer.split_at(answer.len() / 3 + 5000);
        let (unseen, last) = rest.split_at(6000);
        wire.receive(&seen[..seen.len() - 3000]).hole(Receive, unseen.len() as u64 + 3000, Gap::NotCaptured);
        if ended {
            wire.receive(&last[last.len() - 2000..]);
        } else {
            wire.receive(&last[..1000]);
        }
        let (query, answer) = asked(&parts, "OPTIMIZE");
        wire.send(query).receive(answer);
        let big = &wire.out[1];
        assert_eq!((&*big.name, big.holes.length), ("SELECT big", true));
        // That was said before what was found again.
        assert_eq!(int(big, "db.response.returned_rows"), None);
        assert_eq!((&*wire.out[2].name, wire.out[2].holes.pairing), ("OPTIMIZE", !ended));
    }
}

#[test]
fn joined_in_the_middle() {
    for recording in [OLD, OLD_COMPRESSED, NEW] {
        let parts = captured(recording);
        let (query, answer) = asked(&parts, "SELECT id");
        let mut wire = Wire::new().joined_at(5000, 7000);
        // What a client adds to its greeting is not seen.
        wire.send(query.strip_prefix(&[0]).unwrap_or(&query));
        assert_eq!(wire.understanding(), Understanding::Understood("clickhouse"));
        // By which of several revisions it is written does not show everywhere: then, the end is searched for.
        wire.receive(answer);
        let only = &wire.out[0];
        assert_eq!((&*only.name, only.attributes.get("db.namespace")), ("SELECT orders", None));
    }
}

/// A greeting's beginning, of both sides.
fn hello(revision: u64) -> Vec<u8> {
    let mut bytes = b"\0\x0aClickHouse\x18\x08".to_vec();
    bytes.extend([(revision & 0x7f | 0x80) as u8, (revision >> 7 & 0x7f | 0x80) as u8, (revision >> 14) as u8]);
    bytes
}

#[test]
fn packets_in_chunks_are_left_alone() {
    let mut wire = Wire::new();
    wire.send([&hello(54470)[..], b"\x04shop\x03app\x06secret"].concat());
    let strings = b"\x03UTC\x04host\x01\x10chunked_optional\x10chunked_optional\0\x01\x01\x01\x01\x01\x01\x01\x01";
    wire.receive([&hello(54470)[..], strings].concat());
    assert_eq!(wire.understanding(), Understanding::Understood("clickhouse"));
    wire.send(b"\0\x07chunked\x07chunked");
    assert_eq!(wire.understanding(), Understanding::Switched("clickhouse"));
}

/// Both greetings of a connection of this revision, and what the client adds.
fn greeted(revision: u64) -> Wire {
    let mut wire = Wire::new();
    wire.send([&hello(revision)[..], b"\x04shop\x03app\x06secret"].concat());
    let chunks = b"\x0anotchunked\x0anotchunked";
    // Replicas' protocol; time zone, name, patch; chunks; no rules; eight bytes; no settings; plans' and cluster functions' versions.
    let more = [&b"\x08\x03UTC\x04host\x01"[..], chunks, b"\0\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\x01"].concat();
    wire.receive([&hello(revision)[..], &more].concat());
    if wire.understanding() == Understanding::Understood("clickhouse") {
        wire.send([b"\0", &chunks[..], b"\x08"].concat());
    }
    wire
}

/// What queries of each revision have at the end of who asks.
#[test]
fn the_newest_revisions() {
    for (revision, more) in [(54_484, &b""[..]), (54_485, b"\x02me"), (54_486, b"\x02me\0"), (54_492, b"\x02me\0\0")] {
        let mut wire = greeted(revision);
        let asks =
            [b"\x01\0\x01\0\0\x0b127.0.0.1:1\0\0\0\0\0\0\0\0\x01\x02me\x04host\x03cli\x18\x08", &hello(revision)[14..]];
        let rest: [&[u8]; 3] = [b"\0\0\x03\0\0\0\0\0\0\0", more, b"\0\0\0\x02\0\x0fSELECT v FROM t\0"];
        wire.send([&asks.concat()[..], &rest.concat(), b"\x02\0\x01\0\x02\xff\xff\xff\xff\0\0\0"].concat());
        let block = b"\x01\0\x01\0\x02\xff\xff\xff\xff\0\x01\x02\x01v\x06String\0";
        let strings: &[u8] = if revision < 54_492 {
            b"\x02ab\x03cde"
        } else {
            // Where each ends, then all of them.
            b"\x02\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0abcde"
        };
        wire.receive([&block[..], strings, b"\x06\x02\x01\x05\0\0\x01\0\0\x05"].concat());
        let only = &wire.out[0];
        assert_eq!((&*only.name, only.holes, only.end), ("SELECT t", Holes::default(), wire.now), "{revision}");
        assert_eq!(int(only, "db.response.returned_rows"), Some(2));
    }
    // Of one that is not known, nothing is guessed.
    assert_eq!(greeted(54_493).understanding(), Understanding::Switched("clickhouse"));
}

#[test]
fn an_exception_whose_trace_is_longer_than_what_is_captured() {
    let (mut wire, parts) = begun(NEW);
    let before = wire.out.len();
    let (query, answer) = asked(&parts, "FROM types");
    // Its trace has 3,211 bytes.
    let failure = b"\x02\x3c\0\0\0\x0dDB::Exception\x16DB::Exception: Table .\x8b\x190. /lib/x86_64";
    let whole = failure.len() as u64 - 14 + 3211 + 1;
    wire.send(&query).receive(failure).hole(Receive, whole - failure.len() as u64, Gap::NotCaptured);
    wire.send(&query).receive(answer);
    let told: Vec<_> =
        wire.out.iter().skip(before).map(|e| (&*e.name, e.holes, e.attributes.get("error.type"))).collect();
    assert_eq!(told[0].0, "SELECT types");
    assert_eq!((told[0].1, told[0].2), (Holes::default(), Some(&"60".into())));
    assert_eq!((told[1].1, told[1].2, told.len()), (Holes::default(), None, 2));
}

#[test]
fn a_type_that_is_not_known_and_a_column_that_is_sparse() {
    let (query, _) = asked(&captured(NEW), "FROM big");
    let block = |column: &[u8]| [&b"\x01\0\x01\0\x02\xff\xff\xff\xff\0\x01\x02"[..], column].concat();
    let end = b"\x06\x02\x01\x08\0\0\0\x01\0\x01\0\x02\xff\xff\xff\xff\0\0\0\x05";
    for column in [&b"\x01v\x07Dynamic\0abcdefgh"[..], b"\x01v\x06UInt64\x01\x01abcdefgh"] {
        let (mut wire, _) = begun(NEW);
        wire.send(&query).receive(block(column)).receive(end);
        let last = &wire.out[wire.out.len() - 1];
        assert_eq!((&*last.name, last.holes), ("SELECT big", Holes { length: true, ..Holes::default() }));
    }
}
