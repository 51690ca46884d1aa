//! What a peer would send, for tests.

use std::collections::VecDeque;

use super::hpack::huffman_encode;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITY: u8 = 0x20;

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A message of gRPC.
pub(super) fn message(length: usize) -> Vec<u8> {
    let mut message = vec![0];
    message.extend(u32::try_from(length).unwrap().to_be_bytes());
    message.resize(5 + length, b'm');
    message
}

/// A field, and how it is encoded.
#[derive(Clone, Debug)]
pub(super) struct Coded {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) add: bool,
    pub(super) huffman: bool,
}

/// An encoder that uses the dynamic table whenever it can. Of the static table it knows the names of the pseudo-header fields
/// and of the content's type.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    /// The newest first.
    table: VecDeque<(String, String)>,
}

impl Encoder {
    /// A header block of fields that are all added to the table.
    pub(super) fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (i, (name, value)) in fields.iter().enumerate() {
            let (name, value) = ((*name).to_owned(), (*value).to_owned());
            self.encode(&Coded { name, value, add: true, huffman: i % 2 == 0 }, &mut block);
        }
        block
    }

    pub(super) fn encode(&mut self, field: &Coded, out: &mut Vec<u8>) {
        let pair = (field.name.clone(), field.value.clone());
        if let Some(at) = self.table.iter().position(|known| *known == pair) {
            return put_integer(0x80, 7, 62 + at, out);
        }
        let (flag, prefix) = if field.add { (0x40, 6) } else { (0, 4) };
        let fixed =
            [(":authority", 1), (":method", 2), (":path", 4), (":scheme", 6), (":status", 8), ("content-type", 31)];
        let fixed = fixed.iter().find(|(name, _)| *name == field.name).map(|(_, index)| *index);
        match fixed.or(self.table.iter().position(|(name, _)| *name == field.name).map(|at| 62 + at)) {
            Some(index) => put_integer(flag, prefix, index, out),
            None => {
                out.push(flag);
                put_string(&field.name, field.huffman, out);
            }
        }
        put_string(&field.value, field.huffman, out);
        if field.add {
            self.table.push_front(pair);
            while self.table.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() > 4096 {
                self.table.pop_back();
            }
        }
    }
}

fn put_integer(flag: u8, prefix: u32, value: usize, out: &mut Vec<u8>) {
    let mask = (1 << prefix) - 1;
    if value < mask {
        return out.push(flag | value as u8);
    }
    out.push(flag | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_string(text: &str, huffman: bool, out: &mut Vec<u8>) {
    let bytes = if huffman { huffman_encode(text.as_bytes()) } else { text.as_bytes().to_vec() };
    put_integer(if huffman { 0x80 } else { 0 }, 7, bytes.len(), out);
    out.extend(bytes);
}
