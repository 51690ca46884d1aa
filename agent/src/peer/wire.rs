//! Messages as bytes. A message is one datagram of at most [`LONGEST`] bytes: a head that everyone can read, a sealed body, the tag.
//! Numbers are big endian, `varint`s little-endian base 128.
//!
//! ```text
//! head:  version u8 · kind u8 · from u64 · to u64 · number u64
//! hello: echo u64 · after u64 · flags u8 · version of the agent: length u8, text · addresses: family u8 (4, 6), 4 or 16 bytes, to the end
//! batch: since varint · latest u64 · recent u128 (if latest is not 0) · items to the end
//! item:  kind u8 · answers u32 · request u32 · trace id 16 · span id 8 · flags u8 · trace state: length u16, text (if any)
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::{
    name::{Name, Told},
    seal::TAG,
};
use crate::trace::headers::parse_tracestate;

/// Longest datagram: goes through every network in one piece.
pub const LONGEST: usize = 1200;
/// Length of a message's head.
pub const HEAD: usize = 26;
/// What a body may hold.
pub(super) const ROOM: usize = LONGEST - HEAD - TAG;
/// Longest trace state that is told, in bytes of its header.
pub(super) const STATE_LONGEST: usize = 256;

const VERSION: u8 = 1;

const CONTEXT: u8 = 0;
const WITH_STATE: u8 = 1;
const TO_SEVERAL: u8 = 2;
const MINE: u8 = 4;
const BYE: u8 = 8;

const ANSWER: u8 = 1;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who speaks, and for which addresses.
    Hello,
    /// What was received, and what there is to tell.
    Batch,
}

/// The part of a message that everyone can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Random id of the agent that sends, chosen when it started; never 0.
    pub from: u64,
    /// Id of the agent that it is for; 0 when that is not known, in a hello.
    pub to: u64,
    /// Counts the messages of this kind.
    pub number: u64,
}

/// Why a datagram is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Of a version that is not understood.
    Version,
    /// Anything else.
    Malformed,
}

impl Kind {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Batch => 2,
        }
    }
}

impl Head {
    /// Reads it; nothing of it is certain until the seal has been looked at.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(datagram: &[u8]) -> Result<Self, Refused> {
        let mut cursor = Cursor(datagram);
        if cursor.u8().ok_or(Refused::Malformed)? != VERSION {
            return Err(Refused::Version);
        }
        let kind = match cursor.u8() {
            Some(1) => Kind::Hello,
            Some(2) => Kind::Batch,
            _ => return Err(Refused::Malformed),
        };
        let mut number = || cursor.u64().ok_or(Refused::Malformed);
        let head = Self { kind, from: number()?, to: number()?, number: number()? };
        let for_nobody = head.to == 0 && kind == Kind::Batch;
        if head.from == 0 || head.from == head.to || for_nobody || datagram.len() > LONGEST {
            return Err(Refused::Malformed);
        }
        Ok(head)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend([VERSION, self.kind.code()]);
        for number in [self.from, self.to, self.number] {
            out.extend(number.to_be_bytes());
        }
    }
}

/// Who speaks, and for which addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Number of the hello that this one answers; 0: of none.
    pub echo: u64,
    /// The sender's batches for the receiver have greater numbers than this.
    pub after: u64,
    /// An answer is wanted.
    pub answer: bool,
    /// Version of the agent.
    pub version: String,
    /// Addresses of the sockets that it traces: some of them, others come with another hello.
    pub addresses: Vec<IpAddr>,
}

/// Addresses that one hello has room for.
pub(super) const ADDRESSES: usize = 56;
/// Longest name of a version.
const VERSION_LONGEST: usize = 32;

impl Hello {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.echo.to_be_bytes());
        out.extend(self.after.to_be_bytes());
        out.push(if self.answer { ANSWER } else { 0 });
        let version: String = self.version.chars().filter(char::is_ascii_graphic).take(VERSION_LONGEST).collect();
        out.push(version.len() as u8);
        out.extend(version.as_bytes());
        for address in self.addresses.iter().take(ADDRESSES) {
            match address {
                IpAddr::V4(v4) => {
                    out.push(4);
                    out.extend(v4.octets());
                }
                IpAddr::V6(v6) => {
                    out.push(6);
                    out.extend(v6.octets());
                }
            }
        }
    }

    /// Reads a body that was sealed; `None` when it is no hello.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(body);
        let echo = cursor.u64()?;
        let after = cursor.u64()?;
        let flags = cursor.u8()?;
        let len = usize::from(cursor.u8()?);
        let version = cursor.take(len)?;
        if len > VERSION_LONGEST || !version.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let version = String::from_utf8_lossy(version).into_owned();
        let mut addresses = Vec::new();
        while !cursor.0.is_empty() {
            if addresses.len() == ADDRESSES {
                return None;
            }
            addresses.push(match cursor.u8()? {
                4 => Ipv4Addr::from(cursor.array::<4>()?).into(),
                6 => Ipv6Addr::from(cursor.array::<16>()?).into(),
                _ => return None,
            });
        }
        Some(Self { echo, after, answer: flags & ANSWER != 0, version, addresses })
    }
}

