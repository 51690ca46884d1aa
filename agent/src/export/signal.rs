//! What outputs carry: spans, and profiles. What the signals of OTLP differ in is here and in how they are encoded; queues, retries,
//! settings and connections are the same for all.

use std::fmt::Debug;

use super::otlp;
use crate::{protocol::Value, trace::Span};

/// What a queue holds.
pub trait Item: Clone + Debug + Send + Sync + 'static {
    /// How the log calls several of them.
    const NAME: &'static str;

    /// About how many bytes of memory it takes; encoded it is smaller.
    fn weight(&self) -> usize;
}

/// An item of one of OTLP's signals.
pub trait Signal: Item {
    /// Between `OTEL_EXPORTER_OTLP_` and the rest of the names of the signal's own variables.
    const VARIABLES: &'static str;
    /// Behind the URL of an endpoint for all signals.
    const PATH: &'static str;
    /// The path of the gRPC method.
    const METHOD: &'static str;
    /// The number of refused items, in answers in JSON.
    const REJECTED: &'static str;

    /// Appends the request that carries the items.
    fn encode(items: &[Self], out: &mut Vec<u8>);
}

impl Item for Span {
    const NAME: &'static str = "spans";

    fn weight(&self) -> usize {
        let entries = self.attributes.0.iter().map(|(key, value)| {
            let text = match value {
                Value::Text(text) => text.len(),
                Value::List(texts) => texts.iter().map(|text| text.len() + 24).sum(),
                Value::Int(_) | Value::Float(_) | Value::Bool(_) => 0,
            };
            key.len() + text + 32
        });
        size_of::<Self>() + self.name.len() + size_of_val(self.links.as_slice()) + entries.sum::<usize>()
    }
}

impl Signal for Span {
    const VARIABLES: &'static str = "TRACES";
    const PATH: &'static str = "v1/traces";
    const METHOD: &'static str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    const REJECTED: &'static str = "rejectedSpans";

    fn encode(items: &[Self], out: &mut Vec<u8>) {
        otlp::encode_request(items, out);
    }
}
