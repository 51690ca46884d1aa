//! Conversations, frame by frame.

use super::{frame::PREFACE, testing::*};
use crate::{
    conn::{Content, Ending, Gap},
    event::Direction::{self, Receive, Send},
    protocol::{
        Exchange, Holes, Status, Understanding, Value,
        promises::{captured, heard, keep, told},
        testing::{Wire, int, text},
    },
};

/// Both ends of a connection, seen from one of them.
struct Talk {
    wire: Wire,
    asks: Direction,
    requests: Encoder,
    responses: Encoder,
}

impl Talk {
    /// Of a server, which has just been connected to.
    fn server() -> Self {
        let mut talk = Self::joined(Wire::new(), Receive);
        talk.ask(PREFACE).ask(&frame(SETTINGS, 0, 0, &[])).answer(&frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]));
        talk
    }

    fn client() -> Self {
        let mut talk = Self::joined(Wire::new(), Send);
        talk.ask(PREFACE).ask(&frame(SETTINGS, 0, 0, &[]));
        talk
    }

    fn joined(wire: Wire, asks: Direction) -> Self {
        Self { wire, asks, requests: Encoder::default(), responses: Encoder::default() }
    }

    fn ask(&mut self, bytes: &[u8]) -> &mut Self {
        self.wire.put(self.asks, Content::Bytes(bytes));
        self
    }

    fn answer(&mut self, bytes: &[u8]) -> &mut Self {
        self.wire.put(self.asks.opposite(), Content::Bytes(bytes));
        self
    }

    fn get(&mut self, stream: u32, path: &str) -> Vec<u8> {
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "h:81")];
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &self.requests.block(&fields))
    }

    fn call(&mut self, stream: u32, path: &str, kind: &str) -> Vec<u8> {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "h"),
            ("content-type", kind),
            ("grpc-timeout", "250m"),
        ];
        frame(HEADERS, END_HEADERS, stream, &self.requests.block(&fields))
    }

    fn ok(&mut self, stream: u32, flags: u8) -> Vec<u8> {
        let block = self.responses.block(&[(":status", "200"), ("server", "test")]);
        frame(HEADERS, END_HEADERS | flags, stream, &block)
    }

    fn trailers(&mut self, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &self.responses.block(fields))
    }

    fn out(&mut self) -> Vec<Exchange> {
        std::mem::take(&mut self.wire.out)
    }

    fn one(&mut self) -> Exchange {
        let mut out = self.out();
        assert_eq!(out.len(), 1, "{out:?}");
        out.remove(0)
    }
}

#[test]
fn a_servers_span() {
    let mut talk = Talk::server();
    let get = talk.get(1, "/users/17?sig=x");
    talk.ask(&get);
    let ok = talk.ok(1, 0);
    talk.answer(&ok).answer(&frame(DATA, END_STREAM, 1, b"hello"));
    let span = talk.one();
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/users/17"),
        ("url.query", "sig=REDACTED"),
        ("url.scheme", "http"),
        ("http.route", "/users/{id}"),
        ("server.address", "h"),
        ("client.address", "10.0.0.2"),
        ("network.protocol.version", "2"),
        ("network.transport", "tcp"),
    ] {
        assert_eq!(text(&span, key), value, "{key}");
    }
    assert_eq!((int(&span, "http.response.status_code"), int(&span, "http.response.body.size")), (Some(200), Some(5)));
    assert_eq!((int(&span, "server.port"), int(&span, "http.request.body.size")), (Some(81), None));
    assert_eq!((&*span.name, span.id.place, span.holes), ("GET /users/{id}", 1, Holes::default()));
    assert_eq!(talk.wire.understanding(), Understanding::Understood("http2"));
}

