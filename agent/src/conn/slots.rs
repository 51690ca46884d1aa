//! Where the connections are kept: numbered slots, found by the address of their `struct sock`, listed by their [`Life`].

use hashbrown::HashMap;

use super::{
    entry::Entry,
    lists::{Life, Lists},
};
use crate::event::Nanos;

pub(super) struct Slots<S> {
    by_sock: HashMap<u64, u32>,
    entries: Vec<Option<Entry<S>>>,
    free: Vec<u32>,
    lists: Lists,
}

impl<S: Default> Slots<S> {
    pub(super) fn new() -> Self {
        Self { by_sock: HashMap::new(), entries: Vec::new(), free: Vec::new(), lists: Lists::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.by_sock.len()
    }

    #[inline]
    pub(super) fn find(&self, sock: u64) -> Option<u32> {
        self.by_sock.get(&sock).copied()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Entry<S>> {
        self.entries.get_mut(slot as usize)?.as_mut()
    }

    /// The one that has been in this stage of life for longest.
    pub(super) fn first(&mut self, life: Life) -> Option<(u32, &mut Entry<S>)> {
        let slot = self.lists.first(life)?;
        Some((slot, self.get_mut(slot)?))
    }

    /// Adds a connection whose `sock` is not in use.
    pub(super) fn insert(&mut self, entry: Entry<S>) -> u32 {
        let (sock, life) = (entry.connection.socket.sock, entry.life);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            // `Limits::connections` keeps the number below 2^31.
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.entries.get_mut(slot as usize) {
            *place = Some(entry);
            self.by_sock.insert(sock, slot);
            self.lists.push(life, slot);
        }
        slot
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Entry<S>> {
        let entry = self.entries.get_mut(slot as usize)?.take()?;
        self.by_sock.remove(&entry.connection.socket.sock);
        self.lists.remove(entry.life, slot);
        self.free.push(slot);
        Some(entry)
    }

    /// Puts a connection at the end of a list.
    pub(super) fn shift(&mut self, slot: u32, life: Life, stamp: Nanos) {
        if let Some(entry) = self.entries.get_mut(slot as usize).and_then(Option::as_mut) {
            self.lists.remove(entry.life, slot);
            self.lists.push(life, slot);
            entry.life = life;
            entry.stamp = stamp;
        }
    }
}
