//! Holds spans against the truth.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::failures::Failures;
use super::sdk::SdkSpan;
use super::shape::{Hop, Kind, Plan, parse};
use crate::span::Span;

/// What was measured.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The agent's spans.
    pub spans: &'a [Span],
    /// Spans that an SDK in one of the services made: they are not judged, but others may hang under them.
    pub sdk: &'a [SdkSpan],
    /// Which process of the plan has a process id.
    pub pids: &'a HashMap<u32, usize>,
    /// The requests that were answered as they should be.
    pub ids: &'a HashSet<u64>,
}

/// How good the spans are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// Requests of the client.
    pub requests: u64,
    /// Requests all of whose spans are there, once, in one trace, each under its true parent.
    pub whole: u64,
    /// Spans that should be there.
    pub expected: u64,
    /// Those of them that are.
    pub seen: u64,
    /// Further spans of what has one already.
    pub doubled: u64,
    /// Spans that belong to nothing that was sent.
    pub stray: u64,
    /// Expected spans that should have a parent and have it.
    pub right: u64,
    /// Spans with a parent that is not theirs, or in another trace than their parent, or that should have none.
    pub wrong: u64,
    /// Expected spans that should have a parent and have none, or are not there themselves.
    pub missing: u64,
    /// How often each kind of evidence (`geophone.link`) gave a right and a wrong parent.
    pub links: BTreeMap<String, Link>,
}

/// What one kind of evidence gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Link {
    /// True parents.
    pub right: u64,
    /// Others.
    pub wrong: u64,
}

/// What is said of a span's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the true one.
    Right,
    /// It is another one.
    Wrong,
    /// There is none.
    Missing,
}

type Key = (u64, Kind, usize, u64);

/// Trace id and span id.
type Ids<'a> = (&'a str, &'a str);

/// Judges every span. The first `keep` requests that are not right are described in words.
#[must_use]
pub fn score(plan: &Plan, seen: &Seen<'_>, keep: usize) -> (Score, Vec<String>) {
    let mut score = Score::default();
    let mut failures = Failures::new(plan, seen.spans, keep);
    let mut by_key: HashMap<Key, Vec<&Span>> = HashMap::new();
    for span in seen.spans {
        match key(span, seen) {
            Some(key) => by_key.entry(key).or_default().push(span),
            None => {
                score.stray += 1;
                failures.stray(span);
            }
        }
    }
    let mut by_sdk: HashMap<Key, Vec<Ids<'_>>> = HashMap::new();
    for span in seen.sdk {
        if let Some((id, position)) = parse(&span.path) {
            let key = (id, span.kind, span.process, position);
            by_sdk.entry(key).or_default().push((&span.trace_id, &span.span_id));
        }
    }
    let known: HashSet<&str> = seen.spans.iter().map(|span| span.span_id.as_str()).collect();
    let mut ids: Vec<u64> = seen.ids.iter().copied().collect();
    ids.sort_unstable();
    for id in ids {
        score.requests += 1;
        let (hops, _) = plan.hops(id);
        let found: Vec<(Vec<&Span>, Vec<Ids<'_>>)> = hops
            .iter()
            .map(|hop| {
                let key = (id, hop.kind, hop.process, hop.position);
                (by_key.remove(&key).unwrap_or_default(), by_sdk.remove(&key).unwrap_or_default())
            })
            .collect();
        let request = Request { hops: &hops, found: &found, known: &known };
        score.request(id, &request, &mut failures);
    }
    // Of requests that failed nothing is known; whatever else is left was never sent.
    for ((id, ..), spans) in by_key {
        if seen.ids.contains(&id) {
            score.stray += spans.len() as u64;
            spans.iter().for_each(|span| failures.stray(span));
        }
    }
    (score, failures.said)
}

/// Of which request, and which side of which process, a span is.
fn key(span: &Span, seen: &Seen<'_>) -> Option<Key> {
    let (id, position) = parse(&span.target())?;
    let kind = match span.kind.as_str() {
        "CLIENT" => Kind::Client,
        "SERVER" => Kind::Server,
        _ => return None,
    };
    Some((id, kind, *seen.pids.get(&span.pid())?, position))
}

/// The spans of one request.
struct Request<'a> {
    hops: &'a [Hop],
    /// For each hop the agent's spans, and the SDK's.
    found: &'a [(Vec<&'a Span>, Vec<Ids<'a>>)],
    /// Every span id that the agent gave.
    known: &'a HashSet<&'a str>,
}

