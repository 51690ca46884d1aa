//! The middle of the agent in one value: events in, spans and advice out. Connects the stages and holds what lies between them;
//! does no input or output itself but for what [`process::Table`] reads, so a recording goes through it exactly as live events do.

use std::sync::Arc;

use compact_str::CompactString;

use crate::{
    conn::{self, Connection, Update},
    event::{Change, Datagram, Direction, Event, Life, Nanos, Sample, SocketId},
    opaque::{News, Opaque},
    peer::Peers,
    process,
    protocol::{Interest, Note, Session, Shared, Value, dns},
    trace::{ClockSample, Samples, Serving, Span, Tracer},
};

/// Advice for the capture: what is wanted next of one direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Which connection.
    pub socket: SocketId,
    /// Which direction.
    pub direction: Direction,
    /// Of what is decrypted of it, or of what goes through its socket.
    pub decrypted: bool,
    /// What is wanted of it.
    pub interest: Interest,
}

/// Bytes that must be left out for advice to be worth giving.
const WORTH: u64 = 16 * 1024;

/// What is kept of each connection: nothing until it speaks.
#[derive(Debug, Default)]
struct Slot {
    session: Option<Box<Session>>,
    /// What was last advised, by direction: `None` as long as the usual is right.
    advised: [Option<Interest>; 2],
    /// What is told of it is decrypted.
    decrypted: bool,
    /// The process that was seen to use TLS on it.
    encrypted_by: Option<u32>,
}

/// The stages `conn`, `protocol` and `trace`, and the processes that their results belong to.
pub struct Pipeline {
    connections: conn::Table<Slot>,
    datagrams: dns::Datagrams,
    shared: Arc<Shared>,
    tracer: Tracer,
    processes: process::Table,
    notes: Vec<Note>,
    advice: Vec<Advice>,
    news: Vec<News>,
    opaque: Opaque,
    /// The time of the last event.
    now: Nanos,
}

impl Pipeline {
    /// Without connections.
    #[must_use]
    pub fn new(limits: conn::Limits, shared: Arc<Shared>, tracer: Tracer, processes: process::Table) -> Self {
        Self {
            connections: conn::Table::new(limits),
            datagrams: dns::Datagrams::default(),
            shared,
            tracer,
            processes,
            notes: Vec::new(),
            advice: Vec::new(),
            news: Vec::new(),
            opaque: Opaque::default(),
            now: 0,
        }
    }

