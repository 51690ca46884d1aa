//! Which path segments are values rather than names: numbers, UUIDs, hashes, dates, addresses, tokens. A pure function of the
//! segment, so the same path always has the same route, on every host.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The placeholder for a segment that looks like a value; `None` for one that looks like a name.
pub(super) fn placeholder(segment: &str) -> Option<&'static str> {
    let bytes = segment.as_bytes();
    // Most segments: short and lower-case letters only.
    if bytes.len() < 16 && bytes.iter().all(u8::is_ascii_lowercase) {
        return None;
    }
    if !segment.is_ascii() || bytes.iter().any(|b| matches!(b, b'%' | b' ' | b'"' | b'<' | b'>' | b'=' | b'&')) {
        return Some(if is_email(&segment.replace("%40", "@")) { "{email}" } else { "{id}" });
    }
    if is_email(segment) {
        return Some("{email}");
    }
    let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return wordless(bytes);
    }
    if is_date(bytes) {
        return Some("{date}");
    }
    if segment.parse::<Ipv4Addr>().is_ok() || (segment.contains(':') && segment.parse::<Ipv6Addr>().is_ok()) {
        return Some("{ip}");
    }
    // Numbers, coordinates, ranges, times.
    if bytes.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b',' | b':' | b'-' | b'+' | b'_')) {
        return Some("{id}");
    }
    (is_uuid(bytes) || is_hash(bytes) || is_numbered(bytes, digits) || is_token(bytes, digits)).then_some("{id}")
}

/// Without a digit: still a value if it is long and no word, or many words.
fn wordless(bytes: &[u8]) -> Option<&'static str> {
    let separators = bytes.iter().filter(|b| matches!(b, b'-' | b'_' | b'+')).count();
    if separators >= 4 && bytes.len() > 24 {
        return Some("{slug}");
    }
    let hex = bytes.len() >= 16 && bytes.iter().all(u8::is_ascii_hexdigit);
    (hex || (bytes.len() >= 20 && changes(bytes) >= 8) || bytes.len() > 64).then_some("{id}")
}

fn is_email(segment: &str) -> bool {
    segment.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'))
}

/// `2026-11-21`, `20261121`, `2026-11-21T15:16:17Z`, `2026-11`.
fn is_date(bytes: &[u8]) -> bool {
    let number =
        |bytes: &[u8]| bytes.iter().try_fold(0_u32, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')));
    let month_and_day = |month: &[u8], day: &[u8]| {
        number(month).is_some_and(|m| (1..=12).contains(&m)) && number(day).is_some_and(|d| (1..=31).contains(&d))
    };
    let year = |bytes: &[u8]| number(bytes).is_some_and(|y| (1900..2200).contains(&y));
    match *bytes {
        [a, b, c, d, b'-', e, f] => year(&[a, b, c, d]) && month_and_day(&[e, f], b"01"),
        [a, b, c, d, e, f, g, h] => year(&[a, b, c, d]) && month_and_day(&[e, f], &[g, h]),
        [a, b, c, d, b'-', e, f, b'-', g, h] => year(&[a, b, c, d]) && month_and_day(&[e, f], &[g, h]),
        [a, b, c, d, b'-', e, f, b'-', g, h, b'T', ..] => year(&[a, b, c, d]) && month_and_day(&[e, f], &[g, h]),
        _ => false,
    }
}

/// 8-4-4-4-12 hexadecimal digits, in braces or not.
fn is_uuid(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"{").and_then(|b| b.strip_suffix(b"}")).unwrap_or(bytes);
    bytes.len() == 36
        && bytes.iter().enumerate().all(
            |(i, b)| {
                if matches!(i, 8 | 13 | 18 | 23) { *b == b'-' } else { b.is_ascii_hexdigit() }
            },
        )
}

/// Hexadecimal digits, perhaps after `0x` or `sha256:`: at least 7, as git abbreviates, with a letter and a digit.
fn is_hash(bytes: &[u8]) -> bool {
    let hex = bytes
        .strip_prefix(b"0x")
        .or_else(|| bytes.iter().rposition(|b| *b == b':').and_then(|i| bytes.get(i + 1..)))
        .unwrap_or(bytes);
    hex.len() >= 7 && hex.iter().all(u8::is_ascii_hexdigit)
}

