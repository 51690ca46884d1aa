//! Request targets (RFC 9112, section 3.2), authorities, and what must not leave the host of either.

use std::borrow::Cow;

/// The parts of a request target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target<'a> {
    /// Of an absolute-form target.
    pub scheme: Option<&'a str>,
    /// Of an absolute-form or authority-form target, without user information.
    pub authority: Option<Authority<'a>>,
    /// Path, `*`, or empty.
    pub path: &'a str,
    /// Without the `?`.
    pub query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Takes a target apart. Every text is a target: what fits no form is a path.
    #[must_use]
    pub fn new(target: &'a str, connect: bool) -> Self {
        if connect {
            return Self { authority: Some(Authority::new(target)), ..Self::default() };
        }
        let (scheme, authority, rest) = match target.split_once("://") {
            Some((scheme, rest)) if !target.starts_with('/') && is_scheme(scheme) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at(end);
                (Some(scheme), Some(Authority::new(authority)), rest)
            }
            _ => (None, None, target),
        };
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let path = if path.is_empty() && scheme.is_some() { "/" } else { path };
        Self { scheme, authority, path, query }
    }
}

/// Host and port. User information is dropped: nothing needs it, and it is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Name or address; an IPv6 address without its brackets.
    pub host: &'a str,
    /// Port.
    pub port: Option<u16>,
    /// Whether there was a user or a password.
    pub credentials: bool,
}

impl<'a> Authority<'a> {
    /// Takes `[user[:password]@]host[:port]` apart.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        let (credentials, text) = text.rsplit_once('@').map_or((false, text), |(_, host)| (true, host));
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => match text.rsplit_once(':') {
                // An IPv6 address without brackets is wrong, but clear.
                Some((host, port)) if !host.contains(':') => (host, Some(port)),
                _ => (text, None),
            },
        };
        Self { host, port: port.and_then(|port| port.parse().ok()), credentials }
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Query keys whose values are secrets, by the semantic conventions for `url.query`.
const SECRET: [&str; 4] = ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature"];

/// A query with the values of secret keys replaced.
#[must_use]
pub fn redact(query: &str) -> Cow<'_, str> {
    let secret = |pair: &str| pair.split_once('=').is_some_and(|(key, _)| SECRET.contains(&key));
    if !query.split('&').any(secret) {
        return Cow::Borrowed(query);
    }
    let mut out = String::with_capacity(query.len());
    for (i, pair) in query.split('&').enumerate() {
        if i > 0 {
            out.push('&');
        }
        match pair.split_once('=') {
            Some((key, _)) if SECRET.contains(&key) => {
                out.push_str(key);
                out.push_str("=REDACTED");
            }
            _ => out.push_str(pair),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(host: &str, port: Option<u16>) -> Option<Authority<'_>> {
        Some(Authority { host, port, credentials: false })
    }

    #[test]
    fn all_four_forms() {
        let origin = Target::new("/a/b?x=1&y=http://z/", false);
        assert_eq!(origin, Target { path: "/a/b", query: Some("x=1&y=http://z/"), ..Target::default() });
        let absolute = Target::new("http://example.org:8080/p?q#f", false);
        assert_eq!(absolute.scheme, Some("http"));
        assert_eq!(absolute.authority, authority("example.org", Some(8080)));
        assert_eq!((absolute.path, absolute.query), ("/p", Some("q")));
        assert_eq!(Target::new("https://h?q", false).path, "/");
        assert_eq!(Target::new("h:443", true).authority, authority("h", Some(443)));
        assert_eq!(Target::new("*", false).path, "*");
    }

    #[test]
    fn authorities() {
        assert_eq!(Some(Authority::new("[::1]:80")), authority("::1", Some(80)));
        assert_eq!(Some(Authority::new("[::1]")), authority("::1", None));
        assert_eq!(Some(Authority::new("::1")), authority("::1", None));
        assert_eq!(Some(Authority::new("h:99999")), authority("h", None));
        let with = Authority::new("user:p@ss@h:1");
        assert_eq!(with, Authority { host: "h", port: Some(1), credentials: true });
    }

    #[test]
    fn secrets_are_redacted() {
        assert_eq!(redact("a=1&sig=abc&b=2"), "a=1&sig=REDACTED&b=2");
        assert_eq!(redact("Signature=x"), "Signature=REDACTED");
        assert_eq!(redact("X-Goog-Signature=x&AWSAccessKeyId=y"), "X-Goog-Signature=REDACTED&AWSAccessKeyId=REDACTED");
        assert_eq!(redact("sign=x&signature=y&sig"), "sign=x&signature=y&sig");
    }
}