#[test]
fn a_clients_span() {
    let mut talk = Talk::client();
    let fields =
        [(":method", "PUT"), (":scheme", "https"), (":path", "/a"), (":authority", "h"), ("x-request-id", "7")];
    let head = frame(HEADERS, END_HEADERS, 3, &talk.requests.block(&fields));
    talk.ask(&head).ask(&frame(DATA, 0, 3, b"abc")).ask(&frame(DATA, END_STREAM, 3, b"de"));
    let block = talk.responses.block(&[(":status", "404")]);
    talk.answer(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &block));
    let span = talk.one();
    assert_eq!((text(&span, "url.full"), text(&span, "error.type")), ("https://h/a", "404"));
    assert_eq!(int(&span, "http.request.body.size"), Some(5));
    assert!(matches!(span.status, Status::Error(_)));
}

#[test]
fn streams_interleave() {
    let mut talk = Talk::server();
    let gets = [talk.get(1, "/a"), talk.get(3, "/b"), talk.get(5, "/c")].concat();
    talk.ask(&gets);
    let (a, b, c) = (talk.ok(3, 0), talk.ok(1, 0), talk.ok(5, END_STREAM));
    talk.answer(&[a, b, c].concat());
    talk.answer(&frame(DATA, 0, 3, b"b")).answer(&frame(DATA, 0, 1, b"aa")).answer(&frame(DATA, END_STREAM, 1, b"a"));
    talk.answer(&frame(DATA, END_STREAM, 3, b""));
    assert_eq!(talk.wire.summary(), ["/c 200", "/a 200", "/b 200"]);
    let sizes: Vec<_> = talk.out().iter().map(|span| int(span, "http.response.body.size")).collect();
    assert_eq!(sizes, [Some(0), Some(3), Some(1)]);
}

#[test]
fn continuations_padding_priorities_and_frames_in_between() {
    let mut talk = Talk::server();
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/long"), (":authority", "h"), ("x", "y")];
    let block = talk.requests.block(&fields);
    let (first, rest) = block.split_at(7);
    let mut payload = vec![3, 0, 0, 0, 0, 16];
    payload.extend(first);
    payload.extend([0; 3]);
    let mut bytes = frame(HEADERS, PADDED | PRIORITY | END_STREAM, 1, &payload);
    bytes.extend(frame(CONTINUATION, 0, 1, &rest[..2]));
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &rest[2..]));
    bytes.extend(frame(PING, 0, 0, &[0; 8]));
    bytes.extend(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
    bytes.extend(frame(0xfe, 0xff, 1, b"an extension"));
    // In single bytes.
    bytes.chunks(1).for_each(|byte| {
        talk.ask(byte);
    });
    let promise = [&[0, 0, 0, 2][..], &talk.responses.block(&[(":method", "GET"), (":path", "/pushed")])].concat();
    let ok = talk.ok(1, 0);
    talk.answer(&frame(PUSH_PROMISE, END_HEADERS, 1, &promise)).answer(&ok);
    talk.answer(&talk_pushed()).answer(&frame(DATA, PADDED | END_STREAM, 1, b"\x02ok\0\0"));
    assert_eq!(talk.wire.summary(), ["/long 200"]);
    assert_eq!(int(&talk.one(), "http.response.body.size"), Some(2));
}

/// The answer to what was promised.
fn talk_pushed() -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, 2, &[0x88]), frame(DATA, END_STREAM, 2, b"pushed")].concat()
}

#[test]
fn interim_answers_and_trailers() {
    let mut talk = Talk::server();
    let get = talk.get(1, "/a");
    talk.ask(&get);
    let early = talk.responses.block(&[(":status", "103")]);
    let ok = talk.ok(1, 0);
    talk.answer(&frame(HEADERS, END_HEADERS, 1, &early)).answer(&ok);
    let trailers = talk.trailers(1, &[("x-checksum", "1")]);
    talk.answer(&trailers);
    assert_eq!(talk.wire.summary(), ["/a 200"]);
}

