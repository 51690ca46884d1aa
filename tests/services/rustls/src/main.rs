//! A server and a client over TLS on hyper and tokio-rustls, of the version of rustls that the package says.
//!
//! `server HOST PORT CERTIFICATE KEY`: some of the test routes. `client`: two connections in turns; reads what to send as JSON, one line; says
//! `ready` when connected and warm, waits for a line, prints its account. `endpoints PORT`: see [`endpoints`], without TLS.

mod endpoints;
#[cfg_attr(feature = "v21", path = "../v21/tls.rs")]
mod tls;

use std::convert::Infallible;
use std::io::BufRead as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

async fn route(request: Request<Incoming>) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut words = path.split('/').skip(1);
    let (name, first) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
    let body = match name {
        "echo" => Bytes::from(first),
        "bytes" => Bytes::from(vec![b'x'; first.parse().unwrap_or_default()]),
        "upload" => {
            let length = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
            Bytes::from(length.to_string())
        }
        _ => Bytes::new(),
    };
    let mut response = Response::new(Full::new(body));
    if !["echo", "bytes", "upload"].contains(&name) {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

async fn server(host: &str, port: &str, certificate: &str, key: &str) -> Result<()> {
    let mut config = tls::server(certificate, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(format!("{host}:{port}")).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // Ends with an error when the client does not say goodbye.
            let _ = server.serve_connection(TokioIo::new(stream), service_fn(route)).await;
        });
    }
}

struct Client {
    host: String,
    port: u64,
    requests: Vec<Value>,
    /// Each with its own port.
    connections: Vec<(SendRequest<Full<Bytes>>, u16)>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

impl Client {
    async fn connect(plan: &Value) -> Result<Self> {
        let host = plan["host"].as_str().unwrap_or_default().to_owned();
        let port = plan["port"].as_u64().unwrap_or_default();
        let connector = TlsConnector::from(Arc::new(tls::client()));
        let mut connections = Vec::new();
        for _ in 0..2 {
            let stream = TcpStream::connect(format!("{host}:{port}")).await?;
            let own = stream.local_addr()?.port();
            let stream = connector.connect(tls::ServerName::try_from(host.as_str())?.to_owned(), stream).await?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            connections.push((sender, own));
        }
        let requests = plan["requests"].as_array().cloned().unwrap_or_default();
        Ok(Self { host, port, requests, connections })
    }

    async fn send(&mut self, prefix: &str, rounds: u64) -> Result<Vec<Value>> {
        let Self { host, port, requests, connections } = self;
        let (host, port) = (&*host, *port);
        let mut sent = Vec::new();
        for round in 0..rounds {
            for (index, request) in requests.iter().enumerate() {
                for (at, (sender, own)) in connections.iter_mut().enumerate() {
                    let id = format!("{prefix}-{round}-{index}-{at}");
                    let target = request["target"].as_str().unwrap_or_default().replace("{id}", &id);
                    let method = request["method"].as_str().unwrap_or_default();
                    let size = request["body"].as_u64().unwrap_or_default();
                    let start = now();
                    let message = Request::builder()
                        .method(method)
                        .uri(&target)
                        .header("host", format!("{host}:{port}"))
                        .body(Full::new(Bytes::from(vec![b'x'; size as usize])))?;
                    sender.ready().await?;
                    let response = sender.send_request(message).await?;
                    let status = response.status().as_u16();
                    let body = response.into_body().collect().await?.to_bytes();
                    sent.push(json!({
                        "method": method, "target": target, "traceparent": "", "request_body": size, "status": status,
                        "response_body": body.len(), "response_text": String::from_utf8_lossy(&body[..body.len().min(64)]),
                        "start": start, "end": now(), "port": *own,
                    }));
                }
            }
        }
        Ok(sent)
    }
}

async fn client() -> Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    let plan: Value = serde_json::from_str(&lines.next().ok_or("nothing to do")??)?;
    let mut client = Client::connect(&plan).await?;
    client.send("warm", plan["warmup"].as_u64().unwrap_or_default()).await?;
    println!("ready");
    lines.next().ok_or("not told to go")??;
    println!("{}", Value::Array(client.send("id", plan["rounds"].as_u64().unwrap_or_default()).await?));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server", host, port, certificate, key] => server(host, port, certificate, key).await,
        ["client"] => client().await,
        ["endpoints", port] => endpoints::server(port).await,
        _ => Err("server HOST PORT CERTIFICATE KEY, client, or endpoints PORT".into()),
    }
}
