//! FastCGI: what nginx and Apache speak with PHP-FPM. Requests are told as HTTP, which is what they carry.
//! <https://fastcgi-archives.github.io/FastCGI_Specification.html>
//!
//! Left out: the bodies, what an application writes to standard error, and management records.

mod record;
mod requests;
mod talk;
#[cfg(test)]
mod tests;

use talk::FastCgi;

use super::{Protocol, Sample, Side, Verdict};

/// FastCGI.
pub const PROTOCOL: Protocol =
    Protocol { name: "fastcgi", detect, decoder: |sample| Box::new(FastCgi::new(asks(sample))) };

fn detect(sample: &Sample<'_>) -> Verdict {
    let request = if sample.sender == Some(Side::Server) { Verdict::No } else { record::is_begin(sample.bytes) };
    let response = if sample.sender == Some(Side::Client) { Verdict::No } else { record::is_answer(sample.bytes) };
    match (request, response) {
        (Verdict::Yes, _) | (_, Verdict::Yes) => Verdict::Yes,
        (Verdict::More, _) | (_, Verdict::More) => Verdict::More,
        _ => Verdict::No,
    }
}

/// The way that requests go, given the bytes that were detected.
fn asks(sample: &Sample<'_>) -> crate::event::Direction {
    let sender = if record::is_answer(sample.bytes) == Verdict::Yes { Side::Server } else { Side::Client };
    sample.asks(sender)
}
