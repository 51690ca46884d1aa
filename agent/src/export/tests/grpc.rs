//! OTLP over gRPC, against a real server that misbehaves on purpose.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::{io::AsyncWriteExt, net::TcpListener, task::JoinHandle};
use tonic::{
    Code, Request, Response, Status,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Server, server::TcpIncoming},
};

use super::{Running, impatient, limits, raw, retry, span_count};
use crate::export::{DropReason, FailureKind, otlp::config::RawConfig};

type Act = dyn Fn(usize) -> Result<ExportTraceServiceResponse, Status> + Send + Sync;

#[derive(Clone)]
pub struct Receiver {
    act: Arc<Act>,
    count: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<(MetadataMap, ExportTraceServiceRequest)>>>,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.seen.lock().unwrap().push((metadata, message));
        (self.act)(self.count.fetch_add(1, SeqCst)).map(Response::new)
    }
}

impl Receiver {
    pub fn new(act: impl Fn(usize) -> Result<ExportTraceServiceResponse, Status> + Send + Sync + 'static) -> Self {
        Self { act: Arc::new(act), count: Arc::default(), seen: Arc::default() }
    }

    pub fn spans(&self) -> usize {
        self.seen.lock().unwrap().iter().map(|(_, request)| span_count(request)).sum()
    }

    /// Serves it, reading messages up to a size.
    pub async fn serve(&self, mut server: Server, largest: usize) -> (SocketAddr, JoinHandle<()>) {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap();
        let service = TraceServiceServer::new(self.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(largest);
        let serving = server.add_service(service).serve_with_incoming(incoming);
        (address, tokio::spawn(async move { serving.await.unwrap() }))
    }

    async fn plain(&self) -> RawConfig {
        let (address, _) = self.serve(Server::builder(), usize::MAX).await;
        raw("grpc", format!("http://{address}"))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the type of an answer")]
fn accepted(_: usize) -> Result<ExportTraceServiceResponse, Status> {
    Ok(ExportTraceServiceResponse::default())
}

#[tokio::test]
async fn delivers_with_metadata_and_gzip() {
    let receiver = Receiver::new(accepted);
    let raw = RawConfig {
        compression: Some("gzip".into()),
        headers: Some("api-key=secret".into()),
        ..receiver.plain().await
    };
    let running = Running::otlp(raw, limits(), retry());
    running.send(5_000);
    let counted = running.settled().await;
    assert_eq!((counted.exported, counted.requests), (5_000, 2));
    assert_eq!(receiver.spans(), 5_000);
    let seen = receiver.seen.lock().unwrap();
    let (metadata, _) = &seen[0];
    assert_eq!(metadata.get("api-key").unwrap(), "secret");
    assert_eq!(metadata.get("grpc-encoding").unwrap(), "gzip");
    assert!(metadata.get("grpc-accept-encoding").unwrap().to_str().unwrap().contains("gzip"));
    let agent = metadata.get("user-agent").unwrap().to_str().unwrap();
    assert!(agent.starts_with(concat!("geophone/", env!("CARGO_PKG_VERSION"))), "{agent}");
}

#[tokio::test]
async fn tries_again_until_accepted() {
    let receiver = Receiver::new(|n| if n < 3 { Err(Status::unavailable("not yet")) } else { accepted(n) });
    let running = Running::otlp(receiver.plain().await, limits(), retry());
    running.send(10);
    let counted = running.settled().await;
    assert_eq!((counted.exported, counted.requests, counted.failed_with(FailureKind::Busy)), (10, 4, 3));
}

#[tokio::test]
async fn does_not_repeat_what_is_refused() {
    for code in [Code::InvalidArgument, Code::Unauthenticated, Code::Unimplemented, Code::ResourceExhausted] {
        let receiver = Receiver::new(move |_| Err(Status::new(code, "no")));
        let running = Running::otlp(receiver.plain().await, limits(), retry());
        running.send(10);
        let counted = running.settled().await;
        assert_eq!((counted.dropped_for(DropReason::Refused), counted.requests), (10, 1), "{code:?}");
        assert_eq!(counted.last_error, Some(format!("gRPC status {code:?}: no")));
    }
}

#[tokio::test]
async fn reads_partial_success() {
    let receiver = Receiver::new(|_| {
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".into() };
        Ok(ExportTraceServiceResponse { partial_success: Some(partial) })
    });
    let running = Running::otlp(receiver.plain().await, limits(), retry());
    running.send(10);
    let counted = running.settled().await;
    assert_eq!((counted.exported, counted.dropped_for(DropReason::Rejected)), (7, 3));
    running.send(2);
    let counted = running.settled().await;
    assert_eq!((counted.exported, counted.dropped_for(DropReason::Rejected)), (7, 5), "more than were sent");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_sent_again() {
    let receiver = Receiver::new(|_| {
        let partial = ExportTracePartialSuccess { rejected_spans: 0, error_message: "x".repeat(100_000) };
        Ok(ExportTraceServiceResponse { partial_success: Some(partial) })
    });
    let running = Running::otlp(receiver.plain().await, limits(), retry());
    running.send(10);
    let counted = running.settled().await;
    assert_eq!((counted.dropped_for(DropReason::Unconfirmed), counted.requests), (10, 1), "{counted:?}");
}

#[tokio::test]
async fn splits_what_is_too_large() {
    let receiver = Receiver::new(accepted);
    let (address, _) = receiver.serve(Server::builder(), 20_000).await;
    let running = Running::otlp(raw("grpc", format!("http://{address}")), limits(), retry());
    running.send(1_000);
    let counted = running.settled().await;
    assert_eq!((counted.exported, receiver.spans()), (1_000, 1_000));
    assert!(counted.failed_with(FailureKind::TooLarge) > 10);
}

#[tokio::test]
async fn an_absent_receiver_is_unreachable() {
    let running = Running::otlp(raw("grpc", "http://127.0.0.1:1".into()), limits(), retry());
    running.send(10);
    let counted = running.settled().await;
    assert_eq!(counted.dropped_for(DropReason::RetriesExhausted), 10);
    assert_eq!(counted.failed_with(FailureKind::Unreachable), counted.requests);
    let error = counted.last_error.unwrap();
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_receiver_that_does_not_speak_http_2_is_survived() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The client may be gone.
            let _ = stream.write_all(&[b'x'; 100_000]).await;
        }
    });
    let running = Running::otlp(raw("grpc", format!("http://{address}")), limits(), retry());
    running.send(10);
    let counted = running.settled().await;
    assert_eq!(counted.dropped_for(DropReason::RetriesExhausted), 10, "{counted:?}");
    server.abort();
}

#[tokio::test]
async fn a_receiver_that_hangs_costs_time_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let running = Running::otlp(impatient(raw("grpc", format!("http://{address}"))), limits(), retry());
    running.send(10);
    let counted = running.settled().await;
    assert_eq!(counted.dropped_for(DropReason::RetriesExhausted), 10, "{counted:?}");
    assert!(counted.failed_with(FailureKind::TimedOut) > 0, "{counted:?}");
    let (_, took) = running.ended(Duration::from_secs(5)).await;
    assert!(took < Duration::from_secs(1));
}
