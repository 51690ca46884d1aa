//! A finished span, as every exporter takes it.

use std::sync::Arc;

use compact_str::CompactString;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind};

use crate::protocol::{Attributes, Status};

/// What a span was recorded of: one process, with its service, host and (later) pod. Shared by all of its spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// By OpenTelemetry's resource conventions; `service.name` first.
    pub attributes: Attributes,
}

/// A span.
#[derive(Clone, Debug)]
pub struct Span {
    /// Trace id, span id, flags and trace state.
    pub context: SpanContext,
    /// The parent's id; `SpanId::INVALID` for a root.
    pub parent: SpanId,
    /// Kind.
    pub kind: SpanKind,
    /// Name.
    pub name: CompactString,
    /// Nanoseconds since 1970.
    pub start_unix_nano: u64,
    /// Nanoseconds since 1970; not before `start_unix_nano`.
    pub end_unix_nano: u64,
    /// Attributes.
    pub attributes: Attributes,
    /// Status.
    pub status: Status,
    /// Other spans that it belongs to.
    pub links: Vec<SpanContext>,
    /// Where it was recorded.
    pub resource: Arc<Resource>,
}