/// A name and a number: `order-4711`, `user_12`, `item20394`; not `v2`, `oauth2`, `log4j`, `step-2`.
fn is_numbered(bytes: &[u8], digits: usize) -> bool {
    let name = bytes.len() - bytes.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let trailing = bytes.len() - name;
    let separated =
        name.checked_sub(1).and_then(|i| bytes.get(i)).is_some_and(|b| matches!(b, b'-' | b'_' | b':' | b'.'));
    trailing == digits && (trailing >= 4 || (separated && trailing >= 2))
}

/// ULIDs, base64, random ids: letters and digits that alternate as in no word.
fn is_token(bytes: &[u8], digits: usize) -> bool {
    let length = bytes.len();
    (length >= 8 && changes(bytes) >= 4 && digits >= 2)
        || (length >= 12 && changes(bytes) >= 5)
        || (length >= 16 && digits >= 3 && changes(bytes) >= 3)
        || length > 64
}

/// How often letters turn into digits or the other way, or lower case into upper case.
fn changes(bytes: &[u8]) -> usize {
    let class = |b: u8| match b {
        b'0'..=b'9' => 0,
        b'A'..=b'Z' => 1,
        b'a'..=b'z' => 2,
        _ => 3,
    };
    // A capital at the beginning of a word, and a separator, are no change.
    let change =
        |(a, b): (&u8, &u8)| !matches!((class(*a), class(*b)), (1, 2) | (3, _) | (_, 3)) && class(*a) != class(*b);
    bytes.iter().zip(bytes.iter().skip(1)).filter(|pair| change(*pair)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for value in [
            "1",
            "0042",
            "-17",
            "3.14",
            "52.5200,13.4050",
            "550e8400-e29b-41d4-a716-446655440000",
            "{550e8400-e29b-41d4-a716-446655440000}",
            "d41d8cd98f00b204e9800998ecf8427e",
            "3f2a1bc",
            "0xdeadbeef01",
            "sha256:9f86d081884c7d659a2feaa0c55ad015",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "cus_NffrFeUfNV2Hib",
            "dGhpcyBpcyBhIHRlc3Qx",
            "order-4711",
            "user_12",
            "item20394",
            "caf%C3%A9",
            "a%20b",
            "müller",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
            "B07XJ8C8F5",
            "507f1f77bcf86cd799439011",
            "i-0abcd1234efgh5678",
        ] {
            assert_eq!(placeholder(value), Some("{id}"), "{value}");
        }
        for (value, expected) in [
            ("2026-11-21", "{date}"),
            ("20261121", "{date}"),
            ("2026-11-21T15:16:17Z", "{date}"),
            ("2026-11", "{date}"),
            ("10.0.0.1", "{ip}"),
            ("2001:db8::1", "{ip}"),
            ("joe@example.org", "{email}"),
            ("joe%40example.org", "{email}"),
            ("ten-things-you-did-not-know-about-tracing", "{slug}"),
        ] {
            assert_eq!(placeholder(value), Some(expected), "{value}");
        }
    }

    #[test]
    fn names() {
        for name in [
            "users",
            "api",
            "v1",
            "v2beta1",
            "oauth2",
            "log4j",
            "ipv6",
            "base64",
            "step-2",
            "web3",
            "s3",
            "k8s",
            "user-settings",
            "UserProfile",
            "getUserById",
            "checkout_session",
            ".well-known",
            "openid-configuration",
            "GraphQL",
            "2fa",
            "utf-8",
            "index",
            "healthz",
            "a",
            "x509",
            "sha256",
            "md5sum",
            "h2c",
            "_search",
            "@me",
            "internationalization",
            "apis",
            "apps",
            "deployments",
            "customresourcedefinitions",
            "opentelemetry.proto",
        ] {
            assert_eq!(placeholder(name), None, "{name}");
        }
    }
}
