//! OTLP over TLS, with certificates made on the spot.

use std::path::PathBuf;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use tempfile::TempDir;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use super::{Running, grpc::Receiver, limits, raw, retry};
use crate::export::{DropReason, FailureKind, otlp::config::RawConfig};

struct Certificates {
    folder: TempDir,
    certificate: String,
    key: String,
}

impl Certificates {
    fn new() -> Self {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let new = Self {
            folder: tempfile::tempdir().unwrap(),
            certificate: own.cert.pem(),
            key: own.signing_key.serialize_pem(),
        };
        std::fs::write(new.path("certificate"), &new.certificate).unwrap();
        std::fs::write(new.path("key"), &new.key).unwrap();
        new
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A receiver that speaks TLS, and the settings to reach it.
async fn start(server: &Certificates, client: Option<&Certificates>) -> (Receiver, RawConfig) {
    let receiver = Receiver::new(|_| Ok(ExportTraceServiceResponse::default()));
    let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(&server.certificate, &server.key));
    if let Some(client) = client {
        tls = tls.client_ca_root(Certificate::from_pem(&client.certificate));
    }
    let (address, _) = receiver.serve(Server::builder().tls_config(tls).unwrap(), usize::MAX).await;
    (receiver, raw("grpc", format!("https://localhost:{}", address.port())))
}

#[tokio::test]
async fn trusts_the_certificate_that_it_is_given() {
    let own = Certificates::new();
    let (receiver, raw) = start(&own, None).await;
    let raw = RawConfig { certificate: Some(own.path("certificate")), ..raw };
    let running = Running::otlp(raw, limits(), retry());
    running.send(10);
    assert_eq!((running.settled().await.exported, receiver.spans()), (10, 10));
}

#[tokio::test]
async fn shows_its_own_certificate_when_it_has_one() {
    let (own, client) = (Certificates::new(), Certificates::new());
    let (receiver, raw) = start(&own, Some(&client)).await;
    let stranger = RawConfig { certificate: Some(own.path("certificate")), ..raw };
    let known = RawConfig {
        client_certificate: Some(client.path("certificate")),
        client_key: Some(client.path("key")),
        ..stranger.clone()
    };
    let running = Running::otlp(known, limits(), retry());
    running.send(10);
    assert_eq!((running.settled().await.exported, receiver.spans()), (10, 10));
    let running = Running::otlp(stranger, limits(), retry());
    running.send(10);
    assert_eq!(running.settled().await.dropped_for(DropReason::RetriesExhausted), 10);
    assert_eq!(receiver.spans(), 10);
}

#[tokio::test]
async fn does_not_trust_an_unknown_certificate() {
    let own = Certificates::new();
    let other = Certificates::new();
    for protocol in ["grpc", "http/protobuf"] {
        let (receiver, raw) = start(&own, None).await;
        let raw = RawConfig { certificate: Some(other.path("certificate")), protocol: Some(protocol.into()), ..raw };
        let running = Running::otlp(raw, limits(), retry());
        running.send(10);
        let counted = running.settled().await;
        assert_eq!(counted.dropped_for(DropReason::RetriesExhausted), 10);
        assert_eq!(counted.failed_with(FailureKind::Unreachable), counted.requests);
        let error = counted.last_error.unwrap();
        assert!(error.contains("certificate"), "{error}");
        assert_eq!(receiver.spans(), 0);
    }
}
