//! `OTEL_RESOURCE_ATTRIBUTES` of a process: `key=value` pairs between commas, percent-encoded as in W3C baggage.
//! <https://opentelemetry.io/docs/specs/otel/resource/sdk/#specifying-resource-information-via-an-environment-variable>

use super::text::{clean, clean_bytes};

/// At most so many attributes are taken, so long are keys and values: enough for what people write, and no process can fill memory.
const MOST: usize = 64;
const KEY: usize = 128;
const VALUE: usize = 1024;

/// The attributes, in order; of the same key twice, the last counts. A pair that is malformed (no `=`, no key, a `%` without two
/// hexadecimal digits) is left out, and the others are kept.
pub(super) fn attributes(text: &str) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for pair in text.split(',') {
        let Some((key, value)) = pair.split_once('=') else {
            continue;
        };
        let (Some(key), Some(value)) = (decode(key.trim()), decode(value.trim())) else {
            continue;
        };
        let (key, value) = (clean_bytes(&key, KEY), clean_bytes(&value, VALUE));
        if key.is_empty() {
            continue;
        }
        if let Some(known) = out.iter_mut().find(|(k, _)| *k == key) {
            known.1 = value;
        } else if out.len() < MOST {
            out.push((key, value));
        }
    }
    out
}

/// A service's name as somebody wrote it; `None` when there is nothing in it.
pub(super) fn name(text: &str) -> Option<String> {
    let name = clean(text, 255);
    (!name.is_empty()).then_some(name)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| char::from(b?).to_digit(16);
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<String> {
        attributes(text).into_iter().map(|(k, v)| format!("{k}={v}")).collect()
    }

    #[test]
    fn reads_pairs() {
        assert_eq!(
            pairs("service.name=shop,deployment.environment.name=prod"),
            ["service.name=shop", "deployment.environment.name=prod"]
        );
        assert_eq!(pairs(" a = b%20c , d=e%2Cf%3Dg"), ["a=b c", "d=e,f=g"]);
        assert_eq!(pairs("a=1,a=2"), ["a=2"]);
        assert_eq!(pairs("a=b=c"), ["a=b=c"]);
        assert_eq!(pairs("a="), ["a="]);
        assert_eq!(pairs("a=%C3%A9"), ["a=é"]);
    }

    #[test]
    fn leaves_out_what_is_malformed() {
        assert_eq!(pairs(""), Vec::<String>::new());
        assert_eq!(pairs(",,x,=y,a=%,b=%4,c=%zz,d=%ff,e=1"), ["d=\u{fffd}", "e=1"]);
        assert_eq!(pairs("a=x%0Ay"), ["a=x y"]);
    }

    #[test]
    fn is_bounded() {
        let many = (0..10_000).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(attributes(&many).len(), MOST);
        let (key, value) = attributes(&format!("{}={}", "k".repeat(10_000), "v".repeat(10_000))).remove(0);
        assert_eq!((key.len(), value.len()), (KEY, VALUE));
    }

    proptest! {
        #[test]
        fn takes_anything(text in ".*") {
            for (key, value) in attributes(&text) {
                prop_assert!(!key.is_empty() && !key.chars().any(char::is_control) && !value.chars().any(char::is_control));
            }
        }
    }
}
