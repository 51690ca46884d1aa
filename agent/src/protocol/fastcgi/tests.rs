use crate::{
    conn::{Content, Gap},
    event::Direction::{Receive, Send},
    protocol::{
        promises::{captured, heard, keep, told},
        testing::{Part, Wire, int, text},
    },
};

const CAPTURED: &str = include_str!("captured.txt");

fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let padding = content.len().wrapping_neg() % 8;
    let mut bytes =
        vec![1, kind, (id >> 8) as u8, id as u8, (content.len() >> 8) as u8, content.len() as u8, padding as u8, 0];
    bytes.extend(content);
    bytes.resize(bytes.len() + padding, 0);
    bytes
}

fn begin(id: u16) -> Vec<u8> {
    record(1, id, &[0, 1, 1, 0, 0, 0, 0, 0])
}

fn params(id: u16, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (name, value) in pairs {
        for part in [name, value] {
            match part.len() {
                short @ 0..=127 => content.push(short as u8),
                long => content.extend((long as u32 | 1 << 31).to_be_bytes()),
            }
        }
        content.extend(name.bytes().chain(value.bytes()));
    }
    // In records that end within names and values.
    let mut bytes: Vec<u8> = content.chunks(50).flat_map(|part| record(4, id, part)).collect();
    bytes.extend(record(4, id, b""));
    bytes
}

fn ask(id: u16, path: &str) -> Vec<u8> {
    let pairs = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", path), ("HTTP_COOKIE", &"c".repeat(300))];
    [begin(id), params(id, &pairs), record(5, id, b"")].concat()
}

fn end(id: u16, status: u8) -> Vec<u8> {
    record(3, id, &[0, 0, 0, 0, status, 0, 0, 0])
}

fn conversation() -> Vec<Part> {
    let part = |request, bytes| Part { request, bytes };
    let answers = [
        record(6, 2, b"Status: 404 Not Found\r\n"),
        record(7, 1, b"PHP Notice: x"),
        record(6, 1, b"Content-type: text/html\r\n\r\nhello"),
        record(6, 2, b"A: b\r\n\r\n"),
        end(2, 0),
        record(6, 1, &[b'x'; 3000]),
        record(6, 1, b""),
        end(1, 0),
    ];
    vec![part(true, [ask(1, "/one"), ask(2, "/two")].concat()), part(false, answers.concat())]
}

#[test]
fn captured_from_nginx_and_php() {
    let keys = ["http.response.status_code", "url.path", "url.query", "error.type"];
    for server in [false, true] {
        let wire = heard(&captured(CAPTURED), server);
        let (path, name, query) = if server { ("/a.php", " /a.php", true) } else { ("-", "", false) };
        let line = |method: &str, status: u16, with: &str, error: &str| {
            format!("{method}{name} | {status} | {path} | {} | {error}", if query { with } else { "-" })
        };
        let missing = if server { "-" } else { "404" };
        assert_eq!(
            told(&wire, &keys),
            [
                line("GET", 200, "n=3", "-"),
                line("GET", 404, "nf=1", missing),
                line("GET", 500, "err=1", "500"),
                line("GET", 200, "n=5000", "-"),
                line("POST", 200, "n=7", "-"),
            ]
        );
        assert_eq!(wire.out[0].protocol, "fastcgi");
    }
    let client = heard(&captured(CAPTURED), false);
    assert_eq!(text(&client.out[1], "url.full"), "http://127.0.0.1/a.php?nf=1");
    let server = heard(&captured(CAPTURED), true);
    assert_eq!(text(&server.out[1], "client.address"), "127.0.0.1");
    let places = |wire: &Wire| wire.out.iter().map(|e| e.id.place).collect::<Vec<_>>();
    assert_eq!(places(&client), places(&server));
}

#[test]
fn requests_share_a_connection() {
    let wire = heard(&conversation(), true);
    assert_eq!(told(&wire, &["http.response.status_code"]), ["GET /two | 404", "GET /one | 200"]);
    assert_eq!(int(&wire.out[0], "http.response.status_code"), Some(404));
}

#[test]
fn refusals_and_aborts() {
    let mut wire = Wire::new();
    wire.send(ask(1, "/one")).receive(end(1, 2)).send(ask(1, "/two")).send(record(2, 1, b"")).receive(end(1, 0));
    wire.send(ask(1, "/three")).receive(record(6, 1, b"A: b\r\n\r\n")).close();
    assert_eq!(
        told(&wire, &["http.response.status_code", "error.type"])[..2],
        ["GET | - | overloaded", "GET | - | aborted"]
    );
    assert_eq!(int(&wire.out[2], "http.response.status_code"), Some(200));
    assert_eq!((text(&wire.out[2], "error.type"), wire.out[2].holes.length), ("connection_closed", true));
}

#[test]
fn an_end_that_is_not_captured() {
    let mut wire = Wire::new();
    wire.send(ask(1, "/one")).receive(record(6, 1, b"A: b\r\n\r\n"));
    wire.put(Receive, Content::Hole(500, Gap::NotCaptured)).close();
    assert_eq!(wire.out[0].attributes.get("error.type"), None);
    assert!(wire.out[0].holes.length);
}

#[test]
fn parameters_that_are_not_captured() {
    let mut wire = Wire::new();
    let bytes = [begin(1), params(1, &[("REQUEST_METHOD", "PUT"), ("REQUEST_URI", "/x")])].concat();
    wire.send(&bytes[..30]);
    wire.put(Send, Content::Hole(bytes.len() as u64 - 30, Gap::NotCaptured));
    wire.receive([record(6, 1, b"A: b\r\n\r\n"), end(1, 0)].concat());
    assert!(wire.out[0].holes.request_head);
    assert_eq!(int(&wire.out[0], "http.response.status_code"), Some(200));
}

#[test]
fn promises() {
    keep("fastcgi", &captured(CAPTURED));
    keep("fastcgi", &conversation());
}
