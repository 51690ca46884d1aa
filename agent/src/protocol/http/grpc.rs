//! gRPC and gRPC-Web: what OpenTelemetry's conventions for RPC make of a request and its outcome, whatever version of HTTP carries them.
//! <https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>, <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use compact_str::{CompactString, ToCompactString};

use super::{
    Fields, Request, Target,
    forwarded::Forwarded,
    span::{client_address, host, server_address},
};
use crate::{
    conn::Connection,
    protocol::{Attributes, Exchange, Side, Status, Value},
};

/// The key that a span of gRPC begins with.
const SYSTEM: &str = "rpc.system.name";
/// The longest text of an error that is kept.
const MAX_MESSAGE: usize = 1024;

/// How a call has ended, as far as that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// `grpc-status`.
    pub status: Option<u32>,
    /// `grpc-message`, decoded; empty when there is none.
    pub message: CompactString,
    /// How many messages were asked with, if that is certain.
    pub asked: Option<u64>,
    /// How many messages were answered with, if that is certain.
    pub answered: Option<u64>,
}

impl Outcome {
    /// Takes what a field of the trailers, or of a head that is also the end, says.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"grpc-status" => self.status = std::str::from_utf8(value).ok().and_then(|value| value.trim().parse().ok()),
            b"grpc-message" => self.message = unescape(value),
            _ => {}
        }
    }
}

/// Whether a request's fields say that it is a call: by gRPC itself, or for browsers.
#[must_use]
pub fn is_grpc(fields: &Fields<'_>) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let rest = fields.content_type.and_then(|kind| kind.split_at_checked(TYPE.len()));
    rest.is_some_and(|(kind, rest)| {
        kind.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+' | b';' | b'-' | b' '))
    })
}

/// Whether an exchange is a call.
#[must_use]
pub fn is_call(exchange: &Exchange) -> bool {
    exchange.attributes.0.first().is_some_and(|(key, _)| key == SYSTEM)
}

/// Pushes what the request of a call says. Returns the span's name.
pub(super) fn request(
    connection: &Connection,
    side: Side,
    request: &Request<'_>,
    target: &Target<'_>,
    attributes: &mut Attributes,
) -> CompactString {
    attributes.push(SYSTEM, "grpc");
    let method = method(target.path);
    if let Some(method) = method {
        attributes.push("rpc.method", method);
    }
    let forwarded = if side == Side::Server { Forwarded::new(&request.fields) } else { Forwarded::default() };
    let scheme = forwarded.scheme.or(target.scheme).or(request.scheme).unwrap_or("http");
    let host = forwarded.host.or(target.authority).or_else(|| host(request));
    server_address(connection, side, host, scheme, attributes);
    if side == Side::Server {
        client_address(connection, &forwarded, attributes);
    }
    if let Some(seconds) = request.fields.grpc_timeout.and_then(timeout) {
        attributes.push("geophone.grpc.timeout", seconds);
    }
    method.map_or(CompactString::const_new("grpc"), CompactString::new)
}

/// Makes a call of an exchange of which only the answer has told that it is one, because something of the request was not seen.
pub fn recognise(exchange: &mut Exchange) {
    if is_call(exchange) {
        return;
    }
    let method = ["url.path", "url.full"].into_iter().find_map(|key| match exchange.attributes.get(key) {
        Some(Value::Text(url)) => method(Target::new(url, false).path).map(CompactString::new),
        _ => None,
    });
    exchange.attributes.0.insert(0, (SYSTEM.into(), "grpc".into()));
    if let Some(method) = method {
        exchange.name = method.clone();
        exchange.attributes.push("rpc.method", method);
    }
}

/// Adds how a call has ended.
pub fn finish(exchange: &mut Exchange, outcome: Outcome) {
    for (key, count) in
        [("geophone.grpc.request.messages", outcome.asked), ("geophone.grpc.response.messages", outcome.answered)]
    {
        if let Some(count) = count {
            exchange.attributes.push(key, count);
        }
    }
    let Some(code) = outcome.status else {
        return;
    };
    let name = name(code).map_or_else(|| code.to_compact_string(), CompactString::const_new);
    if !outcome.message.is_empty() {
        exchange.attributes.push("geophone.grpc.message", outcome.message.clone());
    }
    exchange.attributes.push("rpc.response.status_code", name.clone());
    if is_error(exchange.side, code) && exchange.status == Status::Unset {
        exchange.attributes.push("error.type", name);
        exchange.status = Status::Error(outcome.message);
    }
}

