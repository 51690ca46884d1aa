//! B3, Zipkin's headers, in one or in several. <https://github.com/openzipkin/b3-propagation>

use super::{context, hex, span};
use crate::{
    protocol::{Carried, ContextHeader},
    trace::cause::Origin,
};

/// `b3: {trace id}-{span id}[-{sampling state}[-{parent span id}]]`. A lone sampling state names no trace.
pub(super) fn single(carried: &Carried) -> Option<Origin> {
    let mut parts = carried.one(ContextHeader::B3)?.trim().split('-');
    let (trace, id) = (parts.next()?, parts.next()?);
    let state = parts.next();
    let parent = parts.next();
    if parts.next().is_some() || parent.is_some_and(|parent| hex(parent, 16).is_none()) {
        return None;
    }
    context(hex(trace, 32)?, span(id)?, sampled(state)?)
}

/// `X-B3-TraceId`, `X-B3-SpanId`, `X-B3-Sampled`, `X-B3-Flags`.
pub(super) fn multi(carried: &Carried) -> Option<Origin> {
    let trace = hex(carried.one(ContextHeader::B3TraceId)?.trim(), 32)?;
    let id = span(carried.one(ContextHeader::B3SpanId)?.trim())?;
    let debug = carried.one(ContextHeader::B3Flags).is_some_and(|flags| flags.trim() == "1");
    let state = if debug { Some("d") } else { carried.one(ContextHeader::B3Sampled).map(str::trim) };
    context(trace, id, sampled(state)?)
}

/// The sampling state; where it is left to the receiver, all that is seen is kept.
fn sampled(state: Option<&str>) -> Option<bool> {
    match state {
        None | Some("1" | "d" | "true") => Some(true),
        Some("0" | "false") => Some(false),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use crate::protocol::ContextHeader::{B3, B3Flags, B3Sampled, B3SpanId, B3TraceId};

    fn expected(sampled: bool) -> Option<(String, String, bool)> {
        Some(("80f198ee56343ba864fe8b2a57d3eff7".into(), "e457b5a2e4d86bd1".into(), sampled))
    }

    #[test]
    fn one_header() {
        let trace = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1";
        for (state, sampled) in [("", true), ("-1", true), ("-d", true), ("-0", false), ("-1-05e3ac9a4f6e3b90", true)] {
            assert_eq!(read(&[(B3, &format!("{trace}{state}"))]), expected(sampled), "{state}");
        }
        let short = read(&[(B3, "64fe8b2a57d3eff7-e457b5a2e4d86bd1-1")]).unwrap();
        assert_eq!(short.0, "000000000000000064fe8b2a57d3eff7");
        for bad in [
            "0",
            "",
            "-",
            "80f198ee-0",
            "x-1",
            "0-1",
            "1-2-3",
            "1-2-1-z",
            "1-2-1-3-4",
            "123456789012345678901234567890123-1",
        ] {
            assert_eq!(read(&[(B3, bad)]), None, "{bad}");
        }
    }

    #[test]
    fn several_headers() {
        let ids = [(B3TraceId, "80f198ee56343ba864fe8b2a57d3eff7"), (B3SpanId, "e457b5a2e4d86bd1")];
        assert_eq!(read(&ids), expected(true));
        assert_eq!(read(&[ids[0], ids[1], (B3Sampled, "0")]), expected(false));
        assert_eq!(read(&[ids[0], ids[1], (B3Sampled, "0"), (B3Flags, "1")]), expected(true));
        assert_eq!(read(&[ids[0]]), None);
        assert_eq!(read(&[ids[0], ids[1], ids[1]]), None);
    }
}
