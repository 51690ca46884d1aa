//! What requests say: their headers, and what they are about.

use compact_str::CompactString;

use super::{
    MAX_LENGTH,
    api::{self, Api, api},
    batch::records,
    fields::{Fields, TopicId},
};
use crate::protocol::{Carried, Verdict, cursor::Cursor, messaging::name};

/// The longest client id that is believed in where it is not known yet that this is Kafka.
const MAX_CLIENT: i16 = 256;
/// Nobody waits longer for messages to be stored: a day, in milliseconds.
const MAX_TIMEOUT: i32 = 86_400_000;

/// The longest name of a group that is believed in where it is not known yet that this is Kafka.
const MAX_NAME: usize = 512;
/// Who is no broker says this where a broker says its number.
const NO_REPLICA: i32 = -1;

/// What clients ask all the time.
const USUAL: [i16; 14] = [
    api::PRODUCE,
    api::FETCH,
    api::LIST_OFFSETS,
    api::METADATA,
    api::OFFSET_COMMIT,
    api::OFFSET_FETCH,
    api::FIND_COORDINATOR,
    api::JOIN_GROUP,
    api::HEARTBEAT,
    api::LEAVE_GROUP,
    api::SYNC_GROUP,
    api::API_VERSIONS,
    api::INIT_PRODUCER_ID,
    api::CONSUMER_GROUP_HEARTBEAT,
];
/// The longest of them, but for messages.
const MAX_USUAL: u32 = 1 << 20;

/// A request's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'a> {
    pub(super) key: i16,
    pub(super) version: i16,
    pub(super) client: &'a [u8],
}

/// What a request is about, as far as it shows.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) topic: Option<CompactString>,
    pub(super) id: Option<TopicId>,
    pub(super) partition: Option<i32>,
    pub(super) group: Option<CompactString>,
    pub(super) messages: Option<i64>,
    pub(super) carried: Option<Box<Carried>>,
    /// No response will come.
    pub(super) silent: bool,
    /// Of a Fetch: whether it begins a session, or has none.
    pub(super) begins: bool,
    /// Of a Fetch: whether it goes on with what an earlier one was about.
    pub(super) goes_on: bool,
    /// Milliseconds that the broker may wait for messages.
    pub(super) max_wait: Option<i32>,
}

/// Reads the header after the message's length. The rest is the body.
pub(super) fn header(bytes: &[u8]) -> Option<(Header<'_>, Fields<'_>)> {
    let mut c = Cursor::new(bytes);
    let (key, version) = (c.i16_be()?, c.i16_be()?);
    c.skip(4)?;
    let client = c.whole(|c| Some(usize::try_from(c.i16_be()?).unwrap_or(0)))?;
    let mut fields = Fields::new(c, api(key).is_some_and(|api| api.is_flexible(version)));
    fields.tags()?;
    Some((Header { key, version, client }, fields))
}

/// Whether a request begins with these bytes. `first`: they begin their stream. Elsewhere, what only brokers send each other is not
/// believed in, and nothing that is longer than usual but messages.
pub(super) fn detect(bytes: &[u8], first: bool) -> Verdict {
    let mut c = Cursor::new(bytes);
    let Some(length) = c.u32_be() else {
        return if bytes.iter().take(1).all(|b| u32::from(*b) <= MAX_LENGTH >> 24) {
            Verdict::More
        } else {
            Verdict::No
        };
    };
    if !(10..=MAX_LENGTH).contains(&length) {
        return Verdict::No;
    }
    let Some(key) = c.i16_be() else { return Verdict::More };
    let Some(api) = api(key) else { return Verdict::No };
    if !first && (!USUAL.contains(&key) || length > MAX_USUAL && key != api::PRODUCE) {
        return Verdict::No;
    }
    let Some(version) = c.i16_be() else { return Verdict::More };
    if !api.has(version) {
        return Verdict::No;
    }
    let (Some(correlation), Some(client)) = (c.i32_be(), c.i16_be()) else { return Verdict::More };
    if correlation < 0 || !(-1..=MAX_CLIENT).contains(&client) || i64::from(client) + 10 > i64::from(length) {
        return Verdict::No;
    }
    let client = usize::try_from(client).unwrap_or(0);
    let text = c.take_up_to(client);
    if !text.iter().all(|b| b.is_ascii_graphic() || *b == b' ') {
        return Verdict::No;
    }
    if text.len() < client {
        return Verdict::More;
    }
    // Small numbers in a row are many things.
    if client == 0 && !certain(api, key, version, length, c) {
        return Verdict::No;
    }
    if first {
        return Verdict::Yes;
    }
    // Names after small numbers are in many a stream: what is asked has to make sense, too.
    let left = (length as usize).saturating_sub(10 + client);
    let body = c.take_up_to(left);
    let whole = body.len() == left;
    match asks(key, version, Fields::new(Cursor::new(body), api.is_flexible(version)), whole) {
        Some(true) => Verdict::Yes,
        None if !whole => Verdict::More,
        Some(false) | None => Verdict::No,
    }
}

