//! The probes that are attached, each once, however many processes need it.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{FileId, Probe, watch::Shared, worker::count};
use crate::bpf::{Attached, Hooks};

/// Probes at a time, each with a descriptor or two. A host runs some hundred different files at most, and few of them have more than ten.
const PROBES: usize = 8192;
/// How long a probe stays that nobody needs: programs are run again.
const KEPT: Duration = Duration::from_secs(600);

/// A probe's identity.
pub type Key = (&'static str, FileId, u64);

/// See the module.
#[derive(Default)]
pub struct Probes {
    attached: HashMap<Key, Held>,
}

struct Held {
    /// Detached when this is dropped.
    _attached: Attached,
    users: usize,
    /// Since when there are none.
    unused: Option<Instant>,
}

impl Probes {
    /// Attaches a probe, or counts one more user of it. Failures are counted, and said.
    pub fn attach(&mut self, hooks: &mut Hooks, shared: &Arc<Shared>, probe: &Probe) -> Option<Key> {
        let key = (probe.program, probe.id, probe.offset);
        if let Some(held) = self.attached.get_mut(&key) {
            held.users += 1;
            held.unused = None;
            return Some(key);
        }
        if shared.stop.load(Ordering::Acquire) {
            return None;
        }
        if self.attached.len() >= PROBES {
            count(&shared.probes_failed);
            return None;
        }
        match hooks.attach(probe.program, &probe.file, probe.offset) {
            Ok(attached) => {
                self.attached.insert(key, Held { _attached: attached, users: 1, unused: None });
                Some(key)
            }
            Err(error) => {
                count(&shared.probes_failed);
                log::info!("the probe {} cannot be attached: {error}", probe.program);
                None
            }
        }
    }

    /// One user less of each probe; without users it is detached, after a while.
    pub fn release(&mut self, keys: Vec<Key>) {
        for key in keys {
            if let Some(held) = self.attached.get_mut(&key) {
                held.users = held.users.saturating_sub(1);
                if held.users == 0 {
                    held.unused = Some(Instant::now());
                }
            }
        }
    }

    /// Detaches what nobody has needed for long.
    pub fn sweep(&mut self) {
        self.attached.retain(|_, held| held.unused.is_none_or(|since| since.elapsed() < KEPT));
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        if !self.attached.is_empty() {
            Hooks::detach_elsewhere();
        }
    }
}
