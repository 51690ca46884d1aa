//! Queries: who asks, settings, and the text. <https://clickhouse.com/docs/native-protocol/client#query>

use compact_str::{CompactString, format_compact};

use super::packet::{Revision, Stop, byte, name, number, settings, since, skip, text};
use crate::protocol::cursor::Cursor;

/// Longest query, in bytes.
const MAX_QUERY: u64 = 1 << 30;
/// Bytes of a text by which it is recognised as one.
pub(super) const ENOUGH: u64 = 8;
/// Revisions that queries may be written by, the newest first: as a whole, what is between two is the same.
const FORMATS: [u64; 15] = [
    since::CURRENT_ROLES,
    since::INTERNAL,
    since::AGENT,
    since::JWT,
    since::LINE_NUMBERS,
    since::ROLES,
    since::PARAMETERS,
    since::PARALLEL_REPLICAS,
    since::START_TIME,
    since::DISTRIBUTED_DEPTH,
    since::TRACE,
    since::SECRET,
    since::SETTINGS_AS_TEXT,
    since::VERSION_PATCH,
    since::QUOTA_KEY,
];

/// A query, up to its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// The revision by which it is written.
    pub(super) revision: Revision,
    /// Blocks of data are compressed, both ways.
    pub(super) compressed: bool,
    /// The context of a trace, as `traceparent`.
    pub(super) traceparent: Option<CompactString>,
    /// Length of its text.
    pub(super) length: u64,
}

/// Who asks.
#[derive(Default)]
struct Client {
    revision: Option<u64>,
    traceparent: Option<CompactString>,
}

/// Reads a query up to its text, where `c` then is, by this revision, or if that is not known, by what the query itself says.
pub(super) fn read(c: &mut Cursor<'_>, revision: Option<Revision>) -> Result<Query, Stop> {
    if let Some(revision) = revision {
        let query = written(c, revision.high)?;
        return Ok(Query { revision, ..query });
    }
    // The client's own revision stands at the same place in all of them, nearly; the server's may be lower.
    let mut stop = Stop::Bad;
    for guess in [since::START_TIME, since::QUOTA_KEY] {
        let mut ahead = *c;
        match name(&mut ahead).and_then(|_| client(&mut ahead, guess, true)) {
            Ok(Client { revision: Some(client), .. }) => match guessed(*c, client) {
                Ok((query, at)) => {
                    *c = at;
                    return Ok(query);
                }
                Err(Stop::More) => stop = Stop::More,
                Err(_) => {}
            },
            Err(Stop::More) => stop = Stop::More,
            Ok(_) | Err(_) => {}
        }
    }
    Err(stop)
}

