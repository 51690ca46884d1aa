//! Calls of gRPC-Web: one by one, and any of them.

use proptest::prelude::*;

use crate::{
    conn::{Content, Gap},
    event::Direction::{Receive, Send},
    protocol::{
        Exchange, Interest, Side, Status,
        testing::{Part, Wire, cut, int, text},
    },
};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web+proto\r\nTransfer-Encoding: chunked\r\n\r\n";
const METHOD: &str = "rpc.method";
const CODE: &str = "rpc.response.status_code";
const ASKED: &str = "geophone.grpc.request.messages";
const ANSWERED: &str = "geophone.grpc.response.messages";

fn frame(flags: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[flags], &length[..], content].concat()
}

fn trailers(code: u32) -> Vec<u8> {
    frame(0x80, format!("grpc-status: {code}\r\ngrpc-message: no%20{code}\r\n").as_bytes())
}

fn ask(path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn chunk(content: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", content.len()).as_bytes(), content, b"\r\n"].concat()
}

/// What an exchange says of the end of its call.
fn outcome(exchange: &Exchange) -> (Option<&str>, Option<i64>, Option<i64>) {
    let code = exchange.attributes.get(CODE).map(|_| text(exchange, CODE));
    (code, int(exchange, ASKED), int(exchange, ANSWERED))
}

#[test]
fn trailers_in_the_body() {
    let mut wire = Wire::new();
    wire.receive(ask("/shop.Cart/Get", &frame(0, b"id")));
    wire.send([HEAD.as_bytes(), &chunk(&frame(0, b"one"))].concat());
    wire.send([&chunk(&frame(1, b"two"))[..], &chunk(&trailers(13)), b"0\r\n\r\n"].concat());
    let call = &wire.out[0];
    assert_eq!((call.side, &*call.name, text(call, METHOD)), (Side::Server, "shop.Cart/Get", "shop.Cart/Get"));
    assert_eq!(outcome(call), (Some("INTERNAL"), Some(1), Some(2)));
    assert_eq!(call.status, Status::Error("no 13".into()));
    assert_eq!(text(call, "error.type"), "INTERNAL");
    // What is said of HTTP by itself is said of other requests.
    assert!(["http.request.body.size", "http.response.body.size"].iter().all(|key| int(call, key).is_none()));
}

#[test]
fn a_head_that_is_all() {
    let mut wire = Wire::new();
    wire.send(ask("/shop.Cart/Get", &frame(0, b"")));
    wire.receive("HTTP/1.1 200 OK\r\nGrpc-Status: 5\r\ngrpc-message: gone\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(outcome(&wire.out[0]), (Some("NOT_FOUND"), Some(1), Some(0)));
    assert_eq!(wire.out[0].status, Status::Error("gone".into()));
}

#[test]
fn text_of_a_proxy() {
    let mut wire = Wire::new();
    let head = "POST /a.B/C HTTP/1.1\r\ncontent-type: application/grpc-web-text\r\ncontent-length: 8\r\n\r\n";
    wire.send(format!("{head}AAAAAAA="));
    // `grpc-status:7` and the end of the line, flushed after a message of one byte.
    let body = [chunk(b"AAAAAAF4"), chunk(b"gAAAAA9ncnBjLXN0YXR1czo3DQo="), b"0\r\n\r\n".to_vec()].concat();
    wire.receive("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").receive(body);
    assert_eq!(outcome(&wire.out[0]), (Some("PERMISSION_DENIED"), Some(1), Some(1)));
}

/// The status is beyond what was captured of the call that answers: it is left out, and more of the next calls is asked for.
#[test]
fn trailers_that_were_not_captured() {
    let mut wire = Wire::new();
    wire.receive(ask("/a.B/C", &frame(0, b"x"))).send([HEAD.as_bytes(), &chunk(&frame(0, &[7; 900]))].concat());
    let rest = [chunk(&trailers(2)), b"0\r\n\r\n".to_vec()].concat();
    let end = chunk(&trailers(2)).len() as u64;
    // Its chunk's size is seen, of what is in it nothing.
    wire.send(&rest[..4]).hole(Send, end - 6, Gap::NotCaptured).send(&rest[rest.len() - 7..]);
    assert_eq!(outcome(&wire.out[0]), (None, Some(1), None));
    assert_eq!((text(&wire.out[0], METHOD), &wire.out[0].status), ("a.B/C", &Status::Unset));
    assert_eq!(wire.interest(Send).bytes, 16 << 10);
}

#[test]
fn messages_are_passed_over_up_to_the_next_one() {
    let message = frame(0, &[7; 100_000]);
    let body = [&message[..], &trailers(0)].concat();
    let mut wire = Wire::new();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    wire.receive(ask("/a.B/C", &frame(0, b"x"))).send([head.as_bytes(), &body[..1000]].concat());
    let next = (head.len() + message.len()) as u64;
    assert_eq!(wire.interest(Send), Interest { from: next, bytes: 1024, never: false });
    wire.hole(Send, 99_005, Gap::NotCaptured).send(trailers(0));
    assert_eq!(outcome(&wire.out[0]), (Some("OK"), Some(1), Some(1)));
    // Of what the connection's end delimits, too.
    let mut wire = Wire::new();
    wire.receive(ask("/a.B/C", &frame(0, b"x"))).send([b"HTTP/1.1 200 OK\r\n\r\n", &message[..1000]].concat());
    assert_eq!(wire.interest(Send).from, 19 + message.len() as u64);
    wire.hole(Send, 99_005, Gap::NotCaptured).send(trailers(0)).close();
    assert_eq!(outcome(&wire.out[0]).0, Some("OK"));
}

#[test]
fn what_is_no_call_is_not_looked_at() {
    let mut wire = Wire::new();
    wire.receive("POST /a.B/C HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0");
    wire.send([b"HTTP/1.1 200 OK\r\ngrpc-status: 5\r\nContent-Length: 20\r\n\r\n", &trailers(5)[..20]].concat());
    assert!(wire.out[0].attributes.get(CODE).is_none() && wire.out[0].attributes.get(METHOD).is_none());
    assert_eq!(int(&wire.out[0], "http.response.body.size"), Some(20));
}

#[derive(Clone, Debug)]
struct Call {
    asked: Vec<usize>,
    answered: Vec<usize>,
    /// Where chunks end.
    chunks: Vec<usize>,
}

fn any_call() -> impl Strategy<Value = Call> {
    let sizes = || prop::collection::vec(0..1500_usize, 0..4);
    (sizes(), sizes(), prop::collection::vec(1..900_usize, 1..4)).prop_map(|(asked, answered, chunks)| Call {
        asked,
        answered,
        chunks,
    })
}

const CODES: [&str; 3] = ["OK", "CANCELLED", "UNKNOWN"];

impl Call {
    fn turns(&self, number: usize) -> [Part; 2] {
        let messages = |sizes: &[usize]| sizes.iter().flat_map(|size| frame(0, &vec![b'x'; *size])).collect::<Vec<_>>();
        let mut body = messages(&self.answered);
        body.extend(trailers((number % CODES.len()) as u32));
        let mut answer = HEAD.as_bytes().to_vec();
        let mut rest = &body[..];
        for length in self.chunks.iter().cycle() {
            let (now, later) = rest.split_at((*length).min(rest.len()));
            answer.extend(chunk(now));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        answer.extend(chunk(b""));
        let asked = ask(&format!("/a.B/r{number}"), &messages(&self.asked));
        [Part { request: true, bytes: asked }, Part { request: false, bytes: answer }]
    }
}

fn check(calls: &[Call], out: &[Exchange], all: bool) -> Result<(), TestCaseError> {
    for exchange in out.iter().filter(|exchange| !exchange.holes.pairing) {
        let number: usize = exchange.name.rsplit_once("/r").unwrap().1.parse().unwrap();
        let (code, asked, answered) = outcome(exchange);
        let truth = (CODES[number % CODES.len()], calls[number].asked.len(), calls[number].answered.len());
        prop_assert_eq!(code.unwrap_or(truth.0), truth.0);
        prop_assert_eq!(asked.unwrap_or(truth.1 as i64), truth.1 as i64);
        prop_assert_eq!(answered.unwrap_or(truth.2 as i64), truth.2 as i64);
        prop_assert!(
            !all || (code.is_some() && answered.is_some() && (asked.is_some() || truth.1 == 0)),
            "{:?}",
            exchange
        );
    }
    prop_assert!(!all || out.len() == calls.len());
    Ok(())
}

proptest! {
    /// In any split, all is known; with any limit and any loss, what is said is true.
    #[test]
    fn any_calls(
        calls in prop::collection::vec(any_call(), 1..6),
        cuts in prop::collection::vec(prop_oneof![1 => 1..4_usize, 4 => 1..3000_usize], 1..12),
        limit in prop_oneof![Just(usize::MAX), 20..1024_usize],
        lost in prop::collection::vec(prop::bool::weighted(0.1), 20),
        whole in any::<bool>(),
    ) {
        let turns: Vec<Part> = calls.iter().enumerate().flat_map(|(n, call)| call.turns(n)).collect();
        let mut wire = Wire::new();
        for (n, part) in cut(&turns, &cuts).iter().enumerate() {
            let direction = if part.request { Receive } else { Send };
            if !whole && lost[n % lost.len()] {
                wire.hole(direction, part.bytes.len() as u64, Gap::Lost);
                continue;
            }
            let (seen, unseen) = part.bytes.split_at(if whole { part.bytes.len() } else { limit.min(part.bytes.len()) });
            wire.put(direction, Content::Bytes(seen));
            if !unseen.is_empty() {
                wire.hole(direction, unseen.len() as u64, Gap::NotCaptured);
            }
        }
        wire.close();
        check(&calls, &wire.out, whole)?;
    }
}
