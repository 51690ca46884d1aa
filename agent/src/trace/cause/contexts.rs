//! Contexts and ids in headers: which request a call carries the context of, and what it means when it carries one of its own.

use super::{
    call::{Brought, Cause, Origin, Serial, Trace},
    engine::Engine,
    work::Work,
};

impl Engine {
    /// The open request of a process that has brought the same context, which is then only passed on. Where several have: the one that is
    /// worked for.
    pub(super) fn passed_on(&self, tgid: u32, origin: &Origin, work: Option<Work>) -> Option<Serial> {
        let same = Some((origin.trace.id, origin.span));
        self.bringer(tgid, work.and_then(|work| self.request_of(work.on)), |brought| brought.span == same)
    }

    /// The one open request of a process that has brought one of these ids.
    pub(super) fn brought(&self, tgid: u32, ids: &[u64], work: Option<Work>) -> Option<Serial> {
        if ids.is_empty() {
            return None;
        }
        let request = work.and_then(|work| self.request_of(work.on));
        self.bringer(tgid, request, |brought| brought.ids.iter().any(|id| ids.contains(id)))
    }

    pub(super) fn bringer(&self, tgid: u32, likely: Option<Serial>, fits: impl Fn(&Brought) -> bool) -> Option<Serial> {
        let has = |serial: &Serial| self.calls.get(serial).and_then(|call| call.brought.as_deref()).is_some_and(&fits);
        let mut found = self.open.get(&tgid)?.iter().copied().filter(|serial| has(serial));
        let first = found.next()?;
        if found.next().is_none() { Some(first) } else { likely.filter(has) }
    }

    /// A request turns out to belong to a trace that an SDK in its process has begun.
    pub(super) fn adopt(&mut self, request: Serial, trace: &Trace) {
        let Some(call) = self.calls.get(&request) else {
            return;
        };
        self.originators.insert(call.tgid());
        // Up to where the tree begins, as far as it has been seen.
        let mut root = request;
        for _ in 0..64 {
            match self.calls.get(&root).map(|call| &call.cause) {
                Some(Cause::Call(above, _)) if self.calls.contains_key(above) => root = *above,
                _ => break,
            }
        }
        let Some(call) = self.calls.get(&root) else {
            return;
        };
        // What is asked of this process next may come to the SDK again, after other calls.
        self.originators.insert(call.tgid());
        if call.origin.is_some() || call.trace.is_some() {
            return;
        }
        match call.cause {
            Cause::Open => self.conclude(root, Cause::None, Some(trace.clone())),
            Cause::None => self.spread(root, trace),
            Cause::Call(..) | Cause::Outside(..) => {}
        }
    }
}
