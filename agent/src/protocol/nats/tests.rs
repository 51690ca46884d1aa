use crate::protocol::{
    ContextHeader, Side, Verdict,
    framed::Role,
    promises::{captured, heard, keep, told},
    testing::{Wire, text},
};

const CAPTURED: &str = include_str!("captured.txt");

#[test]
fn captured_from_nats() {
    for server in [false, true] {
        let wire = heard(&captured(CAPTURED), server);
        assert_eq!(
            told(&wire, &["messaging.operation.type", "messaging.message.body.size", "messaging.client.id"]),
            [
                "publish orders.none | send | 1 | shop",
                "deliver orders.none | process | 1 | shop",
                "publish orders.new | send | 4 | shop",
                "deliver orders.new | process | 4 | shop",
                "publish | send | 4 | shop",
                "deliver | process | 4 | shop",
                "publish nobody | send | 0 | shop",
                "deliver | process | 0 | shop",
            ]
        );
        // One-way: nothing is missing where nothing answers.
        assert!(wire.out.iter().all(|e| e.first_byte.is_none() && !e.holes.no_response && e.end == e.request_end));
        for (exchange, asked) in wire.out[2..4].iter().zip(&wire.asked[2..4]) {
            let parent = asked.carried.as_ref().unwrap().one(ContextHeader::TraceParent);
            assert_eq!(parent, Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
            assert_eq!(
                text(exchange, "messaging.message.conversation_id"),
                text(&wire.out[4], "messaging.message.conversation_id")
            );
        }
        // The server asks its subscriber.
        let delivered = &wire.out[3];
        assert_eq!(delivered.side == Side::Server, !server);
        assert_eq!(text(delivered, "server.address"), if server { "10.0.0.1" } else { "10.0.0.2" });
    }
}

#[test]
fn a_message_that_is_broken_off() {
    let mut wire = Wire::new();
    wire.send("CONNECT {\"name\":\"a\"}\r\n").send("PUB a.b 10\r\n1234").close();
    assert_eq!(text(&wire.out[0], "error.type"), "connection_closed");
}

#[test]
fn other_protocols_with_lines() {
    for line in
        ["PUB\r\n", "PING\r\n", "INFO\r\n", "CONNECT example.org:443 HTTP/1.1\r\n", "PUB a b c d\r\n", "+OK\r\n"]
    {
        for role in [Role::Request, Role::Response] {
            assert_eq!(super::line::begins(line.as_bytes(), role), Verdict::No, "{line}");
        }
    }
}

#[test]
fn promises() {
    keep("nats", &captured(CAPTURED));
}