/// How a batch begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// How many numbers ago the items were sent for the first time; 0: now.
    pub since: u64,
    /// Greatest number of a batch that has come from the receiver; 0: none.
    pub latest: u64,
    /// Which of the 128 before it have come; bit 0 is the one just before.
    pub recent: u128,
}

impl Opening {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        varint(self.since, out);
        out.extend(self.latest.to_be_bytes());
        if self.latest != 0 {
            out.extend(self.recent.to_be_bytes());
        }
    }
}

/// Longest opening.
pub(super) const OPENING: usize = 10 + 8 + 16;

/// One thing that a batch says.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A request's context.
    Told {
        /// Which request, and its context.
        told: Told,
        /// Several agents are told, because it is not known whose the connection is.
        to_several: bool,
    },
    /// A connection of which several agents were told is known here: the number of the first byte that is answered on it.
    Mine(u32),
    /// The agent stops.
    Bye,
}

impl Item {
    /// Appends a context. Returns whether its trace state was too long and left out.
    pub(super) fn write_told(told: &Told, to_several: bool, out: &mut Vec<u8>) -> bool {
        let context = &told.context;
        let state =
            if *context.trace_state() == TraceState::NONE { String::new() } else { context.trace_state().header() };
        let too_long = state.len() > STATE_LONGEST;
        let with_state = !too_long && !state.is_empty();
        out.push(CONTEXT | if with_state { WITH_STATE } else { 0 } | if to_several { TO_SEVERAL } else { 0 });
        out.extend(told.name.answers.to_be_bytes());
        out.extend(told.name.request.to_be_bytes());
        out.extend(context.trace_id().to_bytes());
        out.extend(context.span_id().to_bytes());
        out.push(context.trace_flags().to_u8());
        if with_state {
            out.extend((state.len() as u16).to_be_bytes());
            out.extend(state.as_bytes());
        }
        too_long
    }

    pub(super) fn write_mine(answers: u32, out: &mut Vec<u8>) {
        out.push(MINE);
        out.extend(answers.to_be_bytes());
    }

    pub(super) fn write_bye(out: &mut Vec<u8>) {
        out.push(BYE);
    }
}

/// Reads the body of a batch that was sealed, whole or not at all: `None` when it is none. Allocates no more than the body is long, times
/// a small factor.
#[must_use]
pub fn read_batch(body: &[u8]) -> Option<(Opening, Vec<Item>)> {
    let mut cursor = Cursor(body);
    let mut opening = Opening { since: cursor.varint()?, latest: cursor.u64()?, recent: 0 };
    if opening.latest != 0 {
        opening.recent = u128::from_be_bytes(cursor.array()?);
    }
    let mut items = Vec::new();
    while let Some(kind) = cursor.u8() {
        items.push(match kind {
            MINE => Item::Mine(cursor.u32()?),
            BYE => Item::Bye,
            kind if kind & !(WITH_STATE | TO_SEVERAL) == CONTEXT => {
                Item::Told { told: cursor.told(kind & WITH_STATE != 0)?, to_several: kind & TO_SEVERAL != 0 }
            }
            _ => return None,
        });
    }
    Some((opening, items))
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// What is left to be read. Every read says when there is too little.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit, and a last byte of zero says nothing.
            if shift == 63 && bits > 1 || shift > 0 && byte == 0 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn told(&mut self, with_state: bool) -> Option<Told> {
        let name = Name { answers: self.u32()?, request: self.u32()? };
        let trace_id = TraceId::from_bytes(self.array()?);
        let span_id = SpanId::from_bytes(self.array()?);
        let flags = TraceFlags::new(self.u8()?);
        let state = if with_state {
            let len = usize::from(u16::from_be_bytes(self.array()?));
            let text = std::str::from_utf8(self.take(len)?).ok()?;
            (!text.is_empty()).then_some(())?;
            parse_tracestate(text)?
        } else {
            TraceState::NONE
        };
        let context = SpanContext::new(trace_id, span_id, flags, true, state);
        context.is_valid().then_some(Told { name, context })
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
