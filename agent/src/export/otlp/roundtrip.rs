//! Tests: whatever is encoded here, opentelemetry-proto's own types decode to the same.

use std::sync::Arc;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceFlags, TraceId, TraceState};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1 as proto,
};
use proptest::{collection::vec, prelude::*};
use prost::Message;

use super::encode_request;
use crate::{
    export::sample,
    protocol::{Attributes, Status, Value},
    trace::{Resource, Span},
};

fn decode(spans: &[Span]) -> ExportTraceServiceRequest {
    let mut bytes = Vec::new();
    encode_request(spans, &mut bytes);
    let request = ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap();
    assert_eq!(request.encoded_len(), bytes.len(), "lengths are written in their shortest form");
    request
}

/// A decoded value as ours.
fn value(given: Option<AnyValue>) -> Value {
    match given.unwrap().value.unwrap() {
        any_value::Value::StringValue(text) => text.into(),
        any_value::Value::BoolValue(truth) => truth.into(),
        any_value::Value::IntValue(number) => number.into(),
        any_value::Value::DoubleValue(number) => number.into(),
        any_value::Value::ArrayValue(list) => {
            let texts = list.values.into_iter().map(|each| match value(Some(each)) {
                Value::Text(text) => text,
                other => panic!("{other:?} in a list"),
            });
            Value::List(texts.collect())
        }
        other => panic!("{other:?}"),
    }
}

fn attributes(list: Vec<KeyValue>) -> Attributes {
    Attributes(list.into_iter().map(|pair| (pair.key.into(), value(pair.value))).collect())
}

fn context(trace_id: &[u8], span_id: &[u8], flags: u32, state: &str) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(trace_id.try_into().unwrap()),
        SpanId::from_bytes(span_id.try_into().unwrap()),
        TraceFlags::new(flags as u8),
        flags & 0x300 == 0x300,
        state.parse().unwrap(),
    )
}

/// A decoded span as ours.
fn span(span: proto::Span, resource: Arc<Resource>) -> Span {
    let kind = match span.kind() {
        proto::span::SpanKind::Internal => SpanKind::Internal,
        proto::span::SpanKind::Server => SpanKind::Server,
        proto::span::SpanKind::Client => SpanKind::Client,
        proto::span::SpanKind::Producer => SpanKind::Producer,
        proto::span::SpanKind::Consumer => SpanKind::Consumer,
        proto::span::SpanKind::Unspecified => panic!("no kind"),
    };
    let has_remote_parent = matches!(kind, SpanKind::Server | SpanKind::Consumer) && !span.parent_span_id.is_empty();
    assert_eq!(span.flags & 0x300, if has_remote_parent { 0x300 } else { 0x100 });
    let parent = match span.parent_span_id.as_slice() {
        [] => SpanId::INVALID,
        id => SpanId::from_bytes(id.try_into().unwrap()),
    };
    let links = span.links.iter();
    Span {
        context: context(&span.trace_id, &span.span_id, span.flags & 0xff, &span.trace_state),
        parent,
        kind,
        links: links.map(|link| context(&link.trace_id, &link.span_id, link.flags, &link.trace_state)).collect(),
        name: span.name.into(),
        start_unix_nano: span.start_time_unix_nano,
        end_unix_nano: span.end_time_unix_nano,
        attributes: attributes(span.attributes),
        status: match span.status {
            None => Status::Unset,
            Some(status) => {
                assert_eq!(status.code(), proto::status::StatusCode::Error);
                Status::Error(status.message.into())
            }
        },
        resource,
    }
}

/// All spans of a request, as ours.
fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let of_resource = |group: proto::ResourceSpans| {
        let resource = Arc::new(Resource { attributes: attributes(group.resource.unwrap().attributes) });
        let [scope] = <[_; 1]>::try_from(group.scope_spans).unwrap();
        let name = scope.scope.unwrap();
        assert_eq!((name.name.as_str(), name.version.as_str()), ("geophone", env!("CARGO_PKG_VERSION")));
        scope.spans.into_iter().map(move |each| span(each, Arc::clone(&resource)))
    };
    request.resource_spans.into_iter().flat_map(of_resource).collect()
}

