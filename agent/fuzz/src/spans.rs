//! What holds for spans, whatever they come from.

use std::sync::Arc;

use geophone::{
    conn,
    export::{json, otlp},
    pipeline::Pipeline,
    process,
    protocol::Shared,
    trace::{ClockSample, Span, Tracer},
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

/// A pipeline with small bounds, which knows nothing of this machine's processes.
///
/// # Panics
/// When the system has no random numbers.
#[must_use]
pub fn pipeline() -> Pipeline {
    let limits = conn::Limits { connections: 3, held: 2_000, held_total: 3_000, ..conn::Limits::default() };
    let processes = process::Table::new(process::Settings { proc: None, capacity: 2, ..process::Settings::default() });
    let tracer = Tracer::new(ClockSample { before: 0, wall: 1 << 60, after: 0 }).expect("random numbers");
    Pipeline::new(limits, Arc::new(Shared::default()), tracer, processes)
}

/// Checks spans, and empties the list.
///
/// # Panics
/// When one is not as every span must be.
pub fn check(spans: &mut Vec<Span>) {
    for span in &*spans {
        assert!(span.end_unix_nano >= span.start_unix_nano, "a span ends after it begins");
        assert!(span.context.is_valid(), "a span has ids");
        assert!(!span.name.is_empty(), "a span has a name");
        let mut keys: Vec<_> = span.attributes.0.iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        assert!(keys.is_sorted_by(|a, b| a < b), "a span has each attribute once: {:?}", span.attributes);
        let mut line = Vec::new();
        json::write(span, &mut line).expect("a vector takes everything");
        assert!(line.len() < 256 * 1024, "a span is bounded");
        serde_json::from_slice::<serde_json::Value>(&line).expect("a line is JSON");
    }
    let mut request = Vec::new();
    otlp::encode_request(spans, &mut request);
    let request = ExportTraceServiceRequest::decode(&*request).expect("a request is protobuf");
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    assert_eq!(scopes.map(|scope| scope.spans.len()).sum::<usize>(), spans.len(), "a request holds all spans");
    spans.clear();
}
