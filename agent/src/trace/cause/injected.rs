//! Contexts that the kernel side has written into requests: the span of such a request has the ids that were written, whatever it turns
//! out to belong to.

use std::collections::VecDeque;

use hashbrown::HashSet;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::{
    call::{Call, Origin, Serial, Trace},
    engine::Engine,
};
use crate::{event::Injected, protocol::Side, trace::ids::Ids};

/// Contexts that were written, and whose requests have not been seen yet.
const MOST: usize = 16_384;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Written {
    ids: HashSet<(TraceId, SpanId), foldhash::fast::RandomState>,
    /// In the order in which they came; some may have been taken since.
    order: VecDeque<(TraceId, SpanId)>,
    /// What the kernel side makes trace ids of.
    key: Option<[u32; 4]>,
}

impl Engine {
    /// The kernel side writes contexts into requests, and makes trace ids of this.
    pub fn set_inject_key(&mut self, key: [u32; 4]) {
        self.written.key = Some(key);
    }

    /// A context was written into a request that will be seen soon.
    pub fn injected(&mut self, context: &Injected) {
        let ids = (TraceId::from_bytes(context.trace), SpanId::from_bytes(context.span));
        let Written { ids: known, order, .. } = &mut self.written;
        known.insert(ids);
        order.push_back(ids);
        if order.len() > MOST
            && let Some(oldest) = order.pop_front()
            && known.remove(&oldest)
        {
            self.stats.unseen_injected += 1;
        }
    }

    /// Whether the context that an outgoing call carries was written by the kernel side.
    pub fn is_injected(&self, side: Side, origin: &Origin) -> bool {
        side == Side::Client && self.written.ids.contains(&(origin.trace.id, origin.span))
    }

    /// Gives an outgoing call the ids that were written into it.
    pub(super) fn take_injected(&mut self, call: &mut Call) {
        if let Some(origin) = call.origin.take_if(|origin| self.written.ids.contains(&(origin.trace.id, origin.span))) {
            self.written.ids.remove(&(origin.trace.id, origin.span));
            if self.written.ids.is_empty() {
                self.written.order.clear();
            }
            self.stats.injected += 1;
            call.span = origin.span;
            call.injected = Some(Box::new(origin.trace));
        }
    }

    /// The trace that begins with a call, and that nothing has carried so far: that which something below it was sent with, if anything
    /// was.
    pub(super) fn own_trace(&mut self, root: Serial) -> Trace {
        let mut stack = vec![root];
        while let Some(serial) = stack.pop() {
            let Some(call) = self.calls.get(&serial) else {
                continue;
            };
            if let Some(trace) = call.injected.as_deref() {
                return trace.clone();
            }
            stack.extend(&call.effects);
        }
        let derived = self.calls.get(&root).filter(|call| call.side == Side::Server).zip(self.written.key);
        let Some((call, key)) = derived else {
            return new_trace(&mut self.ids);
        };
        // The kernel side has made the same of it when it was received.
        let [high, low] = geophone_ebpf::inject::trace_id(key, call.id.socket.sock, call.id.socket.born, call.id.place);
        let id = TraceId::from(u128::from(high) << 64 | u128::from(low));
        Trace { id, flags: TraceFlags::SAMPLED, state: TraceState::NONE }
    }

    /// A call was sent with a context of another trace than that which it turns out to belong to: it keeps what was sent, stands for itself,
    /// and only refers to its cause. Returns what it was sent with.
    pub(super) fn set_apart(&mut self, serial: Serial, trace: &Trace) -> Option<Trace> {
        let call = self.calls.get_mut(&serial)?;
        let own = call.injected.as_deref().filter(|own| own.id != trace.id)?.clone();
        let parent = std::mem::replace(&mut call.parent, SpanId::INVALID);
        call.apart = Some(Box::new(SpanContext::new(trace.id, parent, trace.flags, false, trace.state.clone())));
        self.stats.apart += 1;
        Some(own)
    }
}

/// A trace that begins here.
pub(super) fn new_trace(ids: &mut Ids) -> Trace {
    Trace { id: ids.trace(), flags: TraceFlags::SAMPLED, state: TraceState::NONE }
}
