//! HPACK (RFC 7541), read by somebody who may have come too late, or may not have seen everything. What depends on something that was
//! not seen is unknown, what does not is right.

mod huffman;
mod table;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use huffman::encode as huffman_encode;
use table::{Part, Table};

/// Bytes of names and values, each with 32 more as in `SETTINGS_MAX_HEADER_LIST_SIZE`, that one header block may have. A few bytes can
/// refer to a large entry of the table again and again.
const MAX_LIST: usize = 64 << 10;

/// A header field; a part that is not known is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name.
    pub name: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// What a header block was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// All of it was read.
    Whole,
    /// It goes on behind what was seen.
    Cut,
    /// It has more fields than may be.
    TooLong,
    /// It breaks the rules: whoever it was meant for has closed the connection.
    Malformed,
}

/// Why reading stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The bytes end.
    End,
    /// They cannot be.
    Malformed,
}

/// The state of one direction's compression.
#[derive(Debug, Default)]
pub struct Decoder {
    table: Table,
    /// The literal that is being read.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Reads a header block, of which `complete` says whether it is there to its end. What was seen of one that is not is used, and
    /// the table is unknown afterwards.
    pub fn decode(&mut self, block: &[u8], complete: bool, sink: &mut impl FnMut(Field<'_>)) -> Block {
        let mut rest = block;
        let mut list = 0_usize;
        while !rest.is_empty() {
            match self.field(&mut rest, MAX_LIST.saturating_sub(list), sink) {
                Ok(size) => list = list.saturating_add(size),
                Err(stop) => {
                    self.forget();
                    let cut = stop == Stop::End && !complete;
                    return if cut { Block::Cut } else { Block::Malformed };
                }
            }
        }
        if !complete {
            self.forget();
            return Block::Cut;
        }
        if list > MAX_LIST { Block::TooLong } else { Block::Whole }
    }

    /// Header blocks may have passed unseen.
    pub fn forget(&mut self) {
        self.table.forget();
    }

    /// Reads the next representation (section 6), and says the field if there is room for it. Returns the field's size.
    fn field(&mut self, rest: &mut &[u8], room: usize, sink: &mut impl FnMut(Field<'_>)) -> Result<usize, Stop> {
        let first = *rest.first().ok_or(Stop::End)?;
        if first & 0x80 != 0 {
            let (name, value) = match integer(rest, 7)? {
                0 => return Err(Stop::Malformed),
                index => self.table.get(index),
            };
            return Ok(say(name, value, room, sink));
        }
        if first & 0xe0 == 0x20 {
            self.table.resize(integer(rest, 5)?);
            return Ok(0);
        }
        let add = first & 0x40 != 0;
        self.name.clear();
        self.value.clear();
        let named = match integer(rest, if add { 6 } else { 4 })? {
            0 => string(rest, &mut self.name)?,
            index => self.table.get(index).0.is_some_and(|name| {
                self.name.extend_from_slice(name);
                true
            }),
        };
        let valued = string(rest, &mut self.value)?;
        let (name, value) = (named.then_some(&*self.name), valued.then_some(&*self.value));
        if add {
            self.table.add(name, value);
        }
        Ok(say(name, value, room, sink))
    }

    #[cfg(test)]
    fn table(&self) -> &Table {
        &self.table
    }
}

/// Hands a field on if there is room for it. Returns its size.
fn say(name: Part<'_>, value: Part<'_>, room: usize, sink: &mut impl FnMut(Field<'_>)) -> usize {
    let size = name.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + 32;
    if size <= room {
        sink(Field { name, value });
    }
    size
}

/// An integer with a prefix of so many bits (section 5.1).
fn integer(rest: &mut &[u8], prefix: u32) -> Result<u32, Stop> {
    let mut bytes = rest.iter();
    let mask = (1_u32 << prefix) - 1;
    let mut value = u32::from(*bytes.next().ok_or(Stop::End)?) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let byte = *bytes.next().ok_or(Stop::End)?;
            // No length and no index needs more than 28 bits.
            if shift > 21 {
                return Err(Stop::Malformed);
            }
            value += u32::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = bytes.as_slice();
    Ok(value)
}

/// A string (section 5.2), appended. Says whether it can be read: if not, it is passed over.
fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<bool, Stop> {
    let huffman = rest.first().ok_or(Stop::End)? & 0x80 != 0;
    let mut after = *rest;
    let length = integer(&mut after, 7)?;
    let (text, after) = after.split_at_checked(length as usize).ok_or(Stop::End)?;
    *rest = after;
    if huffman {
        return Ok(huffman::decode(text, out).is_ok());
    }
    out.extend_from_slice(text);
    Ok(true)
}
