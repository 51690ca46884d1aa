//! How long a message's body is (RFC 9112, section 6.3).

use super::body::Body;
use crate::protocol::http::Method;

/// What a message's header fields say of its body's length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Framing {
    length: Option<u64>,
    coding: Coding,
    ambiguous: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    /// `chunked` is the last.
    Chunked,
    /// It is not.
    Other,
}

/// The length cannot be told, or recipients may differ about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message's length is ambiguous")]
pub(super) struct Ambiguous;

impl Framing {
    /// Takes the next header field.
    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        match name.len() {
            14 if name.eq_ignore_ascii_case("content-length") => {
                for item in value.split(|b| *b == b',') {
                    let length = decimal(item.trim_ascii());
                    self.ambiguous |= length.is_none() || (self.length.is_some() && self.length != length);
                    self.length = length;
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                for coding in value.split(|b| *b == b',') {
                    let coding = coding.trim_ascii();
                    // Nothing may be applied after `chunked`, itself included.
                    self.ambiguous |= self.coding == Coding::Chunked;
                    if coding.eq_ignore_ascii_case(b"chunked") {
                        self.coding = Coding::Chunked;
                    } else if !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity") {
                        self.coding = Coding::Other;
                    }
                }
            }
            _ => {}
        }
    }

    /// What `Content-Length` says, if that counts.
    pub(super) fn declared(&self) -> Option<u64> {
        self.length.filter(|_| self.coding == Coding::None && !self.ambiguous)
    }

    /// The body of a request; `None` if it has none. `version` is the minor one.
    ///
    /// # Errors
    /// When servers may differ about it.
    pub(super) fn request(&self, version: u8) -> Result<Option<Body>, Ambiguous> {
        if self.ambiguous {
            return Err(Ambiguous);
        }
        match (self.coding, self.length) {
            // Where both are given, the coding counts; it did not exist in HTTP/1.0.
            (Coding::Chunked, _) if version > 0 => Ok(Some(Body::chunked())),
            (Coding::Chunked | Coding::Other, _) => Err(Ambiguous),
            (Coding::None, None | Some(0)) => Ok(None),
            (Coding::None, Some(length)) => Ok(Some(Body::length(length))),
        }
    }

    /// The body of a final response to `method`; `None` if it has none.
    ///
    /// # Errors
    /// When clients may differ about it.
    pub(super) fn response(&self, version: u8, status: u16, method: Method) -> Result<Option<Body>, Ambiguous> {
        if method == Method::Head || matches!(status, 100..=199 | 204 | 304) {
            return Ok(None);
        }
        if self.ambiguous {
            return Err(Ambiguous);
        }
        match (self.coding, self.length) {
            (Coding::Chunked, _) if version > 0 => Ok(Some(Body::chunked())),
            (Coding::Chunked | Coding::Other, _) | (Coding::None, None) => Ok(Some(Body::until_close())),
            (Coding::None, Some(0)) => Ok(None),
            (Coding::None, Some(length)) => Ok(Some(Body::length(length))),
        }
    }
}

/// Digits only, at most `i64::MAX`.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse::<i64>().ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(fields: &[(&str, &str)]) -> Framing {
        let mut framing = Framing::default();
        for (name, value) in fields {
            framing.add(name, value.as_bytes());
        }
        framing
    }

    #[test]
    fn requests() {
        let request = |fields: &[(&str, &str)]| framing(fields).request(1);
        assert_eq!(request(&[]), Ok(None));
        assert_eq!(request(&[("content-length", "5")]), Ok(Some(Body::length(5))));
        assert_eq!(request(&[("Content-Length", "5"), ("content-length", "5")]), Ok(Some(Body::length(5))));
        assert_eq!(request(&[("content-length", "5, 5")]), Ok(Some(Body::length(5))));
        assert_eq!(
            request(&[("transfer-encoding", "gzip, Chunked"), ("content-length", "5")]),
            Ok(Some(Body::chunked()))
        );
        for bad in ["5, 6", "-1", "+1", "", "0x5", "99999999999999999999", "5 5"] {
            assert_eq!(request(&[("content-length", bad)]), Err(Ambiguous), "{bad}");
        }
        assert_eq!(request(&[("content-length", "5"), ("content-length", "6")]), Err(Ambiguous));
        for bad in ["gzip", "chunked, gzip", "chunked, chunked"] {
            assert_eq!(request(&[("transfer-encoding", bad)]), Err(Ambiguous), "{bad}");
        }
        assert_eq!(framing(&[("transfer-encoding", "chunked")]).request(0), Err(Ambiguous));
    }

    #[test]
    fn responses() {
        let get = Method::Known("GET");
        let length = framing(&[("content-length", "5")]);
        assert_eq!(length.response(1, 200, get), Ok(Some(Body::length(5))));
        for (status, method) in [(200, Method::Head), (204, get), (304, get), (101, get)] {
            assert_eq!(length.response(1, status, method), Ok(None));
        }
        assert_eq!(framing(&[]).response(1, 200, get), Ok(Some(Body::until_close())));
        assert_eq!(framing(&[("transfer-encoding", "gzip")]).response(1, 200, get), Ok(Some(Body::until_close())));
        assert_eq!(framing(&[("transfer-encoding", "chunked")]).response(1, 200, get), Ok(Some(Body::chunked())));
    }
}
