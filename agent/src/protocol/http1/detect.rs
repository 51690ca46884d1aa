//! Whether bytes are the beginning of an HTTP/1.x message: likely, for a stream that is seen from its beginning, or certain,
//! for one that was joined or has lost bytes.

use crate::protocol::{Verdict, http::known_method};

/// The longest method token that is taken for one.
const MAX_METHOD: usize = 32;
/// The longest start line that is waited for where only a whole one convinces.
const MAX_LINE: usize = 1024;

/// Whether the bytes begin a request or a response.
pub(super) fn detect(bytes: &[u8]) -> Verdict {
    let bytes = without_blank_lines(bytes);
    match (request(bytes), response(bytes)) {
        (Verdict::Yes, _) | (_, Verdict::Yes) => Verdict::Yes,
        (Verdict::More, _) | (_, Verdict::More) => Verdict::More,
        _ => Verdict::No,
    }
}

/// Whether bytes that [`detect`] accepted are a response.
pub(super) fn is_response(bytes: &[u8]) -> bool {
    response(without_blank_lines(bytes)) == Verdict::Yes
}

/// Whether the bytes are the beginning of a request for certain, seen in the middle of a stream: a whole request line.
pub(super) fn certain_request(bytes: &[u8]) -> Verdict {
    let bytes = without_blank_lines(bytes);
    match method_end(bytes) {
        Err(Verdict::No) => return Verdict::No,
        // Another one could be the tail of one: `OST`.
        Ok(end) if bytes.get(..end).and_then(known).is_none() => return Verdict::No,
        _ => {}
    }
    match first_line(bytes) {
        Some(line) => yes(is_request_line(line)),
        None if bytes.len() > MAX_LINE * 16 => Verdict::No,
        None => Verdict::More,
    }
}

/// As [`certain_request`], for a response.
pub(super) fn certain_response(bytes: &[u8]) -> Verdict {
    response(without_blank_lines(bytes))
}

/// RFC 9112, section 2.2: empty lines before a request are ignored.
pub(super) fn without_blank_lines(bytes: &[u8]) -> &[u8] {
    let blank = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    bytes.get(blank..).unwrap_or_default()
}

fn request(bytes: &[u8]) -> Verdict {
    let end = match method_end(bytes) {
        Ok(end) => end,
        Err(verdict) => return verdict,
    };
    if let Some(line) = first_line(bytes) {
        return yes(is_request_line(line));
    }
    let (method, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    let known = known(method);
    // A known method and the beginning of a target will do; other methods have to show the version.
    let target = rest.iter().find(|b| **b != b' ');
    match (known, target) {
        (_, None) => Verdict::More,
        (Some("CONNECT"), Some(b)) if b.is_ascii_alphanumeric() || *b == b'[' => Verdict::Yes,
        (Some(_), Some(b'/')) => Verdict::Yes,
        _ if bytes.len() > MAX_LINE => Verdict::No,
        _ => Verdict::More,
    }
}

fn known(method: &[u8]) -> Option<&'static str> {
    std::str::from_utf8(method).ok().and_then(known_method)
}

/// Where the method's token ends; an error if it does not, or is none.
fn method_end(bytes: &[u8]) -> Result<usize, Verdict> {
    let token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'!' | b'$');
    let end = bytes.iter().take_while(|b| token(b)).count();
    match (bytes.first(), bytes.get(end)) {
        (None, _) => Err(Verdict::More),
        (Some(first), _) if !first.is_ascii_alphabetic() || end > MAX_METHOD => Err(Verdict::No),
        (_, None) => Err(Verdict::More),
        (_, Some(b' ')) => Ok(end),
        _ => Err(Verdict::No),
    }
}

fn first_line(bytes: &[u8]) -> Option<&[u8]> {
    let line = bytes.split(|b| *b == b'\n').next().filter(|line| line.len() < bytes.len())?;
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// `method SP target SP HTTP/1.x`.
fn is_request_line(line: &[u8]) -> bool {
    let Some((rest, version)) = line.split_at_checked(line.len().saturating_sub(9)) else {
        return false;
    };
    let target = rest.splitn(2, |b| *b == b' ').nth(1).unwrap_or_default();
    matches!(version, b" HTTP/1.0" | b" HTTP/1.1") && !target.is_empty()
}

/// `HTTP/1.x SP status`, the status followed by a space or the line's end.
fn response(bytes: &[u8]) -> Verdict {
    let pattern = b"HTTP/1.d ddd";
    for (want, have) in pattern.iter().zip(bytes) {
        if !(want == have || (*want == b'd' && have.is_ascii_digit())) {
            return Verdict::No;
        }
    }
    match bytes.get(pattern.len()) {
        None => Verdict::More,
        Some(b' ' | b'\r' | b'\n') => Verdict::Yes,
        Some(_) => Verdict::No,
    }
}

fn yes(yes: bool) -> Verdict {
    if yes { Verdict::Yes } else { Verdict::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"GET /",
            b"\r\n\r\nPOST /x",
            b"PURGE /x HTTP/1.0\n",
            b"get * HTTP/1.1\r\n",
            b"CONNECT h:443 HTTP/1.1\r\n",
            b"CONNECT h",
            b"HTTP/1.1 200 OK",
            b"HTTP/1.0 404\r\n",
            b"OPTIONS http://h/ HTTP/1.1\r\n",
        ] {
            assert_eq!(detect(bytes), Verdict::Yes, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn other_protocols() {
        for bytes in [
            &b"OPTIONS * RTSP/1.0\r\n"[..],
            b"GET key\r\n",
            b"get foo\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"\x00\x00\x00\x08",
            b"220 mail ESMTP\r\n",
            b"GET / HTTP/2.0\r\n",
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/2 200",
            b"HTTP/1.1 2000",
            b"GET\t/ HTTP/1.1\r\n",
            b"{\"a\":1}",
            b"EHLO x\r\n",
            b"GET  HTTP/1.1\r\n",
        ] {
            assert_eq!(detect(bytes), Verdict::No, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn every_prefix_is_undecided_until_it_is_decided() {
        for message in
            [&b"GET /a HTTP/1.1\r\n"[..], b"PROPFIND /a HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"\r\nHEAD / "]
        {
            let verdicts: Vec<_> = (0..=message.len()).map(|n| detect(&message[..n])).collect();
            let yes = verdicts.iter().position(|v| *v == Verdict::Yes).unwrap();
            assert!(verdicts[..yes].iter().all(|v| *v == Verdict::More), "{}", message.escape_ascii());
            assert!(verdicts[yes..].iter().all(|v| *v == Verdict::Yes), "{}", message.escape_ascii());
        }
    }

    #[test]
    fn only_a_whole_request_line_is_certain() {
        assert_eq!(certain_request(b"GET /a HTTP/1.1"), Verdict::More);
        assert_eq!(certain_request(b"GET /a HTTP/1.1\r\n"), Verdict::Yes);
        assert_eq!(certain_request(b"GET it while it lasts\r\n"), Verdict::No);
        assert_eq!(certain_request(b"OST /a HTTP/1.1\r\n"), Verdict::No);
        assert_eq!(certain_request(b"\xff"), Verdict::No);
    }
}