/// Reads a query of a client of this revision, which the server's may be below. Returns it with the place of its text.
fn guessed(c: Cursor<'_>, client: u64) -> Result<(Query, Cursor<'_>), Stop> {
    let mut stop = Stop::Bad;
    let mut found: Option<(Query, Cursor<'_>)> = None;
    // Formats that read it alike cannot be told apart.
    let mut high = client;
    for format in FORMATS.into_iter().filter(|format| *format <= client) {
        let mut ahead = c;
        match (written(&mut ahead, format), &mut found) {
            (Ok(query), None) if (ahead.len() as u64) < query.length.min(ENOUGH) => stop = Stop::More,
            (Ok(query), None) if is_text(ahead.rest(), query.length) => {
                found = Some((Query { revision: Revision { low: format, high }, ..query }, ahead));
            }
            (Ok(query), Some((first, at))) if at.len() == ahead.len() && query.length == first.length => {
                first.revision.low = format;
            }
            (Err(Stop::More), None) => stop = Stop::More,
            _ => {}
        }
        high = format.saturating_sub(1);
    }
    found.ok_or(stop)
}

/// Whether a query's text may begin with these bytes.
pub(super) fn is_text(bytes: &[u8], length: u64) -> bool {
    let bytes = bytes.get(..usize::try_from(length).unwrap_or(usize::MAX)).unwrap_or(bytes);
    let begins = bytes.trim_ascii_start().first();
    length > 0
        && begins.is_none_or(|b| b.is_ascii_alphabetic() || matches!(b, b'(' | b'-' | b'/' | b'#'))
        && bytes.iter().take(64).all(|b| *b >= b' ' || matches!(b, b'\t' | b'\n' | b'\r'))
}

fn written(c: &mut Cursor<'_>, revision: u64) -> Result<Query, Stop> {
    if revision >= since::NOT_READ {
        return Err(Stop::Bad);
    }
    name(c)?;
    let client = client(c, revision, false)?;
    if revision >= since::SETTINGS_AS_TEXT {
        settings(c)?;
    } else {
        old_settings(c)?;
    }
    if revision >= since::ROLES {
        text(c)?;
    }
    if revision >= since::SECRET {
        text(c)?;
    }
    let (stage, compression) = (number(c)?, number(c)?);
    let length = number(c)?;
    if stage > 8 || compression > 1 || length > MAX_QUERY {
        return Err(Stop::Bad);
    }
    Ok(Query {
        revision: Revision::known(revision),
        compressed: compression == 1,
        traceparent: client.traceparent,
        length,
    })
}

/// Reads who asks. `begin`: only up to the client's revision.
fn client(c: &mut Cursor<'_>, revision: u64, begin: bool) -> Result<Client, Stop> {
    let mut client = Client::default();
    match byte(c)? {
        0 => return Ok(client),
        1 | 2 => {}
        _ => return Err(Stop::Bad),
    }
    for _ in 0..3 {
        name(c)?;
    }
    if revision >= since::START_TIME {
        skip(c, 8)?;
    }
    let interface = byte(c)?;
    match interface {
        1 => {
            for _ in 0..3 {
                name(c)?;
            }
            number(c)?;
            number(c)?;
            client.revision = Some(number(c)?).filter(|revision| (54_032..=64_000).contains(revision));
            if client.revision.is_none() {
                return Err(Stop::Bad);
            }
        }
        2 => {
            byte(c)?;
            text(c)?;
            for since in [since::FORWARDED_FOR, since::REFERER] {
                if revision >= since {
                    text(c)?;
                }
            }
        }
        3..=8 => {}
        _ => return Err(Stop::Bad),
    }
    if begin {
        return Ok(client);
    }
    if revision >= since::QUOTA_KEY {
        name(c)?;
    }
    if revision >= since::DISTRIBUTED_DEPTH {
        number(c)?;
    }
    if revision >= since::VERSION_PATCH && interface == 1 {
        number(c)?;
    }
    if revision >= since::TRACE {
        client.traceparent = trace(c)?;
    }
    if revision >= since::PARALLEL_REPLICAS {
        for _ in 0..3 {
            number(c)?;
        }
    }
    if revision >= since::LINE_NUMBERS {
        number(c)?;
        number(c)?;
    }
    if revision >= since::JWT && byte(c)? == 1 {
        text(c)?;
    }
    if revision >= since::AGENT {
        name(c)?;
    }
    if revision >= since::INTERNAL && byte(c)? > 1 {
        return Err(Stop::Bad);
    }
    // Only servers send each other roles, and what came to them by HTTP.
    if revision >= since::CURRENT_ROLES && byte(c)? != 0 || revision >= since::HTTP_HANDLER && interface == 2 {
        return Err(Stop::Bad);
    }
    Ok(client)
}

/// The context of a trace: two halves of an id, another id, a state, and flags. The first half comes first, as the server reads it; that
/// some clients (clickhouse-driver for Python) write them the other way round, their bytes do not show.
fn trace(c: &mut Cursor<'_>) -> Result<Option<CompactString>, Stop> {
    match byte(c)? {
        0 => return Ok(None),
        1 => {}
        _ => return Err(Stop::Bad),
    }
    let mut half = || c.u64_le().ok_or(Stop::More);
    let (high, low, span) = (half()?, half()?, half()?);
    name(c)?;
    let flags = byte(c)?;
    Ok(Some(format_compact!("00-{high:016x}{low:016x}-{span:016x}-{flags:02x}")))
}

/// Settings as they were written before they were text: what a value is depends on the name. Numbers are, mostly.
fn old_settings(c: &mut Cursor<'_>) -> Result<(), Stop> {
    loop {
        let name = name(c)?;
        if name.is_empty() {
            return Ok(());
        }
        let is_name = name.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_');
        let is_number = [&b"max_"[..], b"min_", b"use_", b"log_", b"allow_", b"force_", b"enable_", b"optimize_"]
            .iter()
            .any(|begin| name.starts_with(begin));
        if !is_name || !is_number {
            return Err(Stop::Bad);
        }
        number(c)?;
    }
}
