use proptest::prelude::*;

use super::*;
use crate::{
    conn::Gap,
    event::Role,
    protocol::{
        Foreign, Understanding,
        testing::{Part, Wire, cut, int, play, text},
    },
};

const REQUEST: &[u8] = b"GET /orders/7 HTTP/1.1\r\nhost: shop\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LINE_4: &[u8] = b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n";

/// Version 2.
fn binary(command: u8, family: u8, addresses: &[u8], more: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len() + more.len()).unwrap();
    [SECOND, &[command, family], &length.to_be_bytes(), addresses, more].concat()
}

/// Addresses and ports of IPv4.
fn four() -> Vec<u8> {
    [&[203, 0, 113, 9][..], &[10, 0, 0, 1], &56324_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

fn six() -> Vec<u8> {
    let address = "2001:db8::9".parse::<Ipv6Addr>().unwrap().octets();
    [&address[..], &address, &56324_u16.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

/// All headers, and whom they name.
fn headers() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (LINE_4.to_vec(), "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::9 2001:db8::1 56324 443\r\n".to_vec(), "2001:db8::9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "10.0.0.2"),
        (b"PROXY UNKNOWN ffff:: and anything\r\n".to_vec(), "10.0.0.2"),
        (binary(0x21, 0x11, &four(), b""), "203.0.113.9"),
        (binary(0x21, 0x21, &six(), b""), "2001:db8::9"),
        // With what else there may be (a checksum, the name that TLS asked for), and a health check.
        (binary(0x21, 0x11, &four(), &[7; 300]), "203.0.113.9"),
        (binary(0x20, 0, b"", b""), "10.0.0.2"),
        (binary(0x20, 0x11, &four(), b""), "10.0.0.2"),
        // Unix sockets.
        (binary(0x21, 0x31, &[b'/'; 216], b""), "10.0.0.2"),
    ]
}

fn server() -> Wire {
    let mut wire = Wire::new();
    wire.connection.role = Role::Accept;
    wire
}

#[test]
fn a_header_is_skipped_and_names_the_client() {
    for (header, client) in headers() {
        let mut wire = server();
        wire.receive(&header).receive(REQUEST).send(RESPONSE).receive(REQUEST).send(RESPONSE);
        assert_eq!(wire.summary(), ["/orders/7 200"; 2], "{header:?}");
        for span in &wire.out {
            let port = if client == "10.0.0.2" { 40_000 } else { 56_324 };
            assert_eq!((text(span, "client.address"), int(span, "client.port")), (client, Some(port)));
            assert_eq!(text(span, "network.peer.address"), "10.0.0.2");
        }
        // Both ends count from behind it.
        assert_eq!(wire.asked[0].id.place, 0);
        assert_eq!(wire.asked[1].id.place, REQUEST.len() as u64);
    }
}

#[test]
fn the_proxy_is_no_client_of_itself() {
    let mut wire = Wire::new();
    wire.connection.role = Role::Connect;
    wire.send([LINE_4, REQUEST].concat()).receive(RESPONSE);
    assert_eq!(wire.summary(), ["GET 200"]);
    assert_eq!(wire.out[0].attributes.get("client.address"), None);
}

#[test]
fn a_request_knows_better() {
    let mut wire = server();
    wire.receive(LINE_4)
        .receive(b"GET / HTTP/1.1\r\nhost: shop\r\nx-forwarded-for: 198.51.100.7\r\n\r\n")
        .send(RESPONSE);
    assert_eq!(text(&wire.out[0], "client.address"), "198.51.100.7");
}

#[test]
fn in_front_of_tls() {
    let mut wire = server();
    wire.receive(LINE_4).receive(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03");
    assert_eq!(wire.understanding(), Understanding::Not(Foreign::Tls));
    let mut wire = wire.joined_at(0, 0);
    wire.connection.decrypted = true;
    wire.receive(REQUEST).send(RESPONSE);
    assert_eq!(text(&wire.out[0], "client.address"), "203.0.113.9");
    assert_eq!(wire.asked[0].id.place, 0);
}

#[test]
fn in_front_of_a_database() {
    let mut wire = server();
    wire.receive(binary(0x21, 0x11, &four(), b"")).receive(b"*1\r\n$4\r\nPING\r\n").send(b"+PONG\r\n");
    assert_eq!(wire.understanding(), Understanding::Understood("redis"));
    assert_eq!(text(&wire.out[0], "client.address"), "203.0.113.9");
}

#[test]
fn what_is_advised_counts_the_header_too() {
    let mut wire = server();
    let head = b"POST /upload HTTP/1.1\r\nhost: shop\r\ncontent-length: 1000000\r\n\r\n";
    let mut plain = server();
    plain.receive(head);
    wire.receive(LINE_4).receive(head);
    let (with, without) = (wire.interest(Direction::Receive), plain.interest(Direction::Receive));
    assert!(without.from > 1_000_000);
    assert_eq!(with.from, without.from + LINE_4.len() as u64);
}

#[test]
fn what_is_none_is_left_as_it_is() {
    let none = [
        &b"PROXY TCP4 203.0.113.9 2001:db8::1 56324 443\r\n"[..],
        b"PROXY TCP4 203.0.113.9 10.0.0.1 56324\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 99999 443\r\n",
        b"PROXY UDP4 203.0.113.9 10.0.0.1 56324 443\r\n",
        b"PROXY\n",
        b"PROPFIND / HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x08........",
    ];
    for bytes in none {
        assert_eq!(header(bytes), Header::None, "{bytes:?}");
    }
    assert_eq!(header(&[b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat()), Header::None);
    let mut wire = server();
    wire.receive("P").receive("ROPFIND / HTTP/1.1\r\nhost: a\r\n\r\n").send(RESPONSE);
    assert_eq!(wire.summary(), ["/ 200"]);
    assert_eq!(wire.out[0].start, 1_010);
    // A second one is none.
    let mut wire = server();
    wire.receive([LINE_4, LINE_4, REQUEST].concat()).send(RESPONSE);
    assert_eq!(wire.summary(), Vec::<String>::new());
    // Nor is one in the middle of what was not seen from its beginning.
    let mut wire = server().joined_at(0, 77);
    wire.receive(LINE_4).receive(REQUEST).send(RESPONSE);
    assert_eq!(wire.asked[0].id.place, 77 + LINE_4.len() as u64);
}

#[test]
fn one_that_ends_early() {
    let mut wire = server();
    wire.receive("PROXY TCP4 20").close();
    assert_eq!(wire.understanding(), Understanding::Detecting);
    let mut wire = server();
    // With a hole in it, nothing is made of what came before: the stream is as one that was joined there.
    wire.receive("PROXY TCP4 20").hole(Direction::Receive, 10, Gap::Lost);
    let mut joined = server();
    joined.hole(Direction::Receive, 23, Gap::Lost);
    for wire in [&mut wire, &mut joined] {
        for _ in 0..3 {
            wire.receive(REQUEST).send(RESPONSE);
        }
        wire.close();
    }
    assert_eq!(wire.summary(), joined.summary());
    assert_eq!(text(wire.out.last().unwrap(), "client.address"), "10.0.0.2");
}

proptest! {
    #[test]
    fn any_split_gives_the_same(which in 0_usize..10, lengths in proptest::collection::vec(1_usize..60, 1..6)) {
        let (header, client) = &headers()[which];
        let turns = [
            Part { request: true, bytes: [header, REQUEST].concat() },
            Part { request: false, bytes: RESPONSE.to_vec() },
        ];
        let mut wire = server();
        play(&mut wire, &cut(&turns, &lengths), true, usize::MAX, &|_| false);
        prop_assert_eq!(wire.summary(), ["/orders/7 200"]);
        prop_assert_eq!(text(&wire.out[0], "client.address"), *client);
    }

    /// Of a long one only the addresses need be captured.
    #[test]
    fn the_rest_may_be_missing(length in 40_usize..2000, limit in 52_usize..90) {
        let turns = [
            Part { request: true, bytes: binary(0x21, 0x11, &four(), &vec![7; length]) },
            Part { request: true, bytes: REQUEST.to_vec() },
            Part { request: false, bytes: RESPONSE.to_vec() },
        ];
        let mut wire = server();
        play(&mut wire, &turns, true, limit, &|_| false);
        prop_assert_eq!(wire.summary(), ["/orders/7 200"]);
        prop_assert_eq!(text(&wire.out[0], "client.address"), "203.0.113.9");
    }

    #[test]
    fn garbage_never_panics(begin in 0_usize..3, bytes in proptest::collection::vec(any::<u8>(), 0..300), lengths in proptest::collection::vec(1_usize..60, 1..6)) {
        let begin: &[u8] = [b"PROXY ", SECOND, b""][begin];
        let turns = [Part { request: true, bytes: [begin, &bytes].concat() }];
        let mut wire = server();
        play(&mut wire, &cut(&turns, &lengths), true, usize::MAX, &|n| n == 3);
    }
}
