//! The kinds of stream socket, with one way to listen and to connect for all of them.

use std::{
    io,
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
};

/// A kind of stream socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// TCP over IPv4.
    Ipv4,
    /// TCP over IPv6.
    Ipv6,
    /// A Unix domain socket.
    Unix,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ipv4, Self::Ipv6, Self::Unix];

    /// Its name, in paths and checks.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Unix => "unix",
        }
    }

    /// The loopback address; `None` for Unix sockets.
    pub fn loopback(self) -> Option<&'static str> {
        match self {
            Self::Ipv4 => Some("127.0.0.1"),
            Self::Ipv6 => Some("::1"),
            Self::Unix => None,
        }
    }

    /// Connects to what a listener calls itself.
    pub fn connect(self, address: &str) -> io::Result<OwnedFd> {
        Ok(match self {
            Self::Ipv4 | Self::Ipv6 => TcpStream::connect(address)?.into(),
            Self::Unix => UnixStream::connect(address)?.into(),
        })
    }
}

/// A listening socket of any family.
pub enum Listener {
    /// IPv4 and IPv6.
    Tcp(TcpListener),
    /// Unix.
    Unix(UnixListener),
}

impl Listener {
    /// Listens on a free port of the loopback address, or on a path that no other process of ours has; says which.
    pub fn new(family: Family) -> io::Result<(Self, String)> {
        Ok(match family {
            Family::Ipv4 | Family::Ipv6 => {
                let host = if family == Family::Ipv4 { "127.0.0.1:0" } else { "[::1]:0" };
                let listener = TcpListener::bind(host)?;
                let address = listener.local_addr()?.to_string();
                (Self::Tcp(listener), address)
            }
            Family::Unix => {
                let path = std::env::temp_dir().join(format!("geophone-smoke-{}", std::process::id()));
                (Self::Unix(UnixListener::bind(&path)?), path.to_string_lossy().into_owned())
            }
        })
    }

    /// The next connection.
    pub fn accept(&self) -> io::Result<OwnedFd> {
        Ok(match self {
            Self::Tcp(listener) => listener.accept()?.0.into(),
            Self::Unix(listener) => listener.accept()?.0.into(),
        })
    }
}
