//! Spans for tests.

use std::sync::{Arc, LazyLock};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceFlags, TraceId, TraceState};

use crate::{
    protocol::{Attributes, Status, Value},
    trace::{Resource, Span},
};

fn resource(service: &str, pid: i64) -> Arc<Resource> {
    let mut attributes = Attributes::default();
    attributes.push("service.name", service);
    attributes.push("process.pid", pid);
    Arc::new(Resource { attributes })
}

static CART: LazyLock<Arc<Resource>> = LazyLock::new(|| resource("cart", 4711));
static GATEWAY: LazyLock<Arc<Resource>> = LazyLock::new(|| resource("gateway", 4712));

fn context(trace: u128, span: u64, flags: TraceFlags, state: &str) -> SpanContext {
    SpanContext::new(TraceId::from(trace), SpanId::from(span), flags, false, state.parse().unwrap())
}

/// A server's span with everything that a span can have.
pub fn server() -> Span {
    let mut attributes = Attributes::default();
    attributes.push("http.request.method", "GET");
    attributes.push("url.path", "/carts/17");
    attributes.push("http.response.status_code", 503u16);
    attributes.push("client.address", "10.0.0.7");
    attributes.push("network.peer.address", "10.0.0.7");
    attributes.push("network.peer.port", 51_000u16);
    attributes.push("geophone.incomplete", Value::List(vec!["length".into()]));
    Span {
        context: context(0x0af7651916cd43dd8448eb211c80319c, 0xb7ad6b7169203331, TraceFlags::SAMPLED, "rojo=1"),
        parent: SpanId::from(0x00f067aa0ba902b7),
        kind: SpanKind::Server,
        name: "GET /carts/{id}".into(),
        start_unix_nano: 1_700_000_000_123_456_789,
        end_unix_nano: 1_700_000_000_135_801_234,
        attributes,
        status: Status::Error("broken".into()),
        links: vec![context(10, 11, TraceFlags::NOT_SAMPLED, "")],
        resource: Arc::clone(&CART),
    }
}

/// A client's span, as plain as they come.
pub fn client() -> Span {
    let mut attributes = Attributes::default();
    attributes.push("http.request.method", "GET");
    attributes.push("url.full", "http://[2001:db8::1]:8080/carts/17?x=1");
    attributes.push("http.response.status_code", 200u16);
    attributes.push("server.address", "2001:db8::1");
    attributes.push("server.port", 8080u16);
    Span {
        context: SpanContext::new(
            TraceId::from(0x0af7651916cd43dd8448eb211c80319c),
            SpanId::from(0x00f067aa0ba902b7),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent: SpanId::INVALID,
        kind: SpanKind::Client,
        name: "GET".into(),
        start_unix_nano: 1_700_000_000_200_000_000,
        end_unix_nano: 1_700_000_000_200_987_000,
        attributes,
        status: Status::Unset,
        links: Vec::new(),
        resource: Arc::clone(&GATEWAY),
    }
}