impl<'a> Request<'a> {
    fn spans(&self, hop: usize) -> (&[&'a Span], &[Ids<'a>]) {
        self.found.get(hop).map_or((&[], &[]), |(ours, theirs)| (ours, theirs))
    }

    /// The hop under which another one should be: optional ones without a span are passed over.
    fn parent(&self, hop: &Hop) -> Option<usize> {
        let mut parent = hop.parent;
        while let Some(index) = parent {
            let above = self.hops.get(index)?;
            let (ours, theirs) = self.spans(index);
            if !above.optional || !ours.is_empty() || !theirs.is_empty() {
                break;
            }
            parent = above.parent;
        }
        parent
    }

    /// Judges the parent of a span; `None` when it has none and should have none.
    fn judge(&self, hop: &Hop, theirs: &[Ids<'_>], span: &Span) -> Option<Verdict> {
        let given = (span.trace_id.as_str(), span.parent_span_id.as_str());
        // An SDK in the process has a span of the same request: what is on the wire is a part of that.
        if theirs.contains(&given) {
            return Some(Verdict::Right);
        }
        let Some(parent) = self.parent(hop) else {
            return (!given.1.is_empty()).then_some(Verdict::Wrong);
        };
        if given.1.is_empty() {
            return Some(Verdict::Missing);
        }
        let (ours, theirs) = self.spans(parent);
        let mut true_ones = ours.iter().map(|span| (span.trace_id.as_str(), span.span_id.as_str()));
        if true_ones.any(|ids| ids == given) || theirs.contains(&given) {
            return Some(Verdict::Right);
        }
        // The true parent's span did not come: its id cannot be told from that of another span that did not.
        let unknown = ours.is_empty() && theirs.is_empty() && !self.known.contains(given.1);
        Some(if unknown { Verdict::Missing } else { Verdict::Wrong })
    }
}

impl Score {
    fn request(&mut self, id: u64, request: &Request<'_>, failures: &mut Failures<'_>) {
        let mut whole = true;
        let mut complaints = Vec::new();
        let mut traces = HashSet::new();
        for (index, hop) in request.hops.iter().enumerate() {
            let (ours, theirs) = request.spans(index);
            traces.extend(theirs.iter().map(|(trace, _)| *trace));
            let Some((_, more)) = ours.split_first() else {
                if !hop.optional {
                    self.expected += 1;
                    self.missing += u64::from(request.parent(hop).is_some());
                    whole = false;
                    complaints.push(failures.absent(id, hop));
                }
                continue;
            };
            self.expected += 1;
            self.seen += 1;
            self.doubled += more.len() as u64;
            whole &= more.is_empty();
            for (number, span) in ours.iter().enumerate() {
                traces.insert(span.trace_id.as_str());
                let verdict = request.judge(hop, theirs, span);
                // What has a span already is counted as doubled; a wrong parent is one all the same.
                if number == 0 || verdict == Some(Verdict::Wrong) {
                    self.count(verdict, span);
                }
                if matches!(verdict, Some(Verdict::Wrong | Verdict::Missing)) || number > 0 {
                    whole = false;
                    let parent = request.parent(hop).and_then(|parent| request.spans(parent).0.first().copied());
                    complaints.push(failures.parent(hop, span, verdict, parent));
                }
            }
        }
        if traces.len() > 1 {
            whole = false;
            complaints.push(format!("in {} traces", traces.len()));
        }
        self.whole += u64::from(whole);
        if !whole {
            failures.request(id, &complaints);
        }
    }

    fn count(&mut self, verdict: Option<Verdict>, span: &Span) {
        let link = || match span.text("geophone.link") {
            "" => "(none)".to_owned(),
            link => link.to_owned(),
        };
        match verdict {
            Some(Verdict::Right) => {
                self.right += 1;
                self.links.entry(link()).or_default().right += 1;
            }
            Some(Verdict::Wrong) => {
                self.wrong += 1;
                self.links.entry(link()).or_default().wrong += 1;
            }
            Some(Verdict::Missing) => self.missing += 1,
            None => {}
        }
    }

    /// Spans whose parent was judged.
    #[must_use]
    pub fn parents(&self) -> u64 {
        self.right + self.wrong + self.missing
    }
}

#[cfg(test)]
mod tests;
