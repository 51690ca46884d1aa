//! Contexts that are written into requests: what the programs that write them and the agent both have to know.

/// Length of the header that is written: `traceparent: 00-TRACE-SPAN-FLAGS` and the end of its line.
pub const HEADER: usize = 70;

/// Length of the field that is written into an HTTP/2 request: a literal that stays out of all tables, with its name and its value as they are.
pub const FIELD: usize = 3 + b"traceparent".len() + 55;

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
    /// What is asked for, where it is a header (HTTP/2): a signature may be in its query.
    Target = 8,
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
    (":path", Meaning::Target),
];

/// Writes the value of `traceparent`, 55 bytes.
///
/// # Safety
/// `to` must have room for them; the verifier checks it too.
#[inline(always)]
pub unsafe fn value(to: *mut u8, trace: [u64; 2], span: u64, flags: u32) {
    // SAFETY: the caller's promise; each place is below 55.
    let put = |at: usize, byte: u8| unsafe { to.add(at).write(byte) };
    let number = |at: usize, value: u64| {
        let mut i = 0;
        while i < 16 {
            let digit = (value >> (60 - 4 * i)) as u8 & 15;
            // Without a branch, of which the verifier would try all ways through all digits: from `9` to `a` are 39 more than one.
            put(at + i, b'0' + digit + ((digit + 6) >> 4) * 39);
            i += 1;
        }
    };
    let [high, low] = trace;
    put(0, b'0');
    put(1, b'0');
    put(2, b'-');
    number(3, high);
    number(19, low);
    put(35, b'-');
    number(36, span);
    put(52, b'-');
    put(53, b'0');
    put(54, b'0' + (flags & 1) as u8);
}

/// The [`name`] of credentials before their scheme.
pub const CREDENTIALS: u64 = named("authorization:");

/// Whether a query, of which these are the last eight bytes in lower case, has a signature.
#[inline(always)]
#[must_use]
pub const fn signs(window: u64) -> bool {
    window == word(b"gnature=")
        || window & 0xff_ffff_ffff == word(b"&sig=")
        || window & 0xff_ffff_ffff == word(b"?sig=")
}

/// Bytes as the number that they make, the last one lowest.
#[must_use]
pub const fn word(text: &[u8]) -> u64 {
    let (mut rest, mut value) = (text, 0);
    while let [byte, after @ ..] = rest {
        value = value << 8 | *byte as u64;
        rest = after;
    }
    value
}

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
    fn values_are_written() {
        let mut text = [0; 55];
        // SAFETY: it has room for them.
        unsafe { value(text.as_mut_ptr(), [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210], 0xa0b1, 1) };
        assert_eq!(&text, b"00-0123456789abcdeffedcba9876543210-000000000000a0b1-01");
    }

    #[test]
    fn names_differ() {
        let hashes: BTreeSet<u64> = NAMES.iter().map(|(text, _)| named(text)).collect();
        assert_eq!(hashes.len(), NAMES.len());
        assert_eq!("b3".bytes().fold(NAME, name), named("b3"));
    }
}
