//! As much HTTP/1.1 as the conversation needs: heads, and bodies with a declared length.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, bail};

use crate::calls::Way;

/// The longest head that is read, in bytes.
const LONGEST_HEAD: usize = 8 * 1024;

/// One end of a connection.
pub struct Peer {
    socket: OwnedFd,
    way: Way,
    unread: Vec<u8>,
}

/// The head of a message.
#[derive(Debug)]
pub struct Head {
    /// The first line.
    pub line: String,
    /// `Content-Length`, 0 when there is none.
    pub length: usize,
}

impl Peer {
    /// Talks through `socket` by the calls of `way`.
    pub fn new(socket: OwnedFd, way: Way) -> Result<Self> {
        if way == Way::Nonblocking {
            rustix::io::ioctl_fionbio(&socket, true)?;
        }
        Ok(Self { socket, way, unread: Vec::new() })
    }

    /// Sends a message.
    pub fn send(&self, head: &str, body: &[u8]) -> Result<()> {
        self.way
            .send(self.socket.as_fd(), head.as_bytes(), body)
            .with_context(|| format!("cannot send by {:?}", self.way))
    }

    /// Receives a head; `None` when the peer has closed instead of sending one.
    pub fn head(&mut self) -> Result<Option<Head>> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let rest = self.unread.split_off(end + 4);
                let text = String::from_utf8(std::mem::replace(&mut self.unread, rest))?;
                return Ok(Some(Head::read(&text)?));
            }
            if self.unread.len() > LONGEST_HEAD {
                bail!("the head of a message has no end");
            }
            if !self.receive()? {
                if self.unread.is_empty() {
                    return Ok(None);
                }
                bail!("the peer closed in the middle of a head");
            }
        }
    }

    /// Receives a body of `length` bytes and forgets it.
    pub fn body(&mut self, length: usize) -> Result<()> {
        while self.unread.len() < length {
            if !self.receive()? {
                bail!("the peer closed in the middle of a body");
            }
        }
        self.unread.drain(..length);
        Ok(())
    }

    fn receive(&mut self) -> Result<bool> {
        let mut buffer = [0; 2048];
        let count = self
            .way
            .receive(self.socket.as_fd(), &mut buffer)
            .with_context(|| format!("cannot receive by {:?}", self.way))?;
        self.unread.extend_from_slice(buffer.get(..count).context("received more than was asked for")?);
        Ok(count > 0)
    }
}

impl Head {
    fn read(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let line = lines.next().context("empty head")?.to_owned();
        let length = lines.find_map(|line| line.strip_prefix("Content-Length: ")).map_or(Ok(0), str::parse)?;
        Ok(Self { line, length })
    }
}
