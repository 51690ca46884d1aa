//! `sw8`, of Apache SkyWalking. <https://skywalking.apache.org/docs/main/latest/en/api/x-process-propagation-headers-v3/>
//!
//! Its ids are texts. They become ids of OpenTelemetry's the way the Collector's receiver for SkyWalking makes them, so that spans of both
//! meet in one trace.

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{context, hex};
use crate::{
    protocol::{Carried, ContextHeader},
    trace::cause::Origin,
};

/// `{sampled}-{trace id}-{segment id}-{span index}-...`, of which the ids are in base64.
pub(super) fn origin(carried: &Carried) -> Option<Origin> {
    let mut parts = carried.one(ContextHeader::Sw8)?.trim().split('-');
    let sampled = match parts.next()? {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    let mut text = || String::from_utf8(BASE64_STANDARD.decode(parts.next()?).ok()?).ok();
    let (trace, segment) = (text()?, text()?);
    let index: u32 = parts.next()?.parse().ok()?;
    let trace = if trace.len() <= 36 { hex(&trace.replace('-', ""), 32) } else { mixed(&trace, 0) }?;
    let bytes = mixed(&segment, index)?.to_be_bytes();
    let (high, low) = bytes.split_first_chunk::<8>()?;
    let span = u64::from_be_bytes(*high) ^ u64::from_be_bytes(*low.first_chunk()?);
    (span != 0).then(|| context(trace, span, sampled))?
}

/// 32 hexadecimal digits, mixed with a number, and with the two that may follow: `digits[.thread.sequence]`.
fn mixed(text: &str, extra: u32) -> Option<u128> {
    let mut bytes = hex(text.get(..32)?, 32)?.to_be_bytes();
    let mut mix = |from: usize, number: &[u8]| {
        bytes.iter_mut().skip(from).zip(number).for_each(|(byte, other)| *byte ^= other);
    };
    mix(0, &extra.to_le_bytes());
    if let Some((middle, last)) = text.get(32..).and_then(|rest| rest.strip_prefix('.')?.rsplit_once('.')) {
        let (middle, last): (u64, u64) = (middle.parse().ok()?, last.parse().ok()?);
        mix(4, middle.to_le_bytes().get(..4)?);
        mix(8, &last.to_le_bytes());
    }
    Some(u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    fn header(sampled: u8, trace: &str, segment: &str, index: &str) -> String {
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        format!("{sampled}-{}-{}-{index}-c2VydmljZQ==-aW5zdA==-L2FwcA==-YXBpOjgw", encode(trace), encode(segment))
    }

    #[test]
    fn ids_as_the_collector_makes_them() {
        let id = "56a5e1c519ae4c76a2b8b11d92cead7f";
        let long = format!("{id}.12.16563474296430001");
        let text = header(1, &long, id, "0");
        let origin = read(&[(ContextHeader::Sw8, &text)]).unwrap();
        // 12 goes into the bytes from the fifth on, the other number into those from the ninth on, each lowest byte first.
        let low = 0xa2b8_b11d_92ce_ad7f_u64 ^ 16_563_474_296_430_001_u64.swap_bytes();
        assert_eq!(origin.0, format!("56a5e1c515ae4c76{low:016x}"));
        assert_eq!(origin.1, format!("{:016x}", 0x56a5_e1c5_19ae_4c76_u64 ^ 0xa2b8_b11d_92ce_ad7f));
        assert!(origin.2);
        let other = read(&[(ContextHeader::Sw8, &header(0, "de5980b8-fce3-4a37-aab9-b4ac3af7eedd", id, "3"))]).unwrap();
        assert_eq!((other.0.as_str(), other.2), ("de5980b8fce34a37aab9b4ac3af7eedd", false));
        assert_ne!(other.1, origin.1);
    }

    #[test]
    fn what_is_broken() {
        let id = "56a5e1c519ae4c76a2b8b11d92cead7f";
        for bad in [
            String::new(),
            "1-!-!-0".into(),
            header(2, id, id, "0"),
            header(1, "", id, "0"),
            header(1, id, "short", "0"),
            header(1, id, id, "x"),
            header(1, &format!("{id}.x.y and more"), id, "0"),
        ] {
            assert_eq!(read(&[(ContextHeader::Sw8, &bad)]), None, "{bad}");
        }
    }
}
