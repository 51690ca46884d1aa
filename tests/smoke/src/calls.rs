//! The ways in which a program can move bytes through a socket, each by exactly the system calls that it names: the
//! standard library chooses its own (`recv` for a socket's `read`), which is why it is not used here.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, read, readv, write, writev},
    net::{
        MMsgHdr, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recv, recvmsg, send, sendmmsg, sendmsg,
    },
};

/// A pair of system calls, one to send and one to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `write` in two pieces that cut the head of a message, and `read`.
    Plain,
    /// `writev` and `readv`.
    Vectored,
    /// `sendto`, and `recvfrom` after a look with `MSG_PEEK`, which takes nothing.
    Socket,
    /// `sendmsg` and `recvmsg` with several parts.
    Message,
    /// `sendmmsg` and `recvmmsg` with several messages.
    Messages,
    /// `write` and `read` that fail with `EAGAIN` first.
    Nonblocking,
    /// `write` for the head, `sendfile` for the body, and `read`.
    Sendfile,
}

impl Way {
    /// All of them, in the order in which connections use them.
    pub const ALL: [Self; 7] =
        [Self::Plain, Self::Vectored, Self::Socket, Self::Message, Self::Messages, Self::Nonblocking, Self::Sendfile];

    /// Its name in paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "write",
            Self::Vectored => "writev",
            Self::Socket => "sendto",
            Self::Message => "sendmsg",
            Self::Messages => "sendmmsg",
            Self::Nonblocking => "nonblocking",
            Self::Sendfile => "sendfile",
        }
    }

    /// Sends all of `head` and `body`.
    pub fn send(self, socket: BorrowedFd<'_>, head: &[u8], body: &[u8]) -> io::Result<()> {
        if self == Self::Sendfile {
            self.send_all(socket, head)?;
            return send_file(socket, body);
        }
        self.send_all(socket, &[head, body].concat())
    }

    fn send_all(self, socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
        let mut first = true;
        while !bytes.is_empty() {
            let sent = match self {
                Self::Plain if first => write(socket, half(bytes).0)?,
                Self::Nonblocking => wait(socket, PollFlags::OUT, || write(socket, bytes))?,
                Self::Plain | Self::Sendfile => write(socket, bytes)?,
                Self::Vectored => writev(socket, &parts(bytes))?,
                Self::Socket => send(socket, bytes, SendFlags::empty())?,
                Self::Message => {
                    sendmsg(socket, &parts(bytes), &mut SendAncillaryBuffer::default(), SendFlags::empty())?
                }
                Self::Messages => send_messages(socket, bytes)?,
            };
            first = false;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Receives what is there, at most the length of `buffer`; 0 when the peer has closed.
    pub fn receive(self, socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(match self {
            Self::Plain | Self::Sendfile => read(socket, buffer)?,
            Self::Nonblocking => wait(socket, PollFlags::IN, || read(socket, &mut *buffer))?,
            Self::Vectored => readv(socket, &mut parts_mut(buffer))?,
            Self::Socket => {
                let mut look = [0; 16];
                let _ = recv(socket, &mut look[..], RecvFlags::PEEK)?;
                recv(socket, buffer, RecvFlags::empty())?.0
            }
            Self::Message => {
                let mut control = RecvAncillaryBuffer::default();
                recvmsg(socket, &mut parts_mut(buffer), &mut control, RecvFlags::empty())?.bytes
            }
            Self::Messages => receive_messages(socket, buffer)?,
        })
    }
}

/// Two parts of which the first ends in the middle of a line.
fn half(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.len().min(11))
}

/// Three parts: some bytes, none, and the rest.
fn parts(bytes: &[u8]) -> [IoSlice<'_>; 3] {
    let (first, rest) = half(bytes);
    [IoSlice::new(first), IoSlice::new(&[]), IoSlice::new(rest)]
}

fn parts_mut(buffer: &mut [u8]) -> [IoSliceMut<'_>; 2] {
    let (first, rest) = buffer.split_at_mut(buffer.len().min(23));
    [IoSliceMut::new(first), IoSliceMut::new(rest)]
}

fn send_messages(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let (first, rest) = half(bytes);
    let (first, rest) = ([IoSlice::new(first)], parts(rest));
    let (mut none, mut nothing) = (SendAncillaryBuffer::default(), SendAncillaryBuffer::default());
    let mut messages = [MMsgHdr::new(&first, &mut none), MMsgHdr::new(&rest, &mut nothing)];
    let count = sendmmsg(socket, &mut messages, SendFlags::empty())?;
    Ok(messages.iter().take(count).map(MMsgHdr::bytes_sent).sum())
}

/// On a stream a call with several messages fills one after the other, each with what is there at that time; the bytes
/// are in order only if each but the last is filled, so what follows a short one is moved down.
fn receive_messages(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let middle = buffer.len().min(23);
    let (first, rest) = buffer.split_at_mut(middle);
    let mut messages = [[IoSliceMut::new(first)], [IoSliceMut::new(rest)]];
    let mut headers = MultiHeaders::<()>::preallocate(messages.len(), None);
    let flags = MsgFlags::MSG_WAITFORONE;
    let lengths: Vec<usize> = recvmmsg(socket.as_raw_fd(), &mut headers, messages.iter_mut(), flags, None)?
        .map(|message| message.bytes)
        .collect();
    let (first, second) = (lengths.first().copied().unwrap_or(0), lengths.get(1).copied().unwrap_or(0));
    buffer.copy_within(middle..middle + second, first);
    Ok(first + second)
}

/// Calls until the answer is another than `EAGAIN`.
fn wait(
    socket: BorrowedFd<'_>,
    events: PollFlags,
    mut call: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&socket, events)], None)?;
            }
            answer => return Ok(answer?),
        }
    }
}

fn send_file(socket: BorrowedFd<'_>, body: &[u8]) -> io::Result<()> {
    let file: OwnedFd = rustix::fs::memfd_create("body", rustix::fs::MemfdFlags::CLOEXEC)?;
    write(&file, body)?;
    let mut offset = 0;
    let mut left = body.len();
    while left > 0 {
        left -= rustix::fs::sendfile(socket, &file, Some(&mut offset), left)?;
    }
    Ok(())
}
