//! OTLP: takes batches from a `Queue`, encodes them, sends them, tries again.

pub mod config;
mod encode;
mod grpc;
mod http;
#[cfg(test)]
mod roundtrip;
mod tls;
mod wire;

use std::{io, sync::Arc, time::Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use tokio::{sync::watch, task::JoinSet};

use self::{
    config::{Config, ConfigError, Protocol},
    grpc::GrpcClient,
    http::HttpClient,
};
use super::{
    health::Health,
    queue::{Batch, Queue},
    retry::{Failure, RetryPolicy},
    stats::{DropReason, FailureKind, Stats},
};

pub use encode::request as encode_request;

/// Instrumentation scope of all spans.
const SCOPE: &str = "geophone";
/// Its version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Capture knows the agent's own export traffic by it.
pub const USER_AGENT: &str = concat!("geophone/", env!("CARGO_PKG_VERSION"));

/// Longest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// Most requests on their way at once, so that a receiver far away does not limit the rate.
const IN_FLIGHT: usize = 4;

/// What a receiver said that has the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It took the spans, but so many.
    Accepted {
        /// Spans refused (partial success).
        rejected: u64,
        /// Why, or a warning; may be empty.
        message: String,
    },
    /// It said something else, described here.
    Unconfirmed(String),
}

impl From<ExportTraceServiceResponse> for Answer {
    fn from(response: ExportTraceServiceResponse) -> Self {
        let partial = response.partial_success.unwrap_or_default();
        Self::Accepted {
            rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
            message: printable(&partial.error_message),
        }
    }
}

/// An OTLP output.
#[derive(Debug)]
pub struct Otlp {
    client: Client,
    retry: RetryPolicy,
    stats: Arc<Stats>,
    health: Health,
    /// Turns true when the agent is to end.
    ending: watch::Receiver<bool>,
}

#[derive(Debug)]
enum Client {
    Grpc(GrpcClient),
    Http(HttpClient),
}

impl Otlp {
    /// To be called inside of a runtime. Connects when there is something to send.
    ///
    /// # Errors
    /// The settings for TLS are not valid.
    pub fn new(
        config: &Config,
        retry: RetryPolicy,
        stats: Arc<Stats>,
        ending: watch::Receiver<bool>,
    ) -> Result<Self, ConfigError> {
        let client = match config.protocol {
            Protocol::Grpc => Client::Grpc(GrpcClient::new(config)?),
            Protocol::Http => Client::Http(HttpClient::new(config)?),
        };
        let mut shown = config.endpoint.clone();
        // Setting them fails only for URLs that cannot have them.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        Ok(Self { client, retry, stats, health: Health::new(shown.to_string()), ending })
    }

    /// Delivers all that comes out of the queue, until it is closed and empty.
    pub async fn run(self, queue: Arc<Queue>) {
        let output = Arc::new(self);
        let mut deliveries = JoinSet::new();
        while let Some(batch) = queue.next().await {
            while deliveries.len() >= IN_FLIGHT {
                deliveries.join_next().await;
            }
            while deliveries.try_join_next().is_some() {}
            let output = Arc::clone(&output);
            deliveries.spawn(async move { output.deliver(batch).await });
        }
        while deliveries.join_next().await.is_some() {}
    }

    /// Delivers one batch, in parts if it is too large.
    async fn deliver(&self, batch: Batch) {
        let mut parts = vec![batch];
        while let Some(batch) = parts.pop() {
            let body = match self.body(&batch) {
                Ok(body) => body,
                Err(error) => {
                    self.health.failed(&format!("compression failed: {error}"));
                    batch.dropped(DropReason::Refused);
                    continue;
                }
            };
            match self.send(body).await {
                Ok(Answer::Accepted { rejected, message }) => {
                    if rejected > 0 {
                        self.health.rejected(rejected, &message);
                    }
                    batch.exported(usize::try_from(rejected).unwrap_or(usize::MAX));
                }
                Ok(Answer::Unconfirmed(_)) => batch.dropped(DropReason::Unconfirmed),
                Err(failure) if failure.kind == FailureKind::TooLarge => match batch.split() {
                    Ok((first, second)) => parts.extend([second, first]),
                    Err(batch) => batch.dropped(DropReason::TooLarge),
                },
                Err(_) if *self.ending.borrow() => batch.dropped(DropReason::Shutdown),
                Err(failure) if failure.retry == super::retry::Retry::Never => {
                    batch.dropped(DropReason::Refused);
                }
                Err(_) => batch.dropped(DropReason::RetriesExhausted),
            }
        }
    }

    fn body(&self, batch: &Batch) -> io::Result<Bytes> {
        // Spans of one kind are of about one size: most of the time this is enough, and then nothing is copied.
        let mut request = Vec::with_capacity(batch.spans().len() * 768 + 1024);
        encode::request(batch.spans(), &mut request);
        match &self.client {
            Client::Grpc(_) => Ok(request.into()),
            Client::Http(http) => http.body(request),
        }
    }

    /// Sends a request until it is answered, or there is no more time.
    async fn send(&self, body: Bytes) -> Result<Answer, Failure> {
        let began = Instant::now();
        let mut attempts = 0;
        let mut ending = self.ending.clone();
        loop {
            self.stats.request();
            let result = match &self.client {
                Client::Grpc(client) => client.send(body.clone()).await,
                Client::Http(client) => client.send(body.clone()).await,
            };
            let failure = match result {
                Ok(Answer::Unconfirmed(message)) => {
                    self.stats.failed(FailureKind::BadAnswer, &message);
                    self.health.failed(&message);
                    return Ok(Answer::Unconfirmed(message));
                }
                Ok(answer) => {
                    self.health.recovered();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            attempts += 1;
            self.stats.failed(failure.kind, &failure.message);
            if failure.kind == FailureKind::TooLarge {
                return Err(failure);
            }
            self.health.failed(&failure.message);
            let Some(wait) = self.retry.wait(failure.retry, attempts, began.elapsed()) else {
                return Err(failure);
            };
            // Who ends does not wait for a receiver that is not there. One that is asks for time: it gets what is left.
            if *ending.borrow() && failure.kind == FailureKind::Unreachable {
                return Err(failure);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // Once more now, for the last time.
                () = ended(&mut ending), if failure.kind == FailureKind::Unreachable => {}
            }
            self.stats.retry();
        }
    }
}

/// Waits for the agent to end.
async fn ended(ending: &mut watch::Receiver<bool>) {
    if ending.wait_for(|ending| *ending).await.is_err() {
        // Nobody is left who could say so.
        std::future::pending::<()>().await;
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

/// What a receiver says, fit for a log: one line, not too long.
fn printable(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    line.trim().to_owned()
}
