//! Conversations, one by one.

use crate::{
    conn::{Ending, Gap},
    event::Direction::{Receive, Send},
    protocol::{
        Exchange, Holes, Side, Status, Understanding,
        testing::{Wire, int, text},
    },
};

pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn startup() -> Vec<u8> {
    let mut body = 0x0003_0000_u32.to_be_bytes().to_vec();
    body.extend(b"user\0ann\0database\0shop\0\0");
    [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
}

fn auth() -> Vec<u8> {
    [
        message(b'R', &[0; 4]),
        message(b'S', b"server_version\x0015\0"),
        message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]),
        ready(),
    ]
    .concat()
}

pub(super) fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

pub(super) fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

pub(super) fn tag(tag: &str) -> Vec<u8> {
    message(b'C', &[tag.as_bytes(), b"\0"].concat())
}

pub(super) fn row(size: usize) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend((size as u32).to_be_bytes());
    body.resize(6 + size, b'x');
    message(b'D', &body)
}

pub(super) fn description() -> Vec<u8> {
    message(b'T', b"\0\x01name\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0")
}

fn error(state: &str) -> Vec<u8> {
    message(b'E', format!("SERROR\0VERROR\0C{state}\0Mno\0\0").as_bytes())
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

fn bind(name: &str) -> Vec<u8> {
    message(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes())
}

fn execute() -> Vec<u8> {
    message(b'E', b"\0\0\0\0\0")
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

fn answer(tag_text: &str) -> Vec<u8> {
    [description(), row(3), tag(tag_text)].concat()
}

fn bound(tag_text: &str) -> Vec<u8> {
    [message(b'1', b""), message(b'2', b""), answer(tag_text)].concat()
}

fn connected(server: bool) -> Wire {
    let mut wire = Wire::new();
    if server {
        wire.receive(startup()).send(auth());
    } else {
        wire.send(startup()).receive(auth());
    }
    wire
}

fn names(wire: &Wire) -> Vec<&str> {
    wire.out.iter().map(|e| &*e.name).collect()
}

fn rows(exchange: &Exchange) -> Option<i64> {
    int(exchange, "db.response.returned_rows")
}

#[test]
fn a_simple_query_on_both_sides() {
    for server in [true, false] {
        let mut wire = connected(server);
        let asked = query("SELECT name FROM users WHERE id = 42");
        let answered = [answer("SELECT 1"), ready()].concat();
        if server {
            wire.receive(asked).send(answered);
        } else {
            wire.send(asked).receive(answered);
        }
        assert_eq!(names(&wire), ["SELECT users"]);
        let exchange = &wire.out[0];
        assert_eq!(exchange.side, if server { Side::Server } else { Side::Client });
        assert_eq!((exchange.start, exchange.first_byte, exchange.end), (1030, Some(1040), 1040));
        for (key, value) in [
            ("db.system.name", "postgresql"),
            ("db.namespace", "shop"),
            ("db.operation.name", "SELECT"),
            ("db.collection.name", "users"),
            ("db.query.summary", "SELECT users"),
            ("db.query.text", "SELECT name FROM users WHERE id = ?"),
            ("server.address", if server { "10.0.0.1" } else { "10.0.0.2" }),
            ("network.peer.address", "10.0.0.2"),
        ] {
            assert_eq!(text(exchange, key), value, "{key}");
        }
        assert_eq!((rows(exchange), &exchange.status, exchange.holes), (Some(1), &Status::Unset, Holes::default()));
    }
}

#[test]
fn an_error() {
    let mut wire = connected(false);
    wire.send(query("SELEC 1")).receive([error("42601"), ready()].concat());
    let exchange = &wire.out[0];
    assert_eq!((text(exchange, "db.response.status_code"), text(exchange, "error.type")), ("42601", "42601"));
    assert_eq!(exchange.status, Status::Error("".into()));
    assert_eq!(rows(exchange), None);
}

#[test]
fn several_statements_in_one_query() {
    let mut wire = connected(false);
    wire.send(query("BEGIN; SELECT * FROM a; COMMIT"))
        .receive([tag("BEGIN"), answer("SELECT 7"), tag("COMMIT"), ready()].concat());
    assert_eq!((names(&wire), rows(&wire.out[0])), (vec!["BEGIN SELECT a COMMIT"], Some(7)));
}

#[test]
fn the_extended_protocol() {
    let mut wire = connected(true);
    let all = [parse("", "SELECT * FROM t WHERE a = $1"), bind(""), message(b'D', b"P\0"), execute(), sync()].concat();
    wire.receive(&all).send([bound("SELECT 1"), ready()].concat());
    // Prepared under a name, described, and then executed twice.
    let prepare = [parse("s1", "UPDATE u SET a = $1"), message(b'D', b"Ss1\0"), sync()].concat();
    wire.receive(&prepare).send([message(b'1', b""), message(b't', b"\0\0"), message(b'n', b""), ready()].concat());
    for _ in 0..2 {
        wire.receive([bind("s1"), execute(), sync()].concat())
            .send([message(b'2', b""), tag("UPDATE 3"), ready()].concat());
    }
    assert_eq!(names(&wire), ["SELECT t", "PREPARE UPDATE u", "UPDATE u", "UPDATE u"]);
    assert!(wire.out.iter().all(|e| e.holes == Holes::default()));
    assert_eq!(text(&wire.out[1], "db.operation.name"), "PREPARE");
    assert_eq!(text(&wire.out[3], "db.query.text"), "UPDATE u SET a = $1");
    assert_eq!(wire.out[0].id.place, startup().len() as u64);
}

#[test]
fn parse_and_flush_then_bind() {
    // As asyncpg and the JDBC driver do it.
    let mut wire = connected(false);
    wire.send([parse("", "SELECT 1 FROM t"), message(b'D', b"S\0"), message(b'H', b"")].concat());
    wire.receive([message(b'1', b""), message(b't', b"\0\0"), description()].concat());
    wire.send([bind(""), execute(), sync()].concat())
        .receive([message(b'2', b""), row(1), tag("SELECT 1"), ready()].concat());
    assert_eq!(names(&wire), ["PREPARE SELECT t", "SELECT t"]);
    assert_eq!((wire.out[0].end, wire.out[1].start), (1040, 1050));
}

#[test]
fn a_pipeline_until_sync_with_an_error_in_it() {
    let mut wire = connected(false);
    let one = |sql: &str| [parse("", sql), bind(""), execute()].concat();
    wire.send(
        [one("INSERT INTO a VALUES (1)"), one("INSERT INTO b VALUES (1)"), one("INSERT INTO c VALUES (1)"), sync()]
            .concat(),
    );
    wire.send([one("SELECT 1 FROM d"), sync()].concat());
    wire.receive(
        [message(b'1', b""), message(b'2', b""), tag("INSERT 0 1"), message(b'1', b""), error("23505"), ready()]
            .concat(),
    );
    wire.receive([bound("SELECT 1"), ready()].concat());
    assert_eq!(names(&wire), ["INSERT a", "INSERT b", "INSERT c", "SELECT d"]);
    let errors: Vec<_> = wire.out.iter().map(|e| e.attributes.get("error.type").cloned()).collect();
    assert_eq!(errors, [None, Some("23505".into()), Some("pipeline_aborted".into()), None]);
    assert_eq!(wire.out[2].first_byte, None);
}

#[test]
fn copy_in_both_ways() {
    let mut wire = connected(true);
    wire.receive(query("COPY t FROM STDIN")).send(message(b'G', &[0, 0, 0]));
    wire.receive(message(b'd', &[b'x'; 500])).receive([message(b'd', b"1\n"), message(b'c', b"")].concat());
    wire.send([tag("COPY 2"), ready()].concat());
    wire.receive(query("COPY t TO STDOUT"))
        .send([message(b'H', &[0, 0, 0]), message(b'd', b"1\n"), message(b'c', b""), tag("COPY 1"), ready()].concat());
    assert_eq!(names(&wire), ["COPY t", "COPY t"]);
    assert_eq!((wire.out[0].start, wire.out[0].first_byte, wire.out[0].end), (1030, Some(1040), 1070));
}

#[test]
fn encryption_is_refused_or_granted() {
    let request = [&8_u32.to_be_bytes()[..], &80_877_103_u32.to_be_bytes()].concat();
    let mut wire = Wire::new();
    wire.send(&request).receive("N").send(startup()).receive(auth());
    wire.send(query("SELECT 1 FROM t")).receive([answer("SELECT 1"), ready()].concat());
    assert_eq!(names(&wire), ["SELECT t"]);
    let mut wire = Wire::new();
    wire.send(&request).receive("S");
    assert_eq!(wire.understanding(), Understanding::Switched("postgresql"));
}

#[test]
fn what_is_told_at_any_time_answers_nothing() {
    let mut wire = connected(false);
    wire.receive(message(b'A', b"\0\0\0\x01channel\0payload\0")).receive(message(b'S', b"TimeZone\0UTC\0"));
    wire.send(query("SELECT 1 FROM t"))
        .receive([message(b'N', b"SNOTICE\0C00000\0Mx\0\0"), answer("SELECT 1"), ready()].concat());
    assert_eq!((names(&wire), wire.count("orphans")), (vec!["SELECT t"], 0));
}

#[test]
fn joined_in_the_middle() {
    let mut wire = Wire::new().joined_at(1000, 2000);
    let asked = [bind("s7"), execute(), sync()].concat();
    wire.send(&asked).receive([message(b'2', b""), row(5), tag("SELECT 1"), ready()].concat());
    wire.send(query("SELECT 2 FROM t")).receive([answer("SELECT 1"), ready()].concat());
    wire.send(query("SELECT 3 FROM t")).receive([answer("SELECT 1"), ready()].concat());
    // The first statement's text was never seen; what it does, the server says.
    assert_eq!(names(&wire), ["SELECT", "SELECT t", "SELECT t"]);
    assert_eq!(wire.out[0].holes, Holes { request_head: true, pairing: true, ..Holes::default() });
    assert_eq!(wire.out[0].attributes.get("db.query.text"), None);
    assert_eq!(wire.out[2].holes, Holes::default());
}

#[test]
fn joined_in_the_middle_of_an_answer() {
    let mut wire = Wire::new().joined_at(1000, 2000);
    wire.receive([&row(50)[20..], &row(7), &tag("SELECT 2"), &ready()].concat());
    assert_eq!(wire.understanding(), Understanding::Understood("postgresql"));
    wire.send(query("SELECT 2 FROM t")).receive([answer("SELECT 1"), ready()].concat());
    assert_eq!(names(&wire), ["SELECT t"]);
}

#[test]
fn a_large_result_of_which_calls_show_the_beginning() {
    let mut wire = connected(false);
    wire.send(query("SELECT * FROM big"));
    let all = [description(), (0..2000).flat_map(|_| row(40)).collect(), tag("SELECT 2000"), ready()].concat();
    for call in all.chunks(8192) {
        let (seen, unseen) = call.split_at(call.len().min(1024));
        wire.receive(seen);
        if !unseen.is_empty() {
            wire.hole(Receive, unseen.len() as u64, Gap::NotCaptured);
        }
    }
    assert_eq!(wire.interest(Receive).bytes, 16 << 10);
    wire.send(query("SELECT 1 FROM t")).receive([answer("SELECT 1"), ready()].concat());
    assert_eq!(names(&wire), ["SELECT big", "SELECT t"]);
    assert!(wire.out[0].holes.length);
    assert!(wire.out[0].end < wire.out[1].start);

    // With all of each call, it is exact.
    let mut wire = connected(false);
    wire.send(query("SELECT * FROM big"));
    for call in all.chunks(8192) {
        wire.receive(call);
    }
    assert_eq!(
        (names(&wire), rows(&wire.out[0]), wire.out[0].holes),
        (vec!["SELECT big"], Some(2000), Holes::default())
    );
}

#[test]
fn a_query_longer_than_what_is_captured() {
    let mut wire = connected(false);
    let asked = query(&format!("SELECT * FROM t WHERE a IN ({})", vec!["'secret'"; 500].join(", ")));
    wire.send(&asked[..1024])
        .hole(Send, asked.len() as u64 - 1024, Gap::NotCaptured)
        .receive([answer("SELECT 1"), ready()].concat());
    assert_eq!(names(&wire), ["SELECT t"]);
    assert!(wire.out[0].holes.request_head && !text(&wire.out[0], "db.query.text").contains("secret"));
}

#[test]
fn broken_off() {
    let mut wire = connected(false);
    wire.send(query("SELECT pg_sleep(9)")).end(Receive, Ending::Reset(libc::ECONNRESET));
    assert_eq!(text(&wire.out[0], "error.type"), "connection_reset");
    assert!(wire.out[0].holes.no_response);
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        // Kafka's metadata request, version 0: its length, and 3 and 0, read like a startup.
        b"\x00\x00\x00\x1a\x00\x03\x00\x00\x00\x00\x00\x01\x00\x07console\x00\x00\x00\x00",
        // MySQL's COM_QUERY of 81 bytes.
        b"\x51\x00\x00\x00\x03select aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"VALUE key 0 5\r\nhello\r\nEND\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut wire = Wire::new();
        wire.receive(bytes);
        assert_ne!(wire.understanding(), Understanding::Understood("postgresql"), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_startup_within_a_stream_has_a_name_and_a_value() {
    let understood = |bytes: &[u8]| {
        let mut wire = Wire::new().joined_at(100, 100);
        wire.receive(bytes);
        wire.understanding() == Understanding::Understood("postgresql")
    };
    assert!(understood(&startup()));
    // A length, 3, and a letter, among numbers and names.
    assert!(!understood(b"\x00\x00\x00\x1a\x00\x03\x00\x00b\x00\x00\x00\x07column\x00\x00"));
    assert!(!understood(b"\x00\x00\x00\x09\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"));
}
