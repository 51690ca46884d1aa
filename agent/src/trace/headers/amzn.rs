//! `X-Amzn-Trace-Id`, of AWS X-Ray and the load balancers.
//! <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>

use super::{context, hex, span};
use crate::{
    protocol::{Carried, ContextHeader},
    trace::cause::Origin,
};

/// `Root=1-{8 digits of time}-{24 digits}[;Parent={16 digits}][;Sampled={0,1,?}]`, in any order, among others. A load balancer names a
/// root alone: the trace then has no span above.
pub(super) fn origin(carried: &Carried) -> Option<Origin> {
    let (mut root, mut parent, mut sampled) = (None, None, true);
    for part in carried.one(ContextHeader::AmznTraceId)?.split(';') {
        let Some((key, value)) = part.trim().split_once('=') else {
            continue;
        };
        match key {
            "Root" => root = Some(value),
            "Parent" => parent = Some(value),
            "Sampled" => sampled = value != "0",
            _ => {}
        }
    }
    let (time, rest) = root?.strip_prefix("1-")?.split_once('-')?;
    if time.len() != 8 || rest.len() != 24 {
        return None;
    }
    let trace = hex(time, 8)? << 96 | hex(rest, 24)?;
    let parent = match parent {
        Some(parent) => span(parent)?,
        None => 0,
    };
    context(trace, parent, sampled)
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use crate::protocol::ContextHeader::AmznTraceId;

    #[test]
    fn roots_and_parents() {
        let trace = "5759e988bd862e3fe1be46a994272793";
        for (text, span, sampled) in [
            ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1", "53995c3f42cd8ad8", true),
            ("Sampled=0; Parent=53995c3f42cd8ad8; Root=1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8", false),
            ("Self=1-6-7;Root=1-5759e988-bd862e3fe1be46a994272793", "0000000000000000", true),
        ] {
            assert_eq!(read(&[(AmznTraceId, text)]), Some((trace.into(), span.into(), sampled)), "{text}");
        }
        for bad in
            ["", "Root=", "Root=1-5759e988-bd86", "Root=2-5759e988-bd862e3fe1be46a994272793", "Parent=53995c3f42cd8ad8"]
        {
            assert_eq!(read(&[(AmznTraceId, bad)]), None, "{bad}");
        }
    }
}
