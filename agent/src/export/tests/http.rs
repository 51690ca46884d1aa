//! OTLP over HTTP, against a server that is a bare socket.

use std::{
    io::{Read, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{Running, impatient, limits, raw, retry, span_count};
use crate::export::{
    DropReason, FailureKind, Limits,
    otlp::config::{RawConfig, RawEndpoint},
};

/// What the server does with the n-th request (counted from 0): the bytes of its answer, or something else.
enum Act {
    Answer(Vec<u8>),
    /// Sends so much, then resets the connection.
    Reset(Vec<u8>),
    Hang,
}

/// Requests that arrived whole: head and decoded body.
type Seen = Arc<Mutex<Vec<(String, ExportTraceServiceRequest)>>>;

struct Server {
    address: String,
    seen: Seen,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(act: impl Fn(usize, &ExportTraceServiceRequest) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Seen::default();
        let (act, count) = (Arc::new(act), Arc::new(AtomicUsize::new(0)));
        let requests = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (act, count, seen) = (Arc::clone(&act), Arc::clone(&count), Arc::clone(&requests));
                tokio::spawn(async move {
                    while let Some((head, request)) = read_request(&mut stream).await {
                        let act = act(count.fetch_add(1, SeqCst), &request);
                        seen.lock().unwrap().push((head, request));
                        match act {
                            // The client may be gone.
                            Act::Answer(bytes) => drop(stream.write_all(&bytes).await),
                            Act::Hang => std::future::pending().await,
                            Act::Reset(bytes) => {
                                let _ = stream.write_all(&bytes).await;
                                tokio::time::sleep(Duration::from_millis(20)).await;
                                let _ = stream.set_zero_linger();
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen, task }
    }

    fn raw(&self) -> RawConfig {
        raw("http/protobuf", self.address.clone())
    }

    fn spans(&self) -> usize {
        self.seen.lock().unwrap().iter().map(|(_, request)| span_count(request)).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, ExportTraceServiceRequest)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let body = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap().to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut rest = vec![0; field("content-length:").unwrap().parse::<usize>().unwrap() - body.len()];
    stream.read_exact(&mut rest).await.ok()?;
    let mut body = [body, rest].concat();
    if field("content-encoding:") == Some("gzip") {
        let compressed = std::mem::take(&mut body);
        flate2::read::GzDecoder::new(compressed.as_slice()).read_to_end(&mut body).unwrap();
    }
    let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
    Some((head, request))
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write!(bytes, "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).unwrap();
    bytes.extend_from_slice(body);
    bytes
}

fn ok() -> Act {
    Act::Answer(answer("200 OK", "content-type: application/x-protobuf\r\n", b""))
}

fn status(status: &str) -> Act {
    Act::Answer(answer(status, "", b""))
}

#[tokio::test]
async fn delivers_with_headers_and_gzip() {
    let server = Server::start(|_, _| ok()).await;
    let raw = RawConfig {
        compression: Some("gzip".into()),
        headers: Some("api-key=a%20b".into()),
        endpoint: Some(RawEndpoint::Base(format!("{}/otlp", server.address))),
        ..server.raw()
    };
    let running = Running::otlp(raw, limits(), retry());
    running.send(100);
    let counted = running.settled().await;
    assert_eq!((counted.offered, counted.exported, counted.requests), (100, 100, 1));
    assert_eq!(server.spans(), 100);
    let seen = server.seen.lock().unwrap();
    let (head, _) = &seen[0];
    assert!(head.starts_with("post /otlp/v1/traces http/1.1\r\n"), "{head}");
    for line in [
        "content-type: application/x-protobuf\r\n",
        "content-encoding: gzip\r\n",
        "api-key: a b\r\n",
        concat!("user-agent: geophone/", env!("CARGO_PKG_VERSION"), "\r\n"),
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
}

#[tokio::test]
async fn tries_again_until_accepted() {
    let server = Server::start(|n, _| if n < 3 { status("503 Service Unavailable") } else { ok() }).await;
    let running = Running::otlp(server.raw(), limits(), retry());
    running.send(10);
    let counted = running.settled().await;
    assert_eq!((counted.exported, counted.requests, counted.retries), (10, 4, 3));
    assert_eq!(counted.failed_with(FailureKind::Busy), 3);
}

#[tokio::test]
async fn waits_as_long_as_it_is_asked_to() {
    let busy = || Act::Answer(answer("503 Busy", "retry-after: 1\r\n", b""));
    let server = Server::start(move |n, _| if n == 0 { busy() } else { ok() }).await;
    let policy = super::RetryPolicy { total: Duration::from_secs(5), ..retry() };
    let running = Running::otlp(server.raw(), limits(), policy);
    let began = std::time::Instant::now();
    running.send(10);
    assert_eq!(running.settled().await.exported, 10);
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn gives_up_when_retrying_takes_too_long() {
    let server = Server::start(|_, _| status("429 Too Many Requests")).await;
    let running = Running::otlp(server.raw(), limits(), retry());
    running.send(10);
    let counted = running.settled().await;
    assert_eq!(counted.dropped_for(DropReason::RetriesExhausted), 10);
    assert!(counted.retries > 2);
}

#[tokio::test]
async fn does_not_repeat_what_is_refused() {
    let refusal = || Act::Answer(answer("400 Bad Request", "", b"\x12\x0bno such key"));
    let server = Server::start(move |_, _| refusal()).await;
    let running = Running::otlp(server.raw(), limits(), retry());
    running.send(10);
    let counted = running.settled().await;
    assert_eq!((counted.dropped_for(DropReason::Refused), counted.requests), (10, 1));
    assert_eq!(counted.last_error.as_deref(), Some("HTTP status 400 Bad Request: no such key"));
}

#[tokio::test]
async fn reads_partial_success() {
    let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "too old".into() };
    let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let server = Server::start(move |n, _| match n {
        0 => Act::Answer(answer("200 OK", "content-type: application/x-protobuf\r\n", &body)),
        _ => {
            let body = br#"{"partialSuccess":{"rejectedSpans":"4","errorMessage":"no"}}"#;
            Act::Answer(answer("200 OK", "content-type: application/json\r\n", body))
        }
    })
    .await;
    let running = Running::otlp(server.raw(), limits(), retry());
    running.send(10);
    let counted = running.settled().await;
    assert_eq!((counted.exported, counted.dropped_for(DropReason::Rejected)), (7, 3));
    running.send(10);
    let counted = running.settled().await;
    assert_eq!((counted.exported, counted.dropped_for(DropReason::Rejected)), (13, 7));
}

#[tokio::test]
async fn an_answer_that_is_not_otlp_is_no_success() {
    let server = Server::start(|n, _| match n {
        0 => Act::Answer(answer("200 OK", "content-type: text/html\r\n", b"<html>Sign in</html>")),
        1 => Act::Answer(answer("200 OK", "", &vec![b'x'; 1 << 20])),
        2 => Act::Answer(answer("200 OK", "content-type: application/json\r\n", b"[[[[")),
        // Ends in the middle of the answer.
        _ => Act::Reset(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc".to_vec()),
    })
    .await;
    let running = Running::otlp(server.raw(), limits(), retry());
    for sent in 1..=4 {
        running.send(10);
        let counted = running.settled().await;
        assert_eq!(counted.dropped_for(DropReason::Unconfirmed), 10 * sent);
        assert_eq!((counted.requests, counted.failed_with(FailureKind::BadAnswer)), (sent, sent));
    }
}

#[tokio::test]
async fn a_broken_connection_is_tried_again() {
    let server = Server::start(|n, _| match n {
        0 => Act::Reset(Vec::new()),
        1 => Act::Reset(b"HTTP/1.1 20".to_vec()),
        2 => Act::Answer(b"garbage\r\n\r\n\r\n\0\xff".to_vec()),
        3 => Act::Answer(vec![b'h'; 1 << 20]),
        _ => ok(),
    })
    .await;
    let running = Running::otlp(server.raw(), limits(), retry());
    running.send(10);
    let counted = running.settled().await;
    assert_eq!((counted.exported, counted.failed_with(FailureKind::Unreachable)), (10, 4), "{counted:?}");
}

#[tokio::test]
async fn a_receiver_that_hangs_costs_time_and_no_more() {
    let server = Server::start(|n, _| if n == 0 { Act::Hang } else { ok() }).await;
    let running = Running::otlp(impatient(server.raw()), limits(), retry());
    running.send(10);
    let counted = running.settled().await;
    assert_eq!((counted.exported, counted.failed_with(FailureKind::TimedOut)), (10, 1));
}

#[tokio::test]
async fn a_slow_reader_gets_it_all() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = 0;
        let mut buffer = vec![0; 128 * 1024];
        // 4,000 spans take more than 1 MB.
        while received < 1_000_000 {
            received += stream.read(&mut buffer).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let Act::Answer(bytes) = ok() else { unreachable!() };
        stream.write_all(&bytes).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    let running = Running::otlp(raw("http/protobuf", address), limits(), retry());
    running.send(4_000);
    let counted = running.settled().await;
    assert_eq!((counted.exported, counted.requests), (4_000, 1));
    server.abort();
}

#[tokio::test]
async fn splits_what_is_too_large() {
    let server = Server::start(|_, request| match span_count(request) {
        0..=10 => ok(),
        _ => status("413 Content Too Large"),
    })
    .await;
    let running = Running::otlp(server.raw(), limits(), retry());
    running.send(100);
    let counted = running.settled().await;
    // 100, 2 of 50, 4 of 25, 8 of 12 or 13 are refused; 16 of 6 or 7 are taken.
    assert_eq!((counted.exported, counted.requests), (100, 31));
    assert_eq!((counted.failed_with(FailureKind::TooLarge), counted.retries), (15, 0));
}

#[tokio::test]
async fn a_span_that_is_too_large_alone_is_dropped() {
    let server = Server::start(|_, _| status("413 Content Too Large")).await;
    let running = Running::otlp(server.raw(), limits(), retry());
    running.send(3);
    assert_eq!(running.settled().await.dropped_for(DropReason::TooLarge), 3);
}

#[tokio::test]
async fn an_absent_receiver_never_blocks_and_may_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let small = Limits { spans: 100, ..limits() };
    let policy = super::RetryPolicy { total: Duration::from_secs(10), ..retry() };
    let running = Running::otlp(raw("http/protobuf", format!("http://{address}")), small, policy);
    let began = std::time::Instant::now();
    for _ in 0..1_000 {
        running.send(10);
    }
    assert!(began.elapsed() < Duration::from_secs(2));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let counted = running.stats.snapshot();
    assert_eq!((counted.pending(), counted.dropped_for(DropReason::QueueFull)), (100, 9_900));
    assert!(counted.failed_with(FailureKind::Unreachable) > 0);

    let listener = TcpListener::bind(address).await.unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                while read_request(&mut stream).await.is_some() {
                    let Act::Answer(bytes) = ok() else { unreachable!() };
                    stream.write_all(&bytes).await.unwrap();
                }
            });
        }
    });
    assert_eq!(running.settled().await.exported, 100);
    server.abort();
}

#[tokio::test]
async fn shutdown_delivers_what_is_queued() {
    let server = Server::start(|_, _| ok()).await;
    let slow = Limits { interval: Duration::from_secs(3_600), ..limits() };
    let running = Running::otlp(server.raw(), slow, retry());
    running.send(50);
    let (counted, took) = running.ended(Duration::from_secs(5)).await;
    assert_eq!((counted.exported, server.spans()), (50, 50));
    assert!(took < Duration::from_secs(1));
}

#[tokio::test]
async fn shutdown_does_not_wait_for_an_absent_receiver() {
    let policy = super::RetryPolicy { first: Duration::from_secs(30), longest: Duration::from_secs(30), ..retry() };
    let policy = super::RetryPolicy { total: Duration::from_secs(600), ..policy };
    let running = Running::otlp(raw("http/protobuf", "http://127.0.0.1:1".into()), limits(), policy);
    running.send(50);
    // It now waits for its second attempt.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(running.stats.snapshot().requests, 1);
    let (counted, took) = running.ended(Duration::from_secs(5)).await;
    assert_eq!((counted.dropped_for(DropReason::Shutdown), counted.requests), (50, 2));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn shutdown_keeps_its_deadline() {
    let server = Server::start(|_, _| Act::Hang).await;
    let raw = RawConfig { timeout: Some("60s".into()), ..server.raw() };
    let running = Running::otlp(raw, limits(), retry());
    running.send(50);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (counted, took) = running.ended(Duration::from_millis(300)).await;
    assert_eq!(counted.dropped_for(DropReason::Shutdown), 50);
    assert!(took < Duration::from_secs(1), "{took:?}");
}
