//! The header fields that matter, picked out of all of a message's in one pass.

use crate::protocol::ContextHeader;

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
    /// `Content-Type`.
    pub content_type: Option<&'a [u8]>,
    /// `grpc-timeout`.
    pub grpc_timeout: Option<&'a [u8]>,
    /// `Authorization`: the first. Only what a signature is for is looked at.
    pub authorization: Option<&'a [u8]>,
    /// `X-Amz-Target`.
    pub amz_target: Option<&'a [u8]>,
    /// `X-Amz-Copy-Source` is there.
    pub copy_source: bool,
    /// `X-Elastic-Client-Meta` is there, and says that a client of Elasticsearch sends it.
    pub elastic_client: bool,
    /// Headers that carry a trace, or name the request.
    pub contexts: Vec<(ContextHeader, &'a [u8])>,
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
            12 if is("content-type") => first(&mut self.content_type, value),
            12 if is("x-amz-target") => first(&mut self.amz_target, value),
            13 if is("authorization") => first(&mut self.authorization, value),
            17 if is("x-amz-copy-source") => self.copy_source = true,
            21 if is("x-elastic-client-meta") => self.elastic_client |= value.starts_with(b"es="),
            12 if is("grpc-timeout") => first(&mut self.grpc_timeout, value),
            15 if is("x-forwarded-for") => first(&mut self.forwarded_for, value),
            16 if is("x-forwarded-host") => first(&mut self.forwarded_host, value),
            17 if is("x-forwarded-proto") => first(&mut self.forwarded_proto, value),
            _ => {
                if let Some(header) = ContextHeader::named(name) {
                    self.contexts.push((header, value));
                }
            }
        }
    }
}

fn first<'a>(field: &mut Option<&'a [u8]>, value: &'a [u8]) {
    field.get_or_insert(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_kept_as_they_come_and_the_first_host() {
        let mut fields = Fields::default();
        for (name, value) in [("tracestate", &b"a=1"[..]), ("Tracestate", b"b=2"), ("Host", b"x"), ("host", b"y")] {
            fields.add(name, value);
        }
        let state = ContextHeader::TraceState;
        assert_eq!(fields.contexts, [(state, &b"a=1"[..]), (state, b"b=2")]);
        assert_eq!(fields.host, Some(&b"x"[..]));
    }
}
