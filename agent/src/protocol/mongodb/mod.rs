//! MongoDB's wire protocol: OP_MSG, and OP_QUERY with OP_REPLY, by which clients still say hello. One span for each command; of what is
//! asked for, nothing is told but the collection.
//! <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>
//!
//! A message in OP_COMPRESSED is a request or a response like another, but what is in it is not read; its span says with what it was
//! compressed. A write that nothing acknowledges (`moreToCome`) is a span that ends when it has been sent. A stream of replies to one
//! command is one span, except for `hello`, by which a client watches a server: there, the first reply ends it.

mod bson;
mod message;
mod talk;
#[cfg(test)]
mod tests;

use super::{Protocol, Sample, Side, Verdict, framed::Framed};

/// MongoDB.
pub(super) const PROTOCOL: Protocol = Protocol {
    name: "mongodb",
    detect: |sample| match sender(sample) {
        Ok(_) => Verdict::Yes,
        Err(verdict) => verdict,
    },
    decoder: |sample| {
        let sender = sender(sample).unwrap_or(Side::Client);
        Box::new(Framed::new(sample.asks(sender), talk::Mongo::default()))
    },
};

/// Who sent these bytes, if they are MongoDB's; else why not.
fn sender(sample: &Sample<'_>) -> Result<Side, Verdict> {
    use super::framed::Role;
    let mut verdict = Verdict::No;
    for (side, role) in [(Side::Client, Role::Request), (Side::Server, Role::Response)] {
        if sample.sender.is_none_or(|sender| sender == side) {
            match message::begins(role, sample.bytes) {
                Verdict::Yes => return Ok(side),
                Verdict::More => verdict = Verdict::More,
                Verdict::No => {}
            }
        }
    }
    Err(verdict)
}
