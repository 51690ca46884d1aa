//! Datadog's headers. <https://docs.datadoghq.com/tracing/trace_collection/trace_context_propagation/>

use super::{context, hex};
use crate::{
    protocol::{Carried, ContextHeader},
    trace::cause::Origin,
};

/// `x-datadog-trace-id` and `x-datadog-parent-id` are decimal, the upper half of a trace id is the tag `_dd.p.tid`, and a sampling priority
/// above zero means that it is kept.
pub(super) fn origin(carried: &Carried) -> Option<Origin> {
    let number = |header| carried.one(header)?.trim().parse::<u64>().ok();
    let low = number(ContextHeader::DatadogTraceId)?;
    let parent = number(ContextHeader::DatadogParentId)?;
    let tags = carried.one(ContextHeader::DatadogTags).unwrap_or_default();
    let high = tags.split(',').find_map(|tag| tag.trim().strip_prefix("_dd.p.tid=")).and_then(|high| hex(high, 16));
    let priority =
        carried.one(ContextHeader::DatadogSamplingPriority).map_or(Some(1), |p| p.trim().parse::<i32>().ok())?;
    if low == 0 {
        return None;
    }
    context(high.unwrap_or_default() << 64 | u128::from(low), parent, priority > 0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use crate::protocol::ContextHeader::{DatadogParentId, DatadogSamplingPriority, DatadogTags, DatadogTraceId};

    #[test]
    fn decimal_numbers_and_the_upper_half() {
        let ids = [(DatadogTraceId, "1234"), (DatadogParentId, "18446744073709551615")];
        let expected = |trace: &str, sampled| Some((trace.into(), "ffffffffffffffff".into(), sampled));
        assert_eq!(read(&ids), expected("000000000000000000000000000004d2", true));
        let tags = (DatadogTags, "_dd.p.dm=-1,_dd.p.tid=640cfd8d00000000");
        let rejected = (DatadogSamplingPriority, "-1");
        assert_eq!(read(&[ids[0], ids[1], tags, rejected]), expected("640cfd8d0000000000000000000004d2", false));
        assert_eq!(read(&[ids[0]]), None);
        assert_eq!(read(&[(DatadogTraceId, "0"), ids[1]]), None);
        assert_eq!(read(&[(DatadogTraceId, "18446744073709551616"), ids[1]]), None);
        assert_eq!(read(&[ids[0], ids[1], (DatadogSamplingPriority, "high")]), None);
    }
}
