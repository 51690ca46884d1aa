//! Any conversation, in any split into calls, with any capture limit, with any calls lost: no query has another's outcome unless its span
//! says that this may be. The table's number and the error's code, or the number of rows, are the same.

use proptest::prelude::*;

use crate::{
    conn::Content,
    event::Direction,
    protocol::{
        Exchange, Holes,
        given::{holes, lengths, limits, losses, noise, numbered},
        testing::{Part, Wire, cut, play},
    },
};

const BLOCK: &[u8] = b"\0\x01\0\x02\xff\xff\xff\xff\0";

fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push((value & 0x7f | 0x80) as u8);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&number(bytes.len() as u64)[..], bytes].concat()
}

/// Both greetings, of a revision without anything that is newer than 2019.
fn greetings() -> Vec<Part> {
    let version = [&string(b"ClickHouse")[..], &[19, 1], &number(54_412)].concat();
    let client = [&string(b"ClickHouse client")[..], &[19, 1], &number(54_412)].concat();
    let client = [&[0][..], &client, &string(b"shop"), &string(b"app"), &string(b"secret")].concat();
    let server = [&[0][..], &version, &string(b"UTC"), &string(b"host"), &[3]].concat();
    vec![Part { request: true, bytes: client }, Part { request: false, bytes: server }]
}

fn query(sql: &str) -> Vec<u8> {
    let who =
        [&[1][..], &string(b""), &string(b""), &string(b"0.0.0.0:0"), &[1], &string(b"app"), &string(b"host")].concat();
    let client = [&string(b"ClickHouse client")[..], &[19, 1], &number(54_412), &string(b""), &[3]].concat();
    let rest = [&string(b"")[..], &[2, 0], &string(sql.as_bytes()), &[2], BLOCK, &[0, 0]].concat();
    [&[1][..], &string(b"an-id-of-its-own"), &who, &client, &rest].concat()
}

fn rows(count: usize, size: usize) -> Vec<u8> {
    let head = [&[1][..], BLOCK, &[2], &number(count as u64)].concat();
    let ids = [&string(b"id")[..], &string(b"UInt32"), &vec![5; 4 * count]].concat();
    let names = [&string(b"who")[..], &string(b"String"), &string(&vec![b'x'; size]).repeat(count)].concat();
    [head, ids, names].concat()
}

fn end(count: usize) -> Vec<u8> {
    [&[6][..], &number(count as u64), &[1, 9, 0, 0, 0, 3, 1, 8, 1, 1], BLOCK, &[0, 0, 5]].concat()
}

fn failure(code: i32) -> Vec<u8> {
    [&[2][..], &code.to_le_bytes(), &string(b"DB::Exception"), &string(b"no"), &string(b"trace"), &[0]].concat()
}

#[derive(Clone, Debug)]
struct Ask {
    padding: usize,
    size: Option<usize>,
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let size = prop::option::weighted(0.7, prop_oneof![3 => 0..60_usize, 1 => 60..900_usize]);
    prop::collection::vec((0..200_usize, size).prop_map(|(padding, size)| Ask { padding, size }), 1..10)
}

fn turns(asks: &[Ask]) -> Vec<Part> {
    let mut turns = greetings();
    for (i, ask) in asks.iter().enumerate() {
        let number = 7 + 13 * i;
        let sql = format!("SELECT {} FROM t{number}", "a, ".repeat(ask.padding));
        turns.push(Part { request: true, bytes: query(&sql) });
        let answer = match ask.size {
            None => failure(i32::try_from(number).unwrap()),
            Some(size) => [rows(number, size), end(number)].concat(),
        };
        turns.push(Part { request: false, bytes: answer });
    }
    turns
}

fn check(out: &[Exchange]) -> Result<(), TestCaseError> {
    numbered(out, |exchange| exchange.holes.pairing || exchange.holes.request_head || exchange.holes.length)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_captured_everything_right(asks in asks(), lengths in lengths(), server in any::<bool>()) {
        let mut wire = Wire::new();
        play(&mut wire, &cut(&turns(&asks), &lengths), server, usize::MAX, &|_| false);
        check(&wire.out)?;
        prop_assert_eq!(wire.out.len(), asks.len());
        for (exchange, ask) in wire.out.iter().zip(&asks) {
            prop_assert_eq!(exchange.holes, Holes::default());
            prop_assert_eq!(exchange.attributes.get("error.type").is_some(), ask.size.is_none());
        }
    }

    #[test]
    fn any_limit_and_any_call_lost(
        asks in asks(), lengths in lengths(), server in any::<bool>(),
        limit in limits(), lost in losses(),
    ) {
        let mut wire = Wire::new();
        play(&mut wire, &cut(&turns(&asks), &lengths), server, limit, &|i| lost[i % lost.len()]);
        check(&wire.out)?;
    }

    #[test]
    fn any_bytes(parts in prop::collection::vec((any::<bool>(), prop_oneof![
        prop::collection::vec(any::<u8>(), 1..60), Just(query("SELECT 1")), Just(end(1)), Just(vec![4]), Just(vec![5]), Just(rows(2, 3)),
        Just(failure(60)), (0..20_u8, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, body)| [&[kind][..], &body].concat()),
        ("[A-Z][a-zA-Z]{1,12}(\\([A-Za-z0-9, ]{0,12}\\))?", prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, body)| {
            [&[1][..], BLOCK, &[1, 3], &string(b"a"), &string(kind.as_bytes()), &body].concat()
        }),
    ], holes()), 0..30)) {
        let mut wire = Wire::new();
        for part in greetings() {
            wire.put(if part.request { Direction::Receive } else { Direction::Send }, Content::Bytes(&part.bytes));
        }
        noise(&mut wire, parts)?;
    }
}
