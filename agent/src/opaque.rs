//! TLS connections that cannot be read, by process: so that what is missing from the traces is said, with the reason, and not guessed.
//! Whether one can be read turns out after it is seen to be TLS.

use std::{collections::BTreeMap, fmt::Display};

use compact_str::CompactString;
use hashbrown::HashMap;

/// Processes that are told apart; what others have is counted together.
const PROCESSES: usize = 4096;
/// Processes that are remembered for being looked at.
const FRESH: usize = 256;

/// What was found out about one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A process of this number has one that is TLS.
    Encrypted(u32),
    /// What is inside of one of its own has become known after all.
    Readable(u32),
}

#[derive(Debug, Default)]
struct Process {
    name: CompactString,
    encrypted: u64,
    readable: u64,
}

/// TLS connections, by process.
#[derive(Debug, Default)]
pub struct Opaque {
    processes: HashMap<u32, Process>,
    /// Of processes that found no room.
    others: u64,
    fresh: Vec<u32>,
}

/// Connections of one kind of process that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// `service.name`.
    pub service: CompactString,
    /// Why they cannot be read.
    pub why: String,
    /// How many they are.
    pub connections: u64,
}

impl Opaque {
    /// Takes note of a connection; `name` is asked for the name of its process when that is new.
    pub fn note(&mut self, news: News, name: impl FnOnce(u32) -> CompactString) {
        match news {
            News::Encrypted(tgid) => {
                if self.fresh.len() < FRESH && !self.fresh.contains(&tgid) {
                    self.fresh.push(tgid);
                }
                if self.processes.len() >= PROCESSES && !self.processes.contains_key(&tgid) {
                    self.others += 1;
                    return;
                }
                let process =
                    self.processes.entry(tgid).or_insert_with(|| Process { name: name(tgid), ..Process::default() });
                process.encrypted += 1;
            }
            News::Readable(tgid) => match self.processes.get_mut(&tgid) {
                Some(process) => process.readable += 1,
                None => self.others = self.others.saturating_sub(1),
            },
        }
    }

    /// Processes that have been seen to use TLS since the last time this was asked.
    pub fn take_fresh(&mut self) -> std::vec::Drain<'_, u32> {
        self.fresh.drain(..)
    }

    /// What cannot be read, the most first; `why` says it of a process.
    pub fn unreadable<W: Display>(&self, why: impl Fn(u32) -> W) -> Vec<Unreadable> {
        let mut found: BTreeMap<(CompactString, String), u64> = BTreeMap::new();
        for (tgid, process) in &self.processes {
            let connections = process.encrypted.saturating_sub(process.readable);
            if connections > 0 {
                *found.entry((process.name.clone(), why(*tgid).to_string())).or_default() += connections;
            }
        }
        let list = found.into_iter().map(|((service, why), connections)| Unreadable { service, why, connections });
        let mut list: Vec<Unreadable> = list.collect();
        if self.others > 0 {
            let service = CompactString::const_new("other processes");
            list.push(Unreadable { service, why: "too many to be told apart".to_owned(), connections: self.others });
        }
        list.sort_by_key(|unreadable| std::cmp::Reverse(unreadable.connections));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read() {
        let mut opaque = Opaque::default();
        let name = |tgid: u32| CompactString::from(if tgid == 1 { "java" } else { "nginx" });
        for tgid in [1, 2, 3, 2] {
            opaque.note(News::Encrypted(tgid), name);
        }
        assert_eq!(opaque.take_fresh().collect::<Vec<_>>(), [1, 2, 3]);
        opaque.note(News::Readable(3), name);
        opaque.note(News::Readable(2), name);
        let found = opaque.unreadable(|tgid| if tgid == 1 { "no library" } else { "too late" });
        let one = |service: &str, why: &str| Unreadable { service: service.into(), why: why.into(), connections: 1 };
        assert_eq!(found, [one("java", "no library"), one("nginx", "too late")]);
    }

    #[test]
    fn many_processes_are_bounded() {
        let mut opaque = Opaque::default();
        for tgid in 0..5000 {
            opaque.note(News::Encrypted(tgid), |tgid| CompactString::from(tgid.to_string()));
        }
        assert_eq!(opaque.take_fresh().count(), FRESH);
        let found = opaque.unreadable(|_| "x");
        assert_eq!(found.iter().map(|unreadable| unreadable.connections).sum::<u64>(), 5000);
        assert_eq!((found.len(), found[0].connections), (PROCESSES + 1, 904));
    }
}
