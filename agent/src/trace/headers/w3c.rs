//! W3C Trace Context, level 2: `traceparent` and `tracestate` as they came over the wire, checked.
//!
//! <https://www.w3.org/TR/trace-context-2/>

use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

use super::Invalid;
use crate::{
    protocol::{Carried, ContextHeader},
    trace::cause::{Origin, Trace},
};

/// Longest `tracestate` that is carried along, in bytes. The specification asks for at least so many.
const TRACESTATE_MAX: usize = 512;
/// Most members of a `tracestate`.
const MEMBERS_MAX: usize = 32;

/// The context of a valid `traceparent`, with its `tracestate` if that is valid too.
pub(super) fn origin(carried: &Carried, invalid: &mut Invalid) -> Option<Origin> {
    // Several are as none, as the specification has it; several `tracestate`s are one.
    let parent = carried.one(ContextHeader::TraceParent).and_then(TraceParent::parse);
    invalid.traceparent += u64::from(parent.is_none() && carried.any(&[ContextHeader::TraceParent]));
    let states: Vec<&str> = carried.all(ContextHeader::TraceState).collect();
    let state = (!states.is_empty()).then(|| {
        let state = parent.and_then(|_| parse_tracestate(&states.join(",")));
        invalid.tracestate += u64::from(state.is_none());
        state.unwrap_or(TraceState::NONE)
    });
    let parent = parent?;
    let trace = Trace { id: parent.trace_id, flags: parent.flags, state: state.unwrap_or(TraceState::NONE) };
    Some(Origin { trace, span: parent.parent_id })
}

/// What a valid `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Trace; never all zero.
    pub trace_id: TraceId,
    /// The sender's span; never all zero.
    pub parent_id: SpanId,
    /// Flags. Of a version later than 00 only those that level 2 defines (sampled, random).
    pub flags: TraceFlags,
}

impl TraceParent {
    /// Parses a `traceparent`; `None` if it is not valid. Blanks around it are allowed, upper-case digits are not. A version
    /// that does not exist yet is read as far as version 00 goes, as the specification asks.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = trim(text).as_bytes();
        let (head, rest) = bytes.split_at_checked(55)?;
        let [v0, v1, b'-', head @ ..] = head else {
            return None;
        };
        let version = hex(&[*v0, *v1])?;
        match (version, rest.first()) {
            (0xff, _) => return None,
            (0, Some(_)) => return None,
            (_, None | Some(b'-')) => {}
            (_, Some(_)) => return None,
        }
        let (trace_id, head) = head.split_at_checked(32)?;
        let (b"-", head) = head.split_at_checked(1)? else {
            return None;
        };
        let (parent_id, head) = head.split_at_checked(16)?;
        let (b"-", flags) = head.split_at_checked(1)? else {
            return None;
        };

        let trace_id = TraceId::from(hex(trace_id)?);
        let parent_id = SpanId::from(u64::try_from(hex(parent_id)?).ok()?);
        let flags = u8::try_from(hex(flags)?).ok()?;
        // Bits that later versions may give a meaning must not be passed on under version 00.
        let flags = if version == 0 { flags } else { flags & 0b11 };
        (trace_id != TraceId::INVALID && parent_id != SpanId::INVALID).then_some(Self {
            trace_id,
            parent_id,
            flags: TraceFlags::new(flags),
        })
    }
}

/// Parses a `tracestate`, keeping its members and their order as they came; `None` if it is not valid: more than 32
/// members, more than 512 bytes, a malformed member, a key twice. Empty members are allowed and dropped.
#[must_use]
pub fn parse_tracestate(text: &str) -> Option<TraceState> {
    if text.len() > TRACESTATE_MAX {
        return None;
    }
    let mut members: Vec<(&str, &str)> = Vec::new();
    for member in text.split(',').map(trim).filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=')?;
        let known = members.iter().any(|(other, _)| *other == key);
        if known || members.len() == MEMBERS_MAX || !is_key(key) || !is_value(value) {
            return None;
        }
        members.push((key, value));
    }
    TraceState::from_key_value(members).ok()
}

/// Without the blanks that HTTP allows around a header's value.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The number that lower-case hexadecimal digits (at most 32) mean.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// `simple-key` or `tenant@system`, each of which begins with a letter or a digit.
fn is_key(key: &str) -> bool {
    let part = |part: &str, max: usize| {
        part.len() <= max
            && part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(&b))
    };
    match key.split_once('@') {
        None => part(key, 256),
        Some((tenant, system)) => part(tenant, 241) && part(system, 14),
    }
}

/// Up to 256 printable ASCII characters without comma and equals sign.
fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len()) && value.bytes().all(|b| (0x20..=0x7e).contains(&b) && b != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn reads_a_traceparent() {
        let parent = TraceParent::parse(VALID).unwrap();
        assert_eq!(parent.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.parent_id.to_string(), "b7ad6b7169203331");
        assert_eq!(parent.flags, TraceFlags::SAMPLED);
        assert_eq!(TraceParent::parse(&format!(" {VALID}\t")), Some(parent));
    }

    #[test]
    fn tolerates_future_versions_only() {
        let future = VALID.replacen("00", "cc", 1);
        assert!(TraceParent::parse(&future).is_some());
        assert!(TraceParent::parse(&format!("{future}-what-the-future-holds")).is_some());
        assert!(TraceParent::parse(&format!("{future}-")).is_some());
        assert!(TraceParent::parse(&format!("{future}.what")).is_none());
        assert!(TraceParent::parse(&format!("{VALID}-")).is_none());
        let all_flags = future.replace("-01", "-ff");
        assert_eq!(TraceParent::parse(&all_flags).unwrap().flags.to_u8(), 3);
    }

    #[test]
    fn refuses_what_the_specification_refuses() {
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0-00af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn keeps_a_tracestate_as_it_came() {
        for (text, kept) in [
            ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
            ("fw529a3039@dt=FfAAAA , ,foo=a b", "fw529a3039@dt=FfAAAA,foo=a b"),
            ("1a-_*/=x", "1a-_*/=x"),
            ("", ""),
        ] {
            assert_eq!(parse_tracestate(text).unwrap().header(), kept);
        }
        let full: Vec<_> = (0..32).map(|i| format!("k{i}=v")).collect();
        assert_eq!(parse_tracestate(&full.join(",")).unwrap().header(), full.join(","));
    }

    #[test]
    fn refuses_a_broken_tracestate() {
        let many: Vec<_> = (0..33).map(|i| format!("k{i}=v")).collect();
        let long = format!("k={}", "v".repeat(511));
        for bad in [
            "novalue",
            "k=",
            "=v",
            "K=v",
            "k=a=b",
            "k=v,k=w",
            "@x=v",
            "a@b@c=v",
            "k=\u{1}",
            "a@123456789012345=v",
            &many.join(","),
            &long,
        ] {
            assert!(parse_tracestate(bad).is_none(), "{bad}");
        }
    }
}
