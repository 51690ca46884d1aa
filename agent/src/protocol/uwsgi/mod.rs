//! uwsgi: what nginx speaks with uWSGI, the servers of many Python applications. A packet with variables, the request's body, and an
//! HTTP response that ends with the connection. Requests are told as HTTP, which is what they carry.
//! <https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html>
//!
//! Left out: packets that are no requests (caching, spooling, signals), and connections joined after their beginning: each has one
//! request only.

mod talk;
#[cfg(test)]
mod tests;

use super::{Protocol, Sample, Side, Verdict, cursor::Cursor, framed::Framed};

/// uwsgi.
pub const PROTOCOL: Protocol = Protocol {
    name: "uwsgi",
    detect,
    decoder: |sample| Box::new(Framed::new(sample.asks(Side::Client), talk::Packets::default())),
};

/// Length of a packet's header.
const HEADER: usize = 4;
/// The longest name of a first variable.
const MAX_NAME: usize = 64;

/// Whether the bytes begin a request: a header of a kind that carries variables, and the first variable's name.
fn detect(sample: &Sample<'_>) -> Verdict {
    if !sample.first || sample.sender == Some(Side::Server) {
        return Verdict::No;
    }
    let mut c = Cursor::new(sample.bytes);
    // WSGI, PSGI, Lua, Rack, CGI, PHP, Mono, and the like: https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html
    let Some(kind) = c.u8() else { return Verdict::More };
    if kind > 30 {
        return Verdict::No;
    }
    let (Some(length), Some(second)) = (c.u16_le(), c.u8()) else { return Verdict::More };
    if length < 16 || second != 0 {
        return Verdict::No;
    }
    let Some(name) = c.u16_le().map(usize::from) else { return Verdict::More };
    if !(4..=MAX_NAME).contains(&name) {
        return Verdict::No;
    }
    let text = c.take_up_to(name);
    let fits = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_';
    match text.iter().all(fits) && text.first().is_none_or(u8::is_ascii_uppercase) {
        false => Verdict::No,
        true if text.len() < name => Verdict::More,
        true => Verdict::Yes,
    }
}
