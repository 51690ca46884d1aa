//! `uber-trace-id`, Jaeger's own header. <https://www.jaegertracing.io/docs/1.76/sdks/client-libraries/#propagation-format>

use super::{context, hex, span};
use crate::{
    protocol::{Carried, ContextHeader},
    trace::cause::Origin,
};

/// `{trace id}:{span id}:{parent span id}:{flags}`; the colons may be percent-encoded, zeroes in front left out. Flags: 1 sampled, 2 debug.
pub(super) fn origin(carried: &Carried) -> Option<Origin> {
    let text = carried.one(ContextHeader::UberTraceId)?.trim().replace("%3A", ":").replace("%3a", ":");
    let mut parts = text.split(':');
    let (trace, id, _parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let flags = hex(flags, 2)?;
    if parts.next().is_some() {
        return None;
    }
    context(hex(trace, 32)?, span(id)?, flags & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use crate::protocol::ContextHeader::UberTraceId;

    #[test]
    fn four_numbers() {
        let expected = Some(("0000000000000000abcdef0123456789".into(), "0000000000000042".into(), true));
        assert_eq!(read(&[(UberTraceId, "abcdef0123456789:42:0:1")]), expected);
        assert_eq!(read(&[(UberTraceId, "abcdef0123456789%3A42%3A0%3A3")]), expected);
        assert!(!read(&[(UberTraceId, "abcdef0123456789:42:0:0")]).unwrap().2);
        for bad in ["", "1:2:3", "1:2:3:4:5", "0:2:0:1", "1:0:0:1", "g:1:0:1", "1:2:0:x"] {
            assert_eq!(read(&[(UberTraceId, bad)]), None, "{bad}");
        }
    }
}
