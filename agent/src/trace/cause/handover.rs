//! Work that passes from one thread or task to another.

use super::{
    call::Link,
    engine::Engine,
    work::{Key, Work},
};
use crate::event::{Handover, How};

impl Engine {
    /// Work may have passed on.
    pub fn handover(&mut self, handover: &Handover) {
        let Handover { time, from, to, how } = *handover;
        match how {
            How::Clone => {
                if let Some(work) = self.work_of(from) {
                    self.workers.set(Key::Thread(to.tid), work.on, time, Link::Clone);
                }
                if let Some(answer) = self.workers.answer(Key::of(from)) {
                    self.workers.hand(Key::of(from), Key::Thread(to.tid), answer, time);
                }
            }
            How::Spawn => {
                let work = self.work_of(from).map(|work| Work { link: Link::Task, since: time, ..work });
                self.workers.spawned(Key::Task(to.tgid, to.task.id), from.task.id, work, time);
            }
            How::Claim(sock) => {
                self.claims.insert(sock, (from, self.work_of(from)));
            }
            How::Connect(sock) => {
                self.goes_on(from, time);
                self.turns.opens(from.tid);
                self.connects.insert(sock, self.work_of(from));
            }
            How::Idle => {
                self.turns.seen(from);
                self.turned(from, None);
                self.turns.idle(from.tid);
                self.loops.idle(from.tid);
                self.workers.clear(Key::of(from));
            }
            How::Wake(object) => self.woken(handover, object),
        }
    }
}
