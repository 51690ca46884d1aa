//! Spans as JSON, one object a line. Scripts rely on the names: `traceId`, `spanId`, `parentSpanId` (empty for a root),
//! `kind`, `name`, `startTimeUnixNano`, `endTimeUnixNano` (strings, as in OTLP/JSON), `status` (`UNSET`, `OK`, `ERROR`),
//! `attributes` and `resource` (flat maps), `links`; `statusMessage` and `traceState` where there is one, `flags` where any is
//! set.

use std::io::{self, Write};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceState};
use serde::{Serialize, Serializer};

use crate::{
    protocol::{Attributes, Status, Value},
    trace::Span,
};

/// Writes one span and a line feed.
///
/// # Errors
/// Those of `out`.
pub fn write(span: &Span, out: &mut impl Write) -> io::Result<()> {
    let (status, status_message) = match &span.status {
        Status::Unset => ("UNSET", ""),
        Status::Error(message) => ("ERROR", message.as_str()),
    };
    let line = Line {
        context: Context::of(&span.context),
        parent_span_id: if span.parent == SpanId::INVALID { String::new() } else { span.parent.to_string() },
        kind: kind(&span.kind),
        name: &span.name,
        start_time_unix_nano: span.start_unix_nano.to_string(),
        end_time_unix_nano: span.end_unix_nano.to_string(),
        status,
        status_message,
        attributes: Map(&span.attributes),
        resource: Map(&span.resource.attributes),
        links: span.links.iter().map(Context::of).collect(),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// Name of a span kind.
#[must_use]
pub fn kind(kind: &SpanKind) -> &'static str {
    match kind {
        SpanKind::Internal => "INTERNAL",
        SpanKind::Server => "SERVER",
        SpanKind::Client => "CLIENT",
        SpanKind::Producer => "PRODUCER",
        SpanKind::Consumer => "CONSUMER",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(flatten)]
    context: Context,
    parent_span_id: String,
    kind: &'static str,
    name: &'a str,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    status_message: &'a str,
    attributes: Map<'a>,
    resource: Map<'a>,
    links: Vec<Context>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_state: String,
    #[serde(skip_serializing_if = "is_zero")]
    flags: u8,
}

impl Context {
    fn of(context: &SpanContext) -> Self {
        let state = context.trace_state();
        Self {
            trace_id: context.trace_id().to_string(),
            span_id: context.span_id().to_string(),
            trace_state: if *state == TraceState::NONE { String::new() } else { state.header() },
            flags: context.trace_flags().to_u8(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
fn is_zero(flags: &u8) -> bool {
    *flags == 0
}

/// Attributes as a flat map.
struct Map<'a>(&'a Attributes);

impl Serialize for Map<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.0.iter().map(|(key, value)| (key, Plain(value))))
    }
}

struct Plain<'a>(&'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Int(number) => serializer.serialize_i64(*number),
            // What JSON has no number for is a string, as in protobuf's mapping.
            Value::Float(number) if number.is_nan() => serializer.serialize_str("NaN"),
            Value::Float(number) if number.is_infinite() => {
                serializer.serialize_str(if *number > 0.0 { "Infinity" } else { "-Infinity" })
            }
            Value::Float(number) => serializer.serialize_f64(*number),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::List(texts) => serializer.collect_seq(texts.iter().map(compact_str::CompactString::as_str)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::export::sample;

    fn line(span: &Span) -> serde_json::Value {
        let mut out = Vec::new();
        write(span, &mut out).unwrap();
        assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
        assert_eq!(out.last(), Some(&b'\n'));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn is_the_contract() {
        assert_eq!(
            line(&sample::server()),
            json!({
                "traceId": "0af7651916cd43dd8448eb211c80319c",
                "spanId": "b7ad6b7169203331",
                "parentSpanId": "00f067aa0ba902b7",
                "traceState": "rojo=1",
                "flags": 1,
                "kind": "SERVER",
                "name": "GET /carts/{id}",
                "startTimeUnixNano": "1700000000123456789",
                "endTimeUnixNano": "1700000000135801234",
                "status": "ERROR",
                "statusMessage": "broken",
                "attributes": {
                    "http.request.method": "GET",
                    "url.path": "/carts/17",
                    "http.response.status_code": 503,
                    "client.address": "10.0.0.7",
                    "network.peer.address": "10.0.0.7",
                    "network.peer.port": 51_000,
                    "geophone.incomplete": ["length"],
                },
                "resource": {"service.name": "cart", "process.pid": 4711},
                "links": [{"traceId": "0000000000000000000000000000000a", "spanId": "000000000000000b"}],
            })
        );
    }

    #[test]
    fn a_root_has_an_empty_parent() {
        let span = Span { parent: SpanId::INVALID, status: Status::Unset, links: vec![], ..sample::server() };
        let line = line(&span);
        assert_eq!(line["parentSpanId"], "");
        assert_eq!(line["status"], "UNSET");
        assert_eq!(line["links"], json!([]));
        assert_eq!(line.get("statusMessage"), None);
    }

    #[test]
    fn any_value_is_valid_json() {
        let mut span = sample::server();
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5] {
            span.attributes.0 = vec![("x".into(), value.into())];
            assert!(line(&span)["attributes"]["x"].to_string().len() > 2);
        }
        span.name = "line\nfeed \u{1b}[31m \"quoted\"".into();
        assert_eq!(line(&span)["name"], span.name.as_str());
    }
}
