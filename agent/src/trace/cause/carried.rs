//! Contexts that TCP options have carried. An outgoing call has the ids that left with it, whatever it turns out to belong to; a request that brings
//! no other context continues the trace that has come with it. Only where they begin at the very byte that the context speaks of: what
//! the kernel side took for the beginning of a request may be none.

use std::collections::VecDeque;

use hashbrown::HashMap;
use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};

use super::{
    call::{Call, Cause, Link, Origin, Serial, Trace},
    ends::{Name, Names},
    engine::Engine,
};
use crate::event::{Carried, Direction};

/// Contexts of each direction whose requests have not been seen yet: many belong to what is no request.
const MOST: usize = 16_384;

/// A request's place: the sequence numbers of the first byte that the answering side sends, and of its own first byte.
type Place = (u32, u32);

/// Contexts of one direction.
#[derive(Debug, Default)]
pub(super) struct Contexts {
    by_place: HashMap<Place, Origin, foldhash::fast::RandomState>,
    /// In the order in which they came; some may have been taken since.
    order: VecDeque<Place>,
}

impl Contexts {
    /// Takes one in. Whether another one went for it.
    fn add(&mut self, place: Place, origin: Origin) -> bool {
        let before = self.by_place.insert(place, origin);
        if before.is_some() {
            return true;
        }
        self.order.push_back(place);
        self.order.len() > MOST && self.order.pop_front().is_some_and(|oldest| self.by_place.remove(&oldest).is_some())
    }

    fn take(&mut self, names: &Names) -> Option<Origin> {
        if self.by_place.is_empty() {
            return None;
        }
        let origin = self.by_place.remove(&place(names)?)?;
        if self.by_place.is_empty() {
            self.order.clear();
        }
        Some(origin)
    }
}

/// Where a request begins on the wire; `None` where that is not known.
fn place(names: &Names) -> Option<Place> {
    // Inside of TLS, the other name has the place in what is decrypted.
    let inside = names.iter().flatten().find_map(|name| match name {
        Name::Tls { server_first, record } => Some((*server_first, *record)),
        _ => None,
    });
    inside.or_else(|| {
        names.iter().flatten().find_map(|name| match name {
            Name::Tcp { server_first, request } => Some((*server_first, *request)),
            _ => None,
        })
    })
}

impl Engine {
    /// A context has left, or has come.
    pub fn carried(&mut self, carried: &Carried) {
        let flags = TraceFlags::new(carried.flags);
        let trace = Trace { id: TraceId::from_bytes(carried.trace), flags, state: TraceState::NONE };
        let origin = Origin { trace, span: SpanId::from_bytes(carried.span) };
        let place = (carried.answers, carried.request);
        let contexts = match carried.direction {
            Direction::Send => &mut self.sent,
            Direction::Receive => &mut self.came,
        };
        self.stats.carried_unused += u64::from(contexts.add(place, origin));
    }

    /// Gives an outgoing call the ids that have left with it. One whose headers carry a context is found by that.
    pub(super) fn take_sent(&mut self, call: &mut Call) {
        let Some(Origin { trace, span }) = self.sent.take(&call.names) else {
            return;
        };
        if call.origin.is_some() || call.injected.is_some() {
            self.stats.carried_unused += 1;
            return;
        }
        self.stats.carried_out += 1;
        call.span = span;
        call.injected = Some(Box::new(trace));
    }

    /// Settles a request by the context that has come with it. Whether there was one.
    pub(super) fn take_came(&mut self, serial: Serial) -> bool {
        let Some(call) = self.calls.get(&serial) else {
            return false;
        };
        let Some(origin) = self.came.take(&call.names) else {
            return false;
        };
        if call.origin.is_some() {
            self.stats.carried_unused += 1;
            return false;
        }
        self.stats.carried_in += 1;
        self.settle(serial, Cause::Outside(Box::new(origin), Link::Option));
        true
    }
}
