//! ClickHouse's native protocol: one span for each query. <https://clickhouse.com/docs/native-protocol/basics>
//!
//! A block of data has no length of its own. It is walked column by column, by the columns' types, which mostly tell how long a column is
//! whether that was captured or not; blocks that are compressed tell it themselves. Where neither does (a string's length was not
//! captured, a type is not known, columns are sparse), the end of the answer is searched for, and the span says `length`.
//!
//! Left alone: connections that agree on packets in chunks, and what servers say to servers only.

mod detect;
mod packet;
mod part;
#[cfg(test)]
mod properties;
mod query;
mod shape;
mod talk;
#[cfg(test)]
mod tests;
mod way;

use super::{Protocol, Side, Verdict, framed::Framed};

/// ClickHouse, for the list of protocols.
pub(super) const PROTOCOL: Protocol = Protocol {
    name: "clickhouse",
    detect: |sample| match detect::sender(sample) {
        Ok(_) => Verdict::Yes,
        Err(verdict) => verdict,
    },
    decoder: |sample| {
        let sender = detect::sender(sample).unwrap_or(Side::Client);
        Box::new(Framed::new(sample.asks(sender), talk::ClickHouse::default()))
    },
};
