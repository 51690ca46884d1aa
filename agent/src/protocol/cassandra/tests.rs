use crate::protocol::{
    Understanding, Verdict,
    framed::Role,
    promises::{captured, heard, keep, told},
    testing::{Wire, text},
};

const V3: &str = include_str!("v3.txt");
const V4: &str = include_str!("v4.txt");
const V5: &str = include_str!("v5.txt");
const CONTROL: &str = include_str!("control.txt");
const COMPRESSED_V4: &str = include_str!("compressed_v4.txt");
const COMPRESSED_V5: &str = include_str!("compressed_v5.txt");

const KEYS: [&str; 4] = ["db.namespace", "db.response.returned_rows", "cassandra.consistency.level", "error.type"];

#[test]
fn the_same_in_all_versions() {
    for recording in [V3, V4, V5] {
        for server in [false, true] {
            let wire = heard(&captured(recording), server);
            // In one of them, the driver has asked for the state of the cluster in between.
            let all: Vec<_> = told(&wire, &KEYS).into_iter().filter(|told| !told.contains("system.")).collect();
            assert_eq!(
                all[..24],
                [
                    "OPTIONS | - | - | - | -",
                    "STARTUP | - | - | - | -",
                    "CREATE KEYSPACE shop | - | - | local_one | -",
                    "CREATE TABLE shop.orders | - | - | local_one | -",
                    "USE shop | - | - | local_one | -",
                    "USE \"shop\" | shop | - | one | -",
                    "INSERT orders | shop | - | local_one | -",
                    "SELECT orders | shop | 1 | local_one | -",
                    "PREPARE INSERT orders | shop | - | - | -",
                    "INSERT orders | shop | - | local_one | -",
                    "INSERT orders | shop | - | local_one | -",
                    "INSERT orders | shop | - | local_one | -",
                    "INSERT orders | shop | - | local_one | -",
                    "INSERT orders | shop | - | local_one | -",
                    "INSERT orders | shop | - | local_one | -",
                    "INSERT orders | shop | - | local_one | -",
                    "INSERT orders | shop | - | local_one | -",
                    "INSERT orders | shop | - | local_one | -",
                    "PREPARE SELECT orders | shop | - | - | -",
                    "SELECT orders | shop | 1 | local_one | -",
                    "BATCH | shop | - | - | -",
                    "BATCH INSERT orders | shop | - | local_one | -",
                    "SELEC | shop | - | local_one | SYNTAX_ERROR",
                    "SELECT nothing | shop | - | local_one | INVALID"
                ]
            );
            assert!(all.len() > 30 && all[24..].iter().all(|told| told == all[9].as_str()), "{all:#?}");
            assert_eq!(
                text(&wire.out[wire.out.len() - 1], "db.query.text"),
                "INSERT INTO orders (id, who) VALUES (?, ?)"
            );
            assert!(wire.out.iter().all(|e| text(e, "db.system.name") == "cassandra"));
        }
    }
}

#[test]
fn promises() {
    for text in [V3, V4, V5, CONTROL] {
        keep("cassandra", &captured(text));
    }
}

/// A frame of version 4, or of what `version` says.
fn frame(version: u8, flags: u8, stream: i16, opcode: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[version, flags][..], &stream.to_be_bytes(), &[opcode], &length, body].concat()
}

fn query(stream: i16, cql: &str) -> Vec<u8> {
    let text = [&u32::try_from(cql.len()).unwrap().to_be_bytes()[..], cql.as_bytes(), &[0, 1, 0]].concat();
    frame(4, 0, stream, 7, &text)
}

fn void(stream: i16) -> Vec<u8> {
    frame(0x84, 0, stream, 8, &[0, 0, 0, 1])
}

#[test]
fn answers_in_any_order() {
    let mut wire = Wire::new();
    wire.send(query(1, "SELECT a FROM t WHERE b = 'Ada'")).send(query(2, "DELETE FROM u WHERE a = 1"));
    wire.receive(void(2)).receive(void(1));
    assert_eq!(
        told(&wire, &["db.query.text", "db.collection.name"]),
        ["DELETE u | DELETE FROM u WHERE a = ? | u", "SELECT t | SELECT a FROM t WHERE b = ? | t"]
    );
}

#[test]
fn warnings_tracing_and_payload_come_first() {
    let mut wire = Wire::new();
    let text = [&[0, 1, 0, 1, b'k', 0, 0, 0, 2, 1, 2, 0, 0, 0, 5][..], b"USE a", &[0, 1, 0]].concat();
    wire.send(query(0, "USE b")).receive(void(0)).send(frame(4, 4, 1, 7, &text));
    let result = [&[7; 16][..], &[0, 1, 0, 1, b'w', 0, 0, 0, 0, 0, 3, 0, 1, b'a']].concat();
    wire.receive(frame(0x84, 2 | 8 | 4, 1, 8, &result)).send(query(2, "SELECT x FROM t")).receive(void(2));
    assert_eq!(told(&wire, &["db.namespace"]), ["USE b | -", "USE a | -", "SELECT t | a"]);
}

