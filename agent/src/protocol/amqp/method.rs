//! Methods: their names, who sends them, and what answers them.

use crate::protocol::{cursor::Cursor, framed::Role};

/// A method by its class and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Method {
    pub(super) class: u16,
    pub(super) number: u16,
}

/// `connection.close`.
pub(super) const CONNECTION_CLOSE: Method = Method { class: 10, number: 50 };
/// `channel.open`.
pub(super) const CHANNEL_OPEN: Method = Method { class: 20, number: 10 };
/// `channel.close`.
pub(super) const CHANNEL_CLOSE: Method = Method { class: 20, number: 40 };
/// `basic.consume`.
pub(super) const CONSUME: Method = Method { class: 60, number: 20 };
/// `basic.publish`.
pub(super) const PUBLISH: Method = Method { class: 60, number: 40 };
/// `basic.return`.
pub(super) const RETURN: Method = Method { class: 60, number: 50 };
/// `basic.deliver`.
pub(super) const DELIVER: Method = Method { class: 60, number: 60 };
/// `basic.get`.
pub(super) const GET: Method = Method { class: 60, number: 70 };
/// `basic.get-ok`.
pub(super) const GET_OK: Method = Method { class: 60, number: 71 };
/// `basic.ack`.
pub(super) const ACK: Method = Method { class: 60, number: 80 };
/// `basic.reject`.
pub(super) const REJECT: Method = Method { class: 60, number: 90 };
/// `basic.nack`.
pub(super) const NACK: Method = Method { class: 60, number: 120 };
/// `confirm.select`.
pub(super) const CONFIRM_SELECT: Method = Method { class: 85, number: 10 };

/// What clients ask: class, number, name, and the number of the answer.
const CALLS: [(u16, u16, &str, u16); 23] = [
    (10, 40, "connection.open", 41),
    (10, 50, "connection.close", 51),
    (20, 10, "channel.open", 11),
    (20, 20, "channel.flow", 21),
    (20, 40, "channel.close", 41),
    (40, 10, "exchange.declare", 11),
    (40, 20, "exchange.delete", 21),
    (40, 30, "exchange.bind", 31),
    (40, 40, "exchange.unbind", 51),
    (50, 10, "queue.declare", 11),
    (50, 20, "queue.bind", 21),
    (50, 30, "queue.purge", 31),
    (50, 40, "queue.delete", 41),
    (50, 50, "queue.unbind", 51),
    (60, 10, "basic.qos", 11),
    (60, 20, "basic.consume", 21),
    (60, 30, "basic.cancel", 31),
    (60, 70, "basic.get", 71),
    (60, 110, "basic.recover", 111),
    (85, 10, "confirm.select", 11),
    (90, 10, "tx.select", 11),
    (90, 20, "tx.commit", 21),
    (90, 30, "tx.rollback", 31),
];

impl Method {
    /// Reads it.
    pub(super) fn read(c: &mut Cursor<'_>) -> Option<Self> {
        Some(Self { class: c.u16_be()?, number: c.u16_be()? })
    }

    /// Who sends it; `Some(None)` when both do. `None`: there is no such method.
    #[expect(clippy::option_option, reason = "whether it exists, and whether it has one sender")]
    pub(super) fn role(self) -> Option<Option<Role>> {
        let (request, response) = (Some(Some(Role::Request)), Some(Some(Role::Response)));
        match (self.class, self.number) {
            (10, 50 | 51) | (20, 20 | 21 | 40 | 41) | (60, 30 | 31 | 80 | 120) => Some(None),
            (10, 11 | 21 | 31 | 40 | 70) | (60, 40 | 90 | 100) => request,
            (10, 10 | 20 | 30 | 41 | 60) | (60, 50 | 60 | 72) => response,
            _ if self.asked().is_some() => request,
            _ if self.answers().is_some() => response,
            _ => None,
        }
    }

    /// Its name, if it is one that a client asks and the broker answers.
    pub(super) fn asked(self) -> Option<&'static str> {
        CALLS.iter().find(|(class, number, ..)| (*class, *number) == (self.class, self.number)).map(|call| call.2)
    }

    /// The method that it answers.
    pub(super) fn answers(self) -> Option<Self> {
        let number = if self.class == 60 && self.number == 72 { 71 } else { self.number };
        let call = CALLS.iter().find(|call| (call.0, call.3) == (self.class, number))?;
        Some(Self { class: call.0, number: call.1 })
    }
}

/// What the arguments of a method say that is asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arguments<'a> {
    /// An exchange or a queue.
    pub(super) subject: &'a [u8],
    /// Of a consumer.
    pub(super) tag: &'a [u8],
    pub(super) no_ack: bool,
    /// No answer is wanted.
    pub(super) no_wait: bool,
}

/// Reads as much of the arguments as there is.
pub(super) fn arguments<'a>(method: Method, mut c: Cursor<'a>) -> Arguments<'a> {
    let mut arguments = Arguments::default();
    // What has been read remains when the rest is missing.
    let _ = read(method, &mut c, &mut arguments);
    arguments
}

fn read<'a>(method: Method, c: &mut Cursor<'a>, to: &mut Arguments<'a>) -> Option<()> {
    match (method.class, method.number) {
        (40 | 50, number) => {
            c.skip(2)?;
            to.subject = c.prefixed_u8()?;
            let (texts, bit) = match (method.class, number) {
                (40, 10) => (1, 4),
                (40, 20) => (0, 1),
                (40, 30 | 40) => (2, 0),
                (50, 10) => (0, 4),
                (50, 20) => (2, 0),
                (50, 30) => (0, 0),
                (50, 40) => (0, 2),
                _ => return None,
            };
            for _ in 0..texts {
                c.prefixed_u8()?;
            }
            to.no_wait = c.u8()? >> bit & 1 == 1;
        }
        (60, 20) => {
            c.skip(2)?;
            to.subject = c.prefixed_u8()?;
            to.tag = c.prefixed_u8()?;
            let bits = c.u8()?;
            (to.no_ack, to.no_wait) = (bits & 2 != 0, bits & 8 != 0);
        }
        (60, 30) => {
            to.tag = c.prefixed_u8()?;
            to.no_wait = c.u8()? & 1 == 1;
        }
        (60, 70) => {
            c.skip(2)?;
            to.subject = c.prefixed_u8()?;
        }
        (85, 10) => to.no_wait = c.u8()? & 1 == 1,
        _ => {}
    }
    Some(())
}
