//! The header fields that matter, picked out of all of a message's in one pass.

use std::borrow::Cow;

/// What one message's header fields say. Values are as they came, without white space around them.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a> {
    /// `Host`: the first.
    pub host: Option<&'a [u8]>,
    /// `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// `Forwarded` (RFC 7239): the first.
    pub forwarded: Option<&'a [u8]>,
    /// `X-Forwarded-For`: the first.
    pub forwarded_for: Option<&'a [u8]>,
    /// `X-Forwarded-Host`: the first.
    pub forwarded_host: Option<&'a [u8]>,
    /// `X-Forwarded-Proto`: the first.
    pub forwarded_proto: Option<&'a [u8]>,
    /// `traceparent`: `None` also when there are several, as W3C's Trace Context has it.
    pub traceparent: Option<&'a [u8]>,
    /// `tracestate`, several joined.
    pub tracestate: Option<Cow<'a, [u8]>>,
    /// Whether a `traceparent` was seen.
    pub(super) traceparent_seen: bool,
}

impl<'a> Fields<'a> {
    /// Takes the next field.
    pub fn add(&mut self, name: &str, value: &'a [u8]) {
        // By length first: most fields are none of these.
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("host") => first(&mut self.host, value),
            9 if is("forwarded") => first(&mut self.forwarded, value),
            10 if is("user-agent") => first(&mut self.user_agent, value),
            10 if is("tracestate") => self.trace_state(value),
            11 if is("traceparent") => {
                self.traceparent = (!self.traceparent_seen).then_some(value);
                self.traceparent_seen = true;
            }
            15 if is("x-forwarded-for") => first(&mut self.forwarded_for, value),
            16 if is("x-forwarded-host") => first(&mut self.forwarded_host, value),
            17 if is("x-forwarded-proto") => first(&mut self.forwarded_proto, value),
            _ => {}
        }
    }

    fn trace_state(&mut self, value: &'a [u8]) {
        self.tracestate = Some(match self.tracestate.take() {
            None => Cow::Borrowed(value),
            Some(earlier) => Cow::Owned([&earlier, value].join(&b","[..])),
        });
    }
}

fn first<'a>(field: &mut Option<&'a [u8]>, value: &'a [u8]) {
    field.get_or_insert(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_traceparent_voids_the_first() {
        let mut fields = Fields::default();
        fields.add("TraceParent", b"a");
        assert_eq!(fields.traceparent, Some(&b"a"[..]));
        fields.add("traceparent", b"b");
        assert_eq!(fields.traceparent, None);
        fields.add("traceparent", b"c");
        assert_eq!(fields.traceparent, None);
    }

    #[test]
    fn trace_states_are_joined_and_hosts_are_not() {
        let mut fields = Fields::default();
        for (name, value) in [("tracestate", &b"a=1"[..]), ("Tracestate", b"b=2"), ("Host", b"x"), ("host", b"y")] {
            fields.add(name, value);
        }
        assert_eq!(fields.tracestate.as_deref(), Some(&b"a=1,b=2"[..]));
        assert_eq!(fields.host, Some(&b"x"[..]));
    }
}
