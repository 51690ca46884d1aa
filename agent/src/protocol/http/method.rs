//! Request methods: the standard ones (RFC 9110, RFC 5789), and all others.

/// A method, as far as message framing and attributes care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The response has no body.
    Head,
    /// A success turns the connection into a tunnel.
    Connect,
    /// Another standard method.
    Known(&'static str),
    /// Not standard, or not written as the standard has it: methods are case-sensitive.
    Other,
}

impl Method {
    /// From its token.
    #[must_use]
    pub fn new(token: &str) -> Self {
        match known(token) {
            Some("HEAD") => Self::Head,
            Some("CONNECT") => Self::Connect,
            Some(known) => Self::Known(known),
            None => Self::Other,
        }
    }

    /// The value of `http.request.method`.
    #[must_use]
    pub fn attribute(self) -> &'static str {
        match self {
            Self::Head => "HEAD",
            Self::Connect => "CONNECT",
            Self::Known(name) => name,
            Self::Other => "_OTHER",
        }
    }

    /// What stands for it in a span's name.
    #[must_use]
    pub fn in_name(self) -> &'static str {
        match self {
            Self::Other => "HTTP",
            _ => self.attribute(),
        }
    }
}

/// The standard methods, the frequent ones first.
const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "CONNECT", "TRACE"];

/// The standard method of this name.
#[must_use]
pub fn known(token: &str) -> Option<&'static str> {
    KNOWN.into_iter().find(|name| *name == token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_case_sensitive() {
        for name in KNOWN {
            assert_eq!(Method::new(name).attribute(), name);
            assert_eq!(Method::new(name).in_name(), name);
            assert_eq!(Method::new(&name.to_lowercase()), Method::Other);
        }
        assert_eq!(Method::new("PURGE").attribute(), "_OTHER");
        assert_eq!(Method::new("PURGE").in_name(), "HTTP");
    }
}
