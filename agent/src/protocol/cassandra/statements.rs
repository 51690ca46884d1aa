//! The statements that a connection has prepared, a bounded number of them.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;

use crate::protocol::db::Operation;

/// Statements that are kept. The oldest are forgotten first.
const MAX_STATEMENTS: usize = 512;

/// A statement's id.
type Id = [u8; 16];

/// Statements by id.
#[derive(Debug, Default)]
pub(super) struct Statements {
    known: HashMap<Id, Arc<Operation>, foldhash::fast::RandomState>,
    order: VecDeque<Id>,
}

impl Statements {
    pub(super) fn set(&mut self, id: &[u8], operation: Arc<Operation>) {
        let Ok(id) = Id::try_from(id) else { return };
        if self.known.insert(id, operation).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > MAX_STATEMENTS {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    pub(super) fn get(&self, id: &[u8]) -> Option<Arc<Operation>> {
        self.known.get(&Id::try_from(id).ok()?).cloned()
    }
}
