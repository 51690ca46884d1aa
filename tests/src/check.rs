//! Compares the agent's spans with the client's account, request by request.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::drive::Exchanged;
use crate::span::Span;

/// A send is seen when its call returns, and on a busy machine the caller may wait for a processor just then.
const TOLERANCE: u64 = 200_000_000;
/// No more complaints than this are printed.
const MOST: usize = 25;

/// Who has spans of a kind.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// The processes, one of which each span is of; empty: any.
    pub pids: Vec<u32>,
    /// `service.name`; empty: any.
    pub service: String,
    /// The address that clients have, as the server sees it; empty for Unix sockets.
    pub peer: String,
    /// Where the server listens; 0 for Unix sockets.
    pub port: u16,
    /// It speaks TLS.
    pub tls: bool,
}

/// What is expected.
#[derive(Clone, Debug, Default)]
pub struct Expected<'a> {
    /// Every request, each with a target of its own.
    pub sent: &'a [Exchanged],
    /// Every request has exactly one SERVER span of this side; `None`: there is no SERVER span.
    pub server: Option<Side>,
    /// Every request has exactly one CLIENT span of this side; `None`: there is no CLIENT span.
    pub client: Option<Side>,
    /// Requests of which something may be in bytes that are not captured (framing of long chunked bodies, long heads): a size is
    /// right or absent, and where it is absent the span says so.
    pub unseen: Option<fn(&Exchanged) -> bool>,
}

/// Says what is wrong.
///
/// # Errors
/// When anything is missing, wrong or too much.
pub fn check(spans: &[Span], expected: &Expected<'_>) -> Result<()> {
    let mut complaints = Complaints::default();
    let mut seen = HashSet::new();
    let mut by_key: HashMap<(&str, String), Vec<&Span>> = HashMap::new();
    for span in spans {
        by_key.entry((&span.kind, span.target())).or_default().push(span);
        if !seen.insert(&span.span_id) {
            complaints.say("the same span id twice", &span.span_id);
        }
    }
    let callers: HashMap<String, &Span> = spans
        .iter()
        .filter(|span| expected.client.is_some() && span.kind == "CLIENT")
        .map(|s| (s.target(), s))
        .collect();
    for (kind, side) in [("SERVER", &expected.server), ("CLIENT", &expected.client)] {
        let Some(side) = side else { continue };
        for sent in expected.sent {
            match by_key.remove(&(kind, sent.target.clone())).as_deref() {
                None => complaints.say(&format!("no {kind} span"), &format!("{} {}", sent.method, sent.target)),
                Some([span]) => {
                    let unseen = expected.unseen.is_some_and(|unseen| unseen(sent));
                    compare(&mut complaints, span, sent, side, unseen, callers.get(&sent.target).copied());
                }
                Some(several) => {
                    complaints.say(&format!("several {kind} spans"), &format!("{several:#?}"));
                }
            }
        }
    }
    for ((kind, target), spans) in by_key {
        complaints.say(&format!("{kind} spans of what nobody sent"), &format!("{target:?}: {spans:#?}"));
    }
    complaints.end(spans.len())
}