/// Whether what follows a header is what a client, not a broker, asks by this request; `None`: more bytes would tell. `whole`: there are
/// none.
fn asks(key: i16, version: i16, mut f: Fields<'_>, whole: bool) -> Option<bool> {
    if key == api::PRODUCE {
        return produces(version, f);
    }
    f.tags()?;
    let sane = match key {
        api::FETCH => {
            (version >= 15 || f.i32()? == NO_REPLICA) && (0..=MAX_TIMEOUT).contains(&f.i32()?) && f.i32()? >= 0
        }
        api::LIST_OFFSETS => f.i32()? == NO_REPLICA && (version < 2 || (0..=1).contains(&f.i8()?)) && few(&mut f)?,
        api::METADATA => few(&mut f)?,
        api::OFFSET_FETCH if version >= 8 => few(&mut f)?,
        api::FIND_COORDINATOR if version >= 4 => (0..=2).contains(&f.i8()?) && few(&mut f)?,
        api::INIT_PRODUCER_ID => plain(f.text()?) && (0..=i32::MAX).contains(&f.i32()?),
        api::API_VERSIONS if !whole => return None,
        api::API_VERSIONS if version < 3 => f.c.is_empty(),
        api::API_VERSIONS => plain(f.text()?) && plain(f.text()?) && f.tags().is_some() && f.c.is_empty(),
        // A group, or a coordinator.
        _ => f.text().map(|text| !text.is_empty() && plain(text))?,
    };
    Some(sane)
}

/// Whether a list has as many elements as is usual.
fn few(f: &mut Fields<'_>) -> Option<bool> {
    Some(f.length()? < 1000)
}

/// Whether a text may be a name.
fn plain(text: &[u8]) -> bool {
    text.len() <= MAX_NAME && text.iter().all(|b| b.is_ascii_graphic() || *b == b' ' || !b.is_ascii())
}

/// Whether messages may follow; `None`: more bytes would tell. A header of zeros and a letter is in many a stream.
fn produces(version: i16, mut f: Fields<'_>) -> Option<bool> {
    f.tags()?;
    if version >= 3 && !f.text()?.iter().all(u8::is_ascii_graphic) {
        return Some(false);
    }
    let (acks, timeout) = (f.i16()?, f.i32()?);
    if !(-1..=1).contains(&acks) || !(0..=MAX_TIMEOUT).contains(&timeout) {
        return Some(false);
    }
    if !(1..1000).contains(&f.list()?) {
        return Some(false);
    }
    // From version 13 on, a topic has an id instead.
    Some(version >= 13 || is_topic(f.text()?))
}

/// Whether brokers allow a topic of this name.
fn is_topic(name: &[u8]) -> bool {
    (1..=249).contains(&name.len()) && name.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
}

/// Whether a message without a client's name is a request for certain.
fn certain(api: &Api, key: i16, version: i16, length: u32, c: Cursor<'_>) -> bool {
    let mut fields = Fields::new(c, api.is_flexible(version));
    let whole = c.len() as u64 + 10 == u64::from(length);
    key == api::API_VERSIONS && whole && fields.tags().is_some() && (version >= 3 || fields.c.is_empty())
        || key == api::METADATA && whole && version > 0 && fields.list().is_some_and(|topics| topics < 1000)
}

