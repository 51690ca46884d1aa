//! Work that passes from one thread or task to another.

use super::{
    call::{Link, Serial},
    claims::{Claim, Placed},
    engine::Engine,
    work::{Key, On, Work},
};
use crate::{
    event::{Handover, How, Nanos, SocketId, Thread},
    protocol::CallId,
};

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
            How::Submit => {
                let work = self.lendable(from, time).map(|work| Work { link: Link::Task, since: time, ..work });
                self.workers.submitted(Key::Task(to.tgid, to.task.id), from.task.id, work, time);
            }
            How::Claim { sock, place } => {
                let claim = Claim { who: from, work: self.work_of(from), doubt: None };
                if place == 0 {
                    self.claims.next(sock, claim, time);
                } else if let Placed::Late(socket) = self.claims.stream(sock, place, claim, time) {
                    self.claimed_late(CallId { socket, place }, claim);
                }
            }
            How::Serve { sock, place } => self.begins_to_serve(sock, place, from, time),
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
            How::Delegate => self.workers.born(from, time),
            How::Turn { session, place } => self.turns_to(session, place, from, time),
            How::Begin { session, place: 0, .. } => {
                self.sessions.begins(from.tgid, session);
                self.turns_to(session, 0, from, time);
            }
            How::Begin { session, place, stream } => self.begins_stream((session, place, stream), from, time),
            How::Request { session, place } => self.submits(session, place, from, time),
            How::Respond { stream } => self.responds(stream, from, time),
            How::Wake(object) => self.woken(handover, object),
        }
    }

    /// A task begins to serve a request that its connection's own task has read, which reads all of them.
    fn begins_to_serve(&mut self, sock: u64, place: u64, from: Thread, time: Nanos) {
        let key = Key::of(from);
        let socket = self.claims.id(sock);
        let request = socket.and_then(|socket| {
            let is_stream = self.by_id.get(&(CallId { socket, place }, true)).copied();
            is_stream.or_else(|| self.upgraded(socket, from).filter(|_| place == 1))
        });
        match request.filter(|request| self.is_open(On::Request(*request))) {
            Some(request) => self.workers.set(key, On::Request(request), time, Link::Task),
            None => self.workers.serves_unseen(key, time),
        }
    }

    /// The request of HTTP/1 by which a connection became one of HTTP/2, where its answer is the first stream: the task has read it that has
    /// started the one which serves it.
    fn upgraded(&self, socket: SocketId, from: Thread) -> Option<Serial> {
        match self.workers.own(Key::Task(from.tgid, from.task.parent))?.on {
            On::Request(request) => {
                Some(request).filter(|request| self.calls.get(request).is_some_and(|call| call.id.socket == socket))
            }
            On::Like(_) => None,
        }
    }
}
