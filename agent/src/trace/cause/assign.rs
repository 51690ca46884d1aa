//! Which request made each of some calls of the same kind, when it is known how many of them each request still lacks: what follows from that
//! alone. Where two assignments are possible, none is made.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::call::Serial;

/// What is known of a request that may have made calls of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacks {
    /// It makes as many as it likes.
    Unknown,
    /// It has made all but so many; `others`: calls that may be among those, and of which nothing more is known.
    Calls { left: u32, others: u32 },
}

/// How many more calls than it lacks may seem to be a request's own.
const DOUBT: f64 = 0.25;

/// How well it must fit, next to the best, if nothing else is possible.
const PLAUSIBLE: f64 = 0.1;

/// A call, and the requests that may have made it.
pub(super) type Orphan = (Serial, Vec<Serial>);

/// The calls of which it follows, each with its request, and how likely that is from 0 to 1. `fits` says how well a call fits into a request, next to
/// how well into others; `None`: not known. What must be has to be possible; where several ways are, one of them has to be `likely`.
pub(super) fn assign(
    orphans: &[Orphan],
    likely: f64,
    fits: impl Fn(Serial, Serial) -> Option<f64>,
    lacks: impl Fn(Serial) -> Lacks,
) -> Vec<(Serial, Serial, f64)> {
    let mut puzzle = Puzzle::default();
    for (call, candidates) in orphans {
        puzzle.calls.insert(*call, candidates);
        for request in candidates {
            puzzle.requests.entry(*request).or_insert_with(|| lacks(*request));
            puzzle.by_request.entry(*request).or_default().push(*call);
        }
    }
    loop {
        let before = puzzle.found.len();
        puzzle.follow(&fits);
        puzzle.prefer(likely, &fits);
        if puzzle.found.len() == before {
            return puzzle.found;
        }
    }
}

/// What is left to assign.
#[derive(Default)]
struct Puzzle<'a> {
    calls: BTreeMap<Serial, &'a [Serial]>,
    requests: HashMap<Serial, Lacks>,
    by_request: BTreeMap<Serial, Vec<Serial>>,
    found: Vec<(Serial, Serial, f64)>,
}

impl Puzzle<'_> {
    /// Assigns what can be in one way only.
    fn follow(&mut self, fits: &impl Fn(Serial, Serial) -> Option<f64>) {
        let mut dirty: Vec<Serial> = self.by_request.keys().copied().collect();
        while !dirty.is_empty() {
            dirty.sort_unstable();
            dirty.dedup();
            // Calls that only one request can lack, by that one.
            let mut forced: BTreeMap<Serial, Vec<Serial>> = BTreeMap::new();
            for (call, candidates) in &self.calls {
                let mut able = candidates.iter().filter(|request| self.may_lack(**request));
                if let (Some(only), None) = (able.next(), able.next())
                    && is_plausible(*call, *only, candidates, fits)
                {
                    forced.entry(*only).or_default().push(*call);
                }
            }
            // Requests that lack all that are left for them.
            for request in dirty.drain(..) {
                if let Some(Lacks::Calls { left, others }) = self.requests.get(&request) {
                    let mine = self.by_request.get(&request).map(Vec::as_slice).unwrap_or_default();
                    let mine: Vec<Serial> = mine.iter().copied().filter(|call| self.calls.contains_key(call)).collect();
                    let are_plausible = |call: &Serial| {
                        self.calls.get(call).is_some_and(|candidates| is_plausible(*call, request, candidates, fits))
                    };
                    if *left > 0
                        && mine.len() as u64 + u64::from(*others) == u64::from(*left)
                        && mine.iter().all(are_plausible)
                    {
                        forced.insert(request, mine);
                    }
                }
            }
            for (request, calls) in forced {
                // What changed for one may settle what others lack.
                dirty.extend(self.give(request, &calls, 1.0));
            }
        }
    }

    /// Assigns what fits one way far better than any other.
    fn prefer(&mut self, likely: f64, fits: &impl Fn(Serial, Serial) -> Option<f64>) {
        let mut best = Vec::new();
        let mut wanted: HashMap<Serial, f64> = HashMap::new();
        for (call, candidates) in &self.calls {
            let able = candidates.iter().filter(|request| self.may_lack(**request));
            let Some(fits) = able.map(|request| Some((*request, fits(*call, *request)?))).collect::<Option<Vec<_>>>()
            else {
                continue;
            };
            let all: f64 = fits.iter().map(|(_, fit)| fit).sum();
            for (request, fit) in fits.into_iter().filter(|(_, fit)| *fit > 0.0) {
                let share = fit / all;
                *wanted.entry(request).or_default() += share;
                if share >= likely {
                    best.push((*call, request, share));
                }
            }
        }
        for (call, request, share) in best {
            let Some(Lacks::Calls { left, .. }) = self.requests.get(&request) else {
                continue;
            };
            // Others fit there as well.
            if wanted.get(&request).is_some_and(|wanted| *wanted <= f64::from(*left) + DOUBT) {
                self.give(request, &[call], share);
            }
        }
    }

    fn may_lack(&self, request: Serial) -> bool {
        !matches!(self.requests.get(&request), None | Some(Lacks::Calls { left: 0, .. }))
    }

    /// Gives calls to a request, if it lacks as many. Returns the requests for which that changes something.
    fn give(&mut self, request: Serial, calls: &[Serial], share: f64) -> Vec<Serial> {
        let mut changed = Vec::new();
        let Some(known) = self.requests.get_mut(&request) else {
            return changed;
        };
        let Lacks::Calls { left, .. } = known else {
            return changed;
        };
        let open = calls.iter().filter(|call| self.calls.contains_key(*call)).count() as u64;
        let Some(fewer) = u32::try_from(open).ok().and_then(|open| left.checked_sub(open)) else {
            // It has made more than it was thought to, so nothing follows for anybody.
            *known = Lacks::Unknown;
            return changed;
        };
        *left = fewer;
        for call in calls {
            if let Some(candidates) = self.calls.remove(call) {
                changed.extend(candidates);
                self.found.push((*call, request, share));
            }
        }
        changed
    }
}

