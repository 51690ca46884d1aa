//! The TCP segment in a packet.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::Linktype;

use super::Packet;

/// Why a packet is of no use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It carries something else, or its link type is not known.
    Other,
    /// It is a fragment of an IP packet.
    Fragment,
    /// A header is cut off or broken.
    Damaged,
}

/// A segment of TCP (RFC 9293).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// Sequence number of its first byte, or of its SYN.
    pub sequence: u32,
    /// It opens its direction.
    pub syn: bool,
    /// It acknowledges something.
    pub ack: bool,
    /// It ends its direction.
    pub fin: bool,
    /// It ends the connection.
    pub rst: bool,
    /// Bytes of the stream that it carries, captured or not.
    pub len: u32,
    /// Those of them that were captured.
    pub bytes: &'a [u8],
}

impl<'a> Segment<'a> {
    /// The segment in a packet.
    ///
    /// # Errors
    /// There is none; see [`Unusable`].
    pub fn of(packet: &Packet<'a>) -> Result<Self, Unusable> {
        let sliced = slice(packet)?;
        let (source, destination, payload_len, fragmented) = match &sliced.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                let len = u32::from(header.total_len()).checked_sub(u32::from(header.ihl()) * 4);
                let len = len.map(|len| len.saturating_sub(extensions(ip.extensions().auth.as_ref())));
                // An outgoing segment that the network card is to cut has no length yet.
                let len = len.filter(|_| header.total_len() != 0);
                let addresses = (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()));
                (addresses.0, addresses.1, len, ip.is_payload_fragmented())
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                let extensions = u32::try_from(ip.extensions().slice().len()).unwrap_or(u32::MAX);
                let len = u32::from(header.payload_length()).checked_sub(extensions);
                let len = len.filter(|_| header.payload_length() != 0);
                let addresses = (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()));
                (addresses.0, addresses.1, len, ip.is_payload_fragmented())
            }
            _ => return Err(if sliced.stop_err.is_some() { Unusable::Damaged } else { Unusable::Other }),
        };
        if fragmented {
            return Err(Unusable::Fragment);
        }
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
            return Err(if sliced.stop_err.is_some() { Unusable::Damaged } else { Unusable::Other });
        };
        let captured = u32::try_from(tcp.payload().len()).unwrap_or(u32::MAX);
        let header = u32::from(tcp.data_offset()) * 4;
        let len = payload_len.and_then(|len| len.checked_sub(header)).unwrap_or(captured);
        let bytes = tcp.payload().get(..len as usize).unwrap_or(tcp.payload());
        Ok(Self {
            source: SocketAddr::new(source, tcp.source_port()),
            destination: SocketAddr::new(destination, tcp.destination_port()),
            sequence: tcp.sequence_number(),
            syn: tcp.syn(),
            ack: tcp.ack(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            len,
            bytes,
        })
    }
}

fn extensions(auth: Option<&etherparse::IpAuthHeaderSlice<'_>>) -> u32 {
    auth.map_or(0, |auth| u32::try_from(auth.slice().len()).unwrap_or(u32::MAX))
}

/// Takes the headers apart; what is behind a header that is cut off is missing.
pub(super) fn slice<'a>(packet: &Packet<'a>) -> Result<LaxSlicedPacket<'a>, Unusable> {
    let bytes = packet.bytes;
    let after = |at: usize| bytes.get(at..).ok_or(Unusable::Damaged);
    let ether_type = |at: usize| -> Result<EtherType, Unusable> {
        let number = bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
        number.map(EtherType).ok_or(Unusable::Damaged)
    };
    let ip = |bytes: &'a [u8]| LaxSlicedPacket::from_ip(bytes).map_err(|_| Unusable::Damaged);
    match packet.link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(bytes).map_err(|_| Unusable::Damaged),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => ip(bytes),
        // What systems call it themselves; some tools write that.
        Linktype(12 | 14) => ip(bytes),
        // The number of the address family, in the byte order of one machine or another; the IP header says it again.
        Linktype::NULL | Linktype::LOOP => ip(after(4)?),
        Linktype::LINUX_SLL => Ok(LaxSlicedPacket::from_ether_type(ether_type(14)?, after(16)?)),
        Linktype::LINUX_SLL2 => Ok(LaxSlicedPacket::from_ether_type(ether_type(0)?, after(20)?)),
        _ => Err(Unusable::Other),
    }
}
