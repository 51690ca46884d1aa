//! Protobuf, written straight into a byte vector. A nested message is written first and its length put in front of it
//! afterwards, so nothing is measured twice and nothing is allocated per message.
//!
//! <https://protobuf.dev/programming-guides/encoding/>. What is default (0, empty) is left out by the caller.

use prost::encoding::WireType;

/// An integer, a boolean or an enumeration.
pub fn varint(out: &mut Vec<u8>, tag: u32, value: u64) {
    key(out, tag, WireType::Varint);
    number(out, value);
}

/// A `fixed32`.
pub fn fixed32(out: &mut Vec<u8>, tag: u32, value: u32) {
    key(out, tag, WireType::ThirtyTwoBit);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A `fixed64`, or a `double` by its bits.
pub fn fixed64(out: &mut Vec<u8>, tag: u32, value: u64) {
    key(out, tag, WireType::SixtyFourBit);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Bytes, or a string.
pub fn bytes(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    key(out, tag, WireType::LengthDelimited);
    number(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A nested message. `width` is how many bytes its length will probably take: a wrong guess costs moving the message.
pub fn message(out: &mut Vec<u8>, tag: u32, width: usize, write: impl FnOnce(&mut Vec<u8>)) {
    key(out, tag, WireType::LengthDelimited);
    let hole = out.len();
    out.resize(hole + width, 0);
    let start = out.len();
    write(out);
    let len = out.len() - start;

    if width == 1
        && let Ok(byte @ 0..0x80) = u8::try_from(len)
        && let Some(slot) = out.get_mut(hole)
    {
        *slot = byte;
        return;
    }
    // The length goes to the end first, and from there to its place.
    number(out, len as u64);
    let needed = out.len() - start - len;
    if needed == width {
        out.copy_within(start + len.., hole);
    } else if let Some(rest) = out.get_mut(hole..) {
        // `width` zeros, the message, its length: the length first, the zeros at the end and away.
        rest.rotate_right(needed);
        if let Some(rest) = rest.get_mut(needed..) {
            rest.rotate_left(width);
        }
        out.truncate(hole + needed + len);
        return;
    }
    out.truncate(start + len);
}

/// What is in front of every field: its number, and how long it is.
fn key(out: &mut Vec<u8>, tag: u32, wire_type: WireType) {
    number(out, u64::from(tag << 3 | wire_type as u32));
}

/// A variable-length number: seven bits a byte, the lowest first. (prost's own, for any kind of buffer, takes longer.)
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Everything {
        #[prost(uint64, tag = "1")]
        varint: u64,
        #[prost(fixed32, tag = "16")]
        four: u32,
        #[prost(double, tag = "3")]
        eight: f64,
        #[prost(bytes = "vec", tag = "4")]
        bytes: Vec<u8>,
        #[prost(message, optional, boxed, tag = "5")]
        nested: Option<Box<Everything>>,
    }

    proptest! {
        #[test]
        fn is_what_prost_writes(
            value in any::<u64>(), four in 1u32.., len in 0usize..40_000, width in 1usize..5,
        ) {
            let inner = Everything { varint: 1, four, eight: 1.5, bytes: vec![7; len + 1], nested: None };
            let outer = Everything { varint: value.max(1), nested: Some(Box::new(inner.clone())), ..inner.clone() };
            let mut out = vec![9, 9];
            let write = |out: &mut Vec<u8>, message: &Everything| {
                varint(out, 1, message.varint);
                fixed64(out, 3, message.eight.to_bits());
                bytes(out, 4, &message.bytes);
            };
            write(&mut out, &outer);
            message(&mut out, 5, width, |out| {
                write(out, &inner);
                fixed32(out, 16, four);
            });
            fixed32(&mut out, 16, four);
            prop_assert_eq!(&out[..2], &[9, 9]);
            prop_assert_eq!(&out[2..], &outer.encode_to_vec()[..]);
        }
    }
}
