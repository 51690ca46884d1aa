//! Conversations, one by one. Names of cases are what a server or client does.

use crate::{
    conn::{Ending, Gap},
    event::Direction::{Receive, Send},
    protocol::{
        Foreign, Interest, Shared, Side, Status, Understanding,
        testing::{Wire, int},
    },
};

const GET: &str = "GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

#[test]
fn one_request_as_a_server_and_as_a_client() {
    let mut wire = Wire::new();
    wire.receive(GET).send(OK);
    let exchange = &wire.out[0];
    assert_eq!((exchange.side, &*exchange.name, &exchange.status), (Side::Server, "GET /a", &Status::Unset));
    assert_eq!(
        (exchange.start, exchange.request_end, exchange.first_byte, exchange.end),
        (1010, 1010, Some(1020), 1020)
    );
    assert_eq!((exchange.request_thread.tid, exchange.response_thread.unwrap().tid), (8, 7));
    assert_eq!(int(exchange, "http.response.body.size"), Some(2));
    assert_eq!(exchange.holes, crate::protocol::Holes::default());

    let mut wire = Wire::new();
    wire.send(GET).receive(OK);
    assert_eq!(wire.out[0].side, Side::Client);
    assert_eq!(wire.out[0].name, "GET");
}

#[test]
fn keep_alive_and_pipelining() {
    let mut wire = Wire::new();
    wire.receive(GET).send(OK).receive([get("/1"), get("/2"), get("/3")].concat()).send([OK, OK].concat()).send(OK);
    assert_eq!(wire.summary(), ["/a 200", "/1 200", "/2 200", "/3 200"]);
    let offsets: Vec<_> = wire.out.iter().map(|e| e.id.place).collect();
    let one = get("/1").len() as u64;
    assert_eq!(offsets, [0, GET.len() as u64, GET.len() as u64 + one, GET.len() as u64 + 2 * one]);
}

#[test]
fn go_reads_one_byte_ahead() {
    let mut wire = Wire::new();
    for _ in 0..3 {
        wire.receive(&GET[..1]).receive(&GET[1..]).send(OK);
    }
    assert_eq!(wire.summary(), ["/a 200"; 3]);
    // The first byte is the request's beginning.
    assert_eq!((wire.out[1].start, wire.out[1].request_end), (1040, 1050));
}

#[test]
fn byte_by_byte() {
    let mut wire = Wire::new();
    for _ in 0..2 {
        for b in GET.bytes() {
            wire.receive([b]);
        }
        for b in OK.bytes() {
            wire.send([b]);
        }
    }
    assert_eq!(wire.summary(), ["/a 200"; 2]);
    assert_eq!(wire.out[0].end - wire.out[0].start, 10 * (GET.len() + OK.len() - 1) as u64);
}

#[test]
fn an_answer_seen_before_its_request() {
    let mut wire = Wire::new();
    wire.receive(OK).send(GET).receive(OK).send(GET);
    assert_eq!(wire.summary(), ["GET 200", "GET 200"]);
    assert!(wire.out.iter().all(|e| e.first_byte.unwrap() >= e.start && e.end >= e.start));
}

#[test]
fn bodies_that_were_not_captured() {
    let mut wire = Wire::new();
    wire.receive("POST /up HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nabc");
    assert_eq!(wire.interest(Receive).from, 46 + 1_000_000);
    wire.hole(Receive, 999_997, Gap::NotCaptured);
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n").hole(Send, 5_000, Gap::Lost);
    wire.receive(get("/next")).send(OK);
    // When the response ended is known only by what came after the loss.
    assert_eq!(wire.summary(), ["/up 200 length", "/next 200"]);
    assert_eq!(int(&wire.out[0], "http.request.body.size"), Some(1_000_000));
    assert_eq!(int(&wire.out[0], "http.response.body.size"), Some(5_000));
    assert_eq!((wire.out[0].request_end, wire.out[0].end), (1020, 1040));
}

#[test]
fn chunks_with_holes() {
    let mut wire = Wire::new();
    wire.receive(GET).send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n0123");
    wire.hole(Send, 9_996 + 2, Gap::NotCaptured).send("5;x=y\r\nhello\r\n0\r\nT: v\r\n\r\n");
    wire.receive(get("/next")).send(OK);
    assert_eq!(wire.summary(), ["/a 200", "/next 200"]);
    assert_eq!(int(&wire.out[0], "http.response.body.size"), Some(10_005));
}

