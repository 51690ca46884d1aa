//! The two ends of one connection: which outgoing call is which request.

use std::{
    hash::{BuildHasher as _, Hash},
    net::SocketAddr,
};

use hashbrown::{HashMap, hash_map::Entry};

use super::call::Serial;
use crate::{
    event::Sequences,
    protocol::{Addresses, Asked, CallId, OtherEnd, Side},
};

/// How both ends name a request. TCP: the sequence number of the first byte that the server sends, and that of the request's own first
/// byte, which does not depend on whether a SYN was counted. Unix: the client's `struct sock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// TCP.
    Tcp {
        /// First byte from server to client.
        server_first: u32,
        /// The request's first byte.
        request: u32,
    },
    /// Inside of TLS: the same, by the sequence number of the TLS record that begins with the request.
    Tls {
        /// First byte from server to client.
        server_first: u32,
        /// The record's first byte.
        record: u32,
    },
    /// Unix sockets, on which requests are taken in order.
    Unix(u64),
    /// A datagram: a hash of who asks, the port that is asked, and the message's id. The server's address is not a part of it, because a server
    /// that listens on all of them need not know it.
    Datagram(u64),
    /// A hash of the addresses of a TCP connection, and of the stream offset of the request, for an end whose sequence numbers are not right.
    Addresses(u64),
}

// Each call has several, which are looked for in tables: what is long is hashed once.
const _: () = assert!(size_of::<Name>() == 16);

fn hashed(what: impl Hash) -> u64 {
    foldhash::quality::FixedState::default().hash_one(what)
}

/// All names of a request, the better one first.
pub(super) type Names = [Option<Name>; 3];

/// The names of a request.
pub(super) fn names(asked: &Asked) -> Names {
    if let OtherEnd::Datagram(id) = asked.other_end {
        return [datagram(asked.addresses, id), None, None];
    }
    let whole = !matches!(asked.other_end, OtherEnd::Encrypted { whole: false, .. });
    let addresses =
        asked.addresses.filter(|_| whole).map(|addresses| Name::Addresses(hashed((addresses, asked.id.place))));
    [name(asked.side, asked.id, asked.other_end), record(asked), addresses]
}

/// The name of what is asked by a datagram; `None` where it is not known who asks.
pub(super) fn datagram(addresses: Option<Addresses>, id: u16) -> Option<Name> {
    let Addresses { netns, client, server } = addresses?;
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    (!client.ip().is_unspecified()).then(|| Name::Datagram(hashed((netns, client, server.port(), id))))
}

/// The name by the TLS record, which is the same at both ends whenever they began to look.
fn record(asked: &Asked) -> Option<Name> {
    let OtherEnd::Encrypted { sequences: Sequences { sent, received }, wire: Some(wire), .. } = asked.other_end else {
        return None;
    };
    let (server_first, client_first) = match asked.side {
        Side::Client => (received, sent),
        Side::Server => (sent, received),
    };
    Some(Name::Tls { server_first, record: client_first.wrapping_add(wire as u32) })
}

/// The name of a request; `None` where its connection has none.
#[must_use]
pub fn name(side: Side, id: CallId, other_end: OtherEnd) -> Option<Name> {
    let at = |first: u32| first.wrapping_add(id.place as u32);
    let other_end = match other_end {
        OtherEnd::Encrypted { sequences, whole: true, .. } => OtherEnd::Sequences(sequences),
        other_end => other_end,
    };
    match (other_end, side) {
        (OtherEnd::Unknown | OtherEnd::Encrypted { .. } | OtherEnd::Datagram(_), _) => None,
        (OtherEnd::Sequences(Sequences { sent, received }), Side::Client) => {
            Some(Name::Tcp { server_first: received, request: at(sent) })
        }
        (OtherEnd::Sequences(Sequences { sent, received }), Side::Server) => {
            Some(Name::Tcp { server_first: sent, request: at(received) })
        }
        (OtherEnd::Sock(_), Side::Client) => Some(Name::Unix(id.socket.sock)),
        (OtherEnd::Sock(peer), Side::Server) => Some(Name::Unix(peer)),
    }
}

/// Ends of the same name, in order: one, as a rule, which takes no memory of its own.
#[derive(Debug)]
struct Waiting {
    first: Serial,
    more: Vec<Serial>,
}

type Map = HashMap<Name, Waiting, foldhash::fast::RandomState>;

/// Ends that wait for their other end.
#[derive(Debug, Default)]
pub(super) struct Ends {
    outgoing: Map,
    requests: Map,
}

impl Ends {
    fn of(&mut self, side: Side) -> &mut Map {
        match side {
            Side::Client => &mut self.outgoing,
            Side::Server => &mut self.requests,
        }
    }

    /// An end is seen: the other one, if it was seen before, which waits no longer by this name; its other names are still to be taken out.
    pub(super) fn find(&mut self, side: Side, names: &Names) -> Option<Serial> {
        let other = self.of(if side == Side::Server { Side::Client } else { Side::Server });
        names.iter().flatten().find_map(|name| take_first(other, name))
    }

    /// An end waits for the other one.
    pub(super) fn wait(&mut self, side: Side, names: &Names, serial: Serial) {
        let own = self.of(side);
        for name in names.iter().flatten() {
            match own.entry(*name) {
                Entry::Occupied(mut waiting) => waiting.get_mut().more.push(serial),
                Entry::Vacant(place) => {
                    place.insert(Waiting { first: serial, more: Vec::new() });
                }
            }
        }
    }

    /// The request of this name that waits for its other end.
    pub(super) fn waiting(&self, name: Name) -> Option<Serial> {
        Some(self.requests.get(&name)?.first)
    }

    /// An end waits no longer.
    pub(super) fn leave(&mut self, side: Side, names: &Names, serial: Serial) {
        let own = self.of(side);
        for name in names.iter().flatten() {
            let Some(waiting) = own.get_mut(name) else {
                continue;
            };
            waiting.more.retain(|other| *other != serial);
            if waiting.first == serial {
                take_first(own, name);
            }
        }
    }
}

/// The first that waits by this name waits no longer.
fn take_first(map: &mut Map, name: &Name) -> Option<Serial> {
    let waiting = map.get_mut(name)?;
    if waiting.more.is_empty() {
        return map.remove(name).map(|waiting| waiting.first);
    }
    let next = waiting.more.remove(0);
    Some(std::mem::replace(&mut waiting.first, next))
}
