//! Compares spans with what was really sent. Knows the conversation and the format of `--output json`, starts nothing.

use serde_json::Value;

use crate::{
    calls::Way,
    conversation::{AFTER, EARLY, EXCHANGES, Exchange, path},
    net::Family,
};

/// The side of a request that a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The process that serves it.
    Server,
    /// The process that makes it.
    Client,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Server, Self::Client];

    fn kind(self) -> &'static str {
        match self {
            Self::Server => "SERVER",
            Self::Client => "CLIENT",
        }
    }
}

/// A span that must be there.
#[derive(Debug)]
pub struct Expected {
    /// The kind of socket.
    pub family: Family,
    /// Whether its connection is older than the agent.
    pub early: bool,
    side: Side,
    path: String,
    exchange: &'static Exchange,
}

/// Where the server of a family listens and which process it is.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The kind of socket.
    pub family: Family,
    /// Port; `None` for Unix sockets.
    pub port: Option<u16>,
    /// The server's process id.
    pub pid: u32,
}

/// A span as the agent printed it.
#[derive(Debug)]
pub struct Span(Value);

/// Every span that one run of the test must give.
pub fn expected() -> Vec<Expected> {
    let mut all = Vec::new();
    for family in Family::ALL {
        for side in Side::ALL {
            let path_of = |connection, exchange| path(family, connection, exchange);
            all.push(Expected { family, early: true, side, path: path_of(EARLY, &AFTER), exchange: &AFTER });
            for (way, exchange) in Way::ALL.iter().flat_map(|way| EXCHANGES.iter().map(move |it| (way, it))) {
                all.push(Expected { family, early: false, side, path: path_of(way.name(), exchange), exchange });
            }
        }
    }
    all
}

impl Span {
    /// Reads a line of output.
    pub fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok().map(Self)
    }

    /// A few words for messages.
    pub fn describe(&self) -> String {
        format!("{} {} of {}", self.text("kind"), self.path(), self.attribute("http.request.method"))
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn attribute(&self, key: &str) -> &Value {
        self.0.get("attributes").and_then(|all| all.get(key)).unwrap_or(&Value::Null)
    }

    fn resource(&self, key: &str) -> &Value {
        self.0.get("resource").and_then(|all| all.get(key)).unwrap_or(&Value::Null)
    }

    fn path(&self) -> &str {
        let text = |key| self.attribute(key).as_str();
        // `url.full` has two slashes before the host and one before the path.
        let full = text("url.full").and_then(|full| full.splitn(4, '/').nth(3));
        text("url.path").map_or_else(|| full.unwrap_or_default(), |path| path.trim_start_matches('/'))
    }

    fn is(&self, expected: &Expected) -> bool {
        self.text("kind") == expected.side.kind() && self.path() == expected.path.trim_start_matches('/')
    }
}

impl Expected {
    /// Whether a span for this came.
    pub fn came(&self, spans: &[Span]) -> bool {
        spans.iter().any(|span| span.is(self))
    }

    /// What is wrong with the spans for this; empty when there is one, and it is right.
    pub fn faults(&self, spans: &[Span], servers: &[Endpoint]) -> Vec<String> {
        let subject = format!("{} {}", self.side.kind(), self.path);
        let found: Vec<&Span> = spans.iter().filter(|span| span.is(self)).collect();
        let [span] = found.as_slice() else {
            return vec![format!("{subject}: {} spans", found.len())];
        };
        let mut faults = Vec::new();
        let mut check = |key: &str, wanted: Value| {
            let found = span.attribute(key);
            if *found != wanted {
                faults.push(format!("{subject}: {key} is {found}, not {wanted}"));
            }
        };
        check("http.request.method", self.exchange.method.into());
        check("http.response.status_code", self.exchange.status.into());
        if self.exchange.method != "HEAD" {
            check("http.response.body.size", self.exchange.response_body.into());
        }
        if self.exchange.request_body > 0 {
            check("http.request.body.size", self.exchange.request_body.into());
        }
        if let Some(address) = self.family.loopback() {
            check("network.peer.address", address.into());
        }
        if let Some(server) = servers.iter().find(|server| server.family == self.family) {
            match (self.side, server.port) {
                (Side::Client, Some(port)) => check("network.peer.port", port.into()),
                (Side::Client, None) => {}
                (Side::Server, _) => {
                    let pid = span.resource("process.pid");
                    if pid.as_u64() != Some(server.pid.into()) {
                        faults.push(format!("{subject}: process.pid is {pid}, not {}", server.pid));
                    }
                }
            }
        }
        let time = |key| span.text(key).parse::<u64>().unwrap_or_default();
        let (start, end) = (time("startTimeUnixNano"), time("endTimeUnixNano"));
        if start == 0 || end < start {
            faults.push(format!("{subject}: it began at {start} and ended at {end}"));
        }
        faults
    }
}

