use crate::protocol::{
    Side, Understanding, Verdict,
    framed::Role,
    promises::{captured, heard, keep, told},
    testing::{Wire, text},
};

/// No server of MongoDB's own can be had where these were captured: what the client says is real, and what it takes for an answer.
const SERVER: &str = include_str!("server.txt");
const SCRIPTED: &str = include_str!("scripted.txt");
const WATCHING: &str = include_str!("watching.txt");

const KEYS: [&str; 4] = ["db.namespace", "db.response.returned_rows", "db.response.status_code", "error.type"];

#[test]
fn commands() {
    for server in [false, true] {
        let wire = heard(&captured(SERVER), server);
        assert_eq!(
            told(&wire, &KEYS),
            [
                "ismaster | admin | - | - | -",
                "drop orders | shop | - | - | _OTHER",
                "insert orders | shop | - | - | -",
                "insert orders | shop | - | - | -",
                "find orders | shop | 1 | - | -",
                "find orders | shop | - | - | -",
                "getMore orders | shop | - | - | -",
                "update orders | shop | - | - | -",
                "aggregate orders | shop | 1 | - | -",
                "insert orders | shop | - | 11000 | 11000",
                "nonsense | shop | - | 59 | CommandNotFound",
                "aggregate orders | shop | 1 | - | -",
                "findAndModify orders | shop | - | - | -",
                "distinct orders | shop | - | - | -",
                "delete orders | shop | - | - | -",
                "ping | admin | - | - | -",
                "listCollections | shop | 1 | - | -",
                "createIndexes orders | shop | - | - | -",
                "drop orders | shop | - | - | -",
                "insert orders | shop | - | - | -"
            ]
        );
        assert!(wire.out.iter().all(|e| text(e, "db.system.name") == "mongodb"));
    }
}

/// What answers nothing says so by 0. Old clients have written -1.
#[test]
fn nothing_is_answered_by_minus_one() {
    let query = |answers: i32| {
        let body = [&[0; 4][..], b"test.restaurants\0", &[0; 4], &[1, 0, 0, 0], &[5, 0, 0, 0, 0]].concat();
        let mut message = (16 + body.len() as u32).to_le_bytes().to_vec();
        for number in [10, answers, 2004] {
            message.extend(number.to_le_bytes());
        }
        [message, body].concat()
    };
    let reply = [&36_u32.to_le_bytes()[..], &[74, 0, 0, 0, 10, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0], &[0; 16]].concat();
    for (answers, expected) in [(0, 1), (-1, 1), (7, 0)] {
        for half in [true, false] {
            let query = query(answers);
            let (a, b) = query.split_at(if half { 10 } else { 0 });
            let mut wire = Wire::new().joined_at(100, 900);
            for part in [a, b].into_iter().filter(|part| !part.is_empty()) {
                wire.send(part);
            }
            wire.receive(&reply).close();
            assert_eq!(wire.out.len(), expected, "{answers}: {:?}", told(&wire, &KEYS));
        }
    }
}

#[test]
fn errors_and_silence() {
    let wire = heard(&captured(SCRIPTED), true);
    assert_eq!(
        told(&wire, &KEYS),
        [
            "ismaster | admin | - | - | -",
            "insert orders | shop | - | - | -",
            "find orders | shop | 1 | - | -",
            "update orders | shop | - | 64 | WriteConcernTimeout",
            "aggregate orders | shop | - | 50 | MaxTimeMSExpired",
            "insert orders | shop | - | - | -",
            "find orders | shop | 1 | - | -",
            "endSessions | admin | - | - | -"
        ]
    );
}

#[test]
fn replies_that_stream() {
    let wire = heard(&captured(WATCHING), false);
    assert_eq!(told(&wire, &KEYS), ["ismaster | admin | - | - | -", "hello | admin | - | - | -"]);
}

#[test]
fn promises() {
    for text in [SERVER, SCRIPTED, WATCHING] {
        keep("mongodb", &captured(text));
    }
}

/// An `OP_MSG`: id, what it answers, flags, sections.
fn message(id: i32, to: i32, flags: u32, sections: &[u8]) -> Vec<u8> {
    let length = i32::try_from(20 + sections.len()).unwrap();
    let header = [length, id, to, 2013].map(i32::to_le_bytes).concat();
    [&header[..], &flags.to_le_bytes(), sections].concat()
}

fn element(kind: u8, name: &str, value: &[u8]) -> Vec<u8> {
    [&[kind], name.as_bytes(), b"\0", value].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len() + 1).unwrap().to_le_bytes()[..], text.as_bytes(), b"\0"].concat()
}

fn document(elements: &[Vec<u8>]) -> Vec<u8> {
    let elements = elements.concat();
    [&u32::try_from(elements.len() + 5).unwrap().to_le_bytes()[..], &elements, b"\0"].concat()
}

fn body(elements: &[Vec<u8>]) -> Vec<u8> {
    [vec![0], document(elements)].concat()
}

fn find(collection: &str) -> Vec<u8> {
    body(&[element(2, "find", &string(collection)), element(2, "$db", &string("shop"))])
}

fn ok() -> Vec<u8> {
    body(&[element(1, "ok", &1_f64.to_le_bytes())])
}

