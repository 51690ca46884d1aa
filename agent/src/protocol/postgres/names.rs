//! What a connection has given names to: prepared statements and portals, a bounded number of them.

use std::{collections::VecDeque, sync::Arc};

use compact_str::CompactString;
use hashbrown::HashMap;

use crate::protocol::db::Operation;

/// Names that are kept, of each kind.
const MAX_NAMES: usize = 256;
/// A longer name is not kept; the server cuts names at 63.
const MAX_NAME: usize = 128;

/// Names and what they mean. The oldest are forgotten first.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<CompactString, Arc<Operation>, foldhash::fast::RandomState>,
    order: VecDeque<CompactString>,
}

impl Names {
    pub(super) fn set(&mut self, name: &[u8], operation: Arc<Operation>) {
        let Some(name) = key(name) else {
            return;
        };
        if self.known.insert(name.clone(), operation).is_none() {
            self.order.push_back(name);
        }
        while self.order.len() > MAX_NAMES {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<Arc<Operation>> {
        self.known.get(&key(name)?).cloned()
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some(name) = key(name)
            && self.known.remove(&name).is_some()
        {
            self.order.retain(|other| *other != name);
        }
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }
}

fn key(name: &[u8]) -> Option<CompactString> {
    (name.len() <= MAX_NAME).then(|| CompactString::from_utf8_lossy(name))
}
