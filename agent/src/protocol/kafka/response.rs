//! What responses say: errors, how many messages came, and which ids the topics have.

use compact_str::CompactString;

use super::{
    api::{self, api},
    batch::records,
    error::is_known,
    fields::{Fields, TopicId},
};
use crate::protocol::{cursor::Cursor, framed::Found, messaging::name};

/// The longest answer that is believed in after a loss, but for one with messages.
const MAX_USUAL: u32 = 4 << 20;
/// Bytes by which an answer is recognised.
const ENOUGH: usize = 16;

/// What a response says, as far as it shows.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The first error code that is not 0.
    pub(super) error: i16,
    /// The only topic of a Fetch.
    pub(super) topic: Option<CompactString>,
    pub(super) id: Option<TopicId>,
    /// Messages that were fetched, if all were seen.
    pub(super) messages: Option<i64>,
    /// Names of topics.
    pub(super) names: Vec<(TopicId, CompactString)>,
}

impl Outcome {
    fn error(&mut self, code: i16) {
        if self.error == 0 {
            self.error = code;
        }
    }
}

/// Reads what comes after the correlation id of the response to a request of this key and version.
pub(super) fn outcome(key: i16, version: i16, bytes: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let flexible = api(key).is_some_and(|api| api.is_flexible(version));
    let mut fields = Fields::new(Cursor::new(bytes), flexible);
    // A client that does not know the broker's versions yet must be able to read this one.
    if key != api::API_VERSIONS && fields.tags().is_none() {
        return outcome;
    }
    // What has been read remains when the rest is missing.
    let _ = match key {
        api::PRODUCE => produce(version, fields, &mut outcome),
        api::FETCH => fetch(version, fields, &mut outcome),
        api::METADATA => metadata(version, fields, &mut outcome),
        api::OFFSET_COMMIT => offset_commit(version, fields, &mut outcome),
        api::API_VERSIONS | api::SASL_HANDSHAKE | api::SASL_AUTHENTICATE => first(false, fields, &mut outcome),
        api::JOIN_GROUP => first(version >= 2, fields, &mut outcome),
        api::FIND_COORDINATOR if version >= 4 => None,
        api::HEARTBEAT | api::LEAVE_GROUP | api::SYNC_GROUP | api::FIND_COORDINATOR => {
            first(version >= 1, fields, &mut outcome)
        }
        api::INIT_PRODUCER_ID | api::CONSUMER_GROUP_HEARTBEAT => first(true, fields, &mut outcome),
        _ => None,
    };
    outcome
}

/// Whether so many bytes after a correlation id, which begin with these, answer a request of this key and version. Small numbers are in
/// many an answer: what it says of its failure has to make sense, too.
pub(super) fn answers(key: i16, version: i16, length: u32, bytes: &[u8]) -> Found {
    let (shortest, longest) = match key {
        api::FETCH => (4, u32::MAX),
        // Error, and a list of ranges.
        api::API_VERSIONS => (6, MAX_USUAL),
        _ => (1, MAX_USUAL),
    };
    let here = bytes.get(..length as usize).unwrap_or(bytes);
    if !(shortest..=longest).contains(&length) || !is_known(outcome(key, version, here).error) {
        Found::No
    } else if here.len() < ENOUGH.min(length as usize) {
        Found::More
    } else {
        Found::At(0)
    }
}

/// An error code, after the time by which the client was throttled, if that is there.
fn first(throttled: bool, mut f: Fields<'_>, outcome: &mut Outcome) -> Option<()> {
    if throttled {
        f.i32()?;
    }
    outcome.error(f.i16()?);
    Some(())
}

fn produce(version: i16, mut f: Fields<'_>, outcome: &mut Outcome) -> Option<()> {
    for _ in 0..f.list()? {
        if version >= 13 {
            f.skip(16)?;
        } else {
            f.text()?;
        }
        for _ in 0..f.list()? {
            f.i32()?;
            outcome.error(f.i16()?);
            f.i64()?;
            if version >= 2 {
                f.i64()?;
            }
            if version >= 5 {
                f.i64()?;
            }
            if version >= 8 {
                for _ in 0..f.list()? {
                    f.i32()?;
                    f.text()?;
                    f.tags()?;
                }
                f.text()?;
            }
            f.tags()?;
        }
        f.tags()?;
    }
    Some(())
}

fn fetch(version: i16, mut f: Fields<'_>, outcome: &mut Outcome) -> Option<()> {
    if version >= 1 {
        f.i32()?;
    }
    if version >= 7 {
        outcome.error(f.i16()?);
        f.i32()?;
    }
    let topics = f.list()?;
    let mut messages = Some(0_i64);
    for _ in 0..topics {
        if version >= 13 {
            outcome.id = Some(f.id()?).filter(|_| topics == 1);
        } else {
            let topic = f.text()?;
            outcome.topic = name(topic).filter(|_| topics == 1);
        }
        for _ in 0..f.list()? {
            f.i32()?;
            outcome.error(f.i16()?);
            f.i64()?;
            if version >= 4 {
                f.i64()?;
            }
            if version >= 5 {
                f.i64()?;
            }
            if version >= 4 {
                for _ in 0..f.list()? {
                    f.skip(16)?;
                    f.tags()?;
                }
            }
            if version >= 11 {
                f.i32()?;
            }
            let (bytes, all) = f.bytes_up_to()?;
            messages = messages.zip(records(bytes, all).count).map(|(a, b)| a.saturating_add(b));
            if !all {
                return None;
            }
            f.tags()?;
        }
        f.tags()?;
    }
    outcome.messages = messages;
    Some(())
}

fn offset_commit(version: i16, mut f: Fields<'_>, outcome: &mut Outcome) -> Option<()> {
    if version >= 3 {
        f.i32()?;
    }
    for _ in 0..f.list()? {
        if version >= 10 {
            f.skip(16)?;
        } else {
            f.text()?;
        }
        for _ in 0..f.list()? {
            f.i32()?;
            outcome.error(f.i16()?);
            f.tags()?;
        }
        f.tags()?;
    }
    Some(())
}

fn metadata(version: i16, mut f: Fields<'_>, outcome: &mut Outcome) -> Option<()> {
    if version < 10 {
        return None;
    }
    f.i32()?;
    for _ in 0..f.list()? {
        f.i32()?;
        f.text()?;
        f.i32()?;
        f.text()?;
        f.tags()?;
    }
    f.text()?;
    f.i32()?;
    for _ in 0..f.list()? {
        outcome.error(f.i16()?);
        let topic = f.text()?;
        let id = f.id()?;
        outcome.names.extend(name(topic).map(|name| (id, name)));
        f.i8()?;
        for _ in 0..f.list()? {
            f.skip(2 + 4 + 4 + 4)?;
            for _ in 0..3 {
                let nodes = f.list()?;
                f.skip(usize::try_from(nodes).ok()?.checked_mul(4)?)?;
            }
            f.tags()?;
        }
        f.i32()?;
        f.tags()?;
    }
    Some(())
}
