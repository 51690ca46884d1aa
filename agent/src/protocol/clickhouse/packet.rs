//! Packets that are short: all but queries and blocks of data. Which fields there are depends on the revision of the protocol.
//! <https://github.com/ClickHouse/ClickHouse/blob/master/src/Core/ProtocolDefines.h>

use compact_str::CompactString;

use crate::protocol::cursor::Cursor;

/// Longest text of a packet, but for a query's.
const MAX_TEXT: u64 = 1 << 20;
/// Revisions that there are.
const REVISIONS: std::ops::RangeInclusive<u64> = 50_264..=64_000;

/// Revisions from which on there is something.
pub(super) mod since {
    pub(in super::super) const TIMEZONE: u64 = 54_058;
    pub(in super::super) const QUOTA_KEY: u64 = 54_060;
    pub(in super::super) const DISPLAY_NAME: u64 = 54_372;
    pub(in super::super) const VERSION_PATCH: u64 = 54_401;
    pub(in super::super) const WRITE_INFO: u64 = 54_420;
    pub(in super::super) const SETTINGS_AS_TEXT: u64 = 54_429;
    pub(in super::super) const SECRET: u64 = 54_441;
    pub(in super::super) const TRACE: u64 = 54_442;
    pub(in super::super) const FORWARDED_FOR: u64 = 54_443;
    pub(in super::super) const REFERER: u64 = 54_447;
    pub(in super::super) const DISTRIBUTED_DEPTH: u64 = 54_448;
    pub(in super::super) const START_TIME: u64 = 54_449;
    pub(in super::super) const PARALLEL_REPLICAS: u64 = 54_453;
    pub(in super::super) const CUSTOM_SERIALIZATION: u64 = 54_454;
    pub(in super::super) const ADDENDUM: u64 = 54_458;
    pub(in super::super) const PARAMETERS: u64 = 54_459;
    pub(in super::super) const TIME_IN_PROGRESS: u64 = 54_460;
    pub(in super::super) const PASSWORD_RULES: u64 = 54_461;
    pub(in super::super) const NONCE: u64 = 54_462;
    pub(in super::super) const BYTES_IN_PROGRESS: u64 = 54_463;
    pub(in super::super) const ROWS_BEFORE_AGGREGATION: u64 = 54_469;
    pub(in super::super) const CHUNKS: u64 = 54_470;
    pub(in super::super) const REPLICAS_VERSION: u64 = 54_471;
    pub(in super::super) const ROLES: u64 = 54_472;
    pub(in super::super) const SERVER_SETTINGS: u64 = 54_474;
    pub(in super::super) const LINE_NUMBERS: u64 = 54_475;
    pub(in super::super) const JWT: u64 = 54_476;
    pub(in super::super) const PLAN_VERSION: u64 = 54_477;
    pub(in super::super) const CLUSTER_FUNCTIONS: u64 = 54_479;
    pub(in super::super) const COMPRESSED_LOGS: u64 = 54_481;
    pub(in super::super) const AGENT: u64 = 54_485;
    pub(in super::super) const INTERNAL: u64 = 54_486;
    pub(in super::super) const CURRENT_ROLES: u64 = 54_488;
    pub(in super::super) const HTTP_HANDLER: u64 = 54_490;
    /// A column of strings is all of their ends, and then all of their bytes.
    pub(in super::super) const STRINGS_BY_ENDS: u64 = 54_492;
    /// The newest revision that is known is the one before.
    pub(in super::super) const NOT_READ: u64 = 54_493;
}

/// The revisions that a connection may be of: both the same where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) low: u64,
    pub(super) high: u64,
}

impl Revision {
    pub(super) fn known(revision: u64) -> Self {
        Self { low: revision, high: revision }
    }

    /// Whether something is there that is since this revision.
    pub(super) fn has(self, since: u64) -> Result<bool, Stop> {
        match (self.low >= since, self.high >= since) {
            (low, high) if low == high => Ok(low),
            _ => Err(Stop::Unknown),
        }
    }

