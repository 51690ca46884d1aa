//! Says in words what is wrong with the first few requests that are not right.

use std::collections::HashMap;

use super::score::Verdict;
use super::shape::{Hop, Kind, Plan};
use crate::span::Span;

/// Strays that are described.
const STRAYS: usize = 3;

/// What is wrong.
#[derive(Debug)]
pub struct Failures<'a> {
    plan: &'a Plan,
    by_id: HashMap<&'a str, &'a Span>,
    left: usize,
    strays: usize,
    /// Lines.
    pub said: Vec<String>,
}

impl<'a> Failures<'a> {
    /// Describes up to `keep` requests.
    #[must_use]
    pub fn new(plan: &'a Plan, spans: &'a [Span], keep: usize) -> Self {
        let by_id = if keep == 0 { &[] } else { spans }.iter().map(|span| (span.span_id.as_str(), span)).collect();
        Self { plan, by_id, left: keep, strays: STRAYS.min(keep), said: Vec::new() }
    }

    /// A request is not right.
    pub fn request(&mut self, id: u64, complaints: &[String]) {
        if self.left > 0 {
            self.left -= 1;
            self.said.push(format!("request {id}:"));
            self.said.extend(complaints.iter().map(|complaint| format!("    {complaint}")));
        }
    }

    /// A span belongs to nothing.
    pub fn stray(&mut self, span: &Span) {
        if self.strays > 0 {
            self.strays -= 1;
            self.said.push(format!("belongs to nothing that was sent: {}", describe(span)));
        }
    }

    /// A span is not there.
    #[must_use]
    pub fn absent(&self, id: u64, hop: &Hop) -> String {
        let side = if hop.kind == Kind::Client { "CLIENT" } else { "SERVER" };
        let process = self.plan.processes.get(hop.process).map_or("?", |process| process.name.as_str());
        format!("no {side} span of {process} for request {id} at position {}", hop.position)
    }

    /// A span's parent is not right.
    #[must_use]
    pub fn parent(&self, hop: &Hop, span: &Span, verdict: Option<Verdict>, parent: Option<&Span>) -> String {
        if self.left == 0 {
            return String::new();
        }
        let given = match (span.parent_span_id.as_str(), self.by_id.get(span.parent_span_id.as_str())) {
            ("", _) => "no parent".to_owned(),
            (id, None) => format!("the unknown parent {id}"),
            (_, Some(other)) => describe(other),
        };
        let wanted = match (parent, hop.parent) {
            (Some(parent), _) => describe(parent),
            (None, Some(_)) => "a span that is not there".to_owned(),
            (None, None) => "no parent".to_owned(),
        };
        let verdict = verdict.map_or_else(|| "doubled".to_owned(), |verdict| format!("{verdict:?}").to_lowercase());
        let link = span.text("geophone.link");
        format!("{verdict}: {}\n        has {given} by {link:?}\n        not {wanted}", describe(span))
    }
}

/// One span, in short.
fn describe(span: &Span) -> String {
    let start = span.start() / 1000;
    let duration = span.end().saturating_sub(span.start()) / 1000;
    let mut text = format!(
        "{} {} {} pid {} at {}.{:06} for {duration} us, trace {}",
        span.kind,
        span.service(),
        span.target(),
        span.pid(),
        start / 1_000_000 % 1000,
        start % 1_000_000,
        span.trace_id.get(..8).unwrap_or_default(),
    );
    if let Some(incomplete) = span.attributes.get("geophone.incomplete") {
        text.push_str(&format!(", incomplete {incomplete}"));
    }
    text
}
