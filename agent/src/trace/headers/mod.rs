//! The headers in which tracers hand a trace on, one file for each kind; what a request carries becomes an [`Origin`]. Reads only: what is
//! written into requests is written by the kernel programs. Where several kinds are there and valid, the first in the order of [`origin`] counts.

mod amzn;
mod b3;
mod datadog;
mod jaeger;
mod skywalking;
mod w3c;

use std::hash::BuildHasher as _;

use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

use super::cause::{Origin, Trace};
use crate::protocol::{Carried, ContextHeader};

pub use w3c::{TraceParent, parse_tracestate};

/// Headers that are not valid, or did not fit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Invalid {
    /// `traceparent`.
    pub traceparent: u64,
    /// `tracestate`, or one without a valid `traceparent`.
    pub tracestate: u64,
    /// Those of another kind.
    pub other: u64,
}

/// The context that a request's headers carry; counts those that carry none although they should.
pub fn origin(carried: &Carried, invalid: &mut Invalid) -> Option<Origin> {
    let w3c =
        carried.any(&[ContextHeader::TraceParent, ContextHeader::TraceState]).then(|| w3c::origin(carried, invalid));
    if let Some(Some(origin)) = w3c {
        return Some(origin);
    }
    for (headers, read) in OTHERS {
        if carried.any(headers) {
            match read(carried) {
                Some(origin) => return Some(origin),
                None => invalid.other += 1,
            }
        }
    }
    None
}

type Reader = fn(&Carried) -> Option<Origin>;

const OTHERS: &[(&[ContextHeader], Reader)] = &[
    (&[ContextHeader::B3], b3::single),
    (&[ContextHeader::B3TraceId], b3::multi),
    (&[ContextHeader::DatadogTraceId], datadog::origin),
    (&[ContextHeader::AmznTraceId], amzn::origin),
    (&[ContextHeader::UberTraceId], jaeger::origin),
    (&[ContextHeader::Sw8], skywalking::origin),
];

/// Lengths of a value that may name a request among all others, in bytes.
const ID_LENGTHS: std::ops::RangeInclusive<usize> = 8..=200;

/// What stands for the ids in a request that name it, but no trace: equal for equal ids.
#[must_use]
pub fn ids(carried: &Carried) -> Vec<u64> {
    let ids = carried.all(ContextHeader::Correlation).map(str::trim);
    ids.filter(|id| ID_LENGTHS.contains(&id.len())).map(hash).collect()
}

fn hash(id: &str) -> u64 {
    // Not to be guessed from outside: otherwise a request could be given another one's calls.
    static STATE: std::sync::LazyLock<std::hash::RandomState> = std::sync::LazyLock::new(std::hash::RandomState::new);
    STATE.hash_one(id)
}

/// A context without a state.
fn context(trace: u128, span: u64, sampled: bool) -> Option<Origin> {
    let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let trace = Trace { id: TraceId::from(trace), flags, state: TraceState::NONE };
    (trace.id != TraceId::INVALID).then(|| Origin { trace, span: SpanId::from(span) })
}

/// The number that hexadecimal digits mean, of either case: at least one, at most `most`.
fn hex(digits: &str, most: usize) -> Option<u128> {
    let right = (1..=most.min(32)).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    right.then(|| u128::from_str_radix(digits, 16).ok())?
}

/// A span id of up to 16 hexadecimal digits; not zero.
fn span(digits: &str) -> Option<u64> {
    hex(digits, 16).and_then(|id| u64::try_from(id).ok()).filter(|id| *id != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn carried(headers: &[(ContextHeader, &str)]) -> Carried {
        let mut carried = Carried::default();
        headers.iter().for_each(|(header, value)| carried.push(*header, (*value).into()));
        carried
    }

    /// Trace id, span id, sampled.
    pub(super) fn read(headers: &[(ContextHeader, &str)]) -> Option<(String, String, bool)> {
        let origin = origin(&carried(headers), &mut Invalid::default())?;
        Some((origin.trace.id.to_string(), origin.span.to_string(), origin.trace.flags.is_sampled()))
    }

    #[test]
    fn the_first_valid_kind_counts() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let b3 = (ContextHeader::B3, "5-6-1");
        let mut invalid = Invalid::default();
        let both = carried(&[b3, (ContextHeader::TraceParent, parent)]);
        assert_eq!(origin(&both, &mut invalid).unwrap().span.to_string(), "b7ad6b7169203331");
        let broken = carried(&[b3, (ContextHeader::TraceParent, "nonsense"), (ContextHeader::TraceState, "a=b")]);
        assert_eq!(origin(&broken, &mut invalid).unwrap().span.to_string(), "0000000000000006");
        assert_eq!(origin(&carried(&[(ContextHeader::B3, "x")]), &mut invalid), None);
        assert_eq!(invalid, Invalid { traceparent: 1, tracestate: 1, other: 1 });
    }

    #[test]
    fn ids_are_long_enough_to_be_some() {
        let id = (ContextHeader::Correlation, "4bf92f35-77b3");
        assert_eq!(ids(&carried(&[id])), ids(&carried(&[(ContextHeader::Correlation, " 4bf92f35-77b3 ")])));
        assert_eq!(ids(&carried(&[id, (ContextHeader::Correlation, "1")])).len(), 1);
        assert!(ids(&carried(&[(ContextHeader::B3, "4bf92f35-77b3")])).is_empty());
    }
}