    /// All that it may be, as far as that makes a difference to what a server says.
    pub(super) fn all(self) -> impl Iterator<Item = Self> {
        let more = [
            since::WRITE_INFO,
            since::CUSTOM_SERIALIZATION,
            since::TIME_IN_PROGRESS,
            since::BYTES_IN_PROGRESS,
            since::ROWS_BEFORE_AGGREGATION,
            since::COMPRESSED_LOGS,
            since::STRINGS_BY_ENDS,
        ];
        let more = more.into_iter().filter(move |since| (self.low + 1..=self.high).contains(since));
        std::iter::once(self.low).chain(more).map(Self::known)
    }
}

/// Why something was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// There are too few bytes.
    More,
    /// It cannot be what it should be.
    Bad,
    /// How it is written is not known.
    Unknown,
}

/// An unsigned number of variable length.
pub(super) fn number(c: &mut Cursor<'_>) -> Result<u64, Stop> {
    c.varint().ok_or(if c.len() < 10 { Stop::More } else { Stop::Bad })
}

pub(super) fn byte(c: &mut Cursor<'_>) -> Result<u8, Stop> {
    c.u8().ok_or(Stop::More)
}

/// A text after its length.
pub(super) fn text<'a>(c: &mut Cursor<'a>) -> Result<&'a [u8], Stop> {
    let length = number(c)?;
    if length > MAX_TEXT {
        return Err(Stop::Bad);
    }
    c.take(usize::try_from(length).unwrap_or(usize::MAX)).ok_or(Stop::More)
}

pub(super) fn skip(c: &mut Cursor<'_>, length: usize) -> Result<(), Stop> {
    c.skip(length).ok_or(Stop::More)
}

/// A name: text that can be printed, and is not long.
pub(super) fn name<'a>(c: &mut Cursor<'a>) -> Result<&'a [u8], Stop> {
    let mut ahead = *c;
    let length = number(&mut ahead)?;
    let printable =
        ahead.rest().iter().take(usize::try_from(length).unwrap_or(usize::MAX)).all(|b| *b >= b' ' && *b != 0x7f);
    if length > 256 || !printable {
        return Err(Stop::Bad);
    }
    text(c)
}

/// Settings: names, flags and values, and an empty name.
pub(super) fn settings(c: &mut Cursor<'_>) -> Result<(), Stop> {
    loop {
        let name = name(c)?;
        if name.is_empty() {
            return Ok(());
        }
        if !name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')) || number(c)? > 0xff {
            return Err(Stop::Bad);
        }
        text(c)?;
    }
}

/// What begins a connection, after its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello<'a> {
    pub(super) revision: u64,
    /// A client's: the database that it works in.
    pub(super) database: &'a [u8],
}

/// Name, version and revision, as both sides give them.
fn version<'a>(c: &mut Cursor<'a>) -> Result<(&'a [u8], u64), Stop> {
    let name = name(c)?;
    let (major, minor) = (number(c)?, number(c)?);
    let revision = number(c)?;
    if name.is_empty() || major > 1000 || minor > 10_000 || !REVISIONS.contains(&revision) {
        return Err(Stop::Bad);
    }
    Ok((name, revision))
}

/// A client's, whose password is passed over.
pub(super) fn client_hello<'a>(c: &mut Cursor<'a>) -> Result<Hello<'a>, Stop> {
    let (_, revision) = version(c)?;
    let database = name(c)?;
    text(c)?;
    text(c)?;
    Ok(Hello { revision, database })
}

