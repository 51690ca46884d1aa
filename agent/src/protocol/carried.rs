//! What a request says of itself that others may say, too: the context of a trace, names, values. Unchecked, as it came.

use compact_str::CompactString;

/// A header in which tracers hand a trace on, or that names a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextHeader {
    /// W3C `traceparent`.
    TraceParent,
    /// W3C `tracestate`.
    TraceState,
    /// `b3`.
    B3,
    /// `X-B3-TraceId`.
    B3TraceId,
    /// `X-B3-SpanId`.
    B3SpanId,
    /// `X-B3-Sampled`.
    B3Sampled,
    /// `X-B3-Flags`.
    B3Flags,
    /// `X-Amzn-Trace-Id`.
    AmznTraceId,
    /// `uber-trace-id`.
    UberTraceId,
    /// `x-datadog-trace-id`.
    DatadogTraceId,
    /// `x-datadog-parent-id`.
    DatadogParentId,
    /// `x-datadog-sampling-priority`.
    DatadogSamplingPriority,
    /// `x-datadog-tags`.
    DatadogTags,
    /// `sw8`.
    Sw8,
    /// `x-request-id`, `x-correlation-id` and the like: no trace, but a name for the request.
    Correlation,
}

impl ContextHeader {
    /// The header of this name, in any case.
    #[must_use]
    #[inline]
    pub fn named(name: &str) -> Option<Self> {
        // By length first: most headers are none of these.
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        Some(match name.len() {
            2 if is("b3") => Self::B3,
            3 if is("sw8") => Self::Sw8,
            10 if is("tracestate") => Self::TraceState,
            10 if is("x-b3-flags") => Self::B3Flags,
            10 if is("request-id") => Self::Correlation,
            11 if is("traceparent") => Self::TraceParent,
            11 if is("x-b3-spanid") => Self::B3SpanId,
            12 if is("x-b3-traceid") => Self::B3TraceId,
            12 if is("x-b3-sampled") => Self::B3Sampled,
            12 if is("x-request-id") => Self::Correlation,
            13 if is("uber-trace-id") => Self::UberTraceId,
            14 if is("correlation-id") => Self::Correlation,
            15 if is("x-amzn-trace-id") => Self::AmznTraceId,
            14 if is("x-datadog-tags") => Self::DatadogTags,
            16 if is("x-correlation-id") => Self::Correlation,
            16 if is("x-transaction-id") => Self::Correlation,
            18 if is("x-datadog-trace-id") => Self::DatadogTraceId,
            19 if is("x-datadog-parent-id") => Self::DatadogParentId,
            27 if is("x-datadog-sampling-priority") => Self::DatadogSamplingPriority,
            _ => return None,
        })
    }
}

/// The headers of a request that say to which trace it belongs, or that name it, unchecked, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried(Vec<(ContextHeader, CompactString)>);

impl Carried {
    /// Adds the next one.
    pub fn push(&mut self, header: ContextHeader, value: CompactString) {
        self.0.push((header, value));
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of these is there.
    #[must_use]
    pub fn any(&self, headers: &[ContextHeader]) -> bool {
        self.0.iter().any(|(header, _)| headers.contains(header))
    }

    /// The value of a header that is there once.
    #[must_use]
    pub fn one(&self, header: ContextHeader) -> Option<&str> {
        let mut all = self.all(header);
        all.next().filter(|_| all.next().is_none())
    }

    /// The values of a header.
    pub fn all(&self, header: ContextHeader) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(other, _)| *other == header).map(|(_, value)| value.as_str())
    }
}

/// What stands for values in a request that may occur in others which it causes: equal for equal values, never 0. The four
/// that say most, those first that say more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Values([u64; 4]);

impl Values {
    /// The values.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.into_iter().filter(|value| *value != 0)
    }
}

impl FromIterator<u64> for Values {
    fn from_iter<T: IntoIterator<Item = u64>>(values: T) -> Self {
        let mut found = Self::default();
        for (place, value) in found.0.iter_mut().zip(values) {
            *place = value.max(1);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_is_found_by_its_name() {
        for (name, header) in [
            ("TraceParent", ContextHeader::TraceParent),
            ("tracestate", ContextHeader::TraceState),
            ("b3", ContextHeader::B3),
            ("X-B3-TraceId", ContextHeader::B3TraceId),
            ("X-B3-SpanId", ContextHeader::B3SpanId),
            ("X-B3-Sampled", ContextHeader::B3Sampled),
            ("X-B3-Flags", ContextHeader::B3Flags),
            ("X-Amzn-Trace-Id", ContextHeader::AmznTraceId),
            ("uber-trace-id", ContextHeader::UberTraceId),
            ("x-datadog-trace-id", ContextHeader::DatadogTraceId),
            ("x-datadog-parent-id", ContextHeader::DatadogParentId),
            ("x-datadog-sampling-priority", ContextHeader::DatadogSamplingPriority),
            ("x-datadog-tags", ContextHeader::DatadogTags),
            ("sw8", ContextHeader::Sw8),
            ("X-Request-ID", ContextHeader::Correlation),
            ("X-Correlation-ID", ContextHeader::Correlation),
            ("Correlation-Id", ContextHeader::Correlation),
            ("Request-Id", ContextHeader::Correlation),
            ("X-Transaction-Id", ContextHeader::Correlation),
        ] {
            assert_eq!(ContextHeader::named(name), Some(header), "{name}");
        }
        assert_eq!(ContextHeader::named("content-type"), None);
    }
}
