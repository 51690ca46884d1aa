//! The probes that are attached, each once, however many processes need it.

use std::{collections::HashMap, sync::Arc, thread};

use super::{FileId, Probe, watch::Shared, worker::count};
use crate::bpf::{Attached, Hooks};

/// Probes at a time, each with a descriptor or two. A host runs some hundred different files at most, and few of them have more than ten.
const PROBES: usize = 8192;
/// How many threads detach what is left at the end: for each probe the kernel lets others finish first.
const DETACHING: usize = 16;

/// A probe's identity.
pub type Key = (&'static str, FileId, u64);

/// See the module.
#[derive(Default)]
pub struct Probes {
    attached: HashMap<Key, (Attached, usize)>,
}

impl Probes {
    /// Attaches a probe, or counts one more user of it. Failures are counted, and said.
    pub fn attach(&mut self, hooks: &Hooks, shared: &Arc<Shared>, probe: &Probe) -> Option<Key> {
        let key = (probe.program, probe.id, probe.offset);
        if let Some((_, users)) = self.attached.get_mut(&key) {
            *users += 1;
            return Some(key);
        }
        if self.attached.len() >= PROBES {
            count(&shared.probes_failed);
            return None;
        }
        match hooks.attach(probe.program, &probe.file, probe.offset) {
            Ok(attached) => {
                self.attached.insert(key, (attached, 1));
                Some(key)
            }
            Err(error) => {
                count(&shared.probes_failed);
                log::info!("the probe {} cannot be attached: {error}", probe.program);
                None
            }
        }
    }

    /// One user less of each probe; without users it is detached.
    pub fn release(&mut self, keys: Vec<Key>) {
        for key in keys {
            if let Some((_, users)) = self.attached.get_mut(&key) {
                *users = users.saturating_sub(1);
                if *users == 0 {
                    self.attached.remove(&key);
                }
            }
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        let mut left = self.attached.drain().map(|(_, (attached, _))| attached);
        let mut parts: Vec<Vec<Attached>> = (0..DETACHING).map(|_| Vec::new()).collect();
        'all: loop {
            for part in &mut parts {
                let Some(attached) = left.next() else { break 'all };
                part.push(attached);
            }
        }
        thread::scope(|scope| {
            for part in parts.into_iter().filter(|part| !part.is_empty()) {
                scope.spawn(move || drop(part));
            }
        });
    }
}
