//! Tests of whole outputs against real receivers that misbehave on purpose. Whatever they do, every span is accounted for.

mod grpc;
mod http;
mod lines;
mod queue;
mod tls;

use std::{sync::Arc, time::Duration};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use tokio::{runtime::Handle, time::Instant};

use super::{
    Limits, Outputs, RetryPolicy, Snapshot, Stats,
    otlp::config::{Config, RawConfig, RawEndpoint},
    sample,
};
use crate::trace::Span;

/// Settings for a receiver on this host.
fn raw(protocol: &str, endpoint: String) -> RawConfig {
    RawConfig {
        endpoint: Some(RawEndpoint::Base(endpoint)),
        protocol: Some(protocol.into()),
        timeout: Some("10s".into()),
        ..RawConfig::default()
    }
}

/// For receivers that do not answer.
fn impatient(raw: RawConfig) -> RawConfig {
    RawConfig { timeout: Some("300".into()), ..raw }
}

/// Quick in everything.
fn retry() -> RetryPolicy {
    RetryPolicy {
        first: Duration::from_millis(10),
        longest: Duration::from_millis(20),
        total: Duration::from_millis(1_500),
    }
}

fn limits() -> Limits {
    Limits { interval: Duration::from_millis(10), ..Limits::default() }
}

/// One output, started.
struct Running {
    outputs: Outputs,
    stats: Arc<Stats>,
}

impl Running {
    fn otlp(raw: RawConfig, limits: Limits, retry: RetryPolicy) -> Self {
        let mut outputs = Outputs::new(Handle::current());
        outputs.add_otlp(&Config::new::<Span>(raw).unwrap(), limits, retry).unwrap();
        Self::new(outputs)
    }

    fn new(outputs: Outputs) -> Self {
        let (_, stats) = outputs.stats().pop().unwrap();
        Self { outputs, stats }
    }

    fn send(&self, spans: usize) {
        self.outputs.send(&mut batch(spans));
    }

    /// Waits until nothing is pending.
    async fn settled(&self) -> Snapshot {
        let began = Instant::now();
        loop {
            let snapshot = self.stats.snapshot();
            if snapshot.pending() == 0 {
                return snapshot;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "not settled: {snapshot:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Shuts down; says what became of everything and how long it took. Nothing may be left.
    async fn ended(self, time: Duration) -> (Snapshot, Duration) {
        let began = Instant::now();
        self.outputs.shutdown(time).await;
        let snapshot = self.stats.snapshot();
        assert_eq!(snapshot.offered, snapshot.exported + snapshot.dropped_total(), "{snapshot:?}");
        (snapshot, began.elapsed())
    }
}

fn batch(spans: usize) -> Vec<Span> {
    (0..spans).map(|i| if i % 2 == 0 { sample::server() } else { sample::client() }).collect()
}

fn span_count(request: &ExportTraceServiceRequest) -> usize {
    request.resource_spans.iter().flat_map(|group| &group.scope_spans).map(|scope| scope.spans.len()).sum()
}