    /// Takes an event; appends the spans that it completes.
    pub fn event(&mut self, event: &Event<'_>, spans: &mut Vec<Span>) {
        self.now = event.time();
        self.tracer.tick(self.now);
        match event {
            Event::Process(process) => {
                self.processes.apply(process);
                if process.what == Life::Exit {
                    self.tracer.ended(process.tgid);
                }
            }
            Event::Handover(handover) => self.tracer.handover(handover),
            Event::State(state) if state.change == Change::Closed => self.tracer.closed(state.socket),
            Event::Open(open) => self.tracer.opened(open),
            Event::Datagram(datagram) => return self.datagram(datagram, spans),
            Event::Usage(usage) => self.tracer.used(usage),
            Event::Greeted(greeted) => self.tracer.greeted(greeted),
            Event::Inject(inject) => self.tracer.injected(inject),
            Event::Carried(carried) => self.tracer.carried(carried),
            Event::Data(_) | Event::State(_) | Event::Sample(_) => {}
        }
        let Self { connections, shared, notes, advice, news, .. } = self;
        connections.event(event, &mut |connection: &Connection, slot: &mut Slot, update: &Update<'_>| {
            slot.update(shared, connection, update, notes, advice, news);
        });
        self.settle(spans);
    }

    fn datagram(&mut self, datagram: &Datagram<'_>, spans: &mut Vec<Span>) {
        let Self { datagrams, shared, notes, advice, .. } = self;
        datagrams.datagram(shared, datagram, notes, |direction, interest| {
            advice.push(Advice { socket: datagram.socket, direction, decrypted: false, interest });
        });
        self.settle(spans);
    }

    /// Takes a sample, to which the caller gives a number. Whether it was taken for a request: then [`Self::take_samples`] says later for
    /// which.
    pub fn sample(&mut self, number: u64, sample: &Sample) -> bool {
        self.tracer.sampled(number, sample)
    }

    /// Samples of which it is settled now for which request they were taken.
    pub fn take_samples(&mut self) -> std::vec::Drain<'_, Samples> {
        self.tracer.take_samples()
    }

    /// From now on, [`Self::take_serving`] says what threads serve.
    pub fn watch_serving(&mut self) {
        self.tracer.watch_serving();
    }

    /// Threads that have begun to serve a request, or serve none any more.
    pub fn take_serving(&mut self) -> impl Iterator<Item = Serving> {
        self.tracer.take_serving()
    }

    /// Tells the time, some ten times a second; appends the spans that it completes.
    pub fn tick(&mut self, now: Nanos, spans: &mut Vec<Span>) {
        let Self { connections, shared, notes, advice, news, .. } = self;
        connections.tick(now, &mut |connection: &Connection, slot: &mut Slot, update: &Update<'_>| {
            slot.update(shared, connection, update, notes, advice, news);
        });
        self.datagrams.tick(shared, now, notes);
        self.tracer.tick(now);
        self.settle(spans);
        self.processes.expire(now);
    }

    /// Lets the agents of other hosts take part.
    pub fn set_peers(&mut self, peers: Peers) {
        self.tracer.set_peers(peers);
    }

    /// Takes what the agents of other hosts have told; to be called before the events of a round. Appends the spans that it completes.
    pub fn hear(&mut self, now: Nanos, spans: &mut Vec<Span>) {
        self.tracer.hear(now);
        self.tracer.spans(spans);
    }

    /// Lets the agents of other hosts know what there is to tell them; to be called after the events of a round.
    pub fn tell(&mut self) {
        self.tracer.tell();
    }

    /// Ends all connections: appends what can be said of exchanges that are under way.
    pub fn finish(&mut self, now: Nanos, spans: &mut Vec<Span>) {
        let Self { connections, shared, notes, advice, news, .. } = self;
        connections.finish(now, &mut |connection: &Connection, slot: &mut Slot, update: &Update<'_>| {
            slot.update(shared, connection, update, notes, advice, news);
        });
        self.datagrams.finish(shared, notes);
        self.settle(spans);
        self.tracer.finish();
        self.tracer.spans(spans);
    }

    /// Takes a sample of the clocks; see [`Tracer::sample_clock`].
    pub fn sample_clock(&mut self, sample: ClockSample) {
        self.tracer.sample_clock(sample);
    }

    /// Advice that has come up since the last call.
    pub fn take_advice(&mut self) -> std::vec::Drain<'_, Advice> {
        self.advice.drain(..)
    }

    /// Processes in which tasks have begun to work that nobody is known to have given work: each once.
    pub fn take_puzzling(&mut self) -> std::vec::Drain<'_, u32> {
        self.tracer.take_puzzling()
    }

    /// TLS connections that cannot be read.
    pub fn opaque(&mut self) -> &mut Opaque {
        &mut self.opaque
    }

    /// The processes.
    pub fn processes(&mut self) -> &mut process::Table {
        &mut self.processes
    }

    /// The counters of the connection stage.
    #[must_use]
    pub fn connections(&self) -> &conn::Stats {
        self.connections.stats()
    }

    /// The counters of the trace stage.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// The configuration and the counters of the protocol stage.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Hands on what the protocols tell, and lets the connection stage know what will be left out.
    fn settle(&mut self, spans: &mut Vec<Span>) {
        for advice in &self.advice {
            self.connections.set_skip_until(advice.socket, advice.direction, advice.interest.from);
        }
        for note in self.notes.drain(..) {
            match note {
                Note::Asked(asked) => self.tracer.asked(&asked),
                Note::Named(named) => self.tracer.named(&named),
                Note::Answered(answered) => self.tracer.answered(&answered),
                Note::WentOn(moved) => self.tracer.went_on(&moved),
                Note::Done(exchange) => {
                    let thread = match exchange.response_thread {
                        Some(thread) if exchange.request_thread.tgid == 0 => thread,
                        _ => exchange.request_thread,
                    };
                    let resource = self.processes.resource(thread.tgid, exchange.end);
                    self.tracer.done(exchange, resource);
                }
            }
        }
        for news in self.news.drain(..) {
            let now = self.now;
            self.opaque.note(news, |tgid| match self.processes.resource(tgid, now).attributes.get("service.name") {
                Some(Value::Text(name)) => name.clone(),
                _ => CompactString::const_new("unknown"),
            });
        }
        self.tracer.spans(spans);
    }
}

impl Slot {
    #[inline]
    fn update(
        &mut self,
        shared: &Arc<Shared>,
        connection: &Connection,
        update: &Update<'_>,
        notes: &mut Vec<Note>,
        advice: &mut Vec<Advice>,
        news: &mut Vec<News>,
    ) {
        if connection.decrypted != self.decrypted {
            self.decrypted = connection.decrypted;
            self.advised = [None; 2];
            news.extend(self.encrypted_by.take().map(News::Readable));
        }
        let session = self.session.get_or_insert_with(|| Box::new(Session::new(Arc::clone(shared))));
        session.update(connection, update, notes);
        let Update::Piece(direction, piece) = update else {
            return;
        };
        if self.encrypted_by.is_none() && session.is_encrypted() && !self.decrypted {
            self.encrypted_by = Some(piece.thread.tgid);
            news.push(News::Encrypted(piece.thread.tgid));
        }
        let position = piece.offset.saturating_add(piece.content.len());
        for (this, advised) in [Direction::Send, Direction::Receive].into_iter().zip(&mut self.advised) {
            let interest = session.interest(this);
            let before = advised.unwrap_or(Interest { from: 0, bytes: shared.capture, never: false });
            // An offset in the other direction's stream cannot be compared: what was advised there stands until it moves.
            let skips = this == *direction && interest.from > before.from && interest.from > position + WORTH;
            if interest.never == before.never && interest.bytes == before.bytes && !skips {
                continue;
            }
            *advised = Some(interest);
            advice.push(Advice { socket: connection.socket, direction: this, decrypted: self.decrypted, interest });
        }
    }
}