#[test]
fn resets() {
    let mut talk = Talk::client();
    for (i, (code, error)) in [(8_u32, "CANCEL"), (7, "REFUSED_STREAM"), (0x77, "_OTHER")].into_iter().enumerate() {
        let id = 1 + 2 * i as u32;
        let get = talk.get(id, "/a");
        talk.ask(&get).answer(&frame(RST_STREAM, 0, id, &code.to_be_bytes()));
        let span = talk.one();
        assert_eq!((text(&span, "error.type"), span.holes.no_response), (error, true));
    }
    // An answer that comes before the whole request, the rest of which nobody wants.
    let head = talk.call(7, "/up", "text/plain");
    let ok = talk.ok(7, END_STREAM);
    talk.ask(&head).answer(&ok);
    assert!(talk.wire.out.is_empty());
    talk.answer(&frame(RST_STREAM, 0, 7, &[0; 4]));
    let span = talk.one();
    assert_eq!((&span.status, int(&span, "http.response.status_code")), (&Status::Unset, Some(200)));
}

#[test]
fn a_reset_without_an_error_ends_an_answer() {
    let mut talk = Talk::client();
    let (get, ok) = (talk.get(1, "/a"), talk.ok(1, 0));
    talk.ask(&get).answer(&ok).answer(&frame(DATA, 0, 1, b"hello")).answer(&frame(RST_STREAM, 0, 1, &[0; 4]));
    let span = talk.one();
    assert_eq!(
        (&span.status, int(&span, "http.response.body.size"), span.holes),
        (&Status::Unset, Some(5), Holes::default())
    );
}

#[test]
fn a_goaway_refuses_later_streams() {
    let mut talk = Talk::client();
    for id in [1, 3, 5] {
        let get = talk.get(id, &format!("/{id}"));
        talk.ask(&get);
    }
    talk.answer(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    let errors: Vec<_> = talk.out().iter().map(|span| text(span, "error.type").to_owned()).collect();
    assert_eq!(errors, ["REFUSED_STREAM", "REFUSED_STREAM"]);
    let ok = talk.ok(1, END_STREAM);
    talk.answer(&ok);
    assert_eq!(int(&talk.one(), "http.response.status_code"), Some(200));
}

#[test]
fn the_connection_ends() {
    for (how, error) in [
        (Ending::Closed, Some("connection_closed")),
        (Ending::Reset(libc::ECONNRESET), Some("connection_reset")),
        (Ending::Evicted, None),
    ] {
        let mut talk = Talk::client();
        let get = talk.get(1, "/a");
        talk.ask(&get);
        talk.wire.end(Receive, how);
        let span = talk.one();
        assert_eq!(span.attributes.get("error.type"), error.map(Value::from).as_ref());
        assert!(span.holes.no_response);
    }
}

#[test]
fn grpc_calls() {
    let mut talk = Talk::server();
    let head = talk.call(1, "/shop.v1.Cart/Add", "application/grpc+proto");
    let body = [message(10), message(0), message(300)].concat();
    // Over the borders of frames.
    talk.ask(&head).ask(&frame(DATA, 0, 1, &body[..17])).ask(&frame(DATA, END_STREAM, 1, &body[17..]));
    let ok = talk.ok(1, 0);
    talk.answer(&ok).answer(&frame(DATA, 0, 1, &message(5)));
    let trailers = talk.trailers(1, &[("grpc-status", "5"), ("grpc-message", "no%20cart")]);
    talk.answer(&trailers);
    let span = talk.one();
    assert_eq!((&*span.name, &span.status), ("shop.v1.Cart/Add", &Status::Unset));
    for (key, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "shop.v1.Cart/Add"),
        ("rpc.response.status_code", "NOT_FOUND"),
        ("geophone.grpc.message", "no cart"),
        ("server.address", "h"),
        ("client.address", "10.0.0.2"),
        ("network.protocol.version", "2"),
    ] {
        assert_eq!(text(&span, key), value, "{key}");
    }
    assert_eq!(span.attributes.get("geophone.grpc.timeout"), Some(&Value::Float(0.25)));
    let messages = ["geophone.grpc.request.messages", "geophone.grpc.response.messages"].map(|key| int(&span, key));
    assert_eq!(messages, [Some(3), Some(1)]);
    assert!(!span.attributes.0.iter().any(|(key, _)| key.starts_with("http.") || key.starts_with("url.")), "{span:?}");
}

