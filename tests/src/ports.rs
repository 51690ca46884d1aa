//! Free ports for servers, below the range that the kernel gives to clients.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::{io, process};

use anyhow::{Result, bail};

const FIRST: u16 = 11_000;
const COUNT: u16 = 20_000;
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port on which nobody listens, on any address of IPv4 and IPv6, and that no other call in this process returns soon.
///
/// # Errors
/// When none is free.
pub fn free() -> Result<u16> {
    // Two test runs at the same time should not ask for the same ports.
    let seed = (process::id() % 100) as u16 * 200;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + seed.wrapping_add(step) % COUNT;
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        match TcpListener::bind(any) {
            Ok(_) => return Ok(port),
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
            Err(e) => bail!("cannot try port {port}: {e}"),
        }
    }
    bail!("no port is free between {FIRST} and {}", FIRST + COUNT)
}

/// Writes an address as a URL needs it.
#[must_use]
pub fn authority(host: IpAddr, port: u16) -> String {
    SocketAddr::new(host, port).to_string()
}
