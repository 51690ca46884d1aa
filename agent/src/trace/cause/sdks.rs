//! Processes that make spans of their own, by an SDK: whether those are seen to go out, and which of ours they stand for. Those of ours are left out, and the
//! ids of the SDK's take their places.

use super::{
    call::{Call, Origin, Serial},
    engine::Engine,
};
use crate::protocol::{Exchange, Side, Status, Value};

/// What an SDK was seen to do in a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sdk {
    /// Spans are sent to somebody, who takes them.
    exports: bool,
    /// It goes on with traces that come in.
    continues: bool,
}

impl Engine {
    /// From now on, what an SDK makes spans of has one of ours as well.
    pub fn keep_sdk_spans(&mut self) {
        self.keeps_sdk_spans = true;
    }

    /// A call carries a context that did not come in like that: an SDK has written it, for a span of its own. `request`: what the call was made for.
    pub(super) fn sdk_wrote(&mut self, call: &mut Call, request: Option<Serial>, origin: &Origin) {
        let brought = request.and_then(|request| self.calls.get(&request)?.brought.as_ref()?.span);
        let sdk = self.sdks.entry(call.tgid()).or_default();
        sdk.continues |= brought.is_some_and(|(trace, _)| trace == origin.trace.id);
        if sdk.exports && !self.keeps_sdk_spans && origin.trace.flags.is_sampled() {
            call.span = origin.span;
            call.is_sdks = true;
        }
    }

    /// A call is complete: it may have been spans that go out.
    pub(super) fn sdk_exports(&mut self, tgid: u32, exchange: &Exchange) {
        if exchange.side == Side::Client
            && let Some(sdk) = self.sdks.get_mut(&tgid)
            && exchange.first_byte.is_some()
            && carries_spans(exchange)
        {
            sdk.exports = exchange.status == Status::Unset;
        }
    }

    /// Whether an SDK has made a span of a request too, which hangs under the same one, and nothing hangs under ours. If so, what still comes will hang
    /// under that.
    pub(super) fn is_sdks(&mut self, serial: Serial) -> bool {
        let Some(call) = self.calls.get_mut(&serial) else {
            return false;
        };
        let sdk = self.sdks.get(&call.tgid()).copied().unwrap_or_default();
        let (Some(trace), true) = (&call.trace, call.side == Side::Server) else {
            return call.is_sdks;
        };
        let above = (trace.id, call.parent);
        let is_continued = call.brought.as_ref().is_some_and(|brought| brought.span == Some(above));
        if sdk.exports
            && sdk.continues
            && !self.keeps_sdk_spans
            && is_continued
            && trace.flags.is_sampled()
            && !call.is_parent
        {
            call.span = call.parent;
            return true;
        }
        false
    }
}

/// Whether a call is of those by which SDKs send their spans: OTLP over gRPC and HTTP, Zipkin, Jaeger, SkyWalking, Datadog.
fn carries_spans(exchange: &Exchange) -> bool {
    let text = |key| match exchange.attributes.get(key) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    if let Some(method) = text("rpc.method") {
        return METHODS.contains(&method);
    }
    let Some(url) = text("url.full") else {
        return false;
    };
    let path = url.split(['?', '#']).next().unwrap_or_default();
    PATHS.iter().any(|known| path.ends_with(known))
}

const METHODS: [&str; 3] = [
    "opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "skywalking.v3.TraceSegmentReportService/collect",
    "jaeger.api_v2.CollectorService/PostSpans",
];
/// Ends of paths.
const PATHS: [&str; 8] = [
    "/v1/traces",
    "/api/v2/spans",
    "/api/v1/spans",
    "/api/traces",
    "/v0.3/traces",
    "/v0.4/traces",
    "/v0.5/traces",
    "/v0.7/traces",
];
