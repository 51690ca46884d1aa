//! Attributes that follow from a connection's ends: OpenTelemetry's `network.*`, and who they make server and client.
//! <https://opentelemetry.io/docs/specs/semconv/general/attributes/>

use std::net::{IpAddr, SocketAddr};

use compact_str::{CompactString, ToCompactString};

use super::{Addresses, Attributes, OtherEnd, Side};
use crate::{conn::Connection, event::Endpoints};

/// One end, as an attribute pair `*.address`, `*.port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// IP address, or path of a Unix socket.
    pub address: CompactString,
    /// Port, where there are ports.
    pub port: Option<u16>,
}

/// Pushes `network.peer.*`, `network.local.*` and `network.transport`.
pub fn describe(connection: &Connection, attributes: &mut Attributes) {
    match &connection.endpoints {
        Some(Endpoints::Inet { local, remote }) => {
            attributes.push("network.peer.address", address(remote.ip()));
            attributes.push("network.peer.port", remote.port());
            attributes.push("network.local.address", address(local.ip()));
            attributes.push("network.local.port", local.port());
            attributes.push("network.transport", "tcp");
        }
        Some(Endpoints::Unix { path, .. }) => {
            if !path.is_empty() {
                attributes.push("network.peer.address", &**path);
            }
            attributes.push("network.transport", "unix");
        }
        None => {}
    }
}

/// The same for a datagram, as far as its ends are known.
pub fn describe_datagram(local: SocketAddr, remote: Option<SocketAddr>, attributes: &mut Attributes) {
    if let Some(remote) = remote {
        attributes.push("network.peer.address", address(remote.ip()));
        attributes.push("network.peer.port", remote.port());
    }
    if !local.ip().is_unspecified() {
        attributes.push("network.local.address", address(local.ip()));
    }
    attributes.push("network.local.port", local.port());
    attributes.push("network.transport", "udp");
}

/// The addresses of a connection of which this process is on `side`, as both ends know them.
#[must_use]
pub fn addresses(connection: &Connection, side: Side) -> Option<Addresses> {
    let Endpoints::Inet { local, remote } = connection.endpoints.as_ref()? else {
        return None;
    };
    let (client, server) = if side == Side::Server { (*remote, *local) } else { (*local, *remote) };
    let netns = if remote.ip().is_loopback() { connection.netns } else { 0 };
    Some(Addresses { netns, client, server })
}

/// How the other end of a connection is found.
#[must_use]
pub fn other_end(connection: &Connection) -> OtherEnd {
    match (&connection.endpoints, connection.sequences) {
        (Some(Endpoints::Unix { peer, .. }), _) if *peer != 0 => OtherEnd::Sock(*peer),
        (_, Some(sequences)) => OtherEnd::Sequences(sequences),
        _ => OtherEnd::Unknown,
    }
}

/// The peer's IP address.
#[must_use]
pub fn remote(connection: &Connection) -> Option<IpAddr> {
    match connection.endpoints.as_ref()? {
        Endpoints::Inet { remote, .. } => Some(remote.ip()),
        Endpoints::Unix { .. } => None,
    }
}

/// The server's end of a connection of which this process is on `side`.
#[must_use]
pub fn server(connection: &Connection, side: Side) -> Option<End> {
    match connection.endpoints.as_ref()? {
        Endpoints::Inet { local, remote } => {
            let end = if side == Side::Server { local } else { remote };
            Some(End { address: address(end.ip()), port: Some(end.port()) })
        }
        Endpoints::Unix { path, .. } => {
            (!path.is_empty()).then(|| End { address: CompactString::new(path), port: None })
        }
    }
}

/// Where the peer is: on a server, the client.
#[must_use]
pub fn peer(connection: &Connection) -> Option<End> {
    match connection.endpoints.as_ref()? {
        Endpoints::Inet { remote, .. } => Some(End { address: address(remote.ip()), port: Some(remote.port()) }),
        Endpoints::Unix { .. } => None,
    }
}

/// An address as text, an IPv4 address mapped into IPv6 as IPv4.
pub fn address(ip: IpAddr) -> CompactString {
    let IpAddr::V4(v4) = ip.to_canonical() else {
        return ip.to_compact_string();
    };
    // By hand: the formatting machinery costs more than the rest of the attributes together.
    let mut text = [0; 15];
    let mut rest = text.iter_mut();
    let mut length = 0;
    let mut put = |byte| {
        if let Some(slot) = rest.next() {
            *slot = byte;
            length += 1;
        }
    };
    for (i, part) in v4.octets().into_iter().enumerate() {
        if i > 0 {
            put(b'.');
        }
        if part >= 100 {
            put(b'0' + part / 100);
        }
        if part >= 10 {
            put(b'0' + part / 10 % 10);
        }
        put(b'0' + part % 10);
    }
    CompactString::from_utf8_lossy(text.get(..length).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_canonical_text() {
        for text in ["0.0.0.0", "127.0.0.1", "10.20.130.255", "::1", "2001:db8::1"] {
            assert_eq!(address(text.parse().unwrap()), text);
        }
        assert_eq!(address("::ffff:192.0.2.7".parse().unwrap()), "192.0.2.7");
    }
}