/// Reads what a request is about. `whole`: all of it is there.
pub(super) fn about(header: &Header<'_>, fields: Fields<'_>, whole: bool) -> About {
    let mut about = About::default();
    let version = header.version;
    // What has been read remains when the rest is missing.
    let _ = match header.key {
        api::PRODUCE => produce(version, fields, whole, &mut about),
        api::FETCH => fetch(version, fields, &mut about),
        api::OFFSET_COMMIT => offset_commit(version, fields, &mut about),
        api::OFFSET_FETCH if version < 8 => group(fields, &mut about),
        api::JOIN_GROUP | api::HEARTBEAT | api::LEAVE_GROUP | api::SYNC_GROUP | api::CONSUMER_GROUP_HEARTBEAT => {
            group(fields, &mut about)
        }
        api::FIND_COORDINATOR if version < 4 => coordinator(version, fields, &mut about),
        _ => None,
    };
    about
}

fn produce(version: i16, mut f: Fields<'_>, whole: bool, about: &mut About) -> Option<()> {
    if version >= 3 {
        f.text()?;
    }
    about.silent = f.i16()? == 0;
    f.i32()?;
    let one = f.list()? == 1;
    topic(&mut f, version >= 13, one, about)?;
    let one = f.list()? == 1 && one;
    let partition = f.i32()?;
    let (bytes, all) = f.bytes_up_to()?;
    if one {
        about.partition = Some(partition);
        let records = records(bytes, all && whole);
        about.messages = records.count;
        about.carried = records.carried;
    }
    Some(())
}

fn fetch(version: i16, mut f: Fields<'_>, about: &mut About) -> Option<()> {
    if version < 15 {
        f.i32()?;
    }
    about.max_wait = Some(f.i32()?);
    f.i32()?;
    if version >= 3 {
        f.i32()?;
    }
    if version >= 4 {
        f.i8()?;
    }
    let mut begun = false;
    if version >= 7 {
        f.i32()?;
        begun = f.i32()? > 0;
    }
    about.begins = !begun;
    let topics = f.list()?;
    if topics == 0 {
        about.goes_on = begun;
        return Some(());
    }
    let one = topics == 1;
    topic(&mut f, version >= 13, one, about)?;
    if f.list()? == 1 && one {
        about.partition = Some(f.i32()?);
    }
    Some(())
}

fn offset_commit(version: i16, mut f: Fields<'_>, about: &mut About) -> Option<()> {
    group_field(&mut f, about)?;
    if version >= 1 {
        f.i32()?;
        f.text()?;
    }
    if version >= 7 {
        f.text()?;
    }
    if (2..=4).contains(&version) {
        f.i64()?;
    }
    let one = f.list()? == 1;
    topic(&mut f, version >= 10, one, about)?;
    if f.list()? == 1 && one {
        about.partition = Some(f.i32()?);
    }
    Some(())
}

/// The first topic of a list; it is what the request is about if it is the only one.
fn topic(f: &mut Fields<'_>, by_id: bool, one: bool, about: &mut About) -> Option<()> {
    if by_id {
        let id = f.id()?;
        about.id = one.then_some(id);
    } else {
        let text = f.text()?;
        about.topic = one.then(|| name(text)).flatten();
    }
    Some(())
}

fn group(mut f: Fields<'_>, about: &mut About) -> Option<()> {
    group_field(&mut f, about)
}

fn group_field(f: &mut Fields<'_>, about: &mut About) -> Option<()> {
    about.group = name(f.text()?);
    Some(())
}

/// The coordinator of a group, or of a transaction.
fn coordinator(version: i16, mut f: Fields<'_>, about: &mut About) -> Option<()> {
    let key = f.text()?;
    if version == 0 || f.i8()? == 0 {
        about.group = name(key);
    }
    Some(())
}