#[test]
fn answers_in_any_order_and_a_checksum() {
    let mut wire = Wire::new();
    let checked = [find("a"), vec![1, 2, 3, 4]].concat();
    wire.send(message(1, 0, 1, &checked)).send(message(2, 0, 0, &find("b")));
    wire.receive(message(9, 2, 1, &[ok(), vec![4, 3, 2, 1]].concat())).receive(message(10, 1, 0, &ok()));
    assert_eq!(told(&wire, &["error.type"]), ["find b | -", "find a | -"]);
    assert_eq!((wire.out[0].start, wire.out[1].start), (1020, 1010));
}

#[test]
fn a_body_after_a_list_of_documents() {
    let list = [string("x"), vec![0; 40]].concat();
    let list = [b"x\0".as_slice(), &list].concat();
    let list = [&[1][..], &u32::try_from(list.len() + 4).unwrap().to_le_bytes(), &list].concat();
    let mut wire = Wire::new();
    wire.send(message(1, 0, 0, &[list, find("late")].concat())).receive(message(2, 1, 0, &ok()));
    assert_eq!(told(&wire, &["db.namespace"]), ["find late | shop"]);
}

#[test]
fn a_stream_of_replies_is_one_span() {
    let mut wire = Wire::new();
    wire.send(message(1, 0, 1 << 16, &find("a")));
    wire.receive(message(7, 1, 2, &ok())).receive(message(8, 7, 2, &ok())).receive(message(9, 8, 0, &ok()));
    assert_eq!(told(&wire, &["error.type"]), ["find a | -"]);
    assert_eq!((wire.out[0].first_byte, wire.out[0].end, wire.count("orphans")), (Some(1020), 1040, 0));
}

#[test]
fn what_is_compressed_is_not_guessed() {
    let compressed = |id: i32, to: i32| {
        let content = [&2013_i32.to_le_bytes()[..], &900_i32.to_le_bytes(), &[3], b"zstd's bytes, not read"].concat();
        let length = i32::try_from(16 + content.len()).unwrap();
        [[length, id, to, 2012].map(i32::to_le_bytes).concat(), content].concat()
    };
    let mut wire = Wire::new();
    wire.send(compressed(1, 0)).receive(compressed(2, 1));
    let exchange = &wire.out[0];
    assert_eq!(text(exchange, "geophone.mongodb.compressor"), "zstd");
    assert!(exchange.attributes.get("db.operation.name").is_none() && exchange.attributes.get("error.type").is_none());
    assert!(exchange.holes.request_head && exchange.holes.response_head && !exchange.holes.no_response);
}

#[test]
fn names_that_may_be_personal_are_not_told() {
    let mut wire = Wire::new();
    let sections = body(&[element(2, "dropUser", &string("ada")), element(2, "$db", &string("shop"))]);
    wire.send(message(1, 0, 0, &sections)).receive(message(2, 1, 0, &ok()));
    assert!(!format!("{:?}", wire.out).contains("ada"), "{:?}", wire.out);
    assert_eq!(wire.out[0].name, "dropUser");
}

#[test]
fn lengths_that_lie() {
    // A document, a string, a list, a binary and a script that are longer than the message, or shorter than nothing.
    for sections in [
        [&[0, 0xff, 0xff, 0xff, 0x7f][..], &element(2, "find", &string("a"))].concat(),
        body(&[element(2, "find", &0x7fff_ffff_u32.to_le_bytes())]),
        [&[1, 0xff, 0xff, 0xff, 0x7f][..], b"x\0"].concat(),
        body(&[element(5, "find", &(-1_i32).to_le_bytes()), element(0x0f, "$db", &0_i32.to_le_bytes())]),
        body(&[element(0x0f, "find", &0_i32.to_le_bytes())]),
    ] {
        let mut wire = Wire::new();
        wire.send(message(1, 0, 0, &find("a"))).send(message(2, 0, 0, &sections)).receive(message(3, 2, 0, &ok()));
        assert_eq!(wire.out.len(), 1);
        assert!(wire.out[0].attributes.get("db.collection.name").is_none(), "{:?}", wire.out);
    }
    let mut wire = Wire::new();
    wire.send(message(1, 0, 0, &find("a"))).send([0xff_u8; 16]);
    assert_eq!(wire.understanding(), Understanding::Not(crate::protocol::Foreign::Malformed));
}

#[test]
fn what_is_not_mongodb() {
    let find = message(1, 0, 0, &find("a"));
    assert_eq!(super::message::begins(Role::Request, &find), Verdict::Yes);
    assert_eq!(super::message::begins(Role::Response, &find), Verdict::No);
    assert_eq!(super::message::begins(Role::Request, &find[..10]), Verdict::More);
    let unknown = |at: usize, byte: u8| {
        let mut bytes = find.clone();
        bytes[at] = byte;
        bytes
    };
    // Opcode, flags, kind of section, length, type and name of the first element.
    for bytes in [unknown(12, 0xde), unknown(17, 4), unknown(20, 2), unknown(3, 9), unknown(25, 0x55), unknown(26, 1)] {
        assert_eq!(super::message::begins(Role::Request, &bytes), Verdict::No, "{bytes:?}");
    }
    assert_eq!(super::message::begins(Role::Request, &[0; 64]), Verdict::No);
    let direction = crate::event::Direction::Send;
    let sample = crate::protocol::Sample { bytes: &find, direction, sender: Some(Side::Server), first: true };
    assert_ne!((super::PROTOCOL.detect)(&sample), Verdict::Yes);
}
