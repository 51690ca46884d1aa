//! One peer: what was sent and not acknowledged yet, what was received and is to be acknowledged, and the addresses it speaks for.
//!
//! Datagrams rather than a stream: a lost one holds up none behind it, what is too late to be of use is not sent again, and each side
//! can talk to a thousand others by one socket. What was not acknowledged is sent again, as a new message, until it would come too late.

use std::{collections::VecDeque, net::SocketAddr};

use hashbrown::HashMap;

use super::{
    name::Told,
    seal::Way,
    stats::{Stats, count},
    window::{Seen, Window},
    wire::{HEAD, Head, Item, Kind, LONGEST, OPENING, Opening, ROOM},
};
use crate::event::Nanos;

const MILLI: Nanos = 1_000_000;
/// How long an acknowledgement waits for something to go with.
const ACK_DELAY: Nanos = 20 * MILLI;
/// An acknowledgement names the latest message and 128 before it: it must not wait for more than that.
const ACK_AFTER: u32 = 32;
/// Nothing is sent again sooner than this.
const RESEND_LEAST: Nanos = 50 * MILLI;
/// Assumed until it was measured, acknowledgement delay included.
const ROUND_TRIP: Nanos = 25 * MILLI;
/// Whoever has nothing to say says that, so often.
const KEEP_ALIVE: Nanos = 1000 * MILLI;
/// Who says nothing for so long is not counted on any more ...
pub(super) const SILENT: Nanos = 5000 * MILLI;
/// ... and is forgotten after this, which is longer than an old hello can be taken for a new one.
pub(super) const FORGET: Nanos = 20_000 * MILLI;

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// To whom.
    pub to: SocketAddr,
    /// At most [`LONGEST`] bytes.
    pub bytes: Vec<u8>,
}

/// What may be kept for acknowledgement, of all peers together.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) left: usize,
}

/// What everything that is sent needs.
pub(super) struct Sending<'a> {
    pub(super) now: Nanos,
    pub(super) me: u64,
    pub(super) budget: &'a mut Budget,
    pub(super) out: &'a mut VecDeque<Datagram>,
    pub(super) stats: &'a Stats,
}

/// A batch that waits for its acknowledgement.
#[derive(Debug)]
struct Sent {
    /// Its number when it was sent for the first time, and when that was.
    original: (u64, Nanos),
    /// The same each time that it was sent again; few.
    again: Vec<(u64, Nanos)>,
    /// When it is to be sent again.
    due: Nanos,
    items: Vec<u8>,
    told: u64,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: u64,
    pub(super) address: SocketAddr,
    seal: Way,
    pub(super) open: Way,
    pub(super) hellos: Window<16>,
    pub(super) hello_sent: Nanos,
    pub(super) heard_at: Nanos,
    pub(super) stopped: bool,
    pub(super) alive: bool,
    pub(super) claims: HashMap<std::net::IpAddr, Nanos>,
    number: u64,
    sent_at: Nanos,
    received: Window<16>,
    originals: Window<64>,
    filling: Vec<u8>,
    filling_told: u64,
    unacknowledged: VecDeque<Sent>,
    ack_due: Option<Nanos>,
    ack_count: u32,
    round_trip: Nanos,
}

impl Session {
    /// Begins with the hello of number `hello`; the peer's batches have greater numbers than `after`.
    ///
    /// The two may have talked before, with the same keys, and forgotten each other. So numbers begin with the time, which runs faster
    /// than anybody counts: none is ever used twice, and what was recorded then is known to be old.
    pub(super) fn new(peer: u64, address: SocketAddr, ways: (Way, Way), hello: u64, after: u64, now: Nanos) -> Self {
        let (seal, open) = ways;
        Self {
            peer,
            address,
            seal,
            open,
            hellos: Window::after(hello.saturating_sub(1)),
            hello_sent: 0,
            heard_at: now,
            stopped: false,
            alive: true,
            claims: HashMap::new(),
            number: now,
            sent_at: now,
            received: Window::after(after),
            originals: Window::after(after),
            filling: Vec::new(),
            filling_told: 0,
            unacknowledged: VecDeque::new(),
            ack_due: None,
            ack_count: 0,
            round_trip: ROUND_TRIP,
        }
    }

    /// The number of the last batch.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether something waits to be sent or acknowledged.
    pub(super) fn is_busy(&self) -> bool {
        self.ack_due.is_some() || !self.unacknowledged.is_empty() || !self.filling.is_empty()
    }

    /// Adds a context to the batch that is being filled.
    pub(super) fn tell(&mut self, told: &Told, to_several: bool, sending: &mut Sending<'_>) {
        let before = self.filling.len();
        let state_left_out = Item::write_told(told, to_several, &mut self.filling);
        count(&sending.stats.state_left_out, u64::from(state_left_out));
        if self.filling.len() > ROOM - OPENING {
            let last = self.filling.split_off(before);
            self.flush(sending);
            self.filling = last;
        }
        self.filling_told += 1;
    }

    /// Adds that a connection is known here.
    pub(super) fn claim(&mut self, answers: u32, sending: &mut Sending<'_>) {
        let before = self.filling.len();
        Item::write_mine(answers, &mut self.filling);
        if self.filling.len() > ROOM - OPENING {
            let last = self.filling.split_off(before);
            self.flush(sending);
            self.filling = last;
        }
    }

    /// Says that this agent stops.
    pub(super) fn bye(&mut self, sending: &mut Sending<'_>) {
        self.flush(sending);
        let mut items = Vec::new();
        Item::write_bye(&mut items);
        self.batch(0, &items, sending);
    }

