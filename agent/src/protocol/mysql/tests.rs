//! Conversations, one by one.

use crate::{
    conn::Gap,
    event::Direction::Receive,
    protocol::{
        Foreign, Holes, Status, Understanding,
        testing::{Wire, int, text},
    },
};

const OLD: u32 = 0x000f_a685 & !(1 << 5);
const NEW: u32 = OLD | 1 << 24;

pub(super) fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes()[..3].to_vec();
    bytes.push(number);
    bytes.extend(payload);
    bytes
}

/// Packets with their numbers, from this one on.
pub(super) fn packets(mut number: u8, payloads: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for payload in payloads {
        bytes.extend(packet(number, payload));
        number = number.wrapping_add(1);
    }
    bytes
}

fn greeting(version: &str, capabilities: u32) -> Vec<u8> {
    let mut payload = vec![10];
    payload.extend(version.bytes());
    payload.extend([0, 1, 0, 0, 0]);
    payload.extend(b"12345678\0");
    payload.extend(&capabilities.to_le_bytes()[..2]);
    payload.extend([33, 2, 0]);
    payload.extend(&capabilities.to_le_bytes()[2..]);
    payload.extend([21]);
    payload.extend([0; 10]);
    payload.extend(b"123456789012\0mysql_native_password\0");
    packet(0, &payload)
}

fn login(capabilities: u32) -> Vec<u8> {
    let mut payload = (capabilities | 1 << 3 | 1 << 21).to_le_bytes().to_vec();
    payload.extend([0, 0, 0, 1, 33]);
    payload.extend([0; 23]);
    payload.extend(b"app\0\x0412\x00\x01shop\0mysql_native_password\0");
    packet(1, &payload)
}

pub(super) const OK: &[u8] = &[0, 1, 0, 2, 0, 0, 0];
pub(super) const EOF: &[u8] = &[0xfe, 0, 0, 2, 0];
/// The end of rows in the newer protocol.
pub(super) const END: &[u8] = &[0xfe, 0, 0, 2, 0, 0, 0];
pub(super) const COLUMN: &[u8] = b"\x03def\x04shop\x05users\x05users\x04name\x04name\x0c\x21\0\0\0\0\0\xfd\0\0\0\0\0";

pub(super) fn command(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    packet(0, &[&[kind], body.as_ref()].concat())
}

fn query(sql: &str) -> Vec<u8> {
    command(3, sql)
}

fn error(code: u16) -> Vec<u8> {
    [&[0xff], &code.to_le_bytes()[..], b"#42000no"].concat()
}

fn connected(version: &str, capabilities: u32) -> Wire {
    let mut wire = Wire::new();
    wire.receive(greeting(version, capabilities | 1 << 5)).send(login(capabilities)).receive(packet(2, OK));
    wire
}

fn names(wire: &Wire) -> Vec<&str> {
    wire.out.iter().map(|e| &*e.name).collect()
}

fn rows(wire: &Wire) -> Vec<Option<i64>> {
    wire.out.iter().map(|e| int(e, "db.response.returned_rows")).collect()
}

fn result(capabilities: u32, rows: usize) -> Vec<u8> {
    let row: &[u8] = b"\x03ann";
    let (between, end): (&[&[u8]], _) = if capabilities == NEW { (&[], END) } else { (&[EOF], EOF) };
    packets(1, &[&[&[1_u8][..], COLUMN][..], between, &vec![row; rows], &[end]].concat())
}

#[test]
fn a_query_in_both_versions_and_on_both_sides() {
    for capabilities in [OLD, NEW] {
        let mut wire = connected("5.5.5-10.11.6-MariaDB-0+deb12u1", capabilities);
        wire.send(query("SELECT `name` FROM users WHERE id = \"secret\"")).receive(result(capabilities, 3));
        assert_eq!((names(&wire), rows(&wire)), (vec!["SELECT users"], vec![Some(3)]));
        for (key, value) in [
            ("db.system.name", "mariadb"),
            ("db.namespace", "shop"),
            ("db.collection.name", "users"),
            ("db.operation.name", "SELECT"),
            ("db.query.text", "SELECT `name` FROM users WHERE id = ?"),
        ] {
            assert_eq!(text(&wire.out[0], key), value, "{key}");
        }
        assert_eq!(wire.out[0].holes, Holes::default());
        let mut wire = Wire::new();
        wire.send(greeting("8.0.36", capabilities)).receive(login(capabilities)).send(packet(2, OK));
        wire.receive(query("DELETE FROM users"))
            .send(packet(1, OK))
            .receive(query("SELECT 1"))
            .send(result(capabilities, 0));
        assert_eq!((names(&wire), rows(&wire)), (vec!["DELETE users", "SELECT"], vec![None, Some(0)]));
        assert_eq!(text(&wire.out[0], "db.system.name"), "mysql");
    }
}

