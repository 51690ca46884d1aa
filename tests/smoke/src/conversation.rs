//! What client and server say to each other: known to both and to the judge, so that nothing has to be told.

use crate::{calls::Way, net::Family};

/// One request with its response.
#[derive(Debug)]
pub struct Exchange {
    /// The last segment of its path.
    pub name: &'static str,
    /// The request's method.
    pub method: &'static str,
    /// Bytes of the request's body.
    pub request_body: usize,
    /// The response's status.
    pub status: u16,
    /// What the response declares as the length of its body; a HEAD has none.
    pub response_body: usize,
}

/// All exchanges of a connection, in this order. The bodies of the second are longer than what is captured of a call.
pub static EXCHANGES: [Exchange; 4] = [
    Exchange { name: "get", method: "GET", request_body: 0, status: 200, response_body: 300 },
    Exchange { name: "post", method: "POST", request_body: 3_000, status: 201, response_body: 5_000 },
    Exchange { name: "head", method: "HEAD", request_body: 0, status: 200, response_body: 300 },
    Exchange { name: "missing", method: "GET", request_body: 0, status: 404, response_body: 20 },
];

/// Said on a connection before the agent starts; it must not become a span.
pub static BEFORE: Exchange =
    Exchange { name: "before", method: "GET", request_body: 0, status: 200, response_body: 300 };

/// Said on the same connection after the agent has started.
pub static AFTER: Exchange =
    Exchange { name: "after", method: "POST", request_body: 700, status: 200, response_body: 1_300 };

/// The second segment of the path of `BEFORE` and `AFTER`.
pub const EARLY: &str = "early";

/// The path of an exchange; each is used once.
pub fn path(family: Family, connection: &str, exchange: &Exchange) -> String {
    format!("/{}/{connection}/{}", family.name(), exchange.name)
}

/// The exchange that a request's path names.
pub fn exchange_of(path: &str) -> Option<&'static Exchange> {
    let name = path.rsplit('/').next()?;
    EXCHANGES.iter().chain([&BEFORE, &AFTER]).find(|exchange| exchange.name == name)
}

/// How the server moves the bytes of the connection that it accepts as number `index`: the early one first, then one for
/// each way, as the clients come.
pub fn way_of_connection(index: usize) -> Way {
    let later = index.checked_sub(1).and_then(|index| Way::ALL.get(index));
    later.copied().unwrap_or(Way::Plain)
}
