//! Whom a request came from and was meant for, when proxies stand between: `Forwarded` (RFC 7239) and `X-Forwarded-*`.

use super::{Authority, Fields};

/// What the first proxy said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// The client.
    pub client: Option<Authority<'a>>,
    /// The host that the client asked for.
    pub host: Option<Authority<'a>>,
    /// The scheme by which it asked.
    pub scheme: Option<&'a str>,
}

impl<'a> Forwarded<'a> {
    /// Reads the fields; `Forwarded` comes before `X-Forwarded-*`.
    #[must_use]
    pub fn new(fields: &Fields<'a>) -> Self {
        let mut this = Self::default();
        if let Some(element) = first(fields.forwarded) {
            for pair in element.split(';') {
                let Some((key, value)) = pair.split_once('=') else {
                    continue;
                };
                let value = value.trim().trim_matches('"');
                match key.trim() {
                    key if key.eq_ignore_ascii_case("for") => this.client = node(value),
                    key if key.eq_ignore_ascii_case("host") => this.host = node(value),
                    key if key.eq_ignore_ascii_case("proto") => this.scheme = scheme(value),
                    _ => {}
                }
            }
        }
        if this.client.is_none() {
            this.client = first(fields.forwarded_for).and_then(node);
        }
        if this.host.is_none() {
            this.host = first(fields.forwarded_host).and_then(node);
        }
        if this.scheme.is_none() {
            this.scheme = first(fields.forwarded_proto).and_then(scheme);
        }
        this
    }
}

/// The first element of a list.
fn first(list: Option<&[u8]>) -> Option<&str> {
    let list = std::str::from_utf8(list?).ok()?;
    list.split(',').next().map(str::trim)
}

/// An address or name; `unknown` and obfuscated identifiers (`_...`) say nothing.
fn node(text: &str) -> Option<Authority<'_>> {
    if text.is_empty() || text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
        return None;
    }
    Some(Authority::new(text)).filter(|node| !node.host.is_empty())
}

fn scheme(text: &str) -> Option<&'static str> {
    ["http", "https"].into_iter().find(|known| known.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_proxy_is_believed() {
        let fields = Fields {
            forwarded: Some(b"for=\"[2001:db8::1]:4711\";proto=HTTPS; host=shop.example, for=10.0.0.1"),
            forwarded_for: Some(b"10.9.9.9"),
            ..Fields::default()
        };
        let seen = Forwarded::new(&fields);
        assert_eq!(seen.client.map(|c| (c.host, c.port)), Some(("2001:db8::1", Some(4711))));
        assert_eq!(seen.host.map(|h| h.host), Some("shop.example"));
        assert_eq!(seen.scheme, Some("https"));
    }

    #[test]
    fn the_older_fields_fill_in() {
        let fields = Fields {
            forwarded: Some(b"for=unknown"),
            forwarded_for: Some(b" 203.0.113.9 , 10.0.0.1"),
            forwarded_host: Some(b"a.example:8443"),
            forwarded_proto: Some(b"gopher"),
            ..Fields::default()
        };
        let seen = Forwarded::new(&fields);
        assert_eq!(seen.client.map(|c| (c.host, c.port)), Some(("203.0.113.9", None)));
        assert_eq!(seen.host.map(|h| (h.host, h.port)), Some(("a.example", Some(8443))));
        assert_eq!(seen.scheme, None);
    }
}
