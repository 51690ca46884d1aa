//! Frames: their headers, and what certainly is one.

use super::method::Method;
use crate::protocol::{Verdict, cursor::Cursor, framed::Role};

/// The protocol header that a client begins with.
pub(super) const PROTOCOL: &[u8; 8] = b"AMQP\0\0\x09\x01";
/// Length of a frame's header.
pub(super) const HEADER: usize = 7;
/// The octet that ends a frame.
const END: u8 = 0xce;
/// The longest frame that is believed in.
pub(super) const MAX_FRAME: u32 = 128 << 20;
/// The longest frame with a method that is believed in where it is not known yet that this is AMQP.
const MAX_METHOD: u32 = 4096;

/// A method.
pub(super) const METHOD: u8 = 1;
/// The header of a content.
pub(super) const CONTENT: u8 = 2;
/// A part of a content.
pub(super) const BODY: u8 = 3;
/// A heartbeat.
pub(super) const HEARTBEAT: u8 = 8;

/// A frame's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) channel: u16,
    pub(super) size: u32,
}

/// Reads a frame's header.
pub(super) fn header(c: &mut Cursor<'_>) -> Option<Frame> {
    let mut ahead = *c;
    let frame = Frame { kind: ahead.u8()?, channel: ahead.u16_be()?, size: ahead.u32_be()? };
    *c = ahead;
    Some(frame)
}

/// Whether these bytes begin with a protocol header, or with a whole frame that holds a method, and who may send that.
pub(super) fn begins(bytes: &[u8]) -> (Verdict, Option<Role>) {
    if bytes.first() == Some(&b'A') {
        let same = PROTOCOL.iter().zip(bytes).all(|(a, b)| a == b);
        return match same {
            false => (Verdict::No, None),
            true if bytes.len() < PROTOCOL.len() => (Verdict::More, Some(Role::Request)),
            true => (Verdict::Yes, Some(Role::Request)),
        };
    }
    if bytes.first().is_some_and(|kind| *kind != METHOD) {
        return (Verdict::No, None);
    }
    let mut c = Cursor::new(bytes);
    let Some(frame) = header(&mut c) else {
        return (Verdict::More, None);
    };
    if !(4..=MAX_METHOD).contains(&frame.size) {
        return (Verdict::No, None);
    }
    let mut method = c;
    let (Some(class), Some(number)) = (method.u16_be(), method.u16_be()) else {
        return (Verdict::More, None);
    };
    let Some(role) = (Method { class, number }).role() else {
        return (Verdict::No, None);
    };
    match c.rest().get(frame.size as usize) {
        None => (Verdict::More, role),
        Some(&END) => (Verdict::Yes, role),
        Some(_) => (Verdict::No, None),
    }
}
