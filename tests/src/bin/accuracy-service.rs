//! A service of the accuracy suite on hyper and tokio; `tests/accuracy/README.md` says what it does.

use std::convert::Infallible;
use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A service that is called.
#[derive(Clone)]
struct Callee {
    name: String,
    address: String,
    /// Calls at a time, where they are limited.
    room: Arc<Semaphore>,
}

struct Service {
    groups: Vec<Vec<Callee>>,
    think: u64,
    retries: bool,
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// Milliseconds, 0 for every second request.
fn delay(id: u64, position: u64) -> u64 {
    ((id * 7919 + position * 104_729) % 41).saturating_sub(20)
}

impl Service {
    fn new() -> Result<Self> {
        let pool: usize = env::var("POOL").map_or(Ok(Semaphore::MAX_PERMITS), |text| text.parse())?;
        let text = env::var("CALLS").context("CALLS is not set")?;
        let mut rooms = std::collections::HashMap::new();
        let mut callee = |text: &str| {
            let (name, address) = text.split_once('=').context("CALLS: no address")?;
            let room = rooms.entry(address.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(pool)));
            Ok(Callee { name: name.to_owned(), address: address.to_owned(), room: Arc::clone(room) })
        };
        let groups = text.split(';').filter(|group| !group.is_empty());
        let groups = groups.map(|group| group.split(',').map(&mut callee).collect()).collect::<Result<_>>()?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Ok(Self {
            groups,
            think: env::var("THINK").map_or(Ok(0), |text| text.parse())?,
            retries: env::var_os("RETRIES").is_some(),
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    async fn call(&self, callee: &Callee, id: u64, position: u64) -> Result<u64> {
        let get = async |position: u64| {
            let _room = callee.room.acquire().await?;
            let target: Uri = format!("http://{}/{}/{id}/{position}", callee.address, callee.name).parse()?;
            let response = self.client.get(target).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, body))
        };
        let (mut status, mut body) = get(position).await?;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            (status, body) = get(position + 5).await?;
        }
        anyhow::ensure!(status == StatusCode::OK, "{} answered with {status}", callee.name);
        Ok(std::str::from_utf8(&body)?.parse()?)
    }

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let mut words = request.uri().path().split('/').skip(2);
        let mut number = || words.next().context("a path without numbers")?.parse::<u64>().context("not a number");
        let (id, position) = (number()?, number()?);
        tokio::time::sleep(Duration::from_millis(delay(id, position))).await;
        if self.retries && position > 1 && position % 10 < 5 && (id + position).is_multiple_of(8) {
            return Ok(Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(Full::from("0"))?);
        }
        let mut served = 1;
        let mut next = position * 10;
        for group in &self.groups {
            if self.think > 0 {
                tokio::time::sleep(Duration::from_millis(delay(id, next) * self.think / 20)).await;
            }
            if let [callee] = group.as_slice() {
                served += self.call(callee, id, next).await?;
                next += 1;
                continue;
            }
            let mut calls = JoinSet::new();
            for callee in group {
                let (service, callee) = (Arc::clone(&self), callee.clone());
                calls.spawn(async move { service.call(&callee, id, next).await });
                next += 1;
            }
            while let Some(answer) = calls.join_next().await {
                served += answer??;
            }
        }
        Ok(Response::new(Full::from(served.to_string())))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let service = Arc::new(Service::new()?);
    let address: SocketAddr = format!("{}:{}", env::var("HOST")?, env::var("PORT")?).parse()?;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(1024)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            let serve = service_fn(|request| {
                let service = Arc::clone(&service);
                async move {
                    let answer = service.serve(request).await.unwrap_or_else(|error| {
                        eprintln!("{error:#}");
                        let mut failed = Response::new(Full::from("failed"));
                        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                        failed
                    });
                    Ok::<_, Infallible>(answer)
                }
            });
            // A client that goes away is no failure of the server.
            let _ended = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
        });
    }
}