#[test]
fn what_is_compressed_is_not_guessed() {
    let wire = heard(&captured(COMPRESSED_V4), false);
    assert_eq!(wire.understanding(), Understanding::Understood("cassandra"));
    let query = &wire.out[2];
    assert!(query.holes.request_head && query.holes.response_head && query.attributes.get("db.query.text").is_none());
    assert_eq!(query.name, "QUERY");
    // Of segments that are compressed, nothing can be told.
    for server in [false, true] {
        let wire = heard(&captured(COMPRESSED_V5), server);
        assert_eq!(wire.understanding(), Understanding::Switched("cassandra"));
        assert_eq!(told(&wire, &["error.type"]), ["OPTIONS | -", "STARTUP | -"]);
    }
}

#[test]
fn a_statement_that_was_prepared_elsewhere_has_no_text() {
    let mut wire = Wire::new();
    let body = [&[0, 16][..], &[9; 16], &[0, 1, 0]].concat();
    wire.send(query(0, "SELECT a FROM t")).receive(void(0)).send(frame(4, 0, 1, 10, &body)).receive(void(1));
    assert_eq!(wire.out[1].name, "EXECUTE");
    assert!(wire.out[1].holes.request_head && wire.out[1].attributes.get("db.query.text").is_none());
}

#[test]
fn an_envelope_in_several_segments() {
    let parts = captured(V5);
    let mut wire = Wire::new();
    for part in &parts[..4] {
        if part.request {
            wire.send(&part.bytes)
        } else {
            wire.receive(&part.bytes)
        };
    }
    let cql = format!("SELECT a FROM t WHERE b = '{}'", "x".repeat(200));
    let text = [&u32::try_from(cql.len()).unwrap().to_be_bytes()[..], cql.as_bytes(), &[0, 1, 0, 0, 0, 0]].concat();
    let envelope = frame(5, 0, 9, 7, &text);
    let (first, second) = envelope.split_at(100);
    let segment = |bytes: &[u8], whole: bool| super::segment::tests::segment(bytes, whole);
    wire.send(segment(first, false)).send(segment(second, false));
    wire.receive(segment(
        &[frame(0x85, 0, 9, 8, &[0, 0, 0, 1]), frame(0x85, 0, -1, 12, b"\0\x0dSTATUS_CHANGE")].concat(),
        true,
    ));
    let last = wire.out.last().unwrap();
    assert_eq!((last.name.as_str(), last.end > last.request_end, last.holes.no_response), ("SELECT t", true, false));
    // Whole envelopes only: one that is longer than its segment is none.
    wire.send(segment(first, true));
    assert_eq!(wire.understanding(), Understanding::Not(crate::protocol::Foreign::Malformed));
}

#[test]
fn what_is_not_cassandra() {
    let begins = |bytes: &[u8]| super::begins(Role::Request, bytes);
    let good = query(1, "SELECT a FROM t");
    assert_eq!(begins(&good), Verdict::Yes);
    assert_eq!(super::begins(Role::Response, &good), Verdict::No);
    assert_eq!(begins(&good[..6]), Verdict::More);
    // Version, flags, stream, opcode, length, the text's length, its first letter.
    for (at, byte) in [(0, 2), (1, 0x20), (2, 0x80), (4, 8), (5, 0x7f), (9, 1), (13, 7)] {
        let mut bytes = good.clone();
        bytes[at] = byte;
        assert_eq!(begins(&bytes), Verdict::No, "{bytes:?}");
    }
    for bytes in [&[0; 64][..], &[4; 64], b"\x04\0\0\0\x05\0\0\0\0more", b"\x10\x00\x02abc\x05"] {
        assert_eq!(begins(bytes), Verdict::No, "{bytes:?}");
    }
}

#[test]
fn lengths_that_lie() {
    for body in [&[0xff, 0xff, 0xff, 0xff][..], &[0x7f, 0xff, 0xff, 0xff, b'S'], &[0, 0, 0, 0], &[]] {
        let mut wire = Wire::new();
        wire.send(query(0, "SELECT a FROM t")).receive(void(0)).send(frame(4, 0, 1, 7, body)).receive(void(1));
        assert_eq!(wire.out.len(), 2, "{body:?}");
    }
    let batch = [&[0, 0xff, 0xff][..], &[0; 9]].concat();
    let mut wire = Wire::new();
    wire.send(query(0, "SELECT a FROM t")).receive(void(0)).send(frame(4, 0, 1, 13, &batch)).receive(void(1));
    assert_eq!(wire.out[1].name, "BATCH");
    wire.send(frame(4, 0, 1, 7, &[])).receive(frame(0x84, 0, 1, 8, &[0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]));
    assert!(wire.out[2].attributes.get("db.response.returned_rows").is_none());
    wire.send([4, 0, 0, 1, 7, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(wire.understanding(), Understanding::Not(crate::protocol::Foreign::Malformed));
}