fn any_text() -> impl Strategy<Value = String> {
    // Lengths around those where a length takes one more byte.
    prop_oneof![".{0,40}", "x{120,135}", "y{16370,16390}"]
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    let value = prop_oneof![
        any_text().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        // NaN is not equal to itself.
        any::<f64>().prop_filter("NaN", |n| !n.is_nan()).prop_map(Value::from),
        vec(any_text(), 0..4).prop_map(|texts| Value::List(texts.into_iter().map(Into::into).collect())),
    ];
    vec((any_text(), value), 0..8)
        .prop_map(|pairs| Attributes(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect()))
}

fn any_context(remote: bool) -> impl Strategy<Value = SpanContext> {
    let state = prop_oneof![Just(TraceState::NONE), Just("rojo=00f067aa0ba902b7,congo=t61".parse().unwrap())];
    (1u128.., 1u64.., any::<u8>(), state).prop_map(move |(trace, span, flags, state)| {
        SpanContext::new(TraceId::from(trace), SpanId::from(span), TraceFlags::new(flags), remote, state)
    })
}

fn any_span() -> impl Strategy<Value = Span> {
    let kind = prop_oneof![
        Just(SpanKind::Internal),
        Just(SpanKind::Server),
        Just(SpanKind::Client),
        Just(SpanKind::Producer),
        Just(SpanKind::Consumer),
    ];
    let status = prop_oneof![Just(Status::Unset), any_text().prop_map(|text| Status::Error(text.into()))];
    let links = vec(any::<bool>().prop_flat_map(any_context), 0..3);
    let ids = (any_context(false), any::<u64>().prop_map(SpanId::from));
    (ids, kind, any_text(), any::<(u64, u64)>(), any_attributes(), status, links).prop_map(
        |((context, parent), kind, name, (start_unix_nano, end_unix_nano), attributes, status, links)| Span {
            context,
            parent,
            kind,
            name: name.into(),
            start_unix_nano,
            end_unix_nano,
            attributes,
            status,
            links,
            resource: Arc::default(),
        },
    )
}

/// [`Span`] has no equality: ids are not values elsewhere.
fn assert_same(ours: &Span, decoded: &Span) {
    assert_eq!(format!("{ours:?}"), format!("{decoded:?}"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_span_comes_back_unchanged(
        mut list in vec(any_span(), 1..6), owners in vec(0usize..3, 6), resources in vec(any_attributes(), 3),
    ) {
        let resources: Vec<_> = resources.into_iter().map(|attributes| Arc::new(Resource { attributes })).collect();
        for (span, owner) in list.iter_mut().zip(owners) {
            span.resource = Arc::clone(&resources[owner]);
        }
        let request = decode(&list);
        let decoded = spans(request.clone());
        // One group for each resource, its spans in the order in which they came.
        list.sort_by_key(|span| Arc::as_ptr(&span.resource));
        let groups = list.chunk_by(|a, b| Arc::ptr_eq(&a.resource, &b.resource)).count();
        prop_assert_eq!(request.resource_spans.len(), groups);
        prop_assert_eq!(list.len(), decoded.len());
        for (ours, decoded) in list.iter().zip(&decoded) {
            assert_same(ours, decoded);
        }
    }
}

#[test]
fn all_services_are_in_one_request() {
    let list = [sample::server(), sample::client(), sample::server()];
    let request = decode(&list);
    let mut sizes: Vec<_> = request.resource_spans.iter().map(|group| group.scope_spans[0].spans.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2]);
}

#[test]
fn no_spans_are_an_empty_request() {
    assert!(decode(&[]).resource_spans.is_empty());
}

/// Run with `--release -- --ignored --nocapture` to see what encoding costs.
#[test]
#[ignore = "measures, asserts nothing about time"]
fn cost_of_encoding() {
    let list: Vec<_> = (0..4096).map(|i| if i % 2 == 0 { sample::server() } else { sample::client() }).collect();
    let mut bytes = Vec::new();
    let mut best = std::time::Duration::MAX;
    for _ in 0..200 {
        bytes.clear();
        let began = std::time::Instant::now();
        encode_request(std::hint::black_box(&list), &mut bytes);
        best = best.min(began.elapsed());
    }
    println!("{} ns and {} bytes a span", best.as_nanos() / 4096, bytes.len() / 4096);
    assert_eq!(spans(ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap()).len(), 4096);
}
