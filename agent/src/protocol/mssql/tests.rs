//! Conversations of real clients, one by one, and what they do not say.

use crate::{
    conn::Gap,
    event::Direction::Receive,
    protocol::{
        Exchange, Holes, Understanding, Value,
        promises::{captured, heard, keep, keep_one, told},
        testing::{Wire, cut, play, text},
    },
};

const PYTDS: &str = include_str!("pytds.txt");
const TEDIOUS: &str = include_str!("tedious.txt");
const FREETDS: &str = include_str!("freetds.txt");
const GO: &str = include_str!("go_mssqldb.txt");
const KEYS: [&str; 4] = ["db.namespace", "db.response.returned_rows", "db.stored_procedure.name", "error.type"];

/// A packet: a message, or with `status` 0, the beginning of one.
pub(super) fn packet(kind: u8, status: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
    [&[kind, status][..], &length, &[0, 0, 1, 0], payload].concat()
}

pub(super) fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

const HEADERS: [u8; 22] = [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

pub(super) fn batch(sql: &str) -> Vec<u8> {
    packet(1, 1, &[&HEADERS[..], &wide(sql)].concat())
}

/// The end of a statement: a SELECT, with so many rows.
pub(super) fn done(status: u16, rows: u64) -> Vec<u8> {
    [&[0xfd][..], &status.to_le_bytes(), &[0xc1, 0], &rows.to_le_bytes()].concat()
}

/// One column, of numbers.
pub(super) const COLUMNS: &[u8] = &[0x81, 1, 0, 0, 0, 0, 0, 9, 0, 0x26, 4, 1, b'a', 0];
pub(super) const ROW: &[u8] = &[0xd1, 4, 1, 0, 0, 0];

pub(super) fn error(number: i32) -> Vec<u8> {
    let body = [&number.to_le_bytes()[..], &[1, 16, 1, 0, b'x', 0, 0, 0, 0, 0, 0, 0]].concat();
    [&[0xaa, u8::try_from(body.len()).unwrap(), 0][..], &body].concat()
}

#[test]
fn what_pytds_asks() {
    for server in [false, true] {
        let wire = heard(&captured(PYTDS), server);
        assert_eq!(
            told(&wire, &KEYS),
            [
                "BEGIN TRANSACTION | shop | - | - | -",
                "SELECT orders | shop | 3 | - | -",
                "SELECT [dbo].[orders] | shop | 1 | - | -",
                "INSERT orders | shop | - | - | -",
                "COMMIT TRANSACTION | shop | - | - | -",
                "BEGIN TRANSACTION | shop | - | - | -",
                "SELECT big | shop | 700 | - | -",
                "SELECT two SELECT two | shop | 5 | - | -",
                "SELECT long | shop | 1 | - | -",
                "EXECUTE dbo.place_order | shop | 1 | dbo.place_order | -",
                "EXECUTE failing | shop | - | failing | 50000",
                "SELECT nothing | shop | - | - | 208",
                "USE other | shop | - | - | -",
                "SELECT orders | other | 3 | - | -",
                "SELECT orders | other | 3 | - | -",
                "ROLLBACK TRANSACTION | other | - | - | -",
            ]
        );
        assert_eq!(text(&wire.out[1], "db.query.text"), "SELECT id, who FROM orders WHERE who = ?");
        assert_eq!(text(&wire.out[2], "db.query.text"), "SELECT id FROM [dbo].[orders] WHERE id = @P1 AND who = @P2");
        assert_eq!(text(&wire.out[11], "db.response.status_code"), "208");
        assert!(wire.out.iter().all(|e| text(e, "db.system.name") == "microsoft.sql_server"));
        assert_eq!((wire.count("orphans"), wire.count("unpaired")), (0, 0));
    }
}

#[test]
fn what_tedious_prepares() {
    for server in [false, true] {
        let wire = heard(&captured(TEDIOUS), server);
        let all = told(&wire, &KEYS);
        assert_eq!(
            all[1..],
            [
                "SELECT orders | shop | 1 | - | -",
                "PREPARE SELECT orders | shop | - | - | -",
                "SELECT orders | shop | 1 | - | -",
                "SELECT orders | shop | 1 | - | -",
                "DEALLOCATE | shop | - | - | -",
                "EXECUTE dbo.place_order | shop | 1 | dbo.place_order | -",
                "SELECT nothing | shop | - | - | 208",
                "BEGIN TRANSACTION | shop | - | - | -",
                "COMMIT TRANSACTION | shop | - | - | -",
            ]
        );
        assert_eq!(text(&wire.out[3], "db.query.text"), "SELECT id, who FROM orders WHERE id = @id");
        // What it sets up the connection with.
        assert!(text(&wire.out[0], "db.query.text").starts_with("set ansi_nulls on"));
    }
}

#[test]
fn what_freetds_asks() {
    for server in [false, true] {
        let wire = heard(&captured(FREETDS), server);
        let all = told(&wire, &KEYS);
        assert!(all[0].starts_with("SET SET "), "{}", all[0]);
        assert_eq!(
            all[1..],
            [
                "use [shop] | shop | - | - | -",
                "BEGIN | shop | - | - | -",
                "CREATE TABLE users | shop | - | - | -",
                "INSERT users | shop | - | - | -",
                "COMMIT | shop | - | - | -",
                "BEGIN | shop | - | - | -",
                "SELECT users | shop | 3 | - | -",
                "EXECUTE dbo.place_order | shop | 1 | dbo.place_order | -",
                "SELECT nobody | shop | - | - | 208",
            ]
        );
        assert_eq!(text(&wire.out[7], "db.query.text"), "SELECT TOP (?) id, name FROM users WHERE name = ?");
    }
}

/// It sets a session that is used again to its beginning by a bit of the next request's status.
#[test]
fn what_go_asks() {
    for server in [false, true] {
        let wire = heard(&captured(GO), server);
        assert_eq!(
            told(&wire, &KEYS),
            [
                "CREATE TABLE users | shop | - | - | -",
                "INSERT users | shop | - | - | -",
                "SELECT users | shop | 3 | - | -",
                "SELECT users | shop | 1 | - | -",
                "SELECT users | shop | 1 | - | -",
                "EXECUTE dbo.place_order | shop | 1 | dbo.place_order | -",
                "BEGIN TRANSACTION | shop | - | - | -",
                "INSERT users | shop | - | - | -",
                "COMMIT TRANSACTION | shop | - | - | -",
                "SELECT nobody | shop | - | - | 208",
                "WAITFOR | shop | - | - | canceled",
            ]
        );
        assert_eq!(text(&wire.out[2], "db.query.text"), "SELECT TOP (?) id, name FROM users WHERE name = @p1");
    }
}

#[test]
fn promises() {
    for text in [PYTDS, TEDIOUS, FREETDS, GO] {
        keep("mssql", &captured(text));
    }
}

/// The rest of a request is lost, which shows only after its answer; again and again.
#[test]
fn an_error_is_nobody_elses() {
    for text in [PYTDS, TEDIOUS, FREETDS, GO] {
        keep_one("mssql", &captured(text), &[63, 10, 143], false, &|call| [3, 28, 35, 38].contains(&(call % 40)));
    }
}

#[test]
fn nobody_is_named() {
    for (text, server) in [(PYTDS, false), (TEDIOUS, true), (FREETDS, false), (GO, true)] {
        let wire = heard(&captured(text), server);
        let all = format!("{:?}", wire.out);
        assert!(!all.contains("Ada") && !all.contains("Pa55") && !all.contains("secret") && !all.contains("no such"));
    }
}

#[test]
fn joined_in_the_middle() {
    let mut wire = Wire::new().joined_at(100, 900);
    wire.send(batch("SELECT a FROM t")).receive(packet(4, 1, &[COLUMNS, ROW, &done(0x10, 1)].concat()));
    assert_eq!(wire.understanding(), Understanding::Understood("mssql"));
    assert_eq!((&*wire.out[0].name, wire.out[0].attributes.get("db.namespace")), ("SELECT t", None));
    let mut wire = Wire::new().joined_at(100, 900);
    wire.receive(packet(4, 1, &[COLUMNS, ROW, &done(0x10, 1)].concat()));
    assert_eq!(wire.understanding(), Understanding::Understood("mssql"));
}

/// Before version 7.2 requests have no headers. In the middle of a connection, text and names that fill their packet are sure.
#[test]
fn older_clients_joined_in_the_middle() {
    let named = [&[5, 0][..], &wide("p_Get"), &[0, 0, 0, 0, 0x26, 4, 4, 1, 0, 0, 0]].concat();
    let numbered =
        [&[0xff, 0xff, 10, 0, 0, 0, 0, 0][..], &[0xe7, 0xa0, 0x0f, 9, 4, 0xd0, 0, 0x34, 2, 0], &wide("x")].concat();
    let text = wide("COMMIT TRANSACTION");
    for (kind, payload, name) in
        [(3, named, "EXECUTE p_Get"), (1, text.clone(), "COMMIT"), (3, numbered, "sp_executesql")]
    {
        let asked = packet(kind, 1, &payload);
        let mut wire = Wire::new().joined_at(100, 900);
        wire.send(&asked);
        assert_eq!(wire.understanding(), Understanding::Understood("mssql"), "{name}");
        // Cut anywhere, it is sure only with its end.
        for end in 1..asked.len() {
            let mut wire = Wire::new().joined_at(100, 900);
            wire.send(&asked[..end]);
            assert_eq!(wire.understanding(), Understanding::Detecting, "{name} {end}");
            wire.send(&asked[end..]);
            assert_eq!(wire.understanding(), Understanding::Understood("mssql"), "{name} {end}");
        }
    }
    // What has the form of a packet and says nothing of the kind; too little.
    for payload in [&b"\x10\0\0\0name\0\0\0\0\0\0\0\0"[..], &wide("GO"), &[5, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]] {
        for kind in [1, 3] {
            let mut wire = Wire::new().joined_at(100, 900);
            wire.send(packet(kind, 1, payload));
            assert_ne!(wire.understanding(), Understanding::Understood("mssql"), "{payload:?}");
        }
    }
}

#[test]
fn an_answer_that_is_stopped() {
    let stop = packet(6, 1, b"");
    // Stopped in the middle.
    let mut wire = Wire::new();
    wire.send(batch("SELECT a FROM t")).receive(packet(4, 0, &[COLUMNS, ROW].concat())).send(&stop);
    wire.receive(packet(4, 1, &[ROW, &done(0x20, 0)].concat()));
    // It had ended already: what answers the request to stop is a message of its own.
    wire.send(batch("SELECT b FROM t")).send(&stop);
    wire.receive(packet(4, 1, &[COLUMNS, &done(0x10, 0)].concat())).receive(packet(4, 1, &done(0x20, 0)));
    wire.send(batch("SELECT c FROM u")).receive(packet(4, 1, &[COLUMNS, &done(0x10, 0)].concat()));
    assert_eq!(told(&wire, &["error.type"]), ["SELECT t | canceled", "SELECT t | -", "SELECT u | -"]);
    assert_eq!((wire.count("orphans"), wire.count("unpaired")), (0, 0));
}

#[test]
fn what_is_not_captured_of_rows_is_not_guessed() {
    for (end, outcome) in [(done(0x10, 9), None), (done(2, 0), Some("_OTHER"))] {
        let mut wire = Wire::new();
        wire.send(batch("SELECT a FROM t"));
        let answer = packet(4, 1, &[COLUMNS, &ROW.repeat(400), &end].concat());
        let (seen, rest) = answer.split_at(1000);
        let (unseen, last) = rest.split_at(500);
        wire.receive(seen).hole(Receive, unseen.len() as u64, Gap::NotCaptured).receive(last);
        let exchange = &wire.out[0];
        assert_eq!(exchange.holes, Holes { response_head: true, ..Holes::default() });
        assert_eq!(exchange.attributes.get("db.response.returned_rows"), None);
        // The head of the packet is cut: its end is not looked at.
        assert_eq!(exchange.attributes.get("error.type"), None);
        // In a packet of its own, it is.
        let mut wire = Wire::new();
        wire.send(batch("SELECT a FROM t"));
        let answer = packet(4, 0, &[COLUMNS, &ROW.repeat(400)].concat());
        wire.receive(&answer[..500]).hole(Receive, answer.len() as u64 - 500, Gap::NotCaptured);
        wire.receive(packet(4, 1, &[ROW, &end].concat()));
        let error = wire.out[0].attributes.get("error.type").map(|_| text(&wire.out[0], "error.type"));
        assert_eq!((error, wire.out[0].holes.response_head), (outcome, true));
    }
}

#[test]
fn a_text_in_several_packets() {
    let mut wire = Wire::new();
    let text = wide(&format!("SELECT a FROM t WHERE b IN ({})", vec!["'secret'"; 900].join(", ")));
    let (first, rest) = text.split_at(4066);
    let middle = rest.chunks(4088).next().unwrap();
    wire.send(packet(1, 0, &[&HEADERS[..], first].concat())).send(packet(1, 0, middle)).send(packet(
        1,
        1,
        &rest[4088..],
    ));
    wire.receive(packet(4, 1, &[COLUMNS, &done(0x10, 0)].concat()));
    assert_eq!(
        told(&wire, &["error.type"]),
        [format!("SELECT t | - {:?}", Holes { request_head: true, ..Holes::default() })]
    );
    assert!(wire.out[0].request_end > wire.out[0].start && !format!("{:?}", wire.out).contains("secret"));
}

#[test]
fn encryption() {
    let prelogin = |encryption| packet(0x12, 1, &[0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 16, 0, 0, 0, 0, 0, encryption]);
    let answer = |encryption| [&[4][..], &prelogin(encryption)[1..]].concat();
    // Of everything: left alone.
    let mut wire = Wire::new();
    wire.send(prelogin(1)).receive(answer(1));
    assert_eq!(wire.understanding(), Understanding::Switched("mssql"));
    // Of the login only: a handshake within packets, the login as a record, and then all is plain.
    let mut wire = Wire::new();
    wire.send(prelogin(0)).receive(answer(0));
    let hello = b"\x16\x03\x01\x00\x04\x01\x00\x00\x00";
    wire.send(packet(0x12, 1, hello)).receive(packet(0x12, 1, hello)).send(packet(0x12, 1, hello));
    wire.receive(packet(0x12, 1, hello)).send(b"\x17\x03\x03\x00\x05abcde");
    let database = [0xe3, 19, 0, 1, 4, b's', 0, b'h', 0, b'o', 0, b'p', 0, 4, b'm', 0, b'a', 0, b's', 0, b't', 0];
    wire.receive(packet(4, 1, &[&database[..], &done(0, 0)].concat()));
    wire.send(batch("SELECT a FROM t")).receive(packet(4, 1, &[COLUMNS, ROW, &done(0x10, 1)].concat()));
    assert_eq!(told(&wire, &KEYS), ["SELECT t | shop | 1 | - | -"]);
}

#[test]
fn several_sessions_on_one_connection() {
    let prelogin =
        |mars| packet(0x12, 1, &[0, 0, 16, 0, 6, 1, 0, 22, 0, 1, 4, 0, 23, 0, 1, 0xff, 16, 0, 0, 0, 0, 0, 2, mars]);
    let answer = |mars| [&[4][..], &prelogin(mars)[1..]].concat();
    for (asked, granted) in [(1, 1), (1, 0), (0, 0)] {
        let mut wire = Wire::new();
        wire.send(prelogin(asked)).receive(answer(granted));
        let left = [Understanding::Understood("mssql"), Understanding::Switched("mssql")][granted as usize];
        assert_eq!(wire.understanding(), left, "{asked} {granted}");
    }
    // Joined later: what is in a session's packets is not taken for the connection's.
    let asked = batch("SELECT a FROM t");
    let length = u32::try_from(16 + asked.len()).unwrap().to_le_bytes();
    let wrapped = [&b"S\x08\0\0"[..], &length, &[1, 0, 0, 0, 4, 0, 0, 0], &asked].concat();
    let mut wire = Wire::new().joined_at(100, 900);
    for _ in 0..4 {
        wire.send(&wrapped).receive(&wrapped);
    }
    assert_eq!((wire.understanding(), wire.asked.len()), (Understanding::Detecting, 0));
}

#[test]
fn a_login_that_is_refused_says_nothing_of_who() {
    let mut wire = Wire::new();
    for part in captured(PYTDS).iter().take(3) {
        if part.request {
            wire.send(&part.bytes)
        } else {
            wire.receive(&part.bytes)
        };
    }
    wire.receive(packet(4, 1, &[error(18456), done(2, 0)].concat())).close();
    assert!(wire.out.is_empty());
    assert_eq!(wire.understanding(), Understanding::Understood("mssql"));
}

/// Its header is there, the rest is lost: the answer to it is not the next request's.
#[test]
fn a_greeting_that_is_cut() {
    let parts = cut(&captured(PYTDS), &[8, 104]);
    let mut wire = Wire::new();
    play(&mut wire, &parts, false, usize::MAX, &|i| i == 1);
    let rows = |e: &Exchange| (e.name.to_string(), e.holes, e.attributes.get("db.response.returned_rows").cloned());
    assert_eq!(rows(&wire.out[1]), ("SELECT orders".to_owned(), Holes::default(), Some(Value::Int(3))));
    assert_eq!(rows(&wire.out[2]).2, Some(Value::Int(1)));
}
