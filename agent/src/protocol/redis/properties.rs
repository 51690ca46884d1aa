//! Any conversation, in any split into calls, with any capture limit, with any calls lost: no command has another's outcome unless its span
//! says that this may be. The command's name and its answer, an error's kind, carry the same letters.

use proptest::prelude::*;

use super::tests::command;
use crate::{
    event::Direction,
    protocol::{
        Exchange, Holes,
        framed::Framed,
        given::{holes, lengths, limits, losses, noise},
        testing::{Part, Wire, cut, play, text},
    },
};

#[derive(Clone, Debug)]
struct Ask {
    value: usize,
    /// An error, or a collection of so many values.
    values: Option<usize>,
}

fn letters(number: usize) -> String {
    number.to_string().bytes().map(|digit| char::from(b'A' + digit - b'0')).collect()
}

fn batches() -> impl Strategy<Value = Vec<Vec<Ask>>> {
    let value = prop_oneof![3 => 0..60_usize, 1 => 60..3000_usize];
    let ask = (value, prop::option::weighted(0.4, 0..9_usize)).prop_map(|(value, values)| Ask { value, values });
    prop::collection::vec(prop::collection::vec(ask, 1..4), 1..8)
}

fn turns(batches: &[Vec<Ask>]) -> Vec<Part> {
    let mut turns = Vec::new();
    let mut number = 0;
    for batch in batches {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for ask in batch {
            let value = "v".repeat(ask.value);
            asked.extend(command(&[&letters(number), "key", &value]));
            match ask.values {
                None => answered.extend(format!("-{} failed\r\n", letters(number)).bytes()),
                Some(count) => {
                    answered.extend(format!("*{count}\r\n").bytes());
                    (0..count).for_each(|_| answered.extend(format!("${}\r\n{value}\r\n", value.len()).bytes()));
                }
            }
            number += 1;
        }
        turns.push(Part { request: true, bytes: asked });
        turns.push(Part { request: false, bytes: answered });
    }
    turns
}

fn wire(server: bool) -> Wire {
    let asks = if server { Direction::Receive } else { Direction::Send };
    Wire::decoding(Box::new(Framed::new(asks, super::talk::Redis::new(true))))
}

fn check(out: &[Exchange], limited: bool) -> Result<(), TestCaseError> {
    for exchange in out {
        prop_assert!(exchange.start <= exchange.end);
        let holes = exchange.holes;
        if exchange.attributes.get("db.response.status_code").is_none()
            || holes.request_head
            || holes.pairing
            || limited && holes.length
        {
            continue;
        }
        prop_assert_eq!(text(exchange, "db.response.status_code"), &*exchange.name);
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
        let all = batches.concat();
        prop_assert_eq!(wire.out.len(), all.len());
        for (n, (exchange, ask)) in wire.out.iter().zip(&all).enumerate() {
            prop_assert_eq!(exchange.holes, Holes::default());
            prop_assert_eq!(&*exchange.name, letters(n));
            prop_assert_eq!(exchange.attributes.get("db.response.status_code").is_some(), ask.values.is_none());
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
        prop::collection::vec(any::<u8>(), 1..60), "[*$+:>|%=!-]-?[0-9]{0,20}\r\n[a-z]{0,5}(\r\n)?".prop_map(String::into_bytes),
        Just(command(&["SUBSCRIBE", "a"])), Just(command(&["GET", "a"])), Just(b">3\r\n$7\r\nmessage\r\n".to_vec()), Just(b"*1\r\n".repeat(40)),
    ], holes()), 0..30)) {
        let mut wire = wire(true);
        noise(&mut wire, parts)?;
    }
}
