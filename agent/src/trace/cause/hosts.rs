//! Calls whose other end is on another host: its agent tells the contexts of requests that come from there, and is told those of
//! requests that go there.

use opentelemetry::trace::SpanContext;

use super::{
    call::{Cause, Link, Origin, Serial, Trace},
    ends::{self, Name},
    engine::Engine,
    held::Deadlines,
};
use crate::{
    event::{Endpoints, Greeted, Nanos, Open, Role},
    peer::{self, Incoming, Peers},
    protocol::Side,
};

/// The agents of other hosts, and the requests that wait for what they say.
#[derive(Debug)]
pub(super) struct Hosts {
    peers: Peers,
    pub(super) holds: Deadlines,
}

impl Engine {
    /// Lets the agents of other hosts take part.
    pub fn set_peers(&mut self, peers: Peers) {
        let holds = Deadlines::new(peers.hold());
        self.hosts = Some(Box::new(Hosts { peers, holds }));
    }

    /// A connection is seen for the first time.
    pub fn opened(&mut self, open: &Open) {
        if open.role == Role::Accept {
            self.turns.opens(open.thread.tid);
        }
        if let Some(hosts) = &mut self.hosts
            && let Endpoints::Inet { local, remote } = &open.endpoints
        {
            hosts.peers.opened(open.time, local.ip(), remote.ip());
        }
    }

    /// An agent of another host has said where it is.
    pub fn greeted(&mut self, greeted: &Greeted) {
        if let Some(hosts) = &mut self.hosts {
            hosts.peers.greeted(greeted);
        }
    }

    /// Takes what other agents have told. To be called before the events of a round.
    pub fn hear(&mut self, now: Nanos) {
        let Some(hosts) = &mut self.hosts else {
            return;
        };
        hosts.peers.receive(now);
        let heard: Vec<_> = std::iter::from_fn(|| hosts.peers.poll_heard()).collect();
        for heard in heard {
            let name = Name::Tcp { server_first: heard.told.name.answers, request: heard.told.name.request };
            if let Some(request) = self.ends.waiting(name) {
                self.settle(request, outside(&heard.told.context));
            }
        }
    }

    /// Lets other agents know what there is to tell them. To be called after the events of a round.
    pub fn tell(&mut self) {
        if let Some(hosts) = &mut self.hosts {
            hosts.peers.flush();
        }
    }

    /// Asks what the agent at the other end says of a request. Returns whether that settles it, or may do so later.
    pub(super) fn ask_peers(&mut self, serial: Serial, now: Nanos) -> bool {
        let (Some(hosts), Some(call)) = (&mut self.hosts, self.calls.get(&serial)) else {
            return false;
        };
        let (Some(name), Some(remote)) = (between(call.side, call.id, call.other_end), call.remote) else {
            return false;
        };
        match hosts.peers.incoming(now, remote, name) {
            Incoming::Heard(context) => {
                self.settle(serial, outside(&context));
                true
            }
            Incoming::Expected(_) => {
                hosts.holds.add(now, serial);
                true
            }
            Incoming::Unexpected => false,
        }
    }

    /// Whether an outgoing call is one whose trace other agents are told.
    pub(super) fn is_told_peers(&self, serial: Serial) -> bool {
        let remote = self.calls.get(&serial).and_then(|call| call.remote);
        self.hosts.is_some() && remote.is_some_and(|remote| !remote.is_loopback())
    }

    /// The trace of a call has become known: the agent at its other end is told, where that is another host.
    pub(super) fn tell_peers(&mut self, serial: Serial) {
        let (Some(hosts), Some(call)) = (&mut self.hosts, self.calls.get(&serial)) else {
            return;
        };
        if call.side == Side::Client
            && let (Some(trace), Some(remote)) = (&call.trace, call.remote)
            && let Some(name) = between(call.side, call.id, call.other_end)
        {
            let context = SpanContext::new(trace.id, call.span, trace.flags, false, trace.state.clone());
            hosts.peers.outgoing(call.start, remote, name, &context);
        }
    }
}

/// What agents call a call; `None` where they have no name for it.
fn between(side: Side, id: crate::protocol::CallId, other_end: crate::protocol::OtherEnd) -> Option<peer::Name> {
    match ends::name(side, id, other_end)? {
        Name::Tcp { server_first, request } => Some(peer::Name { answers: server_first, request }),
        Name::Tls { .. } | Name::Unix(_) | Name::Datagram(_) | Name::Addresses(_) => None,
    }
}

fn outside(context: &SpanContext) -> Cause {
    let trace = Trace { id: context.trace_id(), flags: context.trace_flags(), state: context.trace_state().clone() };
    Cause::Outside(Box::new(Origin { trace, span: context.span_id() }), Link::Peer)
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;
