//! One value for each direction of a connection.

use crate::event::Direction;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ways<T> {
    send: T,
    receive: T,
}

impl<T> Ways<T> {
    #[inline]
    pub(super) fn get(&self, direction: Direction) -> &T {
        match direction {
            Direction::Send => &self.send,
            Direction::Receive => &self.receive,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, direction: Direction) -> &mut T {
        match direction {
            Direction::Send => &mut self.send,
            Direction::Receive => &mut self.receive,
        }
    }
}
