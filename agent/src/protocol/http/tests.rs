//! Attributes, name and status of whole spans.

use crate::protocol::{
    Exchange, Shared, Status, Value,
    http::Routes,
    testing::{Wire, int, text},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn served(request: &str, response: &str) -> Exchange {
    let mut wire = Wire::new();
    wire.receive(request).send(response);
    wire.out.remove(0)
}

fn asked(request: &str, response: &str) -> Exchange {
    let mut wire = Wire::new();
    wire.send(request).receive(response);
    wire.out.remove(0)
}

#[test]
fn a_servers_span() {
    let span = served(
        "POST /users/17/cart?sig=secret&x=1 HTTP/1.1\r\nHost: shop.example:8443\r\nUser-Agent: curl/8\r\n\
         Content-Length: 0\r\ntraceparent: 00-a-b-01\r\ntracestate: k=v\r\n\r\n",
        OK,
    );
    for (key, value) in [
        ("http.request.method", "POST"),
        ("url.path", "/users/17/cart"),
        ("url.query", "sig=REDACTED&x=1"),
        ("url.scheme", "http"),
        ("http.route", "/users/{id}/cart"),
        ("server.address", "shop.example"),
        ("client.address", "10.0.0.2"),
        ("network.protocol.version", "1.1"),
        ("network.peer.address", "10.0.0.2"),
        ("network.local.address", "10.0.0.1"),
        ("network.transport", "tcp"),
        ("user_agent.original", "curl/8"),
    ] {
        assert_eq!(text(&span, key), value, "{key}");
    }
    for (key, value) in [
        ("http.response.status_code", 200),
        ("http.request.body.size", 0),
        ("http.response.body.size", 2),
        ("server.port", 8443),
        ("client.port", 40_000),
        ("network.peer.port", 40_000),
        ("network.local.port", 8080),
    ] {
        assert_eq!(int(&span, key), Some(value), "{key}");
    }
    assert_eq!(span.attributes.get("geophone.http.time_to_first_byte"), Some(&Value::Float(1e-8)));
    assert_eq!(span.name, "POST /users/{id}/cart");
    let mut keys: Vec<_> = span.attributes.0.iter().map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), span.attributes.0.len(), "each once");
}

#[test]
fn a_server_behind_a_proxy() {
    let span = served(
        "GET / HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 203.0.113.9, 10.0.0.2\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: outer.example\r\n\r\n",
        OK,
    );
    assert_eq!((text(&span, "client.address"), text(&span, "network.peer.address")), ("203.0.113.9", "10.0.0.2"));
    assert_eq!((text(&span, "server.address"), int(&span, "server.port")), ("outer.example", Some(443)));
    assert_eq!(text(&span, "url.scheme"), "https");
}

#[test]
fn a_server_without_a_host_header() {
    let span = served("GET / HTTP/1.0\r\n\r\n", OK);
    assert_eq!((text(&span, "server.address"), int(&span, "server.port")), ("10.0.0.1", Some(8080)));
    assert_eq!(text(&span, "network.protocol.version"), "1.0");
}

#[test]
fn a_clients_span() {
    let span = asked("GET /a?AWSAccessKeyId=k HTTP/1.1\r\nHost: api.example:81\r\n\r\n", OK);
    assert_eq!(text(&span, "url.full"), "http://api.example:81/a?AWSAccessKeyId=REDACTED");
    assert_eq!((text(&span, "server.address"), int(&span, "server.port")), ("api.example", Some(81)));
    assert_eq!(span.name, "GET");
    assert!(span.attributes.get("url.path").is_none() && span.attributes.get("http.route").is_none());
    // Through a proxy, with a password; without a host.
    let span = asked("GET http://joe:pw@h/x HTTP/1.1\r\n\r\n", OK);
    assert_eq!(text(&span, "url.full"), "http://REDACTED:REDACTED@h/x");
    let span = asked("OPTIONS * HTTP/1.1\r\n\r\n", OK);
    assert_eq!(text(&span, "url.full"), "http://10.0.0.2:40000");
    let span = asked("GET /x HTTP/1.1\r\nHost: [2001:db8::1]:82\r\n\r\n", OK);
    assert_eq!(text(&span, "url.full"), "http://[2001:db8::1]:82/x");
    assert_eq!((text(&span, "server.address"), int(&span, "server.port")), ("2001:db8::1", Some(82)));
}

#[test]
fn what_is_an_error() {
    let response = |status: u16| format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
    for (status, server, client) in [(200, false, false), (302, false, false), (404, false, true), (500, true, true)] {
        for (span, failed) in [
            (served("GET / HTTP/1.1\r\n\r\n", &response(status)), server),
            (asked("GET / HTTP/1.1\r\n\r\n", &response(status)), client),
        ] {
            assert_eq!(matches!(span.status, Status::Error(_)), failed, "{status}");
            assert_eq!(span.attributes.get("error.type").is_some(), failed, "{status}");
        }
    }
    assert_eq!(text(&served("GET / HTTP/1.1\r\n\r\n", &response(503)), "error.type"), "503");
}

#[test]
fn other_methods() {
    let span = served("PURGE /x HTTP/1.1\r\n\r\n", OK);
    assert_eq!((text(&span, "http.request.method"), text(&span, "http.request.method_original")), ("_OTHER", "PURGE"));
    assert_eq!(span.name, "HTTP /x");
}

#[test]
fn templates_and_patterns_are_settings() {
    let shared = Shared { routes: Routes::new(["/u/{name}"]).unwrap(), client_templates: true, ..Shared::default() };
    let mut wire = Wire::with(shared);
    wire.send("GET /u/joe HTTP/1.1\r\n\r\n").receive(OK);
    assert_eq!(wire.out[0].name, "GET /u/{name}");
    assert_eq!(text(&wire.out[0], "url.template"), "/u/{name}");
}