/// The spans of this conversation that nobody expected, of the requests before the agent started for example. What else goes on on a
/// machine is not looked at.
pub fn unexpected<'a>(spans: &'a [Span], expected: &[Expected]) -> Vec<&'a Span> {
    let ours = |span: &Span| Family::ALL.iter().any(|family| span.path().split('/').next() == Some(family.name()));
    let unknown = |span: &Span| !expected.iter().any(|expected| span.is(expected));
    spans.iter().filter(|span| ours(span) && unknown(span)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SERVER: Endpoint = Endpoint { family: Family::Ipv4, port: Some(8080), pid: 7 };

    fn wanted(side: Side) -> Expected {
        let path = "/ipv4/write/post".to_owned();
        Expected { family: Family::Ipv4, early: false, side, path, exchange: &EXCHANGES[1] }
    }

    fn client() -> Value {
        json!({
            "kind": "CLIENT", "startTimeUnixNano": "5", "endTimeUnixNano": "9",
            "attributes": {
                "url.full": "http://127.0.0.1:8080/ipv4/write/post", "http.request.method": "POST",
                "http.response.status_code": 201, "http.request.body.size": 3000, "http.response.body.size": 5000,
                "network.peer.address": "127.0.0.1", "network.peer.port": 8080,
            },
            "resource": { "process.pid": 9 },
        })
    }

    #[test]
    fn the_right_span_has_no_fault() {
        let spans = [Span(client())];
        assert_eq!(wanted(Side::Client).faults(&spans, &[SERVER]), Vec::<String>::new());
        assert!(unexpected(&spans, &expected()).is_empty());
    }

    #[test]
    fn both_sides_of_every_exchange_are_expected() {
        // 3 families, 7 ways with 4 exchanges and one early exchange, 2 sides.
        assert_eq!(expected().len(), 3 * (7 * 4 + 1) * 2);
    }

    #[test]
    fn a_missing_and_a_doubled_span_are_faults() {
        assert_eq!(wanted(Side::Server).faults(&[Span(client())], &[]), ["SERVER /ipv4/write/post: 0 spans"]);
        let twice = [Span(client()), Span(client())];
        assert_eq!(wanted(Side::Client).faults(&twice, &[]), ["CLIENT /ipv4/write/post: 2 spans"]);
    }

    #[test]
    fn each_wrong_attribute_is_a_fault() {
        for (key, value) in [
            ("http.request.method", json!("GET")),
            ("http.response.status_code", json!(200)),
            ("http.request.body.size", json!(2999)),
            ("http.response.body.size", Value::Null),
            ("network.peer.address", json!("0.0.0.0")),
            ("network.peer.port", json!(80)),
        ] {
            let mut span = client();
            span["attributes"][key] = value;
            let faults = wanted(Side::Client).faults(&[Span(span)], &[SERVER]);
            assert!(faults.len() == 1 && faults[0].contains(key), "{key}: {faults:?}");
        }
    }

    #[test]
    fn times_and_the_process_of_the_server_are_checked() {
        let mut span = client();
        span["kind"] = json!("SERVER");
        span["endTimeUnixNano"] = json!("4");
        let faults = wanted(Side::Server).faults(&[Span(span)], &[SERVER]);
        assert!(
            faults.len() == 2 && faults[0].contains("process.pid") && faults[1].contains("ended at 4"),
            "{faults:?}"
        );
    }

    #[test]
    fn other_requests_are_unexpected() {
        let mut span = client();
        span["attributes"]["url.full"] = json!("http://127.0.0.1:8080/ipv4/early/before");
        let mut foreign = span.clone();
        foreign["attributes"]["url.full"] = json!("http://example.com/other");
        assert_eq!(unexpected(&[Span(span), Span(foreign)], &expected()).len(), 1);
    }
}
