//! What the connection stage promises to the next one, checked for one connection.

use geophone::conn::{Connection, Piece, Update};
use geophone::event::Direction;

/// Where a connection's directions are.
#[derive(Debug, Default)]
pub struct Promises {
    ways: [Way; 2],
    decrypted: bool,
}

#[derive(Debug, Default)]
struct Way {
    next: Option<u64>,
    ended: bool,
}

impl Promises {
    /// Checks the next update.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn check(&mut self, connection: &Connection, update: &Update<'_>) {
        if connection.decrypted != self.decrypted {
            assert!(connection.decrypted, "what was decrypted once stays so");
            // The streams begin anew.
            *self = Self { ways: Default::default(), decrypted: true };
        }
        match update {
            Update::Piece(direction, piece) => self.way(*direction).piece(piece),
            Update::End(direction, _) => {
                let way = self.way(*direction);
                assert!(!way.ended, "a direction ends once");
                way.ended = true;
            }
            Update::Tick(_) => {}
        }
    }

    fn way(&mut self, direction: Direction) -> &mut Way {
        let [send, receive] = &mut self.ways;
        match direction {
            Direction::Send => send,
            Direction::Receive => receive,
        }
    }
}

impl Way {
    fn piece(&mut self, piece: &Piece<'_>) {
        assert!(!self.ended, "nothing follows an end");
        assert!(!piece.content.is_empty(), "a piece is something");
        match self.next {
            Some(next) => {
                assert_eq!(piece.offset, next, "pieces follow each other");
                assert!(!piece.joined, "only a first piece joins");
            }
            None => assert!(piece.joined || piece.offset == 0, "a first piece begins a stream, or joins it"),
        }
        self.next = Some(piece.offset.checked_add(piece.content.len()).expect("a stream has 64 bits"));
    }
}
