//! PostgreSQL's protocol, version 3: simple and extended queries, pipelines, COPY, errors. One span for each statement that is executed, and
//! for each one that is only prepared. Of what comes before the first query, the name of the database is kept.
//! <https://www.postgresql.org/docs/current/protocol.html>

mod detect;
mod group;
mod message;
mod names;
#[cfg(test)]
mod properties;
mod talk;
#[cfg(test)]
mod tests;

use super::{Protocol, framed::Framed};

/// PostgreSQL, for the list of protocols.
pub(super) const PROTOCOL: Protocol = Protocol {
    name: "postgresql",
    detect: |sample| match detect::sender(sample) {
        Ok(_) => super::Verdict::Yes,
        Err(verdict) => verdict,
    },
    decoder: |sample| {
        let sender = detect::sender(sample).unwrap_or(super::Side::Client);
        Box::new(Framed::new(sample.asks(sender), talk::Postgres::default()))
    },
};
