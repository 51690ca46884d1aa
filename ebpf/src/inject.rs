//! Contexts that are written into requests: what the programs that write them and the agent both have to know.

/// Length of the header that is written: `traceparent: 00-TRACE-SPAN-FLAGS` and the end of its line.
pub const HEADER: usize = 70;

/// The trace id of a request that came without one: both sides make the same of it, so that nobody has to tell the other. `sock`, `born` and
/// `place` name the request; `key` is random, so that ids do not repeat from run to run.
#[inline(always)]
#[must_use]
pub fn trace_id(key: [u32; 4], sock: u64, born: u64, place: u64) -> [u64; 2] {
    let [a, b, c, d] = key.map(u64::from);
    let high = mix(mix(sock ^ (a << 32 | b)) ^ born);
    let low = mix(mix(high ^ (c << 32 | d)) ^ place);
    // Both halves of zero are no id.
    [high, low | 1]
}

/// A bijection in which each bit of the result depends on all bits of the value (the finaliser of splitmix64).
#[inline(always)]
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A header's name, as it is told from others: of its letters in lower case, one after the other from [`NAME`] on.
#[inline(always)]
#[must_use]
pub const fn name(hash: u64, letter: u8) -> u64 {
    // FNV-1a.
    (hash ^ letter as u64).wrapping_mul(0x0000_0100_0000_01B3)
}

/// What [`name`] begins with.
pub const NAME: u64 = 0xCBF2_9CE4_8422_2325;

/// The [`name`] of a whole text.
#[must_use]
pub const fn named(text: &str) -> u64 {
    let (mut rest, mut hash) = (text.as_bytes(), NAME);
    while let [letter, after @ ..] = rest {
        hash = name(hash, *letter);
        rest = after;
    }
    hash
}

/// What a header means for writing a context into its request: the values of the `INJECT_NAMES` map, by [`named`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The request carries a context.
    Context = 1,
    /// It is signed.
    Signature = 2,
    /// How long its body is.
    Length = 3,
    /// What follows the head cannot be told from the head alone.
    Lost = 4,
    /// Credentials, which may be a signature: the name goes on with `:` and the scheme.
    Credentials = 5,
    /// A scheme of credentials that signs nothing.
    Plain = 6,
    /// W3C's `traceparent`, which is also a context.
    TraceParent = 7,
}

/// Headers, and schemes of credentials, by their names in lower case.
pub const NAMES: &[(&str, Meaning)] = &[
    ("traceparent", Meaning::TraceParent),
    ("tracestate", Meaning::Context),
    ("b3", Meaning::Context),
    ("x-b3-traceid", Meaning::Context),
    ("x-b3-spanid", Meaning::Context),
    ("x-b3-sampled", Meaning::Context),
    ("x-b3-flags", Meaning::Context),
    ("x-amzn-trace-id", Meaning::Context),
    ("uber-trace-id", Meaning::Context),
    ("x-datadog-trace-id", Meaning::Context),
    ("x-datadog-parent-id", Meaning::Context),
    ("x-datadog-sampling-priority", Meaning::Context),
    ("x-datadog-tags", Meaning::Context),
    ("sw8", Meaning::Context),
    ("sw8-x", Meaning::Context),
    ("x-cloud-trace-context", Meaning::Context),
    ("grpc-trace-bin", Meaning::Context),
    ("sentry-trace", Meaning::Context),
    ("elastic-apm-traceparent", Meaning::Context),
    ("newrelic", Meaning::Context),
    ("x-ot-span-context", Meaning::Context),
    ("ot-tracer-traceid", Meaning::Context),
    ("x-instana-t", Meaning::Context),
    ("x-dynatrace", Meaning::Context),
    ("signature", Meaning::Signature),
    ("signature-input", Meaning::Signature),
    ("x-amz-security-token", Meaning::Signature),
    ("x-amz-content-sha256", Meaning::Signature),
    ("x-hub-signature", Meaning::Signature),
    ("x-hub-signature-256", Meaning::Signature),
    ("x-ms-content-sha256", Meaning::Signature),
    ("content-length", Meaning::Length),
    ("transfer-encoding", Meaning::Lost),
    ("upgrade", Meaning::Lost),
    ("expect", Meaning::Lost),
    ("authorization", Meaning::Credentials),
    ("authorization:basic", Meaning::Plain),
    ("authorization:bearer", Meaning::Plain),
    ("authorization:digest", Meaning::Plain),
    ("authorization:negotiate", Meaning::Plain),
    ("authorization:token", Meaning::Plain),
    ("authorization:apikey", Meaning::Plain),
];

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn requests_do_not_share_trace_ids() {
        let mut seen = BTreeSet::new();
        for sock in (0..20u64).map(|i| 0xffff_8880_1234_0000 + i * 2368) {
            for born in 0..20 {
                for place in (0..20).map(|i| i * 100) {
                    assert!(seen.insert(trace_id([1, 2, 3, 4], sock, born, place)));
                    assert!(seen.insert(trace_id([1, 2, 3, 5], sock, born, place)));
                }
            }
        }
    }

    #[test]
    fn names_differ() {
        let hashes: BTreeSet<u64> = NAMES.iter().map(|(text, _)| named(text)).collect();
        assert_eq!(hashes.len(), NAMES.len());
        assert_eq!("b3".bytes().fold(NAME, name), named("b3"));
    }
}
