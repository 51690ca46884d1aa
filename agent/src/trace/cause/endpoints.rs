//! The endpoints of a process: how often their requests make a kind of call, and when, as far as that is always the same.

use hashbrown::HashMap;

use super::{
    call::Serial,
    rhythm::{Moments, Rhythm},
};
use crate::event::Nanos;

/// Endpoints of a process, and kinds of calls of each, that are looked at.
const ENDPOINTS: usize = 256;
const KINDS: usize = 32;
/// More calls of one kind in one request are not told apart.
const MANY: usize = 16;
/// Requests that must have been seen before anything is believed.
pub(super) const ENOUGH: u32 = 16;
/// Of so many requests, one may not be as it was foretold.
const RARE: u32 = 32;
/// At least one of so many must be known to be as all are thought to be.
const SEEN: u32 = 4;
/// By so many calls, and one of so many, the calls that requests lack may differ from those that there are: what goes on has been
/// seen in part.
const FEW: u32 = 8;
const PART: u32 = 16;
/// What was learned fades when there is so much of it.
const MOST: u32 = 4096;

/// What kind of call it is, or which endpoint.
pub(super) type Kind = u64;

/// The calls of a kind that a request has made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Made {
    pub(super) kind: Kind,
    /// For certain.
    pub(super) known: u32,
    /// Because it lacked them.
    pub(super) given: u32,
    /// Those that may have been its own, and were given up.
    pub(super) lost: u32,
}

/// Those of a process, and what does not fit them.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    known: HashMap<Kind, Endpoint, foldhash::fast::RandomState>,
    /// Calls without a certain cause.
    orphans: HashMap<Kind, u32, foldhash::fast::RandomState>,
}

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Endpoint {
    pub(super) requests: u32,
    calls: HashMap<Kind, Counts, foldhash::fast::RandomState>,
}

/// How many requests have made so many calls of a kind.
#[derive(Debug, Default)]
struct Counts {
    /// For certain.
    known: [u32; MANY + 1],
    /// At most.
    possible: [u32; MANY + 1],
    /// And when.
    rhythm: Rhythm,
}

/// How often requests of an endpoint make a kind of call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Steady {
    pub(super) calls: u32,
    /// Requests that are not as foretold, and all.
    pub(super) misses: u32,
    pub(super) requests: u32,
}

impl Endpoints {
    /// One of them.
    pub(super) fn get(&self, endpoint: Kind) -> Option<&Endpoint> {
        self.known.get(&endpoint)
    }

    /// There is a call without a certain cause.
    pub(super) fn orphaned(&mut self, kind: Kind) {
        if self.orphans.len() < ENDPOINTS || self.orphans.contains_key(&kind) {
            *self.orphans.entry(kind).or_default() += 1;
        }
    }

    /// One learns from a request of an endpoint: the calls that it has made, when, and how many more of a kind may be its own.
    pub(super) fn learn(&mut self, endpoint: Kind, made: &[Made], moments: &Moments, open: impl Fn(Kind) -> u32) {
        if self.known.len() >= ENDPOINTS && !self.known.contains_key(&endpoint) {
            return;
        }
        let endpoint = self.known.entry(endpoint).or_default();
        endpoint.learn(made, moments, open);
        if endpoint.requests > MOST {
            self.fade();
        }
    }

    /// How many calls of a kind requests of an endpoint make, if nothing contradicts it.
    pub(super) fn steady(&self, endpoint: Kind, kind: Kind) -> Option<Steady> {
        let steady = self.known.get(&endpoint)?.steady(kind)?;
        self.is_balanced(kind).then_some(steady)
    }

    /// Whether the requests of a process lack as many calls of a kind as there are without a cause: else they do not all make the same number.
    fn is_balanced(&self, kind: Kind) -> bool {
        let (mut lacking, mut all) = (0, 0);
        for endpoint in self.known.values() {
            let Some(counts) = endpoint.calls.get(&kind) else {
                continue;
            };
            let Some(steady) = endpoint.steady(kind) else {
                return false;
            };
            all += steady.calls * steady.requests;
            let fewer = counts.known.iter().zip(0..steady.calls);
            lacking += fewer.map(|(requests, calls)| requests * (steady.calls - calls)).sum::<u32>();
        }
        let orphans = self.orphans.get(&kind).copied().unwrap_or_default();
        orphans.abs_diff(lacking) <= FEW + all / PART
    }

    fn fade(&mut self) {
        self.orphans.values_mut().for_each(|count| *count /= 2);
        for endpoint in self.known.values_mut() {
            endpoint.requests /= 2;
            for Counts { known, possible, rhythm } in endpoint.calls.values_mut() {
                rhythm.fade();
                known.iter_mut().chain(possible).for_each(|count| *count /= 2);
            }
        }
    }
}

impl Endpoint {
    fn learn(&mut self, made: &[Made], moments: &Moments, open: impl Fn(Kind) -> u32) {
        for made in made {
            if self.calls.len() < KINDS && !self.calls.contains_key(&made.kind) {
                let mut counts = Counts::default();
                counts.known[0] = self.requests;
                counts.possible[0] = self.requests;
                self.calls.insert(made.kind, counts);
            }
        }
        self.requests += 1;
        for (kind, counts) in &mut self.calls {
            let made = made.iter().find(|made| made.kind == *kind).copied().unwrap_or_default();
            counts.rhythm.learn(*kind, moments);
            let possible = made.known + made.given + made.lost + open(*kind);
            for (counts, calls) in [(&mut counts.known, made.known), (&mut counts.possible, possible)] {
                if let Some(count) = counts.get_mut((calls as usize).min(MANY)) {
                    *count += 1;
                }
            }
        }
    }

    /// How well a call that began then fits into a request; `None`: not enough is known.
    pub(super) fn fits(&self, kind: Kind, moments: &Moments, call: Serial, at: Nanos) -> Option<f64> {
        match self.calls.get(&kind) {
            Some(counts) => counts.rhythm.fits(moments, call, at),
            None => (self.requests >= ENOUGH).then_some(0.0),
        }
    }

    /// How many calls of a kind its requests make, if they always make as many.
    pub(super) fn steady(&self, kind: Kind) -> Option<Steady> {
        let requests = self.requests;
        if requests < ENOUGH {
            return None;
        }
        let Some(Counts { known, possible, .. }) = self.calls.get(&kind) else {
            return Some(Steady { calls: 0, misses: 0, requests });
        };
        // As many as some are known to make, and hardly any make more.
        let at = (0..MANY).rev().find(|calls| known.get(*calls).is_some_and(|seen| seen * SEEN >= requests))?;
        let more: u32 = known.iter().skip(at + 1).sum();
        let fewer: u32 = possible.iter().take(at).sum();
        let misses = (more + fewer).min(requests);
        let calls = u32::try_from(at).ok()?;
        (misses <= requests / RARE).then_some(Steady { calls, misses, requests })
    }
}
