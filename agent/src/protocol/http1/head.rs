//! Heads: start line and header fields, by `httparse`, in place.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};

use super::framing::Framing;
use crate::protocol::http::{Fields, GrpcOutcome};

/// Header fields for which there is room on the stack.
const USUAL_FIELDS: usize = 64;
/// Header fields that fit into a head that is as long as may be (16 KiB).
const MOST_FIELDS: usize = 5500;

/// A request's head.
#[derive(Debug)]
pub(super) struct RequestHead<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    /// The minor version.
    pub(super) version: u8,
    pub(super) fields: Fields<'a>,
    pub(super) framing: Framing,
}

/// A response's head.
#[derive(Clone, Debug)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    /// The minor version.
    pub(super) version: u8,
    pub(super) framing: Framing,
    /// `Upgrade: h2c`.
    pub(super) h2c: bool,
    /// Of a call of gRPC-Web that is answered by its head alone.
    pub(super) outcome: GrpcOutcome,
}

/// What bytes are.
#[derive(Debug)]
pub(super) enum Parsed<T> {
    /// A head, and its length.
    Complete(usize, T),
    /// The beginning of a head, as far as can be told without its end.
    Partial,
    /// No head.
    Invalid,
}

/// Parses the head that the bytes begin with.
pub(super) fn request(bytes: &[u8]) -> Parsed<RequestHead<'_>> {
    parse(bytes, request_with)
}

/// Parses the head that the bytes begin with.
pub(super) fn response(bytes: &[u8]) -> Parsed<ResponseHead> {
    parse(bytes, response_with)
}

/// What is whole of a head's beginning, for the functions above: its complete lines, closed. `None` without a whole start line.
pub(super) fn whole_lines(bytes: &[u8]) -> Option<Vec<u8>> {
    let end = bytes.iter().rposition(|b| *b == b'\n')? + 1;
    Some([bytes.get(..end)?, b"\r\n"].concat())
}

/// Where the head ends that the bytes begin with, looking from `from` on.
pub(super) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(i) = bytes.get(at..)?.iter().position(|b| *b == b'\n') {
        at += i + 1;
        match *bytes.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// A head whose start line has bytes that are not ASCII, or control characters, with those percent-encoded; `None` if the head
/// is not complete.
pub(super) fn repaired(bytes: &[u8]) -> Option<Vec<u8>> {
    let end = end(bytes, 0)?;
    let bytes = bytes.get(..end)?;
    let (line, fields) = bytes.split_at_checked(bytes.iter().position(|b| *b == b'\n')?)?;
    let mut copy = Vec::with_capacity(bytes.len() + 64);
    for &byte in line {
        if byte.is_ascii() && (!byte.is_ascii_control() || byte == b'\r') {
            copy.push(byte);
        } else {
            let digit = |n: u8| char::from_digit(n.into(), 16).map_or(b'?', |c| c.to_ascii_uppercase() as u8);
            copy.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    copy.extend_from_slice(fields);
    Some(copy)
}

/// Room for header fields.
type Room<'h, 'a> = &'h mut [MaybeUninit<Header<'a>>];

/// One attempt at a head; the last argument: whether invalid lines are ignored.
type Attempt<'a, T> = fn(&'a [u8], Room<'_, 'a>, bool) -> httparse::Result<T>;

fn parse<'a, T>(bytes: &'a [u8], attempt: Attempt<'a, (usize, T)>) -> Parsed<T> {
    let result = match attempt(bytes, &mut [const { MaybeUninit::uninit() }; USUAL_FIELDS], false) {
        Err(httparse::Error::TooManyHeaders) => attempt(bytes, &mut Box::new_uninit_slice(MOST_FIELDS), false),
        result => result,
    };
    let result = match result {
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
            attempt(bytes, &mut Box::new_uninit_slice(MOST_FIELDS), true)
        }
        result => result,
    };
    match result {
        Ok(Status::Complete((length, head))) => Parsed::Complete(length, head),
        Ok(Status::Partial) => Parsed::Partial,
        Err(_) => Parsed::Invalid,
    }
}

fn request_with<'a>(bytes: &'a [u8], room: Room<'_, 'a>, lenient: bool) -> httparse::Result<(usize, RequestHead<'a>)> {
    let mut config = ParserConfig::default();
    config.allow_multiple_spaces_in_request_line_delimiters(true).ignore_invalid_headers_in_requests(lenient);
    let mut request = httparse::Request::new(&mut []);
    let Status::Complete(length) = config.parse_request_with_uninit_headers(&mut request, bytes, room)? else {
        return Ok(Status::Partial);
    };
    if lenient {
        nothing_ignored(bytes.get(..length), request.headers)?;
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(httparse::Error::Token);
    };
    let mut fields = Fields::default();
    let mut framing = Framing::default();
    for header in request.headers.iter() {
        fields.add(header.name, header.value);
        framing.add(header.name, header.value);
    }
    Ok(Status::Complete((length, RequestHead { method, target, version, fields, framing })))
}

