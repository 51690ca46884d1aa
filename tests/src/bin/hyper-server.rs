//! The test routes on hyper. Arguments: HOST PORT.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

/// A body of `left` bytes in parts of at most `part`; its length is not announced.
struct Parts {
    left: usize,
    part: usize,
}

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let size = self.part.min(self.left);
        self.left -= size;
        Poll::Ready((size > 0).then(|| Ok(Frame::data(Bytes::from(vec![b'x'; size])))))
    }
}

fn parts(left: usize, part: usize) -> Body {
    Parts { left, part }.boxed_unsync()
}

async fn route(request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    let mut words = path.split('/').skip(1);
    let (name, first) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().to_owned());
    let head = request.method() == Method::HEAD;
    let response = Response::builder();
    Ok(match name {
        "echo" if head => response.header(CONTENT_LENGTH, first.len()).body(full(""))?,
        "echo" => response.body(full(first))?,
        "status" => {
            let status = StatusCode::from_u16(first.parse()?)?;
            let empty = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
            response.status(status).body(full(if empty { "" } else { "status" }))?
        }
        "bytes" => response.header(CONTENT_LENGTH, &first).body(parts(if head { 0 } else { first.parse()? }, 65536))?,
        "chunked" => response.body(parts(first.parse()?, 8192))?,
        "upload" => {
            let mut body = request.into_body();
            let mut total = 0;
            while let Some(frame) = body.frame().await {
                total += frame?.data_ref().map_or(0, Bytes::len);
            }
            response.body(full(total.to_string()))?
        }
        "slow" => {
            tokio::time::sleep(Duration::from_millis(first.parse()?)).await;
            response.body(full("slow"))?
        }
        _ => response.status(StatusCode::NOT_FOUND).body(full("no such route"))?,
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (host, port) = (arguments.next().context("no host")?, arguments.next().context("no port")?);
    let address = SocketAddr::new(host.parse()?, port.parse()?);
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener: TcpListener = socket.listen(4096)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A client that goes away is no failure of the server.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(route))
                .await;
        });
    }
}