#[test]
fn errors() {
    let mut wire = connected("8.0.36", NEW);
    wire.send(query("SELEC")).receive(packet(1, &error(1064)));
    assert_eq!((text(&wire.out[0], "db.response.status_code"), text(&wire.out[0], "error.type")), ("1064", "1064"));
    assert_eq!(wire.out[0].status, Status::Error("".into()));
    // In the middle of the rows.
    wire.send(query("SELECT * FROM t")).receive(packets(1, &[&[1], COLUMN, b"\x01a", &error(1317)]));
    assert_eq!(text(&wire.out[1], "error.type"), "1317");
}

#[test]
fn several_results() {
    let mut wire = connected("8.0.36", NEW);
    let more: &[u8] = &[0xfe, 0, 0, 10, 0, 0, 0];
    let ok_and_more: &[u8] = &[0, 1, 0, 10, 0, 0, 0];
    wire.send(query("SELECT 1; DELETE FROM a; SELECT 2 FROM b"));
    wire.receive(packets(1, &[&[1], COLUMN, b"\x011", more, ok_and_more, &[1], COLUMN, b"\x011", b"\x011", END]));
    assert_eq!((names(&wire), rows(&wire)), (vec!["SELECT DELETE a SELECT b"], vec![Some(3)]));
}

#[test]
fn prepared_statements() {
    for capabilities in [OLD, NEW] {
        let mut wire = connected("8.0.36", capabilities);
        let described: &[u8] = &[0, 7, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0];
        let ends: &[&[u8]] = if capabilities == OLD { &[EOF] } else { &[] };
        wire.send(command(0x16, "SELECT name FROM users WHERE a = ? AND b = ?"));
        wire.receive(packets(1, &[&[described, COLUMN, COLUMN][..], ends, &[COLUMN], ends].concat()));
        let execute = command(0x17, [7, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        for _ in 0..2 {
            wire.send(&execute).receive(result(capabilities, 2));
        }
        wire.send([command(0x19, [7, 0, 0, 0]), execute].concat()).receive(packet(1, &error(1243)));
        assert_eq!(names(&wire), ["PREPARE SELECT users", "SELECT users", "SELECT users", "EXECUTE"]);
        assert_eq!(rows(&wire), [None, Some(2), Some(2), None]);
        let holes: Vec<_> = wire.out.iter().map(|e| e.holes.request_head).collect();
        assert_eq!(holes, [false, false, false, true]);
    }
}

#[test]
fn a_local_file() {
    let mut wire = connected("8.0.36", NEW);
    wire.send(query("LOAD DATA LOCAL INFILE 'x' INTO TABLE t")).receive(packet(1, b"\xfbx"));
    wire.send(packets(2, &[&[b'x'; 3000], b""])).receive(packet(4, OK));
    assert_eq!((names(&wire), wire.out[0].end), (vec!["LOAD t"], 1070));
}

#[test]
fn what_has_no_answer_and_what_has_one_packet() {
    let mut wire = connected("8.0.36", NEW);
    wire.send(command(0x18, [1, 0, 0, 0, 0, 0])).send(command(0x0e, "")).receive(packet(1, OK));
    wire.send(command(2, "other"))
        .receive(packet(1, OK))
        .send(query("SELECT 1"))
        .receive(result(NEW, 1))
        .send(command(1, ""));
    wire.close();
    assert_eq!(names(&wire), ["PING", "USE other", "SELECT"]);
    assert_eq!(text(&wire.out[2], "db.namespace"), "other");
}

#[test]
fn the_database_is_what_was_changed_to_last_with_success() {
    let mut wire = connected("8.0.36", NEW);
    wire.send(query("use `one`")).receive(packet(1, OK)).send(command(2, "two")).receive(packet(1, &error(1049)));
    wire.send(query("SELECT 1")).receive(result(NEW, 1));
    assert_eq!(names(&wire), ["use `one`", "USE two", "SELECT"]);
    assert_eq!(text(&wire.out[2], "db.namespace"), "one");
}

#[test]
fn encrypted_and_compressed_connections_are_left_alone() {
    let mut wire = Wire::new();
    let mut payload = (NEW | 1 << 11).to_le_bytes().to_vec();
    payload.resize(32, 0);
    wire.receive(greeting("8.0.36", NEW | 1 << 11)).send(packet(1, &payload));
    assert_eq!(wire.understanding(), Understanding::Not(Foreign::Tls));
    let wire = connected("8.0.36", NEW | 1 << 5);
    assert_eq!(wire.understanding(), Understanding::Switched("mysql"));
}

/// What the server has said before TLS is known inside of it: who it is, and what it offers.
#[test]
fn what_goes_on_within_tls() {
    let offered = NEW | 1 << 11;
    let mut request = offered.to_le_bytes().to_vec();
    request.resize(32, 0);
    let mut begin = Wire::new();
    begin.receive(greeting("5.5.5-10.11.14-MariaDB", offered)).send(packet(1, &request));
    let mut wire = begin.joined_at(0, 0);
    wire.connection.decrypted = true;
    // Its number goes on.
    let mut answer = login(NEW);
    answer[3] = 2;
    wire.send(answer).receive(packet(3, OK)).send(query("SELECT 1")).receive(result(NEW, 1));
    assert_eq!((names(&wire), rows(&wire)), (vec!["SELECT"], vec![Some(1)]));
    assert_eq!((text(&wire.out[0], "db.system.name"), text(&wire.out[0], "db.namespace")), ("mariadb", "shop"));
    assert_eq!(wire.out[0].holes, Holes::default());
    // Where the login was not seen inside, it is still known who the server is.
    let mut begin = Wire::new();
    begin.receive(greeting("8.0.36", offered)).send(packet(1, &request));
    let mut wire = begin.joined_at(500, 900);
    wire.connection.decrypted = true;
    wire.send(query("SELECT 1")).receive(result(NEW, 1));
    assert_eq!((names(&wire), text(&wire.out[0], "db.system.name")), (vec!["SELECT"], "mysql"));
}

#[test]
fn joined_in_the_middle() {
    for capabilities in [OLD, NEW] {
        let mut wire = Wire::new().joined_at(500, 900);
        for _ in 0..3 {
            wire.send(query("SELECT name FROM users")).receive(result(capabilities, 2));
        }
        assert_eq!(names(&wire), ["SELECT users"; 3]);
        assert_eq!(rows(&wire), [Some(2); 3]);
        assert_eq!(text(&wire.out[0], "db.system.name"), "other_sql");
        assert!(wire.out.iter().map(|e| e.holes.pairing).eq([true, true, false]));
    }
}

#[test]
fn a_large_result_of_which_calls_show_the_beginning() {
    let mut wire = connected("8.0.36", NEW);
    wire.send(query("SELECT * FROM users"));
    let all = result(NEW, 5000);
    for call in all.chunks(16384) {
        let (seen, unseen) = call.split_at(call.len().min(1024));
        wire.receive(seen);
        if !unseen.is_empty() {
            wire.hole(Receive, unseen.len() as u64, Gap::NotCaptured);
        }
    }
    wire.send(query("SELECT 1")).receive(result(NEW, 1));
    assert_eq!(names(&wire), ["SELECT users", "SELECT"]);
    assert_eq!((wire.out[0].holes.length, rows(&wire)), (true, vec![None, Some(1)]));
}

#[test]
fn what_other_protocols_say_is_not_mysql() {
    for bytes in [
        &b"\x05\0\0\0\x03hell"[..],
        b"\x2a\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x15\0\0\0\x10ping\0\x01\0\0\0\0",
        b"\0\0\0\x1a\0\x03\0\0\0\0\0\x01\0\x07console\0\0\0\0",
        b"\x01\0\0\0",
    ] {
        let mut wire = Wire::new();
        wire.send(bytes);
        assert_ne!(wire.understanding(), Understanding::Understood("mysql"), "{}", bytes.escape_ascii());
    }
}
