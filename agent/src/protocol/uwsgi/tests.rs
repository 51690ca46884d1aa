use crate::protocol::{
    promises::{captured, heard, keep, told},
    testing::{Wire, text},
};

const GET: &str = include_str!("get.txt");
const POST: &str = include_str!("post.txt");

#[test]
fn captured_from_nginx_and_uwsgi() {
    let keys = ["http.response.status_code", "url.path", "url.query"];
    assert_eq!(told(&heard(&captured(GET), true), &keys), ["GET /u | 200 | /u | n=3"]);
    assert_eq!(told(&heard(&captured(POST), true), &keys), ["POST /u | 200 | /u | n=7"]);
    let client = heard(&captured(POST), false);
    assert_eq!(text(&client.out[0], "url.full"), "http://127.0.0.1/u?n=7");
    assert_eq!(client.out[0].protocol, "uwsgi");
}

#[test]
fn a_response_ends_with_its_connection() {
    let parts = captured(GET);
    let mut wire = Wire::new();
    wire.receive(&parts[0].bytes).send(b"HTTP/1.1 503 Busy\r\n\r\n").tick(500);
    assert!(wire.out.is_empty());
    wire.close();
    let exchange = &wire.out[0];
    assert_eq!(text(exchange, "error.type"), "503");
    assert!(exchange.end >= exchange.first_byte.unwrap() + 500 && !exchange.holes.length);

    let mut wire = Wire::new();
    wire.receive(&parts[0].bytes).close();
    assert_eq!(text(&wire.out[0], "error.type"), "connection_closed");
    assert!(wire.out[0].holes.no_response);
}

#[test]
fn promises() {
    keep("uwsgi", &captured(GET));
    keep("uwsgi", &captured(POST));
}
