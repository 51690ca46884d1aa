//! NATS: lines of text, and payloads whose length they tell. <https://docs.nats.io/reference/reference-protocols/nats-protocol>
//!
//! A publish is not answered: its span ends when it is sent. A message to a client is a request of the server to it, which ends when it
//! has come. Requests of clients to clients are such messages with the subject of a reply, which is told.
//!
//! Left out: subscriptions, pings, the acknowledgements of verbose connections, and errors (`-ERR`), which do not say what they are about.

mod line;
mod talk;
#[cfg(test)]
mod tests;

use super::{
    Protocol, Sample, Side, Verdict,
    framed::{Framed, Role},
};

/// NATS.
pub const PROTOCOL: Protocol = Protocol {
    name: "nats",
    detect,
    decoder: |sample| {
        let sender =
            if line::begins(sample.bytes, Role::Response) == Verdict::Yes { Side::Server } else { Side::Client };
        Box::new(Framed::new(sample.asks(sample.sender.unwrap_or(sender)), talk::Nats::default()))
    },
};

fn detect(sample: &Sample<'_>) -> Verdict {
    let request =
        if sample.sender == Some(Side::Server) { Verdict::No } else { line::begins(sample.bytes, Role::Request) };
    let response =
        if sample.sender == Some(Side::Client) { Verdict::No } else { line::begins(sample.bytes, Role::Response) };
    match (request, response) {
        (Verdict::Yes, _) | (_, Verdict::Yes) => Verdict::Yes,
        (Verdict::More, _) | (_, Verdict::More) => Verdict::More,
        _ => Verdict::No,
    }
}