#[test]
fn the_last_chunk_was_not_captured() {
    let mut wire = Wire::new();
    wire.receive(GET).send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n0123");
    wire.hole(Send, 9_996 + 7, Gap::NotCaptured).receive(get("/2")).send(OK);
    assert_eq!(wire.summary(), ["/a 200", "/2 200"]);
    assert_eq!((wire.out[0].end, int(&wire.out[0], "http.response.body.size")), (1030, Some(10_000)));

    // More than the last chunk: where the body ended is not known exactly.
    let mut wire = Wire::new();
    wire.receive(GET).send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n0123");
    wire.hole(Send, 20_000, Gap::NotCaptured).receive(get("/2")).send(OK);
    assert_eq!(wire.summary(), ["/a 200 length", "/2 200"]);
    assert_eq!((wire.out[0].end, int(&wire.out[0], "http.response.body.size")), (1030, None));
}

#[test]
fn until_the_connection_closes() {
    let mut wire = Wire::new();
    wire.receive("GET /a HTTP/1.0\r\n\r\n").send("HTTP/1.0 200 OK\r\n\r\nsome").send("thing");
    assert_eq!(wire.interest(Send), Interest { from: 0, bytes: 0, never: false });
    assert!(wire.out.is_empty());
    wire.close();
    assert_eq!(wire.summary(), ["/a 200"]);
    assert_eq!((wire.out[0].end, int(&wire.out[0], "http.response.body.size")), (1030, Some(9)));
}

#[test]
fn responses_without_a_body() {
    let mut wire = Wire::new();
    wire.receive("HEAD /h HTTP/1.1\r\n\r\n").send("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n");
    wire.receive(get("/304")).send("HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n\r\n");
    wire.receive(get("/204")).send("HTTP/1.1 204 No Content\r\n\r\n");
    wire.receive(GET).send(OK);
    assert_eq!(wire.summary(), ["/h 200", "/304 304", "/204 204", "/a 200"]);
}