#[test]
fn grpc_errors_of_a_client() {
    let mut talk = Talk::client();
    let head = talk.call(1, "/a.B/C", "application/grpc");
    talk.ask(&head).ask(&frame(DATA, END_STREAM, 1, &message(1)));
    // Trailers only.
    let fields =
        [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "7"), ("grpc-message", "who?")];
    let trailers = talk.trailers(1, &fields);
    talk.answer(&trailers);
    let span = talk.one();
    assert_eq!((text(&span, "error.type"), &span.status), ("PERMISSION_DENIED", &Status::Error("who?".into())));
    assert_eq!((int(&span, "geophone.grpc.response.messages"), span.holes), (Some(0), Holes::default()));
    // A proxy that knows nothing of gRPC.
    let head = talk.call(3, "/a.B/C", "application/grpc");
    let block = talk.responses.block(&[(":status", "503")]);
    talk.ask(&head).ask(&frame(DATA, END_STREAM, 3, &[])).answer(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &block));
    let span = talk.one();
    assert_eq!((text(&span, "error.type"), int(&span, "http.response.status_code")), ("503", Some(503)));
    assert_eq!(span.attributes.get("rpc.response.status_code"), None);
}

#[test]
fn a_client_that_loses_interest_is_no_failure_of_a_server() {
    let mut talk = Talk::server();
    let head = talk.call(1, "/a.B/Watch", "application/grpc");
    let ok = talk.ok(1, 0);
    talk.ask(&head).answer(&ok).answer(&frame(DATA, 0, 1, &message(5)));
    talk.ask(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    let span = talk.one();
    assert_eq!((&span.status, span.attributes.get("error.type")), (&Status::Unset, None));
}

#[test]
fn grpc_web_has_its_trailers_in_the_body() {
    let mut talk = Talk::server();
    let head = talk.call(1, "/a.B/C", "application/grpc-web+proto");
    talk.ask(&head).ask(&frame(DATA, END_STREAM, 1, &message(3)));
    let ok = talk.ok(1, 0);
    let trailers = b"\x80\x00\x00\x00\x1dgrpc-status:3\r\ngrpc-message:x";
    talk.answer(&ok).answer(&frame(DATA, END_STREAM, 1, &[&message(4)[..], trailers].concat()));
    let span = talk.one();
    assert_eq!((text(&span, "rpc.response.status_code"), &*span.name), ("INVALID_ARGUMENT", "a.B/C"));
    assert_eq!(int(&span, "geophone.grpc.response.messages"), Some(1));
}

#[test]
fn bodies_are_passed_over() {
    let mut talk = Talk::server();
    let get = talk.get(1, "/big");
    let ok = talk.ok(1, 0);
    talk.ask(&get).answer(&ok);
    let mut head = frame(DATA, 0, 1, &[]);
    head[..3].copy_from_slice(&[1, 0, 0]);
    talk.answer(&head);
    let interest = talk.wire.interest(Send);
    talk.wire.hole(Send, 65_536, Gap::NotCaptured);
    assert!(interest.from > 65_536 && interest.bytes == 16 << 10, "{interest:?}");
    talk.answer(&frame(DATA, END_STREAM, 1, b"end"));
    let span = talk.one();
    assert_eq!((int(&span, "http.response.body.size"), span.holes), (Some(65_539), Holes::default()));
}

#[test]
fn joined_in_the_middle() {
    let mut talk = Talk::joined(Wire::new().joined_at(5_000, 7_000), Receive);
    // What both sides remember was sent before.
    talk.requests.block(&[("user-agent", "old"), (":authority", "h:81")]);
    talk.responses.block(&[("server", "test")]);
    let fields = [(":method", "GET"), (":path", "/known"), (":authority", "h:81"), ("user-agent", "old")];
    let get = frame(HEADERS, END_HEADERS | END_STREAM, 101, &talk.requests.block(&fields));
    let ok = talk.ok(101, END_STREAM);
    talk.ask(&get).answer(&ok);
    let span = talk.one();
    let known = Holes { request_head: true, response_head: true, ..Holes::default() };
    assert_eq!((text(&span, "url.path"), span.holes, span.id.place), ("/known", known, 101));
    // Of the connection, not invented.
    assert_eq!((text(&span, "server.address"), span.attributes.get("user_agent.original")), ("10.0.0.1", None));
    // What has come since is known.
    let block = talk.requests.block(&[(":method", "GET"), (":path", "/known")]);
    let ok = frame(HEADERS, END_HEADERS | END_STREAM, 103, &talk.responses.block(&[(":status", "200")]));
    talk.ask(&frame(HEADERS, END_HEADERS | END_STREAM, 103, &block)).answer(&ok);
    assert_eq!(talk.wire.summary(), ["/known 200"]);
    assert_eq!(talk.wire.count("unknown_fields"), 2);
}

#[test]
fn a_name_that_cannot_be_known_does_not_lose_the_stream() {
    let mut talk = Talk::joined(Wire::new().joined_at(5_000, 7_000), Receive);
    let fields = [(":method", "POST"), (":path", "/a.B/C"), ("content-type", "application/grpc")];
    talk.requests.block(&fields);
    let get = frame(HEADERS, END_HEADERS | END_STREAM, 7, &[&[0x83][..], &talk.requests.block(&fields)].concat());
    let trailers = talk.trailers(7, &[(":status", "200"), ("grpc-status", "0")]);
    talk.ask(&get).answer(&trailers);
    let span = talk.one();
    assert_eq!((&*span.name, text(&span, "rpc.response.status_code")), ("POST", "OK"));
    assert!(span.holes.request_head);
}

/// What repeats on a connection of gRPC, and was said before it was joined.
fn joined_call(server: bool) -> Talk {
    let asks = if server { Receive } else { Send };
    let mut talk = Talk::joined(Wire::new().joined_at(5_000, 7_000), asks);
    talk.call(1, "/a.B/C", "application/grpc");
    talk.responses.block(&[(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]);
    talk
}

#[test]
fn grpc_whose_fields_were_said_before_is_told_by_its_shape() {
    for server in [true, false] {
        let mut talk = joined_call(server);
        // The path is new, all else is known to both sides only.
        let fields = [(":path", "/a.B/New"), (":authority", "h"), ("content-type", "application/grpc")];
        let block = [&[0x83][..], &talk.requests.block(&fields)].concat();
        talk.ask(&frame(HEADERS, END_HEADERS, 101, &block));
        talk.ask(&frame(DATA, END_STREAM, 101, &message(70)));
        let block = [&[0x88][..], &talk.responses.block(&[("content-type", "application/grpc")])].concat();
        talk.answer(&frame(HEADERS, END_HEADERS, 101, &block));
        talk.answer(&frame(DATA, 0, 101, &[message(3), message(0)].concat()));
        let trailers = talk.trailers(101, &[("grpc-status", "0")]);
        talk.answer(&trailers);
        let span = talk.one();
        assert_eq!((&*span.name, text(&span, "rpc.system.name")), ("a.B/New", "grpc"));
        let messages = ["geophone.grpc.request.messages", "geophone.grpc.response.messages"].map(|key| int(&span, key));
        assert_eq!(messages, [Some(1), Some(2)]);
        // What was not seen is not said.
        assert_eq!(span.attributes.get("rpc.response.status_code"), None);
        assert!(span.holes.request_head && span.holes.response_head);
        // A field of gRPC's own is enough.
        let block =
            [&[0x83][..], &talk.requests.block(&[("content-type", "application/grpc"), ("grpc-encoding", "gzip")])];
        talk.ask(&frame(HEADERS, END_HEADERS | END_STREAM, 103, &block.concat()));
        talk.answer(&frame(RST_STREAM, 0, 103, &2_u32.to_be_bytes()));
        assert_eq!(text(&talk.one(), "rpc.system.name"), "grpc");
    }
}

/// Each of what a call is, and one of them missing: HTTP.
#[test]
fn what_may_not_be_grpc_is_http() {
    const NOTHING: &[(&str, &str)] = &[];
    let kind = [("content-type", "application/grpc")];
    let json = [("content-type", "application/json")];
    for (what, method, path, asked, body, status, answered, answer, trailers) in [
        ("GET", 0x82, "/a/b", NOTHING, message(1), 0x88, NOTHING, message(1), Some(())),
        ("query", 0x83, "/a/b?c", NOTHING, message(1), 0x88, NOTHING, message(1), Some(())),
        ("path", 0x83, "/a", NOTHING, message(1), 0x88, NOTHING, message(1), Some(())),
        ("request's type", 0x83, "/a/b", &json[..], message(1), 0x88, NOTHING, message(1), Some(())),
        ("request's body", 0x83, "/a/b", NOTHING, b"{\"a\":1}".to_vec(), 0x88, NOTHING, message(1), Some(())),
        ("a byte more", 0x83, "/a/b", NOTHING, [message(1), vec![0]].concat(), 0x88, NOTHING, message(1), Some(())),
        ("a byte less", 0x83, "/a/b", NOTHING, message(9)[..13].to_vec(), 0x88, NOTHING, message(1), Some(())),
        ("status", 0x83, "/a/b", NOTHING, message(1), 0x8d, NOTHING, message(1), Some(())),
        ("answer's type", 0x83, "/a/b", NOTHING, message(1), 0x88, &json[..], message(1), Some(())),
        ("answer's body", 0x83, "/a/b", NOTHING, message(1), 0x88, NOTHING, b"AAAAAAFh".to_vec(), Some(())),
        ("trailers", 0x83, "/a/b", NOTHING, message(1), 0x88, NOTHING, message(1), None),
    ] {
        let mut talk = joined_call(true);
        let mut fields = vec![(":path", path), (":authority", "h")];
        fields.extend(if asked.is_empty() { &kind[..] } else { asked });
        let block = [&[method][..], &talk.requests.block(&fields)].concat();
        talk.ask(&frame(HEADERS, END_HEADERS, 101, &block)).ask(&frame(DATA, END_STREAM, 101, &body));
        let block = talk.responses.block(if answered.is_empty() { &kind[..] } else { answered });
        talk.answer(&frame(HEADERS, END_HEADERS, 101, &[&[status][..], &block].concat()));
        talk.answer(&frame(DATA, if trailers.is_some() { 0 } else { END_STREAM }, 101, &answer));
        if trailers.is_some() {
            let trailers = talk.trailers(101, &[("grpc-status", "0")]);
            talk.answer(&trailers);
        }
        let span = talk.one();
        assert_eq!(span.attributes.get("rpc.system.name"), None, "{what}: {span:?}");
        assert_eq!(int(&span, "http.request.body.size"), Some(body.len() as i64), "{what}");
    }
}

#[test]
fn a_hole_in_a_header_block_makes_the_table_unknown() {
    let mut talk = Talk::server();
    let get = talk.get(1, "/first");
    talk.ask(&get);
    let second = talk.get(3, "/second");
    let (seen, unseen) = second.split_at(9 + 3);
    talk.ask(seen);
    talk.wire.hole(Receive, unseen.len() as u64, Gap::NotCaptured);
    let third = talk.get(5, "/first");
    let ok = [talk.ok(1, END_STREAM), talk.ok(3, END_STREAM), talk.ok(5, END_STREAM)].concat();
    talk.ask(&third).answer(&ok);
    let seen: Vec<_> =
        talk.out().iter().map(|s| (s.id.place, s.attributes.get("url.path").cloned(), s.holes.request_head)).collect();
    assert_eq!(seen, [(1, Some("/first".into()), false), (3, None, true), (5, None, true)]);
}

#[test]
fn the_place_is_found_again() {
    let mut talk = Talk::client();
    let (a, b) = (talk.get(1, "/a"), talk.get(3, "/b"));
    talk.ask(&a).ask(&b);
    let ok = talk.ok(1, 0);
    talk.answer(&ok);
    talk.wire.hole(Receive, 500, Gap::Lost);
    talk.answer(b"in the middle of something").answer(&frame(DATA, END_STREAM, 1, b"x"));
    let ok = frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x88]);
    talk.answer(&ok);
    let seen: Vec<_> = talk.wire.summary();
    assert_eq!(seen, ["GET 200 length", "GET 200"]);
    assert_eq!((talk.wire.count("lost_frames"), talk.out()[0].attributes.get("http.response.body.size")), (1, None));
}

