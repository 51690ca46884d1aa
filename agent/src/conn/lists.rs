//! Where each slot of the table stands in its life, and in which order: linked lists over slot numbers, without allocation.

/// What a connection is waiting for to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It is in use. Ordered by when it was last used.
    Active,
    /// Nothing has happened for a while. Ordered by when it was last told the time.
    Quiet,
    /// It is over by all appearances, but nothing has said so.
    Doubtful,
    /// Closed, or ended in both directions; remembered for the sake of late records.
    Closing,
    /// Forgotten but for its addresses.
    Dormant,
}

/// In which order connections are given up when there are too many.
pub(super) const DISPENSABLE: [Life; 5] = [Life::Closing, Life::Dormant, Life::Doubtful, Life::Quiet, Life::Active];

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u32,
    last: u32,
}

impl Default for Ends {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

/// One list for each [`Life`]. The caller knows on which list a slot is.
#[derive(Debug, Default)]
pub(super) struct Lists {
    nodes: Vec<Node>,
    active: Ends,
    quiet: Ends,
    doubtful: Ends,
    closing: Ends,
    dormant: Ends,
}

impl Lists {
    /// Appends a slot that is on no list.
    pub(super) fn push(&mut self, life: Life, slot: u32) {
        let last = self.ends(life).last;
        let node = Node { previous: last, next: NONE };
        match self.nodes.get_mut(slot as usize) {
            Some(place) => *place = node,
            None => {
                self.nodes.resize(slot as usize + 1, Node { previous: NONE, next: NONE });
                if let Some(place) = self.nodes.last_mut() {
                    *place = node;
                }
            }
        }
        match self.nodes.get_mut(last as usize) {
            Some(before) => before.next = slot,
            None => self.ends(life).first = slot,
        }
        self.ends(life).last = slot;
    }

    /// Takes a slot off the list on which it is.
    pub(super) fn remove(&mut self, life: Life, slot: u32) {
        let Some(&Node { previous, next }) = self.nodes.get(slot as usize) else {
            return;
        };
        match self.nodes.get_mut(previous as usize) {
            Some(before) => before.next = next,
            None => self.ends(life).first = next,
        }
        match self.nodes.get_mut(next as usize) {
            Some(after) => after.previous = previous,
            None => self.ends(life).last = previous,
        }
    }

    /// The slot that has been on the list for longest.
    pub(super) fn first(&mut self, life: Life) -> Option<u32> {
        Some(self.ends(life).first).filter(|&slot| slot != NONE)
    }

    fn ends(&mut self, life: Life) -> &mut Ends {
        match life {
            Life::Active => &mut self.active,
            Life::Quiet => &mut self.quiet,
            Life::Doubtful => &mut self.doubtful,
            Life::Closing => &mut self.closing,
            Life::Dormant => &mut self.dormant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(lists: &mut Lists, life: Life) -> Vec<u32> {
        std::iter::from_fn(|| {
            let slot = lists.first(life)?;
            lists.remove(life, slot);
            Some(slot)
        })
        .collect()
    }

    #[test]
    fn slots_leave_from_anywhere_and_keep_their_order() {
        let mut lists = Lists::default();
        for slot in 0..6 {
            lists.push(Life::Active, slot);
        }
        for slot in [0, 3, 5] {
            lists.remove(Life::Active, slot);
        }
        lists.push(Life::Quiet, 3);
        lists.push(Life::Active, 0);
        assert_eq!(drain(&mut lists, Life::Active), [1, 2, 4, 0]);
        assert_eq!(drain(&mut lists, Life::Quiet), [3]);
        assert_eq!(lists.first(Life::Active), None);
    }
}
