//! Where on the socket requests are that were read inside of TLS. Their offsets there are the same at both ends of a connection only if both
//! saw it from the beginning; the place of the TLS record that begins with a request is the same in any case.

use std::collections::VecDeque;

use crate::{
    conn::{Connection, Update},
    event::Direction,
    protocol::{Asked, OtherEnd, Side},
};

/// Calls that are remembered in each direction: a request's head seldom comes in more.
const CALLS: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Places {
    /// Direction, offset inside of TLS, place on the socket.
    calls: VecDeque<(Direction, u64, u64)>,
    /// What is inside may have been missed before.
    joined: bool,
}

impl Places {
    /// Takes note of an update of a decrypted connection.
    pub fn note(&mut self, connection: &Connection, update: &Update<'_>) {
        if let Update::Piece(_, piece) = update {
            self.joined |= piece.joined;
        }
        if let Some(call) = connection.wire
            && self.calls.back() != Some(&call)
        {
            if self.calls.len() >= 2 * CALLS {
                self.calls.pop_front();
            }
            self.calls.push_back(call);
        }
    }

    /// Says where a request is.
    pub fn place(&self, asked: &mut Asked) {
        let OtherEnd::Sequences(sequences) = asked.other_end else {
            return;
        };
        let direction = if asked.side == Side::Server { Direction::Receive } else { Direction::Send };
        let call = self.calls.iter().rev().find(|(d, offset, _)| *d == direction && *offset == asked.id.place);
        let wire = call.map(|(.., wire)| *wire);
        asked.other_end = OtherEnd::Encrypted { sequences, wire, whole: !self.joined };
    }
}
