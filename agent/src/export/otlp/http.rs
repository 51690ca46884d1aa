//! OTLP as protobuf in HTTP requests.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use reqwest::{
    Client, Response, Url,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    redirect,
};

use super::{
    ANSWER_MAX, USER_AGENT, chain,
    config::{Config, ConfigError},
    printable,
};
use crate::export::{
    deliver::Answer,
    retry::{Failure, Retry, http_status},
    stats::FailureKind,
};

/// The content type of requests.
pub const PROTOBUF: &str = "application/x-protobuf";

/// Sends requests to one receiver.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client,
    endpoint: Url,
    gzip: bool,
    /// What a status other than 2xx means, with the value of `Retry-After`.
    statuses: Statuses,
}

type Statuses = fn(u16, Option<&str>) -> (FailureKind, Retry);

impl HttpClient {
    /// For requests of one content type. Connects when the first request is sent.
    ///
    /// # Errors
    /// The settings for TLS are not valid.
    pub fn new(config: &Config, content_type: &'static str) -> Result<Self, ConfigError> {
        let mut headers = config.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if config.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        // The client must have a TLS configuration even where none is used; looking for roots is for those who need them.
        let tls = if config.endpoint.scheme() == "https" {
            super::tls::client(&config.tls)?
        } else {
            rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .map_err(|error| ConfigError::Tls(error.to_string()))?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        };
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers)
            .timeout(config.timeout)
            // A redirected POST becomes a GET: that would lose what is in it and look like success.
            .redirect(redirect::Policy::none())
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| ConfigError::Tls(chain(&error)))?;
        Ok(Self { client, endpoint: config.endpoint.clone(), gzip: config.gzip, statuses: http_status })
    }

    /// To a receiver whose statuses mean something else than those of OTLP.
    #[must_use]
    pub fn with_statuses(self, statuses: Statuses) -> Self {
        Self { statuses, ..self }
    }

    /// What is sent for a request: compressed, if that is asked for. Done once, however often it is sent.
    ///
    /// # Errors
    /// The compressor's.
    pub fn body(&self, request: Vec<u8>) -> io::Result<Bytes> {
        if !self.gzip {
            return Ok(request.into());
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(request.len() / 4), Compression::fast());
        encoder.write_all(&request)?;
        encoder.finish().map(Bytes::from)
    }

    /// Where requests go.
    #[must_use]
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    /// Sends one request. What is returned has a status of success.
    ///
    /// # Errors
    /// It did not arrive, was not answered in time, or was refused.
    pub async fn send(&self, to: Url, body: Bytes) -> Result<Response, Failure> {
        let sent = self.client.post(to).body(body).send().await;
        let response = sent.map_err(|error| Failure {
            kind: if error.is_timeout() { FailureKind::TimedOut } else { FailureKind::Unreachable },
            retry: Retry::Backoff,
            message: chain(&error.without_url()),
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let (kind, retry) = (self.statuses)(status.as_u16(), retry_after);
        let mut message = format!("HTTP status {status}");
        if let Some(text) = read(response).await.ok().as_deref().and_then(explanation) {
            message = format!("{message}: {text}");
        }
        Err(Failure { kind, retry, message })
    }
}

/// What an answer with a status of success says. The receiver has the request: whatever comes now, it is not sent again.
/// `rejected` is what JSON calls the number of refused items.
pub async fn answer(response: Response, rejected: &str) -> Answer {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = content_type.is_some_and(|value| value.starts_with("application/json"));
    let body = match read(response).await {
        Ok(body) => body,
        Err(error) => {
            return Answer::Unconfirmed(format!("answer with status of success, but {error}"));
        }
    };
    if is_json {
        return json_answer(&body, rejected);
    }
    match ExportTraceServiceResponse::decode(body.as_slice()) {
        Ok(response) => Answer::from(response),
        Err(error) => Answer::Unconfirmed(format!("answer with status of success is not OTLP: {error}")),
    }
}

/// Some gateways answer in JSON whatever they are asked in.
fn json_answer(body: &[u8], rejected: &str) -> Answer {
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(serde_json::Value::Object(object)) => {
            let partial = object.get("partialSuccess");
            let rejected = partial.and_then(|partial| partial.get(rejected));
            // 64-bit integers are strings in protobuf's JSON; numbers are accepted.
            let rejected = rejected.and_then(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok())).unwrap_or(0);
            let message = partial.and_then(|partial| partial.get("errorMessage")).and_then(serde_json::Value::as_str);
            Answer::Accepted { rejected, message: printable(message.unwrap_or_default()) }
        }
        _ => Answer::Unconfirmed("answer with status of success is not OTLP: it is other JSON, or none".to_owned()),
    }
}

/// The body, if it is not too long.
async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_MAX => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return Err(format!("its body is longer than {ANSWER_MAX} bytes")),
            Err(error) => {
                return Err(format!("its body broke off: {}", chain(&error.without_url())));
            }
        }
    }
}

/// What a body says of an error: a `google.rpc.Status`, or a short text.
fn explanation(body: &[u8]) -> Option<String> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Status {
        #[prost(string, tag = "2")]
        message: String,
    }

    let text = match Status::decode(body) {
        Ok(status) if !status.message.is_empty() => status.message,
        _ => std::str::from_utf8(body).ok()?.to_owned(),
    };
    let text = printable(&text);
    (!text.is_empty()).then_some(text)
}