/// `caller` is the CLIENT span of the same request, when both of its ends are expected.
fn compare(
    complaints: &mut Complaints,
    span: &Span,
    sent: &Exchanged,
    side: &Side,
    unseen: bool,
    caller: Option<&Span>,
) {
    let server = span.kind == "SERVER";
    let mut equal = |what: &str, found: &dyn std::fmt::Debug, wanted: &dyn std::fmt::Debug| {
        let (found, wanted) = (format!("{found:?}"), format!("{wanted:?}"));
        if found != wanted {
            complaints.say(
                &format!("{} {what}", span.kind),
                &format!("{found} instead of {wanted}: {} {}", sent.method, sent.target),
            );
        }
    };
    equal("http.request.method", &span.text("http.request.method"), &sent.method.as_str());
    equal("http.response.status_code", &span.number("http.response.status_code"), &Some(u64::from(sent.status)));
    // The clients speak HTTP/1.1, also to servers that answer with HTTP/1.0.
    equal("network.protocol.version", &span.text("network.protocol.version"), &"1.1");
    let failed = sent.status >= if server { 500 } else { 400 };
    equal("status", &span.status.as_str(), &if failed { "ERROR" } else { "UNSET" });
    equal(
        "error.type",
        &span.text("error.type"),
        &if failed { sent.status.to_string() } else { String::new() }.as_str(),
    );
    equal("name begins with the method", &span.name.split(' ').next(), &Some(sent.method.as_str()));

    let incomplete = span.attributes.contains_key("geophone.incomplete");
    for (name, size) in [("http.request.body.size", sent.request_body), ("http.response.body.size", sent.response_body)]
    {
        match span.number(name) {
            None if size == 0 || (unseen && incomplete) => {}
            found => equal(name, &found, &Some(size)),
        }
    }
    if !unseen {
        equal("geophone.incomplete", &span.attributes.get("geophone.incomplete"), &None::<()>);
    }

    let at = |time: u64| i128::from(time) - i128::from(sent.start);
    equal("starts after the client began", &(at(span.start()) > -i128::from(TOLERANCE)), &true);
    equal("ends after it starts", &(span.end() >= span.start()), &true);
    equal("ends before the client had it all", &(at(span.end()) < at(sent.end) + i128::from(TOLERANCE)), &true);

    let (trace, parent) = match caller {
        Some(caller) if server => (caller.trace_id.as_str(), caller.span_id.as_str()),
        _ => traceparent(&sent.traceparent),
    };
    equal("parentSpanId", &span.parent_span_id.as_str(), &parent);
    if trace.is_empty() {
        equal("traceId is an id", &is_id(&span.trace_id, 32), &true);
    } else {
        equal("traceId", &span.trace_id.as_str(), &trace);
    }
    equal("spanId is an id", &is_id(&span.span_id, 16), &true);

    if !side.pids.is_empty() {
        equal("process.pid is one of them", &(side.pids.contains(&span.pid()), span.pid()), &(true, span.pid()));
    }
    if !side.service.is_empty() {
        equal("service.name", &span.service(), &side.service.as_str());
    }
    equal(
        "telemetry.sdk.name",
        &span.resource.get("telemetry.sdk.name"),
        &Some(serde_json::json!("geophone")).as_ref(),
    );
    equal("has host.name", &span.resource.contains_key("host.name"), &true);
    if side.port > 0 {
        equal("server.port", &span.number("server.port"), &Some(u64::from(side.port)));
    }
    if !server {
        return;
    }
    equal("url.scheme", &span.text("url.scheme"), &if side.tls { "https" } else { "http" });
    if !side.peer.is_empty() {
        equal("client.address", &span.text("client.address"), &side.peer.as_str());
        equal("network.peer.address", &span.text("network.peer.address"), &side.peer.as_str());
        equal("network.peer.port", &span.number("network.peer.port"), &Some(u64::from(sent.port)));
    }
}