    /// Sends what has been added.
    pub(super) fn flush(&mut self, sending: &mut Sending<'_>) {
        if self.filling.is_empty() {
            return;
        }
        let items = std::mem::take(&mut self.filling);
        let told = std::mem::take(&mut self.filling_told);
        if items.len() > sending.budget.left {
            count(&sending.stats.backlog_full, told);
            return;
        }
        let Some(number) = self.batch(0, &items, sending) else {
            return;
        };
        sending.budget.left -= items.len();
        count(&sending.stats.told, told);
        let (original, due) = ((number, sending.now), sending.now + self.patience());
        self.unacknowledged.push_back(Sent { original, again: Vec::new(), due, items, told });
    }

    /// Takes the number of a batch that has come and was sealed for this session. Says whether it came before.
    pub(super) fn receive(&mut self, number: u64, from: SocketAddr, now: Nanos) -> Seen {
        let seen = self.received.insert(number);
        if seen == Seen::New {
            self.heard_at = now;
            if number == self.received.latest() {
                // Its address may have been translated anew.
                self.address = from;
            }
        }
        seen
    }

    /// Takes note of items, whose batch is to be acknowledged. Says whether they came before.
    pub(super) fn items(&mut self, number: u64, since: u64, now: Nanos) -> Seen {
        self.ack_count += 1;
        let due = if self.ack_count >= ACK_AFTER { now } else { now + ACK_DELAY };
        self.ack_due = Some(self.ack_due.map_or(due, |before| before.min(due)));
        match number.checked_sub(since) {
            Some(original) => self.originals.insert(original),
            None => Seen::TooOld,
        }
    }

    /// Takes what the peer has received.
    pub(super) fn acknowledge(&mut self, opening: &Opening, sending: &mut Sending<'_>) {
        let arrived = |number: u64| match opening.latest.checked_sub(number) {
            None => false,
            Some(0) => true,
            Some(back) => back <= 128 && opening.recent >> (back - 1) & 1 == 1,
        };
        let round_trip = &mut self.round_trip;
        self.unacknowledged.retain(|sent| {
            let Some((_, at)) = sent.again.iter().rev().chain([&sent.original]).find(|(number, _)| arrived(*number))
            else {
                return true;
            };
            let took = sending.now.saturating_sub(*at);
            *round_trip = (*round_trip * 7 + took) / 8;
            sending.budget.left += sent.items.len();
            count(&sending.stats.acknowledged, sent.told);
            false
        });
    }

    /// Does what is due. What is older than `hold` is of no use any more.
    pub(super) fn tick(&mut self, hold: Nanos, sending: &mut Sending<'_>) {
        if self.stopped {
            self.give_up(sending);
            return;
        }
        self.flush(sending);
        let now = sending.now;
        for _ in 0..self.unacknowledged.len() {
            let Some(mut sent) = self.unacknowledged.pop_front() else {
                break;
            };
            if now.saturating_sub(sent.original.1) >= hold {
                sending.budget.left += sent.items.len();
                count(&sending.stats.unacknowledged, sent.told);
                continue;
            }
            if sent.due <= now {
                count(&sending.stats.resent, sent.told);
                let number = self.batch(sent.original.0, &sent.items, sending);
                sent.again.extend(number.map(|number| (number, now)));
                sent.due = now + (self.patience() << sent.again.len().min(16));
            }
            self.unacknowledged.push_back(sent);
        }
        let silent = now.saturating_sub(self.sent_at) >= KEEP_ALIVE;
        if silent || self.ack_due.is_some_and(|due| due <= now) {
            self.batch(0, &[], sending);
        }
    }

    /// How long an acknowledgement may take.
    fn patience(&self) -> Nanos {
        (2 * self.round_trip).max(RESEND_LEAST)
    }

    /// Whether everything was acknowledged.
    pub(super) fn is_settled(&self) -> bool {
        self.unacknowledged.is_empty() && self.filling.is_empty()
    }

    /// Gives up what was not acknowledged.
    pub(super) fn give_up(&mut self, sending: &mut Sending<'_>) {
        for sent in self.unacknowledged.drain(..) {
            sending.budget.left += sent.items.len();
            count(&sending.stats.unacknowledged, sent.told);
        }
        count(&sending.stats.no_peer, std::mem::take(&mut self.filling_told));
        self.filling.clear();
    }

    /// Sends a batch, with whatever is to be acknowledged. `original`: the number it had at first, 0 for a new one.
    fn batch(&mut self, original: u64, items: &[u8], sending: &mut Sending<'_>) -> Option<u64> {
        self.number += 1;
        let number = self.number;
        let head = Head { kind: Kind::Batch, from: sending.me, to: self.peer, number };
        let since = if original == 0 { 0 } else { number - original };
        let opening = Opening { since, latest: self.received.latest(), recent: self.received.recent() };
        let mut bytes = Vec::with_capacity(LONGEST);
        head.write(&mut bytes);
        opening.write(&mut bytes);
        bytes.extend_from_slice(items);
        self.seal.seal(head.kind.code(), number, HEAD, &mut bytes)?;
        self.sent_at = sending.now;
        (self.ack_due, self.ack_count) = (None, 0);
        sending.out.push_back(Datagram { to: self.address, bytes });
        Some(number)
    }

    /// Sends a hello, sealed for this peer.
    pub(super) fn seal_hello(&self, head: &Head, bytes: &mut Vec<u8>) -> Option<()> {
        self.seal.seal(head.kind.code(), head.number, HEAD, bytes)
    }
}