#[test]
fn expect_continue_and_early_hints() {
    let mut wire = Wire::new();
    wire.receive("PUT /p HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .send("HTTP/1.1 100 Continue\r\n\r\n");
    wire.receive("body").send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").send(OK);
    assert_eq!(wire.summary(), ["/p 200"]);
    assert_eq!((wire.out[0].request_end, wire.out[0].first_byte), (1030, Some(1050)));
}

#[test]
fn an_early_answer() {
    let mut wire = Wire::new();
    wire.receive("PUT /p HTTP/1.1\r\nContent-Length: 40\r\n\r\nbody")
        .send("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wire.summary(), ["/p 413"]);
    wire.receive("x".repeat(36)).receive(GET).send(OK);
    assert_eq!(wire.summary(), ["/p 413", "/a 200"]);
}

#[test]
fn switching_the_protocol() {
    let mut wire = Wire::new();
    wire.receive("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x02\x03");
    assert_eq!(wire.summary(), ["/ws 101"]);
    assert_eq!((wire.understanding(), wire.interest(Send)), (Understanding::Switched("http"), Interest::NEVER));

    let mut wire = Wire::new();
    wire.send("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n").receive("HTTP/1.1 200 Connection established\r\n\r\n");
    assert_eq!(wire.summary(), ["CONNECT 200"]);
    assert_eq!(wire.interest(Receive), Interest::NEVER);

    // Refused: it stays HTTP.
    let mut wire = Wire::new();
    wire.send("CONNECT h:443 HTTP/1.1\r\n\r\n")
        .receive("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        .send(GET)
        .receive(OK);
    assert_eq!(wire.out.len(), 2);
}

#[test]
fn a_head_larger_than_what_is_captured() {
    let mut wire = Wire::new();
    wire.receive("GET /big HTTP/1.1\r\nHost: x\r\nCookie: aaaa").hole(Receive, 3_000, Gap::NotCaptured).send(OK);
    assert_eq!(wire.summary(), ["/big 200 request_head"]);
    assert_eq!(wire.interest(Receive).bytes, 16 << 10);
    // What was cut off may have held further requests: the next pair is kept back until another request confirms it.
    wire.receive(get("/1")).send(OK);
    assert_eq!(wire.out.len(), 1);
    wire.receive(get("/2")).send(OK).receive(get("/3")).send(OK);
    assert_eq!(wire.summary(), ["/big 200 request_head", "/1 200", "/2 200", "/3 200"]);

    let mut wire = Wire::new();
    wire.receive(GET).send("HTTP/1.1 503 Busy\r\nServer: x\r\nSet-Cookie: aa").hole(Send, 3_000, Gap::NotCaptured);
    wire.receive(get("/1")).send(OK);
    assert_eq!(wire.summary(), ["/a 503 response_head length", "/1 200"]);
}

#[test]
fn odd_but_legal() {
    let mut wire = Wire::new();
    wire.receive("\r\n\r\nGET   /a  HTTP/1.1\nHost:\t x \n\n").send("HTTP/1.1  200\nContent-Length : 0\n\n");
    wire.receive("get /a HTTP/1.1\r\nX: a\r\n b\r\n\r\n")
        .send("HTTP/1.1 200 OK\r\nX: a\r\n\tb\r\nContent-Length: 0\r\n\r\n");
    wire.receive("OPTIONS * HTTP/1.1\r\n\r\n").send(OK);
    wire.receive("GET http://other.example/b HTTP/1.1\r\nHost: x\r\n\r\n").send(OK);
    wire.receive(b"GET /caf\xe9 HTTP/1.1\r\n\r\n").send(OK);
    assert_eq!(wire.summary(), ["/a 200", "/a 200", "* 200", "/b 200", "/caf%E9 200"]);
    assert_eq!(wire.out[1].name, "HTTP /a");
}

#[test]
fn ambiguous_lengths_end_it() {
    for bad in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: -5",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: gzip",
        "Content-Length : 5",
        "Transfer-Encoding: chunked, chunked",
    ] {
        let mut wire = Wire::new();
        wire.receive(GET).send(OK).receive(GET);
        wire.receive(format!("POST /x HTTP/1.1\r\n{bad}\r\n\r\nhello"));
        assert_eq!(wire.understanding(), Understanding::Not(Foreign::Malformed), "{bad}");
        assert_eq!(wire.summary(), ["/a 200", "/a - no_response"], "{bad}");
        assert_eq!(wire.count("given_up_malformed"), 1);
    }
    let mut wire = Wire::new();
    wire.receive("POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    assert_eq!(wire.understanding(), Understanding::Not(Foreign::Malformed));
}

#[test]
fn both_lengths_the_coding_counts() {
    let mut wire = Wire::new();
    wire.receive("POST /x HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        .send(OK);
    wire.receive(GET).send(OK);
    assert_eq!(wire.summary(), ["/x 200", "/a 200"]);
    assert_eq!(int(&wire.out[0], "http.request.body.size"), Some(5));
}

#[test]
fn the_connection_ends_too_early() {
    let error = |wire: &Wire| crate::protocol::testing::text(&wire.out[0], "error.type").to_owned();
    let mut wire = Wire::new();
    wire.send(GET).end(Receive, Ending::Reset(libc::ECONNRESET));
    assert_eq!((wire.summary(), error(&wire)), (vec!["GET - no_response".into()], "connection_reset".into()));

    let mut wire = Wire::new();
    wire.send(GET).receive(&OK[..OK.len() - 1]).end(Receive, Ending::Closed);
    assert_eq!((wire.summary(), error(&wire)), (vec!["GET 200 length".into()], "connection_closed".into()));

    let mut wire = Wire::new();
    wire.send(GET).end(Receive, Ending::Evicted);
    assert_eq!(wire.summary(), ["GET - no_response"]);
    assert_eq!(wire.out[0].status, Status::Unset);
}

#[test]
fn half_closed() {
    let mut wire = Wire::new();
    wire.receive(GET).end(Receive, Ending::Closed).send(OK).end(Send, Ending::Closed);
    assert_eq!(wire.summary(), ["/a 200"]);
}

#[test]
fn joined_in_the_middle() {
    // In a body, then a whole exchange, which the next request confirms.
    let mut wire = Wire::new().joined_at(5_000, 700);
    wire.send("<p>HTTP/1.1 200 OK is what a server says</p>").hole(Send, 90_000, Gap::NotCaptured);
    wire.receive(get("/1")).send(OK);
    assert!(wire.out.is_empty());
    wire.receive(get("/2")).send(OK).receive(get("/3")).send(OK);
    assert_eq!(wire.summary(), ["/1 200", "/2 200", "/3 200"]);

    // While a request was being answered: its answer is nobody's.
    let mut wire = Wire::new().joined_at(5_000, 700);
    wire.send("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
        .receive(get("/1"))
        .send(OK)
        .receive(get("/2"))
        .send(OK)
        .receive(get("/3"))
        .send(OK);
    assert_eq!(wire.summary(), ["/1 200", "/2 200", "/3 200"]);
    assert_eq!(wire.count("orphans"), 1);

    // While several were: one answer too many contradicts.
    let mut wire = Wire::new().joined_at(5_000, 700);
    wire.receive(get("/1"))
        .send(OK)
        .send(OK)
        .receive(get("/2"))
        .send(OK)
        .receive(get("/3"))
        .send(OK)
        .receive(get("/4"));
    assert_eq!(wire.summary(), ["/1 - no_response", "/2 200", "/3 200"]);
}

#[test]
fn joined_and_then_idle() {
    let mut wire = Wire::new().joined_at(5_000, 700);
    wire.receive(GET).send(OK).tick(400_000_000);
    assert!(wire.out.is_empty());
    wire.tick(200_000_000);
    assert_eq!(wire.summary(), ["/a 200 pairing"]);

    // A Unix socket may have been joined, but nothing says so.
    let mut wire = Wire::new().perhaps_joined();
    wire.receive(GET).send(OK).close();
    assert_eq!(wire.summary(), ["/a 200"]);
}

#[test]
fn a_lost_request_shifts_nothing() {
    let mut wire = Wire::new();
    wire.receive(get("/1")).send(OK);
    // /2 was lost; that is seen when /3 comes.
    wire.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    wire.hole(Receive, get("/2").len() as u64, Gap::Lost)
        .receive(get("/3"))
        .send(OK)
        .receive(get("/4"))
        .send(OK)
        .receive(get("/5"))
        .send(OK);
    assert_eq!(wire.summary(), ["/1 200", "/3 200", "/4 200", "/5 200"]);
    assert_eq!((wire.count("orphans"), wire.count("unpaired")), (1, 1));
}

#[test]
fn a_lost_response_shifts_nothing() {
    let mut wire = Wire::new();
    wire.receive(get("/1")).receive(get("/2")).hole(Send, OK.len() as u64, Gap::Lost).send(OK);
    wire.receive(get("/3")).send(OK).receive(get("/4")).send(OK);
    assert!(
        wire.summary().starts_with(&["/1 - no_response".into(), "/2 - no_response".into()]),
        "{:?}",
        wire.summary()
    );
}

#[test]
fn too_many_outstanding() {
    let mut wire = Wire::new();
    for _ in 0..1025 {
        wire.receive(GET);
    }
    assert_eq!((wire.out.len(), wire.count("overflows")), (1024, 1));
    assert!(wire.out.iter().all(|e| e.holes.no_response && e.status == Status::Unset));
}

#[test]
fn what_is_not_http() {
    // In the middle of a connection: no handshake is to be expected.
    let mut wire = Wire::new();
    wire.receive(b"\x17\x03\x03\x00\x40\x01\x00\x01\xfc\x03\x03").send(b"\x17\x03\x03\x00\x40\x01\x00\x01");
    assert_eq!((wire.understanding(), wire.interest(Receive)), (Understanding::Not(Foreign::Tls), Interest::NEVER));
    let mut wire = Wire::new();
    for _ in 0..8 {
        assert_eq!(wire.understanding(), Understanding::Detecting);
        wire.receive([0xfe; 40]).send([0xfb; 40]);
    }
    assert_eq!((wire.understanding(), wire.count("given_up_unknown")), (Understanding::Not(Foreign::Unknown), 1));
}

#[test]
fn a_wrong_first_guess() {
    let mut wire = Wire::new();
    wire.receive("GET /a").receive(" RTSP/1.0\r\n\r\n");
    assert_eq!((wire.understanding(), wire.count("redetected")), (Understanding::Detecting, 1));
    assert!(wire.out.is_empty());
}

#[test]
fn the_agents_own_export_is_left_alone() {
    let mut wire = Wire::new();
    wire.send("POST /v1/traces HTTP/1.1\r\nUser-Agent: geophone/0.1.0\r\nContent-Length: 9\r\n\r\n").receive(OK);
    assert_eq!((wire.understanding(), wire.out.len()), (Understanding::Own, 0));
}

#[test]
fn capture_is_a_setting() {
    let wire = Wire::with(Shared { capture: 256, ..Shared::default() });
    assert_eq!(wire.interest(Send), Interest { from: 0, bytes: 256, never: false });
}
