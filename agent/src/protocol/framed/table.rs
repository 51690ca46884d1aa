//! Which request a response belongs to, in protocols that say so: by the id that both carry.

use std::hash::Hash;

use hashbrown::HashMap;

use super::{Call, Calls, Context, Origin, Role, Tail, Unit};
use crate::{
    conn::Gap,
    event::Nanos,
    protocol::{http::NoResponse, shared::count},
};

/// Requests that wait for their responses, at most.
const MAX_OUTSTANDING: usize = 4096;
/// How long an answer whose request is not known waits for it. Others wait behind it.
const PATIENCE: Nanos = 100_000_000;
/// How long after a loss no answer waits for its request, because it may have been missed.
const MISSED: Nanos = 1_000_000_000;

/// The requests of a connection that are not finished, by id.
#[derive(Debug)]
pub struct Table<K, U> {
    units: HashMap<K, (u64, U), foldhash::fast::RandomState>,
    /// Numbers the requests.
    serial: u64,
    /// When requests were last missed.
    missed: Option<Nanos>,
    /// Number of the last request when responses were last missed: its own may have been among them.
    hidden: u64,
    last: Nanos,
}

impl<K, U> Default for Table<K, U> {
    fn default() -> Self {
        Self { units: HashMap::default(), serial: 0, missed: None, hidden: 0, last: 0 }
    }
}

impl<K: Hash + Eq + Send + Copy, U: Unit> Table<K, U> {
    /// A request. An unfinished one of the same id is given up, for its response was missed.
    pub fn insert(&mut self, id: K, unit: U, cx: &mut Context<'_>) {
        if self.units.len() >= MAX_OUTSTANDING && !self.units.contains_key(&id) {
            count(&cx.shared.counts.overflows);
            if let Some(oldest) = self.units.iter().min_by_key(|(_, (serial, _))| *serial).map(|(id, _)| *id)
                && let Some((_, unit)) = self.units.remove(&oldest)
            {
                unit.give_up(NoResponse::Unseen, self.last, cx);
            }
        }
        self.serial += 1;
        if let Some((_, earlier)) = self.units.insert(id, (self.serial, unit)) {
            earlier.give_up(NoResponse::Unseen, self.last, cx);
        }
    }

    /// The request of this id.
    pub fn get(&mut self, id: K) -> Option<&mut U> {
        self.units.get_mut(&id).map(|(_, unit)| unit)
    }

    /// The request of this id, to look at.
    #[must_use]
    pub fn peek(&self, id: K) -> Option<&U> {
        self.units.get(&id).map(|(_, unit)| unit)
    }

    /// Whether a request of this id waits.
    #[must_use]
    pub fn contains(&self, id: K) -> bool {
        self.units.contains_key(&id)
    }

    /// Takes the request of this id: its response is complete.
    pub fn remove(&mut self, id: K) -> Option<U> {
        self.units.remove(&id).map(|(_, unit)| unit)
    }

    /// A response has no request.
    pub fn orphan(&self, cx: &Context<'_>) {
        count(&cx.shared.counts.orphans);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }
}

impl<K: Hash + Eq + Send + Copy, D> Table<K, Call<D>>
where
    Call<D>: Unit,
{
    /// The last byte of a request has come. If it is `silent`, nothing answers it, and it is done.
    pub fn asked_whole(&mut self, id: K, silent: bool, tail: &Tail, cx: &mut Context<'_>) {
        let Some(call) = self.get(id) else { return };
        call.asked_on(tail.last, cx);
        if silent && let Some(mut call) = self.remove(id) {
            call.exchange.holes.length |= tail.lost;
            call.done_unanswered(tail.last.time, cx);
        }
    }
}

impl<K: Hash + Eq + Send + Copy, U: Unit> Calls for Table<K, U> {
    /// Whether a response of an unknown id may belong to a request that has not been seen yet.
    fn must_wait(&self) -> bool {
        self.missed.is_none_or(|missed| self.last.saturating_sub(missed) > MISSED)
    }

    fn in_order(&self) -> bool {
        false
    }

    fn patience(&self) -> Nanos {
        PATIENCE
    }

    fn touch(&mut self, now: Nanos) {
        self.last = self.last.max(now);
    }

    fn impatient(&mut self, _: &mut Context<'_>) {
        self.missed = Some(self.last);
    }

    fn joined(&mut self, role: Role, _: bool, _: &mut Context<'_>) {
        match role {
            Role::Request => self.missed = Some(self.last),
            Role::Response => self.hidden = self.serial,
        }
    }

    fn lost(&mut self, role: Role, _: Gap, _: bool, cx: &mut Context<'_>) {
        match role {
            Role::Request => {
                self.missed = Some(self.last);
                count(&cx.shared.counts.unpaired);
            }
            Role::Response => self.hidden = self.serial,
        }
    }

    fn passed(&mut self, role: Role, _: Origin, alone: bool, cx: &mut Context<'_>) {
        self.lost(role, Gap::NotCaptured, alone, cx);
    }

    fn tick(&mut self, _: Nanos, _: &mut Context<'_>) {}

    fn end(&mut self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        let mut units: Vec<_> = self.units.drain().map(|(_, unit)| unit).collect();
        units.sort_unstable_by_key(|(serial, _)| *serial);
        for (serial, unit) in units {
            unit.give_up(if serial <= self.hidden { NoResponse::Unseen } else { why }, now, cx);
        }
    }
}
