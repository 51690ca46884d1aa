//! Spans → `ExportTraceServiceRequest`, the spans of all services in one request. The bytes are the same for gRPC and HTTP.
//!
//! Field numbers are those of opentelemetry-proto (`trace/v1/trace.proto`, `common/v1/common.proto`); tests decode what is
//! written here with the crate of that name.

use std::sync::Arc;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceState};

use super::wire;
use crate::{
    protocol::{Attributes, Status, Value},
    trace::{Resource, Span},
};

/// `SpanFlags`: whether the parent (or the linked span) is in another process is known ...
const HAS_IS_REMOTE: u32 = 0x100;
/// ... and it is.
const IS_REMOTE: u32 = 0x200;

/// Appends the request that carries `spans`. Spans that share a resource (the same `Arc`) are put under one; those of one
/// resource keep their order.
pub fn request(spans: &[Span], out: &mut Vec<u8>) {
    let mut order: Vec<(*const Resource, &Span)> =
        spans.iter().map(|span| (Arc::as_ptr(&span.resource), span)).collect();
    order.sort_by_key(|(resource, _)| *resource);
    for group in order.chunk_by(|a, b| a.0 == b.0) {
        let Some((_, first)) = group.first() else {
            continue;
        };
        // ExportTraceServiceRequest.resource_spans
        wire::message(out, 1, 3, |out| {
            wire::message(out, 1, 2, |out| resource(&first.resource, out));
            // ResourceSpans.scope_spans
            wire::message(out, 2, 3, |out| {
                wire::message(out, 1, 1, |out| {
                    wire::bytes(out, 1, super::SCOPE.as_bytes());
                    wire::bytes(out, 2, super::VERSION.as_bytes());
                });
                for (_, item) in group {
                    wire::message(out, 2, 2, |out| span(out, item));
                }
            });
        });
    }
}

/// Appends a `Resource`.
pub fn resource(resource: &Resource, out: &mut Vec<u8>) {
    attributes(out, 1, &resource.attributes);
}

fn span(out: &mut Vec<u8>, span: &Span) {
    wire::bytes(out, 1, &span.context.trace_id().to_bytes());
    wire::bytes(out, 2, &span.context.span_id().to_bytes());
    trace_state(out, span.context.trace_state());
    if span.parent != SpanId::INVALID {
        wire::bytes(out, 4, &span.parent.to_bytes());
    }
    text(out, 5, &span.name);
    wire::varint(
        out,
        6,
        match span.kind {
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
            SpanKind::Producer => 4,
            SpanKind::Consumer => 5,
        },
    );
    wire::fixed64(out, 7, span.start_unix_nano);
    wire::fixed64(out, 8, span.end_unix_nano);
    attributes(out, 9, &span.attributes);
    for linked in &span.links {
        wire::message(out, 13, 1, |out| link(out, linked));
    }
    if let Status::Error(description) = &span.status {
        wire::message(out, 15, 1, |out| {
            text(out, 2, description);
            wire::varint(out, 3, 2);
        });
    }
    wire::fixed32(out, 16, flags(&span.context, has_remote_parent(span)));
}

/// Whether the span's parent is in another process: a server's and a consumer's is, where there is one.
fn has_remote_parent(span: &Span) -> bool {
    span.parent != SpanId::INVALID && matches!(span.kind, SpanKind::Server | SpanKind::Consumer)
}

fn link(out: &mut Vec<u8>, linked: &SpanContext) {
    wire::bytes(out, 1, &linked.trace_id().to_bytes());
    wire::bytes(out, 2, &linked.span_id().to_bytes());
    trace_state(out, linked.trace_state());
    wire::fixed32(out, 6, flags(linked, linked.is_remote()));
}

fn flags(context: &SpanContext, remote: bool) -> u32 {
    u32::from(context.trace_flags().to_u8()) | HAS_IS_REMOTE | if remote { IS_REMOTE } else { 0 }
}

fn trace_state(out: &mut Vec<u8>, state: &TraceState) {
    if *state == TraceState::NONE {
        return;
    }
    // A string is written like a message; this one member by member, as `TraceState::header` would make it.
    wire::message(out, 3, 1, |out| {
        for (position, (key, value)) in state.into_iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(key.as_bytes());
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
    });
}

fn attributes(out: &mut Vec<u8>, tag: u32, attributes: &Attributes) {
    for (key, value) in &attributes.0 {
        wire::message(out, tag, 1, |out| {
            text(out, 1, key);
            wire::message(out, 2, 1, |out| any_value(out, value));
        });
    }
}

/// An `AnyValue`. Its fields are written even where they are default: which one is there is the value's type.
fn any_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Text(value) => wire::bytes(out, 1, value.as_bytes()),
        Value::Bool(value) => wire::varint(out, 2, u64::from(*value)),
        Value::Int(value) => wire::varint(out, 3, value.cast_unsigned()),
        Value::Float(value) => wire::fixed64(out, 4, value.to_bits()),
        Value::List(values) => wire::message(out, 5, 1, |out| {
            for value in values {
                wire::message(out, 1, 1, |out| wire::bytes(out, 1, value.as_bytes()));
            }
        }),
    }
}

/// A string, if there is one.
fn text(out: &mut Vec<u8>, tag: u32, value: &str) {
    if !value.is_empty() {
        wire::bytes(out, tag, value.as_bytes());
    }
}
