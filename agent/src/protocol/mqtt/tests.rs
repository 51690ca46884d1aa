use crate::protocol::{
    ContextHeader, Side,
    promises::{captured, heard, keep, told},
    testing::{Wire, int, text},
};

const VERSION_3: &str = include_str!("version3.txt");
const VERSION_5: &str = include_str!("version5.txt");

#[test]
fn captured_from_paho_and_mosquitto() {
    for (server, version) in [(false, VERSION_3), (true, VERSION_3), (false, VERSION_5), (true, VERSION_5)] {
        let wire = heard(&captured(version), server);
        let mut said = told(&wire, &["messaging.client.id", "messaging.message.body.size", "geophone.mqtt.qos"]);
        said.sort();
        assert_eq!(
            said,
            [
                "connect | shop | - | -",
                "deliver orders/new | shop | 10 | 0",
                "deliver orders/new | shop | 10 | 1",
                "deliver orders/new | shop | 10 | 2",
                "publish orders/new | shop | 10 | 0",
                "publish orders/new | shop | 10 | 1",
                "publish orders/new | shop | 10 | 2",
                "subscribe orders/# | shop | - | -",
                "unsubscribe orders/# | shop | - | -",
            ]
        );
        for exchange in wire.out.iter().filter(|e| e.attributes.get("geophone.mqtt.qos").is_some()) {
            let answered = int(exchange, "geophone.mqtt.qos") > Some(0);
            assert_eq!((exchange.first_byte.is_some(), exchange.holes.no_response), (answered, false));
            let delivered = exchange.name.starts_with("deliver");
            assert_eq!(exchange.side == Side::Server, server != delivered);
            let asked = wire.asked.iter().find(|asked| asked.id == exchange.id && asked.side == exchange.side).unwrap();
            let parent = asked.carried.as_ref().and_then(|carried| carried.one(ContextHeader::TraceParent));
            let expected = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            assert_eq!(parent, (version == VERSION_5).then_some(expected));
        }
    }
}

#[test]
fn refusals() {
    let mut wire = Wire::new();
    wire.send(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02ab").receive(b"\x20\x02\x00\x05");
    wire.send(b"\x82\x06\x00\x01\x00\x01a\x00").receive(b"\x90\x03\x00\x01\x80");
    wire.send(b"\x32\x06\x00\x01a\x00\x02x").close();
    assert_eq!(told(&wire, &["error.type"])[..2], ["connect | 5", "subscribe a | 128"]);
    assert_eq!(text(&wire.out[2], "error.type"), "connection_closed");
}

#[test]
fn promises() {
    for text in [VERSION_3, VERSION_5] {
        keep("mqtt", &captured(text));
    }
}
