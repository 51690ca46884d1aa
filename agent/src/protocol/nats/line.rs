//! Control lines.

use crate::protocol::{Verdict, framed::Role};

/// The longest control line that is waited for; the server's own limit is 4096 unless configured.
pub(super) const MAX_LINE: usize = 8 << 10;
/// The longest payload that is believed in: the server's limit.
const MAX_PAYLOAD: u64 = 64 << 20;

/// A control line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A message: `PUB`, `HPUB`, `MSG`, `HMSG`.
    Message(Message<'a>),
    /// `CONNECT`: its options.
    Connect(&'a [u8]),
    /// Another one.
    Other,
}

/// What the line says that begins a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) subject: &'a [u8],
    pub(super) reply: Option<&'a [u8]>,
    /// Length of the headers, which come first.
    pub(super) headers: u64,
    /// Length of headers and payload.
    pub(super) length: u64,
}

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read<'a> {
    /// This line, of this length with its end.
    Line(Line<'a>, usize),
    /// It has not ended.
    More,
    /// No line.
    Invalid,
}

/// Reads the line that the bytes begin with.
pub(super) fn read(bytes: &[u8], role: Role) -> Read<'_> {
    let verbs: &[&[u8]] = match role {
        Role::Request => &[b"PUB", b"HPUB", b"SUB", b"UNSUB", b"CONNECT", b"PING", b"PONG"],
        Role::Response => &[b"MSG", b"HMSG", b"INFO", b"PING", b"PONG", b"+OK", b"-ERR"],
    };
    let letter = |b: &&u8| b.is_ascii_alphabetic() || matches!(b, b'+' | b'-');
    let word = bytes.iter().take_while(letter).count();
    let Some((verb, rest)) = bytes.split_at_checked(word) else {
        return Read::Invalid;
    };
    if rest.is_empty() {
        let begins = verbs.iter().any(|known| known.get(..word).is_some_and(|begin| begin.eq_ignore_ascii_case(verb)));
        return if begins { Read::More } else { Read::Invalid };
    }
    let Some(verb) = verbs.iter().find(|known| known.eq_ignore_ascii_case(verb)) else {
        return Read::Invalid;
    };
    let Some(end) = rest.iter().position(|b| *b == b'\n') else {
        let fits = rest.len() < MAX_LINE && rest.iter().all(|b| *b >= b' ' || matches!(b, b'\t' | b'\r'));
        return if fits { Read::More } else { Read::Invalid };
    };
    let arguments = rest.get(..end).unwrap_or_default();
    let arguments = arguments.strip_suffix(b"\r").unwrap_or(arguments);
    let length = word + end + 1;
    let line = match *verb {
        b"CONNECT" => Some(Line::Connect(arguments.trim_ascii())),
        b"PUB" | b"HPUB" | b"MSG" | b"HMSG" => message(verb, arguments).map(Line::Message),
        b"PING" | b"PONG" | b"+OK" => arguments.trim_ascii().is_empty().then_some(Line::Other),
        _ => Some(Line::Other),
    };
    line.map_or(Read::Invalid, |line| Read::Line(line, length))
}

fn message<'a>(verb: &[u8], arguments: &'a [u8]) -> Option<Message<'a>> {
    let mut words = arguments.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
    let subject = words.next()?;
    if verb.ends_with(b"MSG") {
        words.next()?;
    }
    let rest: [Option<&[u8]>; 4] = [words.next(), words.next(), words.next(), words.next()];
    let (reply, headers, length) = match (verb.first() == Some(&b'H'), rest) {
        (false, [Some(length), None, ..]) => (None, 0, number(length)?),
        (false, [Some(reply), Some(length), None, _]) => (Some(reply), 0, number(length)?),
        (true, [Some(headers), Some(length), None, _]) => (None, number(headers)?, number(length)?),
        (true, [Some(reply), Some(headers), Some(length), None]) => (Some(reply), number(headers)?, number(length)?),
        _ => return None,
    };
    // Of `HMSG`, `MSG` is what is left when its first byte is missing: a number is no subject of a reply.
    let replies = reply.is_none_or(|reply| number(reply).is_none());
    (replies && headers <= length && length <= MAX_PAYLOAD).then_some(Message { subject, reply, headers, length })
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Whether a conversation begins with these bytes, or goes on with them for certain.
pub(super) fn begins(bytes: &[u8], role: Role) -> Verdict {
    // In messages, the end of the line is not enough: other protocols have lines, too.
    match read(bytes, role) {
        Read::Line(Line::Connect(options), _) if options.starts_with(b"{") => Verdict::Yes,
        Read::Line(Line::Message(_), _) => Verdict::Yes,
        Read::Line(Line::Other, _) if bytes.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"INFO ")) => {
            if bytes.get(5..).is_some_and(|rest| rest.trim_ascii_start().starts_with(b"{")) {
                Verdict::Yes
            } else {
                Verdict::No
            }
        }
        Read::Line(..) | Read::Invalid => Verdict::No,
        Read::More => Verdict::More,
    }
}

/// The headers of a message, after the line with their version: names and values.
pub(super) fn headers(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = bytes.split(|b| *b == b'\n').skip(1);
    lines.filter_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        Some((name, value.get(1..)?.trim_ascii()))
    })
}
