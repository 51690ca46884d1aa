//! The datagram in a packet, where its ports say that it may be DNS. Nothing else that goes by UDP is understood.

use std::net::{IpAddr, SocketAddr};

use etherparse::{LaxNetSlice, TransportSlice};

use super::{Packet, Unusable, segment::slice};

/// A datagram from or to a server of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// Who asks.
    pub client: SocketAddr,
    /// Who is asked.
    pub server: SocketAddr,
    /// It goes to the server.
    pub asks: bool,
    /// Its length.
    pub len: u32,
    /// What was captured of it.
    pub bytes: &'a [u8],
}

impl<'a> Lookup<'a> {
    /// The datagram in a packet. `ports`: where names are asked for.
    ///
    /// # Errors
    /// There is none; see [`Unusable`].
    pub fn of(packet: &Packet<'a>, ports: &[u16]) -> Result<Self, Unusable> {
        let sliced = slice(packet)?;
        let (source, destination, fragmented): (IpAddr, IpAddr, bool) = match &sliced.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                (header.source_addr().into(), header.destination_addr().into(), ip.is_payload_fragmented())
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                (header.source_addr().into(), header.destination_addr().into(), ip.is_payload_fragmented())
            }
            _ => return Err(Unusable::Other),
        };
        if fragmented {
            return Err(Unusable::Fragment);
        }
        let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
            return Err(Unusable::Other);
        };
        let source = SocketAddr::new(source, udp.source_port());
        let destination = SocketAddr::new(destination, udp.destination_port());
        let (client, server, asks) = if ports.contains(&destination.port()) {
            (source, destination, true)
        } else if ports.contains(&source.port()) {
            (destination, source, false)
        } else {
            return Err(Unusable::Other);
        };
        let len = u32::from(udp.length()).saturating_sub(8);
        let bytes = udp.payload().get(..len as usize).unwrap_or(udp.payload());
        Ok(Self { client, server, asks, len, bytes })
    }
}