fn response_with<'a>(bytes: &'a [u8], room: Room<'_, 'a>, lenient: bool) -> httparse::Result<(usize, ResponseHead)> {
    let mut config = ParserConfig::default();
    config
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(lenient);
    let mut response = httparse::Response::new(&mut []);
    let Status::Complete(length) = config.parse_response_with_uninit_headers(&mut response, bytes, room)? else {
        return Ok(Status::Partial);
    };
    if lenient {
        nothing_ignored(bytes.get(..length), response.headers)?;
    }
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err(httparse::Error::Status);
    };
    let mut framing = Framing::default();
    let mut outcome = GrpcOutcome::default();
    for header in response.headers.iter() {
        framing.add(header.name, header.value);
        if header.name.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("grpc-")) {
            outcome.add(&header.name.as_bytes().to_ascii_lowercase(), header.value);
        }
    }
    let h2c = |header: &Header<'_>| {
        header.name.eq_ignore_ascii_case("upgrade") && header.value.trim_ascii().eq_ignore_ascii_case(b"h2c")
    };
    let h2c = status == 101 && response.headers.iter().any(h2c);
    Ok(Status::Complete((length, ResponseHead { status, version, framing, h2c, outcome })))
}

/// Header lines that are ignored as invalid must not be about the message's length: others might not ignore them.
fn nothing_ignored(head: Option<&[u8]>, headers: &[Header<'_>]) -> Result<(), httparse::Error> {
    for name in ["content-length", "transfer-encoding"] {
        let about = |line: &&[u8]| {
            let line = line.trim_ascii_start();
            line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
                && !line.get(name.len()).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-')
        };
        let lines = head.unwrap_or_default().split(|b| *b == b'\n').skip(1).filter(about).count();
        let seen = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).count();
        if lines != seen {
            return Err(httparse::Error::HeaderName);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: &[u8]) -> Option<(usize, String, String)> {
        match request(bytes) {
            Parsed::Complete(length, head) => Some((length, head.method.into(), head.target.into())),
            _ => None,
        }
    }

    #[test]
    fn odd_but_legal() {
        for bytes in [
            &b"GET /a HTTP/1.1\nHost:x\n\n"[..],
            b"GET   /a  HTTP/1.1\r\nHost: \t x \t \r\n\r\n",
            b"GET /a HTTP/1.1\r\nHost: x\r\nX-Folded: a\r\n b\r\n\r\n",
            b"GET /a HTTP/1.0\r\nBad Name: x\r\nContent-Length: 3\r\n\r\n",
        ] {
            assert_eq!(head(bytes), Some((bytes.len(), "GET".into(), "/a".into())), "{}", bytes.escape_ascii());
        }
        let many = format!("GET /a HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
        assert!(head(many.as_bytes()).is_some());
        let response = b"HTTP/1.1  200  OK\r\nContent-Length : 5\r\nX: a\r\n b\r\n\r\n";
        let Parsed::Complete(_, head) = super::response(response) else { panic!() };
        assert_eq!((head.status, head.framing.declared()), (200, Some(5)));
    }

    #[test]
    fn lines_about_the_length_are_never_ignored() {
        for bytes in [
            &b"POST /a HTTP/1.1\r\nContent-Length : 5\r\n\r\n"[..],
            b"POST /a HTTP/1.1\r\nBad Name: x\r\nTransfer-Encoding : chunked\r\n\r\n",
            b"POST /a HTTP/1.1\r\nX: y\r\n Content-Length: 5\r\n\r\n",
        ] {
            assert!(matches!(request(bytes), Parsed::Invalid), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn ends() {
        assert_eq!(end(b"a\r\n\r\nb", 0), Some(5));
        assert_eq!(end(b"a\n\nb", 0), Some(3));
        assert_eq!(end(b"a\r\nb\r\n\r", 0), None);
        assert_eq!(whole_lines(b"a\r\nb\r\nc").unwrap(), b"a\r\nb\r\n\r\n");
        assert_eq!(whole_lines(b"a"), None);
    }

    #[test]
    fn targets_that_are_not_utf8() {
        let bytes = b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n";
        assert!(matches!(request(bytes), Parsed::Invalid));
        let repaired = repaired(bytes).unwrap();
        assert_eq!(head(&repaired).unwrap().2, "/%FF%FE");
    }
}