/// The trace id and parent id of a `traceparent`.
fn traceparent(header: &str) -> (&str, &str) {
    let mut parts = header.split('-').skip(1);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

fn is_id(id: &str, digits: usize) -> bool {
    id.len() == digits && id.bytes().all(|b| b.is_ascii_hexdigit()) && id.bytes().any(|b| b != b'0')
}

/// What is wrong, by kind: a fault that all requests have is said a few times and counted.
#[derive(Debug, Default)]
struct Complaints {
    kinds: BTreeMap<String, (usize, Vec<String>)>,
}

impl Complaints {
    fn say(&mut self, kind: &str, detail: &str) {
        let (count, details) = self.kinds.entry(kind.to_owned()).or_default();
        *count += 1;
        if details.len() < 3 {
            details.push(detail.to_owned());
        }
    }

    fn end(&self, spans: usize) -> Result<()> {
        if self.kinds.is_empty() {
            return Ok(());
        }
        let mut text = format!("{spans} spans; what is wrong with them:\n");
        for (kind, (count, details)) in self.kinds.iter().take(MOST) {
            let _infallible = writeln!(text, "{count} x {kind}");
            for detail in details {
                let _infallible = writeln!(text, "    {detail}");
            }
        }
        bail!(text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent() -> Exchanged {
        Exchanged {
            method: "POST".into(),
            target: "/upload/7?a=b".into(),
            request_body: 5,
            status: 200,
            response_body: 1,
            start: 1_000_000_000,
            end: 1_001_000_000,
            port: 40_000,
            ..Exchanged::default()
        }
    }

    fn span() -> Span {
        Span::parse(
            &json!({
                "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "parentSpanId": "",
                "kind": "SERVER", "name": "POST /upload/{id}", "startTimeUnixNano": "1000100000",
                "endTimeUnixNano": "1000900000", "status": "UNSET", "links": [],
                "attributes": {
                    "http.request.method": "POST", "url.path": "/upload/7", "url.query": "a=b", "url.scheme": "http",
                    "http.response.status_code": 200, "network.protocol.version": "1.1", "http.request.body.size": 5,
                    "http.response.body.size": 1, "client.address": "127.0.0.1", "network.peer.address": "127.0.0.1",
                    "network.peer.port": 40000, "server.port": 80,
                },
                "resource": {"service.name": "shop", "process.pid": 9, "telemetry.sdk.name": "geophone", "host.name": "h"},
            })
            .to_string(),
        )
        .unwrap()
    }

    fn side() -> Side {
        Side { pids: vec![8, 9], service: "shop".into(), peer: "127.0.0.1".into(), port: 80, tls: false }
    }

    fn verdict(spans: &[Span]) -> String {
        let sent = [sent()];
        let expected = Expected { sent: &sent, server: Some(side()), ..Expected::default() };
        check(spans, &expected).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_right_span_is_right() {
        assert_eq!(verdict(&[span()]), "");
    }

    #[test]
    fn missing_doubled_and_invented_spans_are_found() {
        assert!(verdict(&[]).contains("1 x no SERVER span"));
        let mut other = span();
        other.span_id = "00f067aa0ba902b8".into();
        assert!(verdict(&[span(), other.clone()]).contains("several SERVER spans"));
        assert!(verdict(&[span(), span()]).contains("the same span id twice"));
        other.kind = "CLIENT".into();
        assert!(verdict(&[span(), other]).contains("CLIENT spans of what nobody sent"));
    }

    #[test]
    fn every_wrong_field_is_found() {
        type Spoil = fn(&mut Span);
        let wrong: [(&str, Spoil); 11] = [
            ("http.request.method", |s| {
                s.attributes.insert("http.request.method".into(), json!("GET"));
            }),
            ("http.response.status_code", |s| {
                s.attributes.insert("http.response.status_code".into(), json!(201));
            }),
            ("http.request.body.size", |s| {
                s.attributes.insert("http.request.body.size".into(), json!(6));
            }),
            ("http.response.body.size", |s| {
                s.attributes.remove("http.response.body.size");
            }),
            ("geophone.incomplete", |s| {
                s.attributes.insert("geophone.incomplete".into(), json!(["request_head"]));
            }),
            ("status", |s| s.status = "ERROR".into()),
            ("starts after", |s| {
                s.start_time_unix_nano = "700000000".into();
            }),
            ("ends before", |s| {
                s.end_time_unix_nano = "1300000000".into();
            }),
            ("parentSpanId", |s| {
                s.parent_span_id = "00f067aa0ba902b7".into();
            }),
            ("process.pid", |s| {
                s.resource.insert("process.pid".into(), json!(10));
            }),
            ("network.peer.port", |s| {
                s.attributes.insert("network.peer.port".into(), json!(40_001));
            }),
        ];
        for (what, spoil) in wrong {
            let mut span = span();
            spoil(&mut span);
            let verdict = verdict(&[span]);
            assert!(verdict.contains(what), "{what} is not in: {verdict}");
        }
    }
}
