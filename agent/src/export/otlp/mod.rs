//! OTLP: how items become requests, and what is made of the answers. Of traces and of profiles.

pub mod config;
mod encode;
mod grpc;
pub(super) mod http;
#[cfg(test)]
mod roundtrip;
mod tls;
mod wire;

use std::{io, marker::PhantomData};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;

use self::{
    config::{Config, ConfigError, Protocol},
    grpc::GrpcClient,
    http::HttpClient,
};
use super::{
    deliver::{Answer, Carrier},
    retry::Failure,
    signal::Signal,
};

pub use encode::request as encode_request;
pub(super) use encode::resource as encode_resource;

/// Instrumentation scope of all spans and profiles.
pub(super) const SCOPE: &str = "geophone";
/// Its version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Capture knows the agent's own export traffic by it.
pub const USER_AGENT: &str = concat!("geophone/", env!("CARGO_PKG_VERSION"));

/// Longest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// Those of other signals are the same on the wire.
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
pub struct Otlp<T> {
    client: Client,
    /// Without what is secret.
    endpoint: String,
    signal: PhantomData<fn() -> T>,
}

#[derive(Debug)]
enum Client {
    Grpc(Box<GrpcClient>),
    Http(HttpClient),
}

impl<T: Signal> Otlp<T> {
    /// To be called inside of a runtime. Connects when there is something to send.
    ///
    /// # Errors
    /// The settings for TLS are not valid.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let client = match config.protocol {
            Protocol::Grpc => Client::Grpc(Box::new(GrpcClient::new(config, T::METHOD)?)),
            Protocol::Http => Client::Http(HttpClient::new(config, http::PROTOBUF)?),
        };
        Ok(Self { client, endpoint: shown(&config.endpoint), signal: PhantomData })
    }
}

impl<T: Signal> Carrier for Otlp<T> {
    type Item = T;
    type Request = Bytes;

    fn name(&self) -> &str {
        &self.endpoint
    }

    fn request(&self, items: &[T]) -> io::Result<Bytes> {
        // Items of one kind are of about one size: most of the time this is enough, and then nothing is copied.
        let mut request = Vec::with_capacity(items.len() * 768 + 1024);
        T::encode(items, &mut request);
        match &self.client {
            Client::Grpc(_) => Ok(request.into()),
            Client::Http(http) => http.body(request),
        }
    }

    async fn send(&self, request: Bytes) -> Result<Answer, Failure> {
        match &self.client {
            Client::Grpc(client) => client.send(request).await,
            Client::Http(client) => {
                let response = client.send(client.endpoint().clone(), request).await?;
                Ok(http::answer(response, T::REJECTED).await)
            }
        }
    }
}

/// A URL as it may be logged.
pub(super) fn shown(url: &reqwest::Url) -> String {
    let mut shown = url.clone();
    // Setting them fails only for URLs that cannot have them.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.to_string()
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
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
pub(super) fn printable(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    line.trim().to_owned()
}
