//! Values that a request and a call have in common: an id in a path, say. Where exactly one open request has brought it, that is most likely the
//! one the call was made for. It counts where nothing better is known, and only as long as it agrees, in the process, with what is.

use hashbrown::HashMap;

use super::{
    call::{Call, Cause, Hint, Link, Serial, Sign},
    engine::Engine,
};
use crate::protocol::Values;

/// A value that more requests than that have brought names none of them.
const COMMON: u8 = 8;
/// Most values that are known at a time; then all are forgotten.
const MOST: usize = 65_536;

/// How many requests have brought each value, by process.
#[derive(Debug, Default)]
pub(super) struct Commons {
    counts: HashMap<(u32, u64), u8, foldhash::fast::RandomState>,
}

impl Commons {
    /// A request has brought these.
    pub(super) fn brought(&mut self, tgid: u32, values: Values) {
        if self.counts.len() >= MOST {
            self.counts.clear();
        }
        for value in values.iter() {
            let count = self.counts.entry((tgid, value)).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Whether a value may name one request.
    fn may_name(&self, tgid: u32, value: u64) -> bool {
        self.counts.get(&(tgid, value)).is_some_and(|count| *count <= COMMON)
    }

    /// A process has ended.
    pub(super) fn ended(&mut self, tgid: u32) {
        self.counts.retain(|(of, _), _| *of != tgid);
    }
}

impl Engine {
    /// What the values of an outgoing call say of its cause, next to what else is known.
    pub(super) fn compare_values(&mut self, call: &mut Call, cause: &Cause, values: Values) {
        let tgid = call.tgid();
        let Some(request) = self.brought_value(tgid, values) else {
            return;
        };
        match cause {
            Cause::Call(known, _) => self.trust.add(tgid, Link::Value, *known == request),
            Cause::Open => {
                let Some(search) = call.search.as_mut() else {
                    return;
                };
                // What has still to prove itself counts for less.
                if search.hint.is_none_or(|hint| hint.sign != Sign::Link) {
                    search.hint = Some(Hint { request, link: Link::Value, sign: Sign::Link });
                }
            }
            Cause::Outside(..) | Cause::None => {}
        }
    }

    /// The open request that alone has brought the first of these values that one alone has brought.
    fn brought_value(&self, tgid: u32, values: Values) -> Option<Serial> {
        let mut names = values.iter().filter(|value| self.values.may_name(tgid, *value));
        names.find_map(|name| self.bringer(tgid, None, |brought| brought.values.iter().any(|value| value == name)))
    }
}
