//! One connection of the client.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use super::Exchanged;
use super::plan::{Address, Body, Plan, Template};
use super::response::{Reader, Response, Stream};

/// No call of the client blocks longer.
const LIMIT: Duration = Duration::from_secs(60);
const BLOCK: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// An open connection.
pub struct Connection {
    stream: Box<dyn Stream>,
    reader: Reader,
    port: u16,
}

/// A request that was sent and awaits its answer.
pub struct Pending {
    account: Exchanged,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn open(address: &Address) -> Result<Self> {
        let (stream, port): (Box<dyn Stream>, u16) = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(LIMIT))?;
                stream.set_write_timeout(Some(LIMIT))?;
                let port = stream.local_addr()?.port();
                (Box::new(stream), port)
            }
            Address::Unix(path) => {
                let stream =
                    UnixStream::connect(path).with_context(|| format!("cannot connect to {}", path.display()))?;
                stream.set_read_timeout(Some(LIMIT))?;
                stream.set_write_timeout(Some(LIMIT))?;
                (Box::new(stream), 0)
            }
        };
        Ok(Self { stream, reader: Reader::default(), port })
    }

    /// Sends a request, waits for its answer. Says also whether the connection can be used again.
    ///
    /// # Errors
    /// When the connection fails, or the answer is no HTTP/1.x.
    pub fn exchange(&mut self, plan: &Plan, template: &Template, id: &str) -> Result<(Exchanged, bool)> {
        let (head, account) = self.prepare(plan, template, id);
        if plan.split == 0 && template.body == Body::None {
            self.stream.write_all(head.as_bytes())?;
        } else {
            let size = if plan.split == 0 { head.len() } else { plan.split };
            for part in head.as_bytes().chunks(size) {
                self.stream.write_all(part)?;
            }
            if template.expect_continue {
                let interim = self.reader.response(&mut *self.stream, &template.method)?;
                ensure!(interim.status == 100, "status {} instead of 100", interim.status);
            }
            self.send_body(template.body)?;
        }
        let (account, closed) = self.answer(Pending { account })?;
        if account.status == 101 {
            self.talk_binary(plan.after_upgrade)?;
            return Ok((account, true));
        }
        Ok((account, closed))
    }

    /// Sends all requests of a round in one call.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send_all<'a>(
        &mut self,
        plan: &Plan,
        all: impl Iterator<Item = (&'a Template, String)>,
    ) -> Result<Vec<Pending>> {
        let mut bytes = String::new();
        let mut pending = Vec::new();
        for (template, id) in all {
            let (head, account) = self.prepare(plan, template, &id);
            bytes.push_str(&head);
            if let Body::Length(size) = template.body {
                bytes.extend(std::iter::repeat_n('x', usize::try_from(size)?));
            }
            pending.push(Pending { account });
        }
        self.stream.write_all(bytes.as_bytes())?;
        Ok(pending)
    }

    /// Waits for the final answer to a request. Says also whether the server closes the connection.
    ///
    /// # Errors
    /// When the connection fails, or the answer is no HTTP/1.x.
    pub fn answer(&mut self, pending: Pending) -> Result<(Exchanged, bool)> {
        let mut account = pending.account;
        let Response { status, body, text, closed } = loop {
            let response = self.reader.response(&mut *self.stream, &account.method)?;
            if response.status >= 200 || response.status == 101 {
                break response;
            }
        };
        account.end = now();
        account.status = status;
        account.response_body = body;
        account.response_text = String::from_utf8_lossy(&text).into_owned();
        Ok((account, closed))
    }

    fn prepare(&self, plan: &Plan, template: &Template, id: &str) -> (String, Exchanged) {
        let target = template.target.replace("{id}", id);
        let mut head = format!("{} {target} HTTP/1.1\r\nHost: {}\r\n", template.method, plan.host);
        for (name, value) in &template.headers {
            let _infallible = write!(head, "{name}: {value}\r\n");
        }
        let request_body = match template.body {
            Body::None => 0,
            Body::Length(size) => {
                let _infallible = write!(head, "Content-Length: {size}\r\n");
                size
            }
            Body::Chunked(size) => {
                head.push_str("Transfer-Encoding: chunked\r\n");
                size
            }
        };
        if template.expect_continue {
            head.push_str("Expect: 100-continue\r\n");
        }
        head.push_str("\r\n");
        let traceparent = template.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("traceparent"));
        let account = Exchanged {
            method: template.method.clone(),
            target,
            traceparent: traceparent.map(|(_, value)| value.clone()).unwrap_or_default(),
            request_body,
            start: now(),
            port: self.port,
            ..Exchanged::default()
        };
        (head, account)
    }

    fn send_body(&mut self, body: Body) -> Result<()> {
        let (mut left, chunked) = match body {
            Body::None => return Ok(()),
            Body::Length(size) => (size, false),
            Body::Chunked(size) => (size, true),
        };
        while left > 0 {
            let part = BLOCK.get(..usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK.len())).unwrap_or_default();
            if chunked {
                let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
                chunk.extend_from_slice(part);
                chunk.extend_from_slice(b"\r\n");
                self.stream.write_all(&chunk)?;
            } else {
                self.stream.write_all(part)?;
            }
            left -= part.len() as u64;
        }
        if chunked {
            self.stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(())
    }

    /// What an upgraded connection carries: bytes with something in them that looks like a request, sent back by the server.
    fn talk_binary(&mut self, size: usize) -> Result<()> {
        let mut back = self.reader.rest().len();
        let mut block = vec![0x82_u8; 4096];
        let trap = b"GET /trap/upgraded HTTP/1.1\r\nHost: trap\r\n\r\n";
        for (to, from) in block.iter_mut().zip(trap) {
            *to = *from;
        }
        for start in (0..size).step_by(block.len()) {
            let part = block.get(..block.len().min(size - start)).unwrap_or_default();
            self.stream.write_all(part)?;
            let mut echo = [0; 4096];
            while back < start + part.len() {
                let n = self.stream.read(&mut echo)?;
                ensure!(n > 0, "the server has closed an upgraded connection");
                back += n;
            }
        }
        Ok(())
    }
}

/// Wall clock, in nanoseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
