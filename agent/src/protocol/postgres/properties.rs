//! Any conversation, in any split into calls, with any capture limit, with any calls lost: no statement has another's outcome unless its span
//! says that this may be. Query and answer carry the same number: one in the text, the other in the rows that the tag tells of.

use proptest::prelude::*;

use super::tests::{description, message, query, ready, row, tag};
use crate::{
    event::Direction,
    protocol::{
        Exchange, Holes,
        framed::Framed,
        given::{holes, lengths, limits, losses, noise},
        testing::{Part, Wire, cut, int, play, text},
    },
};

#[derive(Clone, Debug)]
struct Ask {
    extended: bool,
    padding: usize,
    rows: Vec<usize>,
}

fn batches() -> impl Strategy<Value = Vec<Vec<Ask>>> {
    let rows = prop::collection::vec(prop_oneof![3 => 0..60_usize, 1 => 60..3000_usize], 0..6);
    let ask = (any::<bool>(), 0..200_usize, rows).prop_map(|(extended, padding, rows)| Ask { extended, padding, rows });
    prop::collection::vec(prop::collection::vec(ask, 1..4), 1..7)
}

fn turns(batches: &[Vec<Ask>]) -> Vec<Part> {
    let mut turns = Vec::new();
    let mut number = 0;
    for batch in batches {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for ask in batch {
            let sql = format!("SELECT {} FROM t{number}", "a, ".repeat(ask.padding));
            if ask.extended {
                asked.extend(message(b'P', format!("\0{sql}\0\0\0").as_bytes()));
                asked.extend(message(b'B', b"\0\0\0\0\0\0\0\0"));
                asked.extend(message(b'E', b"\0\0\0\0\0"));
                asked.extend(message(b'S', b""));
                answered.extend([message(b'1', b""), message(b'2', b"")].concat());
            } else {
                asked.extend(query(&sql));
                answered.extend(description());
            }
            ask.rows.iter().for_each(|size| answered.extend(row(*size)));
            answered.extend([tag(&format!("SELECT {number}")), ready()].concat());
            number += 1;
        }
        turns.push(Part { request: true, bytes: asked });
        turns.push(Part { request: false, bytes: answered });
    }
    turns
}

fn wire(server: bool) -> Wire {
    let asks = if server { Direction::Receive } else { Direction::Send };
    Wire::decoding(Box::new(Framed::new(asks, super::talk::Postgres::default())))
}

fn check(out: &[Exchange], limited: bool) -> Result<(), TestCaseError> {
    for exchange in out {
        prop_assert!(exchange.start <= exchange.end);
        let Some(rows) = int(exchange, "db.response.returned_rows") else {
            continue;
        };
        let holes = exchange.holes;
        if holes.pairing || holes.request_head || limited && holes.length {
            continue;
        }
        prop_assert_eq!(text(exchange, "db.query.summary"), format!("SELECT t{rows}"));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_captured_everything_right(batches in batches(), lengths in lengths(), server in any::<bool>()) {
        let mut wire = wire(server);
        play(&mut wire, &cut(&turns(&batches), &lengths), server, usize::MAX, &|_| false);
        check(&wire.out, false)?;
        prop_assert_eq!(wire.out.len(), batches.concat().len());
        for exchange in &wire.out {
            prop_assert_eq!(exchange.holes, Holes::default());
            prop_assert!(int(exchange, "db.response.returned_rows").is_some());
        }
    }

    #[test]
    fn any_limit_and_any_call_lost(
        batches in batches(), lengths in lengths(), server in any::<bool>(),
        limit in limits(), lost in losses(),
    ) {
        let mut wire = wire(server);
        play(&mut wire, &cut(&turns(&batches), &lengths), server, limit, &|i| lost[i % lost.len()]);
        check(&wire.out, limit < usize::MAX)?;
    }

    #[test]
    fn any_bytes(parts in prop::collection::vec((any::<bool>(), prop_oneof![
        prop::collection::vec(any::<u8>(), 1..60), Just(query("SELECT 1")), Just(ready()), Just(tag("SELECT 1")), Just(row(9)),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(kind, body)| message(kind, &body)),
        Just(message(b'S', b"")), Just(message(b'E', b"\0\0\0\0\0")), Just(message(b'P', b"\0SELECT 1\0\0\0")), Just(vec![b'D', 0x7f, 0xff]),
    ], holes()), 0..30)) {
        let mut wire = wire(true);
        noise(&mut wire, parts)?;
    }
}
