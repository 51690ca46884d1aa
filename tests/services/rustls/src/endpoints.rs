//! The endpoints of `services/c/endpoints.c` on hyper, served by tokio's tasks, which take turns in the middle of each request. Half of the
//! work is done by the task of the connection, half by one that it starts and waits for. Without TLS; here, because tokio's tasks are known
//! in programs that were built to be released.

use std::{convert::Infallible, hint::black_box, net::Ipv4Addr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpSocket, task};

/// Rounds of the lightest endpoint, for each of four times that it is asked to work.
const PART: u64 = 200_000;

fn spin(rounds: u64) -> u64 {
    let mut value = 1u64;
    for round in 0..rounds {
        value = black_box(value).rotate_left(7) ^ round;
    }
    value
}

#[inline(never)]
fn burn_light() -> u64 {
    black_box(spin(PART)) ^ 1
}

#[inline(never)]
fn burn_medium() -> u64 {
    black_box(spin(2 * PART)) ^ 2
}

#[inline(never)]
fn burn_heavy() -> u64 {
    black_box(spin(4 * PART)) ^ 3
}

async fn work(burn: fn() -> u64) {
    black_box(burn());
    task::yield_now().await;
    black_box(burn());
}

async fn serve(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let burn = match request.uri().path().split('/').nth(1) {
        Some("light") => burn_light,
        Some("medium") => burn_medium,
        _ => burn_heavy,
    };
    work(burn).await;
    // It cannot fail.
    let _ended = tokio::spawn(work(burn)).await;
    Ok(Response::new(Full::new(Bytes::from_static(b"ok"))))
}

/// Serves until it is ended.
pub async fn server(port: &str) -> super::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port.parse()?).into())?;
    let listener = socket.listen(4096)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A client that goes away is no failure of the server.
            let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(serve)).await;
        });
    }
}
