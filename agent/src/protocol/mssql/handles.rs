//! The statements that a connection has prepared, a bounded number of them.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;

use crate::protocol::db::Operation;

/// Statements that are kept. The oldest are forgotten first.
const MAX_STATEMENTS: usize = 512;

/// Statements by the number that the server gave them.
#[derive(Debug, Default)]
pub(super) struct Handles {
    known: HashMap<i32, Arc<Operation>, foldhash::fast::RandomState>,
    order: VecDeque<i32>,
}

impl Handles {
    pub(super) fn set(&mut self, handle: i32, operation: Arc<Operation>) {
        if self.known.insert(handle, operation).is_none() {
            self.order.push_back(handle);
        }
        while self.order.len() > MAX_STATEMENTS {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    pub(super) fn get(&self, handle: i32) -> Option<Arc<Operation>> {
        self.known.get(&handle).cloned()
    }

    pub(super) fn remove(&mut self, handle: i32) {
        if self.known.remove(&handle).is_some() {
            self.order.retain(|other| *other != handle);
        }
    }
}
