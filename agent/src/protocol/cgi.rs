//! CGI's way of saying what an HTTP request was (RFC 3875): variables, which FastCGI and uwsgi both send, and response headers
//! with `Status:`. Knows neither's wire format.

use std::borrow::Cow;

use compact_str::{CompactString, format_compact};

use super::{
    framed::{Call, Context, Origin},
    http::{Fields, Request, carried, span},
};

/// What the variables of one request say.
#[derive(Clone, Debug, Default)]
pub struct Variables<'a> {
    method: Option<&'a [u8]>,
    uri: Option<&'a [u8]>,
    script: Option<&'a [u8]>,
    path_info: Option<&'a [u8]>,
    query: Option<&'a [u8]>,
    scheme: Option<&'a [u8]>,
    https: bool,
    server: Option<&'a [u8]>,
    port: Option<&'a [u8]>,
    remote: Option<&'a [u8]>,
    length: Option<u64>,
    fields: Fields<'a>,
}

impl<'a> Variables<'a> {
    /// Takes the next variable.
    pub fn add(&mut self, name: &[u8], value: &'a [u8]) {
        if let Some(field) = name.strip_prefix(b"HTTP_") {
            let mut header = CompactString::from_utf8_lossy(field);
            if header.contains('_') {
                header = header.replace('_', "-").into();
            }
            return self.fields.add(&header, value);
        }
        let place = match name {
            b"REQUEST_METHOD" => &mut self.method,
            b"REQUEST_URI" => &mut self.uri,
            b"SCRIPT_NAME" => &mut self.script,
            b"PATH_INFO" => &mut self.path_info,
            b"QUERY_STRING" => &mut self.query,
            b"REQUEST_SCHEME" => &mut self.scheme,
            b"SERVER_NAME" => &mut self.server,
            b"SERVER_PORT" => &mut self.port,
            b"REMOTE_ADDR" => &mut self.remote,
            b"HTTPS" => {
                self.https = !value.is_empty() && !value.eq_ignore_ascii_case(b"off");
                return;
            }
            b"CONTENT_LENGTH" => {
                self.length = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
                return;
            }
            _ => return,
        };
        place.get_or_insert(value);
    }

    /// `CONTENT_LENGTH`.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The request that they describe, which begins with `first`. Tells of it. `complete`: no variable is missing.
    pub fn ask<T>(
        self,
        (protocol, version): (&'static str, &'static str),
        (first, now): (Origin, Origin),
        complete: bool,
        data: T,
        cx: &mut Context<'_>,
    ) -> Call<T> {
        let scheme = match self.scheme {
            Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => "https",
            None if self.https => "https",
            _ => "http",
        };
        let method = String::from_utf8_lossy(self.method.unwrap_or_default());
        let target = self.target();
        // The server knows better than the connection who asked; proxies before it know better than the server.
        let host = self.authority();
        let mut fields: Fields<'_> = self.fields;
        if fields.host.is_none() && !host.is_empty() {
            fields.host = Some(host.as_bytes());
        }
        if fields.forwarded.is_none()
            && let Some(remote) = self.remote.filter(|remote| !remote.is_empty())
        {
            fields.forwarded_for.get_or_insert(remote);
        }
        let request = Request {
            method: &method,
            target: &target,
            scheme: Some(scheme),
            version,
            complete,
            time: first.time,
            thread: first.thread,
            place: first.offset,
            fields,
        };
        let exchange = span(cx.shared, cx.connection, cx.side, &request);
        let contexts = carried(&request.fields);
        let mut call =
            Call::ask_carrying(first, now, (protocol, exchange.name), exchange.attributes, contexts, data, cx);
        call.exchange.holes.request_head = !complete;
        call
    }

    /// The request target: as it came, else put together again.
    fn target(&self) -> Cow<'a, str> {
        if let Some(uri) = self.uri.filter(|uri| !uri.is_empty()) {
            return String::from_utf8_lossy(uri);
        }
        let mut target = String::new();
        for part in [self.script, self.path_info].into_iter().flatten() {
            target.push_str(&String::from_utf8_lossy(part));
        }
        if let Some(query) = self.query.filter(|query| !query.is_empty()) {
            target.push('?');
            target.push_str(&String::from_utf8_lossy(query));
        }
        Cow::Owned(target)
    }

    /// `SERVER_NAME` and `SERVER_PORT`; empty if unknown, or the catch-all name `_`.
    fn authority(&self) -> CompactString {
        let name = self.server.map(String::from_utf8_lossy).unwrap_or_default();
        let port = self.port.map(String::from_utf8_lossy).unwrap_or_default();
        match (&*name, &*port) {
            ("" | "_", _) => CompactString::const_new(""),
            (name, "") => name.into(),
            (name, port) => format_compact!("{name}:{port}"),
        }
    }
}

/// What the beginning of a response says (RFC 3875, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// The header fields are complete.
    Complete(u16),
    /// They go on; the status, if it has come.
    Partial(Option<u16>),
}

/// Reads the status of a response: `Status:`, else 302 for a `Location:` elsewhere, else 200.
#[must_use]
pub fn status(bytes: &[u8]) -> Headers {
    let mut status = None;
    let mut elsewhere = false;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Headers::Complete(status.unwrap_or(if elsewhere { 302 } else { 200 }));
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"status") {
            let digits = value.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
            status = status.or(digits.and_then(|digits| digits.parse().ok()).filter(|s| (100..1000).contains(s)));
        } else if name.eq_ignore_ascii_case(b"location") {
            elsewhere |= value.windows(3).any(|part| part == b"://");
        }
    }
    Headers::Partial(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(status(b"Content-type: text/html\r\n\r\nhi"), Headers::Complete(200));
        assert_eq!(status(b"status:  404 Not Found\r\nA: b\n\n"), Headers::Complete(404));
        assert_eq!(status(b"Location: https://x/\r\n\r\n"), Headers::Complete(302));
        assert_eq!(status(b"Location: /local\r\n\r\n"), Headers::Complete(200));
        assert_eq!(status(b"Status: 500 Oops\r\nContent-"), Headers::Partial(Some(500)));
        assert_eq!(status(b"Status: 50"), Headers::Partial(None));
        assert_eq!(status(b"Status: 7\r\n\r\n"), Headers::Complete(200));
    }

    #[test]
    fn targets_and_hosts() {
        let mut v = Variables::default();
        for (name, value) in
            [("SCRIPT_NAME", "/app"), ("PATH_INFO", "/x"), ("QUERY_STRING", "a=1"), ("SERVER_NAME", "h")]
        {
            v.add(name.as_bytes(), value.as_bytes());
        }
        assert_eq!((&*v.target(), &*v.authority()), ("/app/x?a=1", "h"));
        v.add(b"REQUEST_URI", b"/y?z");
        v.add(b"SERVER_PORT", b"8080");
        assert_eq!((&*v.target(), &*v.authority()), ("/y?z", "h:8080"));
        v.add(b"HTTP_X_FORWARDED_FOR", b"192.0.2.1");
        assert_eq!(v.fields.forwarded_for, Some(&b"192.0.2.1"[..]));
    }
}