/// Whether nothing speaks against what must be: that a call fits far better into a request that has all its calls, one of which may be another one's.
fn is_plausible(
    call: Serial,
    request: Serial,
    candidates: &[Serial],
    fits: &impl Fn(Serial, Serial) -> Option<f64>,
) -> bool {
    let best = candidates.iter().filter_map(|candidate| fits(call, *candidate)).fold(0.0, f64::max);
    fits(call, request).is_none_or(|fit| fit >= best * PLAUSIBLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without any rhythm.
    fn only(orphans: &[Orphan], lacks: impl Fn(Serial) -> Lacks) -> Vec<(Serial, Serial)> {
        let mut found: Vec<_> =
            assign(orphans, 1.0, |_, _| None, lacks).into_iter().map(|(call, request, _)| (call, request)).collect();
        found.sort_unstable();
        found
    }

    fn lacks(of: &[(Serial, u32)]) -> impl Fn(Serial) -> Lacks {
        move |request| {
            let found = of.iter().find(|(serial, _)| *serial == request);
            found.map_or(Lacks::Unknown, |(_, left)| Lacks::Calls { left: *left, others: 0 })
        }
    }

    #[test]
    fn what_only_one_can_have_made_leads_to_the_next() {
        // 10 can be of 1 only; then 11 can be of 2 only, and 12 of 3.
        let orphans = [(11, vec![1, 2]), (12, vec![1, 2, 3]), (10, vec![1])];
        let found = only(&orphans, lacks(&[(1, 1), (2, 1), (3, 1)]));
        assert_eq!(found, [(10, 1), (11, 2), (12, 3)]);
    }

    #[test]
    fn who_lacks_all_that_there_are_gets_them() {
        let orphans = [(10, vec![1, 2]), (11, vec![1, 2])];
        let found = only(&orphans, lacks(&[(1, 2), (2, 0)]));
        assert_eq!(found, [(10, 1), (11, 1)]);
        // 2 may have made more than is known.
        let found = only(&orphans, lacks(&[(1, 2)]));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn where_two_ways_are_possible_none_is_taken() {
        let orphans = [(10, vec![1, 2]), (11, vec![1, 2])];
        assert!(only(&orphans, lacks(&[(1, 1), (2, 1)])).is_empty());
        // Somebody who makes as many as he likes leaves all open.
        assert!(only(&orphans, lacks(&[(1, 1)])).is_empty());
        assert!(only(&[(10, vec![3])], lacks(&[])).is_empty());
        // So does a call that may be the one that is lacking.
        let one_more = |_| Lacks::Calls { left: 1, others: 1 };
        assert!(only(&[(10, vec![1, 2])], one_more).is_empty());
    }

    #[test]
    fn nobody_gets_more_than_he_lacks() {
        let orphans = [(10, vec![1]), (11, vec![1]), (12, vec![1])];
        assert!(only(&orphans, lacks(&[(1, 2)])).is_empty());
        assert_eq!(only(&orphans, lacks(&[(1, 3)])).len(), 3);
    }
}