#[test]
fn an_end_that_may_have_been_missed_is_not_waited_for_for_ever() {
    let mut talk = Talk::server();
    let get = talk.get(1, "/a");
    let ok = talk.ok(1, 0);
    talk.ask(&get).answer(&ok);
    talk.wire.hole(Send, 500, Gap::Lost).tick(4_000_000_000);
    assert!(talk.wire.out.is_empty());
    talk.wire.tick(2_000_000_000);
    assert_eq!((talk.wire.summary(), talk.wire.count("flushed")), (vec!["/a 200 length".into()], 1));
}

#[test]
fn a_reset_of_what_may_be_over_is_no_error() {
    let mut talk = Talk::client();
    let get = talk.get(1, "/a");
    let ok = talk.ok(1, 0);
    talk.ask(&get).answer(&ok);
    talk.wire.hole(Receive, 500, Gap::Lost);
    talk.ask(&frame(RST_STREAM, 0, 1, &5_u32.to_be_bytes()));
    let span = talk.one();
    assert_eq!((&span.status, span.holes.length), (&Status::Unset, true));
}

#[test]
fn a_client_may_close_once_it_has_what_was_announced() {
    for (size, error) in [(5, None), (4, Some("connection_closed"))] {
        let mut talk = Talk::client();
        let get = talk.get(1, "/a");
        let block = talk.responses.block(&[(":status", "200"), ("content-length", "5"), ("trailer", "x-sum")]);
        talk.ask(&get).answer(&frame(HEADERS, END_HEADERS, 1, &block)).answer(&frame(DATA, 0, 1, &b"12345"[..size]));
        talk.wire.end(Receive, Ending::Closed);
        let span = talk.one();
        assert_eq!(span.attributes.get("error.type"), error.map(Value::from).as_ref());
        assert_eq!(int(&span, "http.response.body.size"), error.is_none().then_some(5));
    }
}

