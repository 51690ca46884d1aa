//! Record batches: how many records, and what a single one carries. <https://kafka.apache.org/documentation/#recordbatch>

use crate::protocol::{Carried, cursor::Cursor, messaging::Contexts};

/// Length of what comes before a batch's own length counts.
const PREFIX: usize = 12;
/// The compression in a batch's attributes.
const COMPRESSION: i16 = 7;
/// The most headers of a record that are looked at.
const MAX_HEADERS: i64 = 64;

/// What some batches hold.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// How many records; `None` if that does not show.
    pub(super) count: Option<i64>,
    /// The contexts that a single record carries. Those of several would be several causes.
    pub(super) carried: Option<Box<Carried>>,
}

/// Reads batches. `whole`: these are all of them.
pub(super) fn records(bytes: &[u8], whole: bool) -> Records {
    let mut c = Cursor::new(bytes);
    let mut count = 0_i64;
    let mut carried = None;
    let mut counted = whole;
    while !c.is_empty() {
        let Some((of_batch, record, length)) = batch(c) else {
            return Records { count: None, carried: None };
        };
        count = count.saturating_add(of_batch);
        carried = record.filter(|_| count == 1).and_then(single);
        if c.skip(length).is_none() {
            // What there is of the last one shows its count, but not whether it is the last.
            counted = false;
            break;
        }
    }
    Records { count: counted.then_some(count), carried: if counted { carried } else { None } }
}

/// A batch's number of records, its records if they are not compressed, and its length.
fn batch(mut c: Cursor<'_>) -> Option<(i64, Option<Cursor<'_>>, usize)> {
    c.skip(8)?;
    let length = usize::try_from(c.i32_be()?).ok()?.checked_add(PREFIX)?;
    c.skip(4)?;
    if c.i8()? != 2 {
        return None;
    }
    c.skip(4)?;
    let attributes = c.i16_be()?;
    c.skip(4 + 8 + 8 + 8 + 2 + 4)?;
    let count = c.i32_be().filter(|count| *count >= 0)?;
    Some((count.into(), (attributes & COMPRESSION == 0).then_some(c), length))
}

/// The contexts in a record's headers.
fn single(mut c: Cursor<'_>) -> Option<Box<Carried>> {
    c.zigzag()?;
    c.skip(1)?;
    c.zigzag()?;
    c.zigzag()?;
    for _ in 0..2 {
        let length = c.zigzag()?;
        c.skip(usize::try_from(length).unwrap_or(0))?;
    }
    let mut contexts = Contexts::default();
    for _ in 0..c.zigzag()?.min(MAX_HEADERS) {
        let name = c.whole(|c| usize::try_from(c.zigzag()?).ok())?;
        let length = c.zigzag()?;
        contexts.add(name, c.take(usize::try_from(length).unwrap_or(0))?);
    }
    contexts.carried()
}
