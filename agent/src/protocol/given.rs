//! What property tests of the protocols have in common: how conversations are cut, captured and lost, and what is true whatever came.

use proptest::{prelude::*, test_runner::TestCaseError};

use super::{
    Exchange,
    testing::{Wire, int, text},
};
use crate::{
    conn::{Content, Gap},
    event::Direction,
};

/// Lengths of calls, for [`super::testing::cut`].
pub(crate) fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1 => 1..12_usize, 4 => 1..3000_usize], 1..8)
}

/// How much of each call is captured.
pub(crate) fn limits() -> impl Strategy<Value = usize> {
    prop_oneof![Just(usize::MAX), 0..1500_usize]
}

/// Which calls are lost.
pub(crate) fn losses() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(prop::bool::weighted(0.15), 40)
}

/// What may follow a piece of noise: so many bytes that are missing, and whether they are lost or were not captured.
pub(crate) type Missing = Option<(u64, bool)>;

/// See [`Missing`].
pub(crate) fn holes() -> impl Strategy<Value = Missing> {
    prop::option::of((1..u64::MAX >> 16, any::<bool>()))
}

/// Plays any bytes, received or sent, to their end: no panic, and times in order.
pub(crate) fn noise(wire: &mut Wire, parts: Vec<(bool, Vec<u8>, Missing)>) -> Result<(), TestCaseError> {
    for (receive, bytes, hole) in parts {
        let direction = if receive { Direction::Receive } else { Direction::Send };
        wire.put(direction, Content::Bytes(&bytes));
        if let Some((length, lost)) = hole {
            wire.put(direction, Content::Hole(length, if lost { Gap::Lost } else { Gap::NotCaptured }));
        }
    }
    wire.tick(10_000_000_000).close();
    prop_assert!(wire.out.iter().all(|exchange| exchange.start <= exchange.end));
    Ok(())
}

/// Of a database whose answers tell the number of the table that was asked, as the number of rows or the code of an error: the answer is
/// that of the query. `exempt`: exchanges that say themselves that this may not be so.
pub(crate) fn numbered(out: &[Exchange], exempt: impl Fn(&Exchange) -> bool) -> Result<(), TestCaseError> {
    for exchange in out {
        prop_assert!(exchange.start <= exchange.end);
        if exempt(exchange) {
            continue;
        }
        let code = exchange.attributes.get("db.response.status_code");
        let code = code.map(|_| text(exchange, "db.response.status_code").to_owned());
        let rows = int(exchange, "db.response.returned_rows").map(|rows| rows.to_string());
        if let Some(number) = code.or(rows) {
            prop_assert_eq!(text(exchange, "db.query.summary"), format!("SELECT t{number}"));
        }
    }
    Ok(())
}
