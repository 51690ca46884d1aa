//! OTLP over gRPC. The request is bytes already, so tonic is used without generated code.

use std::error::Error;

use bytes::{Buf, BufMut, Bytes};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{BufferSettings, Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    metadata::MetadataMap,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    USER_AGENT, chain,
    config::{Config, ConfigError},
    printable,
};
use crate::export::{
    deliver::Answer,
    retry::{Failure, Retry, grpc_status},
    stats::FailureKind,
};

/// Longest answer that is read, in bytes. A size that no receiver would choose as its own limit: tonic says it in the error.
const ANSWER_MAX: usize = super::ANSWER_MAX + 13;

/// Sends requests to one receiver.
#[derive(Clone, Debug)]
pub struct GrpcClient {
    grpc: Grpc<Channel>,
    method: PathAndQuery,
    metadata: MetadataMap,
    timeout: std::time::Duration,
}

impl GrpcClient {
    /// Calls `method`, given by its path. Connects when the first request is sent. To be called inside of a runtime.
    ///
    /// # Errors
    /// The settings for TLS are not valid.
    pub fn new(config: &Config, method: &'static str) -> Result<Self, ConfigError> {
        let error = |e: tonic::transport::Error| ConfigError::Tls(chain(&e));
        let mut endpoint = Endpoint::from_shared(config.endpoint.to_string())
            .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
            .map_err(|e| ConfigError::Endpoint { endpoint: config.endpoint.to_string(), reason: chain(&e) })?
            .connect_timeout(config.timeout);
        if config.endpoint.scheme() == "https" {
            // The same checks as for HTTP, which say better than tonic what is wrong with a file.
            super::tls::client(&config.tls)?;
            let mut tls = match &config.tls.roots {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            if let Some((chain, key)) = &config.tls.identity {
                tls = tls.identity(Identity::from_pem(chain, key));
            }
            endpoint = endpoint.tls_config(tls).map_err(error)?;
        }
        // Servers in Go answer as they are asked: compressed, if the request is.
        let grpc = Grpc::new(endpoint.connect_lazy())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(ANSWER_MAX);
        Ok(Self {
            method: PathAndQuery::from_static(method),
            grpc: if config.gzip { grpc.send_compressed(CompressionEncoding::Gzip) } else { grpc },
            metadata: MetadataMap::from_headers(config.headers.clone()),
            timeout: config.timeout,
        })
    }

    /// Sends one request.
    ///
    /// # Errors
    /// It did not arrive, was not answered in time, or was refused.
    pub async fn send(&self, body: Bytes) -> Result<Answer, Failure> {
        let mut grpc = self.grpc.clone();
        let mut request = Request::new(body);
        *request.metadata_mut() = self.metadata.clone();
        let call = async {
            grpc.ready().await.map_err(|e| Failure {
                kind: FailureKind::Unreachable,
                retry: Retry::Backoff,
                message: chain(&e),
            })?;
            match grpc.unary(request, self.method.clone(), BytesCodec).await {
                Ok(response) => Ok(response.into_inner()),
                // This side's limit, which reads like the receiver's. The receiver has the request.
                Err(status) if status.message().contains(&format!("{ANSWER_MAX} bytes")) => {
                    Ok(Answer::Unconfirmed(format!("answer is longer than {ANSWER_MAX} bytes")))
                }
                Err(status) => Err(failure(&status)),
            }
        };
        tokio::time::timeout(self.timeout, call).await.map_err(|_| Failure {
            kind: FailureKind::TimedOut,
            retry: Retry::Backoff,
            message: format!("no answer within {:?}", self.timeout),
        })?
    }
}

fn failure(status: &Status) -> Failure {
    // A status with a source was made on this side: the connection failed.
    let (kind, retry, message) = match status.source() {
        Some(source) => (FailureKind::Unreachable, Retry::Backoff, chain(source)),
        None => {
            let (kind, retry) = grpc_status(status.code(), status.message(), status.details());
            (kind, retry, format!("gRPC status {:?}: {}", status.code(), printable(status.message())))
        }
    };
    Failure { kind, retry, message }
}

/// Passes the request through as it is.
#[derive(Clone, Copy, Debug)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Answer;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(item.len());
        out.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for BytesCodec {
    type Item = Answer;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Answer>, Status> {
        let bytes = buf.copy_to_bytes(buf.remaining());
        // An answer that cannot be read comes after the receiver has said OK.
        Ok(Some(match ExportTraceServiceResponse::decode(bytes) {
            Ok(response) => Answer::from(response),
            Err(error) => Answer::Unconfirmed(format!("answer is not OTLP: {error}")),
        }))
    }
}
