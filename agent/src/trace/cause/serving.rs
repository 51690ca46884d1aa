//! What threads serve at this moment, for those who want to know it before spans come out: other profilers. Only what is certain then: a
//! thread that has read a request, has no other one meanwhile, and whose request's trace is known. Left out are a runtime's tasks, event
//! loops, and threads that others have given work.

use hashbrown::HashMap;
use opentelemetry::trace::{SpanId, TraceId};

use super::{
    call::Serial,
    engine::Engine,
    work::{Key, On},
};
use crate::protocol::Side;

/// Threads that are said to serve something at a time.
const MOST: usize = 1 << 14;

/// A thread serves another request now, or none any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The thread's process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// The request's trace and span; `None`: no request that is known.
    pub of: Option<(TraceId, SpanId)>,
}

/// What was said, and what is to be said.
#[derive(Debug, Default)]
pub(super) struct Threads {
    /// The process and the request of each thread.
    told: HashMap<u32, (u32, Serial), foldhash::fast::RandomState>,
    /// The last word on each thread since somebody asked.
    news: HashMap<u32, Serving, foldhash::fast::RandomState>,
}

impl Engine {
    /// From now on, [`Self::take_serving`] says what threads serve.
    pub fn watch_serving(&mut self) {
        self.serving = Some(Box::default());
    }

    /// What has changed since the last time: each thread once.
    pub fn take_serving(&mut self) -> impl Iterator<Item = Serving> {
        let news = self.serving.as_mut().map(|threads| std::mem::take(&mut threads.news));
        news.unwrap_or_default().into_values()
    }

    /// The trace of a call has become known: its thread may be at work for it.
    pub(super) fn serves(&mut self, serial: Serial) {
        let Some(threads) = &mut self.serving else {
            return;
        };
        let Some(call) = self.calls.get(&serial).filter(|call| call.side == Side::Server && call.end.is_none()) else {
            return;
        };
        let (tgid, tid) = (call.thread.tgid, call.thread.tid);
        let is_at_it = self.workers.own(Key::Thread(tid)).is_some_and(|work| work.on == On::Request(serial));
        let is_plain = call.thread.task.id == 0 && call.thread.turn.is_none() && !self.crowded.contains(&tid);
        let has_room = threads.told.len() < MOST || threads.told.contains_key(&tid);
        if let (Some(trace), true) = (&call.trace, is_at_it && is_plain && has_room) {
            threads.told.insert(tid, (tgid, serial));
            threads.news.insert(tid, Serving { tgid, tid, of: Some((trace.id, call.span)) });
        }
    }

    /// A call is over.
    pub(super) fn served(&mut self, serial: Serial) {
        if let (Some(threads), Some(call)) = (&mut self.serving, self.calls.get(&serial))
            && threads.told.get(&call.thread.tid).is_some_and(|(_, told)| *told == serial)
        {
            threads.stop(call.thread.tid);
        }
    }

    /// It has shown that a thread has several requests at a time, or its process has ended.
    pub(super) fn serves_no_more(&mut self, stopped: impl Fn(u32, u32) -> bool) {
        if let Some(threads) = &mut self.serving {
            let told = threads.told.iter().filter(|(tid, (tgid, _))| stopped(*tgid, **tid));
            let stopped: Vec<u32> = told.map(|(tid, _)| *tid).collect();
            stopped.into_iter().for_each(|tid| threads.stop(tid));
        }
    }
}

impl Threads {
    fn stop(&mut self, tid: u32) {
        if let Some((tgid, _)) = self.told.remove(&tid) {
            self.news.insert(tid, Serving { tgid, tid, of: None });
        }
    }
}