/// A server's. `client`: the client's revision; the lower one holds.
pub(super) fn server_hello(c: &mut Cursor<'_>, client: u64) -> Result<u64, Stop> {
    let (_, server) = version(c)?;
    let revision = client.min(server);
    if revision >= since::REPLICAS_VERSION {
        number(c)?;
    }
    if revision >= since::TIMEZONE {
        name(c)?;
    }
    if revision >= since::DISPLAY_NAME {
        name(c)?;
    }
    if revision >= since::VERSION_PATCH {
        number(c)?;
    }
    if revision >= since::CHUNKS {
        name(c)?;
        name(c)?;
    }
    if revision >= since::PASSWORD_RULES {
        let rules = number(c)?;
        if rules > 256 {
            return Err(Stop::Bad);
        }
        for _ in 0..2 * rules {
            text(c)?;
        }
    }
    if revision >= since::NONCE {
        skip(c, 8)?;
    }
    if revision >= since::SERVER_SETTINGS {
        settings(c)?;
    }
    if revision >= since::PLAN_VERSION {
        number(c)?;
    }
    if revision >= since::CLUSTER_FUNCTIONS {
        number(c)?;
    }
    Ok(revision)
}

/// What a client adds when it knows the server's revision. Returns whether packets come in chunks from then on.
pub(super) fn addendum(c: &mut Cursor<'_>, revision: u64) -> Result<bool, Stop> {
    name(c)?;
    let mut chunked = false;
    if revision >= since::CHUNKS {
        for _ in 0..2 {
            chunked |= name(c)? == b"chunked";
        }
    }
    if revision >= since::REPLICAS_VERSION {
        number(c)?;
    }
    Ok(chunked)
}

/// How far a query is.
pub(super) fn progress(c: &mut Cursor<'_>, revision: Revision) -> Result<(), Stop> {
    let mut fields = 3;
    for (since, more) in [(since::BYTES_IN_PROGRESS, 1), (since::WRITE_INFO, 2), (since::TIME_IN_PROGRESS, 1)] {
        fields += if revision.has(since)? { more } else { 0 };
    }
    (0..fields).try_for_each(|_| number(c).map(|_| ()))
}

/// What a query has given: rows.
pub(super) fn profile(c: &mut Cursor<'_>, revision: Revision) -> Result<u64, Stop> {
    let rows = number(c)?;
    number(c)?;
    number(c)?;
    let flag = |c: &mut Cursor<'_>| byte(c).and_then(|flag| if flag > 1 { Err(Stop::Bad) } else { Ok(()) });
    flag(c)?;
    number(c)?;
    flag(c)?;
    if revision.has(since::ROWS_BEFORE_AGGREGATION)? {
        flag(c)?;
        number(c)?;
    }
    Ok(rows)
}

/// An exception, and those that it follows from. Returns the code of the first, and how many bytes follow: the trace is usually longer than
/// what was captured, and whether there is another exception is then not known.
pub(super) fn exception(c: &mut Cursor<'_>) -> Result<(i32, u64), Stop> {
    let mut first = None;
    for _ in 0..16 {
        let code = c.i32_le().ok_or(Stop::More)?;
        let first = *first.get_or_insert(code);
        name(c)?;
        text(c)?;
        let trace = number(c)?;
        if trace > MAX_TEXT {
            return Err(Stop::Bad);
        }
        if (c.len() as u64) <= trace {
            return Ok((first, trace + 1));
        }
        skip(c, usize::try_from(trace).unwrap_or(usize::MAX))?;
        match byte(c)? {
            0 => return Ok((first, 0)),
            1 => {}
            _ => return Err(Stop::Bad),
        }
    }
    Err(Stop::Bad)
}

/// Whether an exception certainly begins here, after its number.
pub(super) fn is_exception(bytes: &[u8]) -> bool {
    let mut c = Cursor::new(bytes);
    c.i32_le().is_some_and(|code| (0..100_000).contains(&code)) && c.rest().starts_with(b"\x0dDB::Exception")
}

/// A database's name as it is told of.
pub(super) fn database(name: &[u8]) -> Option<CompactString> {
    CompactString::from_utf8(name).ok().filter(|name| !name.is_empty())
}
