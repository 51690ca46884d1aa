use crate::protocol::{
    ContextHeader, Side,
    promises::{captured, heard, keep, told},
    testing::{int, text},
};

const CAPTURED: &str = include_str!("captured.txt");

#[test]
fn captured_from_pika_and_rabbitmq() {
    for server in [false, true] {
        let wire = heard(&captured(CAPTURED), server);
        assert_eq!(
            told(&wire, &["messaging.operation.type", "messaging.message.body.size", "error.type"]),
            [
                "connection.open | - | - | -",
                "channel.open | - | - | -",
                "exchange.declare shop | - | - | -",
                "queue.declare orders | - | - | -",
                "queue.bind orders | - | - | -",
                "publish shop:orders.new | send | 5 | -",
                "basic.get orders | receive | 5 | -",
                "basic.get orders | receive | - | -",
                "confirm.select | - | - | -",
                "publish shop:orders.new | send | 300 | -",
                "publish orders | send | 0 | -",
                "basic.consume orders | - | - | -",
                "deliver shop:orders.new:orders | process | 300 | -",
                "deliver orders | process | 0 | nack",
                "basic.cancel | - | - | -",
                "channel.open | - | - | -",
                "queue.declare nope | - | - | 404",
                "channel.close | - | - | -",
                "connection.close | - | - | -",
            ]
        );
        // A publish is not answered, unless it is confirmed.
        let (sent, confirmed, delivered) = (&wire.out[5], &wire.out[9], &wire.out[12]);
        assert_eq!((sent.first_byte, sent.holes.no_response), (None, false));
        assert!(confirmed.first_byte.is_some() && confirmed.end > confirmed.request_end);
        // The broker asks its consumer.
        assert_eq!(delivered.side == Side::Server, !server);
        assert!(delivered.first_byte.is_some());
        assert_eq!(text(delivered, "server.address"), if server { "10.0.0.1" } else { "10.0.0.2" });
        assert_eq!(int(delivered, "messaging.rabbitmq.message.delivery_tag"), Some(2));
        assert_eq!(text(sent, "messaging.message.id"), "m1");
        for exchange in [sent, delivered] {
            let asked = wire.asked.iter().find(|asked| asked.id == exchange.id && asked.side == exchange.side).unwrap();
            let parent = asked.carried.as_ref().unwrap().one(ContextHeader::TraceParent);
            assert_eq!(parent, Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        }
    }
}

#[test]
fn promises() {
    keep("amqp", &captured(CAPTURED));
}