/// Whether a code means that the span has failed. A server has not failed when the client has asked for what cannot be.
fn is_error(side: Side, code: u32) -> bool {
    match side {
        Side::Client => code != 0,
        // Unknown, deadline exceeded, unimplemented, internal, unavailable, data loss.
        Side::Server => matches!(code, 2 | 4 | 12..=15),
    }
}

/// `package.Service/Method` out of a path.
fn method(path: &str) -> Option<&str> {
    let method = path.strip_prefix('/')?;
    let (service, name) = method.rsplit_once('/')?;
    (!service.is_empty() && !name.is_empty()).then_some(method)
}

/// Whether a path may be a method's: that of a call has no query.
#[must_use]
pub fn is_path(path: &str) -> bool {
    !path.contains('?') && method(path).is_some()
}

/// The name of a status code.
fn name(code: u32) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(code as usize).copied()
}

/// `grpc-timeout` in seconds: up to eight digits and a unit.
fn timeout(value: &[u8]) -> Option<f64> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let (times, per) = match unit {
        b'H' => (3600.0, 1.0),
        b'M' => (60.0, 1.0),
        b'S' => (1.0, 1.0),
        b'm' => (1.0, 1e3),
        b'u' => (1.0, 1e6),
        b'n' => (1.0, 1e9),
        _ => return None,
    };
    Some(f64::from(number) * times / per)
}

/// `grpc-message`, which is percent-encoded; what is not valid stays as it is.
fn unescape(value: &[u8]) -> CompactString {
    let mut out = Vec::with_capacity(value.len().min(MAX_MESSAGE));
    let mut rest = value;
    while let [byte, after @ ..] = rest
        && out.len() < MAX_MESSAGE
    {
        let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        rest = match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                after.get(2..).unwrap_or_default()
            }
            _ => {
                out.push(*byte);
                after
            }
        };
    }
    CompactString::from_utf8_lossy(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        let is = |kind: &'static str| is_grpc(&Fields { content_type: Some(kind.as_bytes()), ..Fields::default() });
        for kind in
            ["application/grpc", "application/grpc+proto", "Application/gRPC; x", "application/grpc-web-text+json"]
        {
            assert!(is(kind), "{kind}");
        }
        for kind in ["application/grpcx", "application/json", "", "application/grp"] {
            assert!(!is(kind), "{kind}");
        }
    }

    #[test]
    fn methods() {
        assert_eq!(method("/a.b.C/D"), Some("a.b.C/D"));
        assert_eq!(method("/prefix/a.C/D"), Some("prefix/a.C/D"));
        for path in ["", "/", "/C", "/C/", "//D", "*"] {
            assert_eq!(method(path), None, "{path}");
        }
        assert!(is_path("/a.b.C/D") && !is_path("/a.b.C/D?e=f") && !is_path("/D"));
    }

    #[test]
    fn timeouts() {
        for (value, seconds) in
            [("1H", 3600.0), ("2M", 120.0), ("3S", 3.0), ("250m", 0.25), ("5u", 5e-6), ("99999999n", 0.099_999_999)]
        {
            assert_eq!(timeout(value.as_bytes()), Some(seconds), "{value}");
        }
        for value in ["", "1", "S", "123456789S", "-1S", "1s", "1 S"] {
            assert_eq!(timeout(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn messages_are_unescaped() {
        assert_eq!(unescape(b"50%25 of %E2%82%AC 3%"), "50% of \u{20ac} 3%");
        assert_eq!(unescape(b"%zz%4"), "%zz%4");
        assert_eq!(unescape(&[b'x'; 5000]).len(), MAX_MESSAGE);
    }

    #[test]
    fn codes() {
        assert_eq!(
            (name(0), name(5), name(16), name(17)),
            (Some("OK"), Some("NOT_FOUND"), Some("UNAUTHENTICATED"), None)
        );
        let failed = |side| (0..17).filter(|code| is_error(side, *code)).collect::<Vec<_>>();
        assert_eq!(failed(Side::Server), [2, 4, 12, 13, 14, 15]);
        assert_eq!(failed(Side::Client), (1..17).collect::<Vec<_>>());
        let mut outcome = Outcome::default();
        outcome.add(b"grpc-status", b" 5");
        outcome.add(b"grpc-message", b"no%20x");
        assert_eq!((outcome.status, &*outcome.message), (Some(5), "no x"));
        outcome.add(b"grpc-status", b"-1");
        assert_eq!(outcome.status, None);
    }
}
