//! As much HTTP/1.1 as the shop needs: a server with a thread for each connection, and a client that keeps connections. Bodies
//! have a length; what is longer or has none is refused.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

/// A message's head and body, at most.
const HEAD: usize = 8 << 10;
const BODY: usize = 64 << 10;
/// Connections that are served at once; more are closed.
const CONNECTIONS: usize = 256;
/// A call waits so long for its answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A request, as a handler gets it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// `Null` where there is none, or it is no JSON.
    pub(super) body: Value,
}

/// An answer.
#[derive(Debug, PartialEq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Response {
    pub(super) fn new(status: u16, body: Value) -> Self {
        Self { status, body }
    }
}

pub(super) type Handler = dyn Fn(&Request) -> Response + Send + Sync;

/// Serves every connection, for as long as the process lives.
pub(super) fn listen(listener: &TcpListener, handler: &Arc<Handler>) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        // Out of descriptors, mostly: give others time to close theirs.
        let Ok(stream) = stream else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (handler, open) = (Arc::clone(handler), Arc::clone(&open));
        thread::spawn(move || {
            // A peer that goes away, or speaks something else, ends its own connection only.
            let _ = converse(&stream, &*handler);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn converse(stream: &TcpStream, handler: &Handler) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let response = handler(&request);
        let reason = match response.status {
            200 => "OK",
            201 => "Created",
            204 => "No Content",
            404 => "Not Found",
            500 => "Internal Server Error",
            502 => "Bad Gateway",
            _ => "",
        };
        // A 204 has neither body nor length (RFC 9110, section 15.3.5).
        let (length, body) = if response.status == 204 {
            (String::new(), String::new())
        } else {
            let body = response.body.to_string();
            (format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()), body)
        };
        let message = format!("HTTP/1.1 {} {reason}\r\nserver: geophone-demo\r\n{length}\r\n{body}", response.status);
        let mut writer = stream;
        writer.write_all(message.as_bytes())?;
    }
    Ok(())
}

/// `None` when the peer has closed the connection between requests.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let head = read_head(reader)?;
    if head.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let (Ok(_), Some(method), Some(path)) = (request.parse(&head), request.method, request.path) else {
        return Err(invalid());
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let body = read_body(reader, request.headers)?;
    Ok(Some(Request { method, path, body }))
}

/// Up to and with the empty line; empty at the end of the stream.
fn read_head(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        let room = HEAD.checked_sub(head.len()).filter(|room| *room > 0).ok_or_else(invalid)?;
        let read = io::Read::take(&mut *reader, room as u64).read_until(b'\n', &mut head)?;
        match (read, head.is_empty()) {
            (0, true) => return Ok(head),
            (0, false) => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if head.ends_with(b"\r\n\r\n") => return Ok(head),
            _ => {}
        }
    }
}

fn read_body(reader: &mut impl BufRead, headers: &[httparse::Header<'_>]) -> io::Result<Value> {
    let header = |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    if header("transfer-encoding").is_some() {
        return Err(invalid());
    }
    let Some(length) = header("content-length") else {
        return Ok(Value::Null);
    };
    let length =
        std::str::from_utf8(length.value).ok().and_then(|text| text.parse().ok()).filter(|length| *length <= BODY);
    let mut body = vec![0; length.ok_or_else(invalid)?];
    reader.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// Calls one service, over connections that it keeps for the next call.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    idle: Mutex<Vec<BufReader<TcpStream>>>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::default() }
    }

    /// Sends a request and waits for its answer. A kept connection that the other side has closed meanwhile is replaced.
    pub(super) fn call(&self, method: &str, path: &str, body: &Value) -> io::Result<Response> {
        let (kind, body) = if body.is_null() {
            ("", String::new())
        } else {
            let body = body.to_string();
            ("content-type: application/json\r\n", body)
        };
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let message = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{kind}{length}\r\n{body}", self.address);
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut connection) = kept
            && let Ok(response) = exchange(&mut connection, &message)
        {
            self.keep(connection);
            return Ok(response);
        }
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut connection = BufReader::new(stream);
        let response = exchange(&mut connection, &message)?;
        self.keep(connection);
        Ok(response)
    }

    fn keep(&self, connection: BufReader<TcpStream>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < 16 {
            idle.push(connection);
        }
    }
}

fn exchange(connection: &mut BufReader<TcpStream>, message: &str) -> io::Result<Response> {
    connection.get_mut().write_all(message.as_bytes())?;
    let head = read_head(connection)?;
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let (Ok(_), Some(status)) = (response.parse(&head), response.code) else {
        return Err(invalid());
    };
    let body = read_body(connection, response.headers)?;
    Ok(Response { status, body })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use serde_json::json;

    use super::*;

    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let handler: Arc<Handler> = Arc::new(|request: &Request| {
            let status = if request.method == "DELETE" { 204 } else { 200 };
            Response::new(status, json!([request.method, request.path, request.body]))
        });
        thread::spawn(move || listen(&listener, &handler));
        address
    }

    #[test]
    fn a_connection_is_used_again() {
        let client = Client::new(echo());
        for path in ["/a", "/b"] {
            let response = client.call("POST", path, &json!({"x": 1})).unwrap();
            assert_eq!(response, Response::new(200, json!(["POST", path, {"x": 1}])));
            assert_eq!(client.call("DELETE", path, &Value::Null).unwrap(), Response::new(204, Value::Null));
        }
        assert_eq!(client.idle.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_closed_connection_is_replaced() {
        let client = Client::new(echo());
        client.call("GET", "/", &Value::Null).unwrap();
        client.idle.lock().unwrap()[0].get_ref().shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(client.call("GET", "/", &Value::Null).unwrap().status, 200);
    }

    #[test]
    fn nonsense_ends_its_own_connection_only() {
        let address = echo();
        for message in [
            "nonsense\r\n\r\n".to_owned(),
            format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(2 * HEAD)),
            "POST / HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n".into(),
            "POST / HTTP/1.1\r\ncontent-length: 1000000000\r\n\r\n".into(),
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".into(),
        ] {
            let mut stream = TcpStream::connect(address).unwrap();
            // The other side may close while this is being written.
            let _ = stream.write_all(message.as_bytes());
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert_eq!(answer, b"", "{message:.40}");
        }
        assert_eq!(Client::new(address).call("GET", "/", &Value::Null).unwrap().status, 200);
    }
}
