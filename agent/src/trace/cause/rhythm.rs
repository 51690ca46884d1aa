//! When requests of an endpoint make a kind of call: so long after, or before, whatever else is known to have happened in the same request. Learned of calls
//! whose causes are certain; says how much better a call fits into one request than into another.

use hashbrown::HashMap;

use super::{call::Serial, endpoints::Kind};
use crate::event::Nanos;

/// Moments of a request that are compared with; more are left out.
const MOMENTS: usize = 48;
/// Calls that must have been seen before anything is said.
const ENOUGH: u32 = 16;
/// What a distance that was never seen weighs, in calls.
const NEVER: f64 = 0.25;

/// Something that has happened in a request: its beginning, the beginning of a call, or its end.
type What = u64;

/// The beginning of a request.
const BEGUN: What = 0;

/// The end of a call of a kind.
fn end_of(kind: Kind) -> What {
    !kind
}

/// What is known to have happened in a request, when, and the call that it is of.
#[derive(Debug, Default)]
pub(super) struct Moments(Vec<(What, Nanos, Serial)>);

impl Moments {
    /// The request has begun.
    pub(super) fn begun(&mut self, at: Nanos) {
        self.0.push((BEGUN, at, 0));
    }

    /// It has made a call.
    pub(super) fn called(&mut self, call: Serial, kind: Kind, start: Nanos, end: Nanos) {
        if self.0.len() < MOMENTS {
            self.0.extend([(kind, start, call), (end_of(kind), end, call)]);
        }
    }

    /// What kind of call one of them is, when it began and when it ended.
    pub(super) fn of(&self, call: Serial) -> Option<(Kind, Nanos, Nanos)> {
        let mut of = self.0.iter().filter(|(.., of)| *of == call);
        let ((kind, start, _), (_, end, _)) = (of.next()?, of.next()?);
        Some((*kind, *start, *end))
    }

    /// The place of a time among them, without those of the call itself.
    fn place(&self, at: Nanos, call: Serial) -> Option<Place> {
        let others = self.0.iter().filter(|(.., of)| *of != call);
        let (what, moment, _) = others.min_by_key(|(_, moment, _)| moment.abs_diff(at))?;
        let scale = u64::BITS - moment.abs_diff(at).leading_zeros();
        Some(Place { what: *what, after: *moment <= at, scale })
    }
}

/// Where something is among the moments of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    /// The nearest one.
    what: What,
    after: bool,
    /// The bits that the distance in nanoseconds has.
    scale: u32,
}

/// Where calls of a kind were in requests of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    places: HashMap<Place, u32, foldhash::fast::RandomState>,
    seen: u32,
}

impl Rhythm {
    /// A request has made its calls of the kind at these times.
    pub(super) fn learn(&mut self, kind: Kind, moments: &Moments) {
        for (_, at, call) in moments.0.iter().filter(|(what, ..)| *what == kind) {
            if let Some(place) = moments.place(*at, *call) {
                *self.places.entry(place).or_default() += 1;
                self.seen += 1;
            }
        }
    }

    /// How well a call that began then fits into a request, next to how well it fits into others; `None`: not enough is known.
    pub(super) fn fits(&self, moments: &Moments, call: Serial, at: Nanos) -> Option<f64> {
        if self.seen < ENOUGH {
            return None;
        }
        let place = moments.place(at, call)?;
        let seen = self.places.get(&place).copied().map_or(NEVER, f64::from);
        // The longer the distances that a place stands for, the more of them fit by chance.
        Some(seen / f64::from(self.seen) / f64::from(place.scale).exp2())
    }

    /// What was learned long ago counts for less.
    pub(super) fn fade(&mut self) {
        self.places.retain(|_, count| {
            *count /= 2;
            *count > 0
        });
        self.seen = self.places.values().sum();
    }
}