#[test]
fn answers_seen_before_their_requests() {
    let mut talk = Talk::client();
    let get = talk.get(1, "/a");
    let ok = talk.ok(1, END_STREAM);
    talk.answer(&ok).ask(&get);
    assert_eq!(talk.wire.summary(), ["GET 200"]);
    assert_eq!(talk.one().holes, Holes::default());
    // One whose request never comes.
    let ok = talk.ok(3, END_STREAM);
    talk.answer(&ok);
    talk.wire.tick(2_000_000_000);
    assert_eq!((talk.wire.out.len(), talk.wire.count("orphans")), (0, 1));
}

#[test]
fn too_many_streams() {
    let mut talk = Talk::client();
    for i in 0..1025 {
        let get = talk.get(2 * i + 1, "/a");
        talk.ask(&get);
    }
    assert_eq!((talk.wire.out.len(), talk.wire.count("overflows")), (1, 1));
    let span = talk.one();
    assert_eq!((span.id.place, span.holes.no_response, span.status), (1, true, Status::Unset));
}

#[test]
fn what_is_not_http2_after_all() {
    let mut wire = Wire::new();
    wire.receive(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80")
        .receive(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_eq!((wire.understanding(), wire.count("redetected")), (Understanding::Detecting, 1));
}

#[test]
fn broken_for_good() {
    let mut talk = Talk::server();
    let get = talk.get(1, "/a");
    talk.ask(&get);
    for _ in 0..17 {
        talk.ask(&frame(PING, 0, 0, &[0; 8])).ask(&frame(PING, 0, 7, &[0; 8]));
    }
    assert_eq!((talk.wire.count("given_up_malformed"), talk.wire.out.len()), (1, 1));
}

#[test]
fn the_agents_own_export_is_left_alone() {
    let mut talk = Talk::client();
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let fields = [
        (":method", "POST"),
        (":path", path),
        ("user-agent", "geophone/0.1.0 tonic"),
        ("content-type", "application/grpc"),
    ];
    let head = frame(HEADERS, END_HEADERS, 1, &talk.requests.block(&fields));
    talk.ask(&head);
    assert_eq!((talk.wire.understanding(), talk.wire.out.len()), (Understanding::Own, 0));
}

#[test]
fn an_upgrade_from_http_1() {
    for together in [false, true] {
        let mut talk = Talk::joined(Wire::new(), Receive);
        talk.ask(b"GET /first HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n");
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
        let settings = frame(SETTINGS, 0, 0, &[]);
        if together {
            talk.answer(&[&switch[..], &settings].concat());
        } else {
            talk.answer(switch).answer(&settings);
        }
        talk.ask(PREFACE).ask(&frame(SETTINGS, 0, 0, &[]));
        let (second, first) = (talk.get(3, "/second"), talk.ok(1, 0));
        talk.ask(&second).answer(&first).answer(&frame(DATA, END_STREAM, 1, b"one"));
        let ok = talk.ok(3, END_STREAM);
        talk.answer(&ok);
        assert_eq!(talk.wire.summary(), ["/first 200", "/second 200"]);
        assert_eq!(talk.wire.count("switched"), 0);
    }
}

const H2C: &str = include_str!("h2c.txt");
const GRPC: &str = include_str!("grpc.txt");

#[test]
fn what_nghttp_asks_of_go() {
    for server in [false, true] {
        let wire = heard(&captured(H2C), server);
        let url = if server { "url.path" } else { "url.full" };
        let path = |e: &Exchange| text(e, url).rsplit('/').next().unwrap().to_owned();
        let mut all: Vec<_> = wire.out.iter().map(|e| (path(e), int(e, "http.response.status_code"))).collect();
        all.sort();
        let last = if server { "b" } else { "b?q=1" };
        let expected = [("3000", 200), ("404", 404), ("a", 200), (last, 200), ("x", 200)];
        assert_eq!(all, expected.map(|(path, status)| (path.to_owned(), Some(status))));
        assert!(wire.out.iter().all(|e| e.holes == Holes::default()));
    }
}

#[test]
fn what_grpc_for_python_asks_of_go() {
    for server in [false, true] {
        let wire = heard(&captured(GRPC), server);
        assert_eq!(
            told(&wire, &["rpc.response.status_code"]),
            [
                "test.v1.Calls/chat_3_3_40_0_4 | OK",
                "test.v1.Calls/stream_4_1_40_0_3 | OK",
                "test.v1.Calls/unary_1_1_40_0_1 | OK",
                "test.v1.Calls/unary_1_0_40_5_2 | NOT_FOUND",
                "test.v1.Calls/unary_1_1_40_0_5 | OK",
                "test.v1.Calls/unary_1_1_0_0_6 | OK",
                "test.v1.Calls/unary_1_1_40_0_7 | OK",
            ]
        );
    }
}

/// Of each call the beginning is captured. What is before a message may be behind that: then nothing is said of how many there were, and
/// all else is as certain as before.
#[test]
fn messages_that_were_not_captured_are_not_counted() {
    let messages = |limit| {
        let mut talk = Talk::client();
        let call = talk.call(1, "/s.S/m", "application/grpc");
        let asked = [call, frame(DATA, END_STREAM, 1, &message(40))].concat();
        let (seen, unseen) = asked.split_at(asked.len().saturating_sub(limit));
        talk.ask(seen);
        if !unseen.is_empty() {
            talk.wire.hole(Send, unseen.len() as u64, Gap::NotCaptured);
        }
        let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")];
        let answer = frame(HEADERS, END_HEADERS | END_STREAM, 1, &talk.responses.block(&fields));
        talk.answer(&answer);
        let exchange = &talk.wire.out[0];
        assert_eq!((text(exchange, "rpc.response.status_code"), exchange.holes), ("OK", Holes::default()));
        ["request", "response"].map(|side| int(exchange, &format!("geophone.grpc.{side}.messages")))
    };
    assert_eq!(messages(0), [Some(1), Some(0)]);
    // The message without what is before it; and a part of that as well.
    assert_eq!(messages(40), [Some(1), Some(0)]);
    assert_eq!(messages(43), [None, Some(0)]);
}

#[test]
fn promises() {
    for text in [H2C, GRPC] {
        keep("http2", &captured(text));
    }
}
