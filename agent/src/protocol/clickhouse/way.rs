//! One direction of a connection, walked part by part: packets, and within blocks of data, columns.

use super::{
    packet::{self, Revision, Stop, byte, name, number, settings, since, text},
    part::{MAX_ROWS, Next, Part, name_of_type, piece, strings, whole},
    query,
    shape::Shape,
};
use crate::protocol::{cursor::Cursor, framed::Role};

/// Columns of a block, at most.
const MAX_COLUMNS: u64 = 1 << 16;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Packet,
    Addendum,
    Parameters,
    /// So many columns are to come, of so many rows.
    Columns(u64, u64),
    /// A compressed piece.
    Compressed,
    /// A compressed piece, or a packet.
    Perhaps,
    Endless,
}

/// What is left of a column, the last first.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Op {
    Skip(u64),
    Strings(u64),
    /// How many elements there are in all.
    Total(Shape),
    Index(Shape),
    Keys(Shape, u64),
    Indexes(u64),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    state: State,
    ops: Vec<Op>,
    /// The client's revision while the server's is not known; then the lower one.
    pub(super) revision: Option<Revision>,
    pub(super) compressed: bool,
}

impl Way {
    /// Nothing is known any more of where it is.
    pub(super) fn lose(&mut self) {
        self.state = State::Packet;
        self.ops.clear();
    }

    /// The part that begins with these bytes, which are not empty.
    pub(super) fn next(&self, role: Role, bytes: &[u8]) -> Next {
        let mut c = Cursor::new(bytes);
        let read = match (self.ops.last(), &self.state) {
            (Some(op), _) => return self.column(op, bytes),
            (None, State::Endless) => return Next::Endless,
            (None, State::Addendum) => match self.revision.map(|revision| revision.high) {
                Some(revision) if revision >= since::ADDENDUM => {
                    packet::addendum(&mut c, revision).map(|chunked| Part::Addendum { chunked })
                }
                Some(_) => return self.packet(role, bytes),
                None => return Next::Endless,
            },
            (None, State::Parameters) => settings(&mut c).map(|()| Part::Parameters),
            (None, State::Columns(_, rows)) => self.header(&mut c, *rows),
            (None, State::Compressed) => return piece(bytes).unwrap_or(Next::Bad),
            (None, State::Perhaps) => match piece(bytes) {
                Some(Next::More) if bytes != [5] => return Next::More,
                Some(next @ Next::Is(..)) => return next,
                _ => return self.packet(role, bytes),
            },
            (None, State::Packet) => return self.packet(role, bytes),
        };
        whole(read, bytes, c)
    }

    /// Goes on after a part.
    pub(super) fn take(&mut self, part: &Part) {
        if let Some(op) = self.ops.pop() {
            self.went_on(op, part);
        } else {
            self.state = match part {
                Part::ClientHello { .. } => State::Addendum,
                Part::Query(query, _) if query.revision.low >= since::PARAMETERS => State::Parameters,
                Part::Block { columns, rows } => State::Columns(*columns, *rows),
                Part::Compressed => State::Compressed,
                Part::Piece { full: true } => State::Perhaps,
                Part::Column(shape) => match (&self.state, shape) {
                    (State::Columns(left, rows), Some(shape)) => {
                        let (left, rows) = (left.saturating_sub(1), *rows);
                        self.push(shape, rows);
                        if rows > 0 && shape.prefix() > 0 {
                            self.ops.push(Op::Skip(shape.prefix()));
                        }
                        State::Columns(left, rows)
                    }
                    _ => State::Endless,
                },
                _ => State::Packet,
            };
        }
        if self.ops.is_empty() && matches!(self.state, State::Columns(0, _)) {
            self.state = State::Packet;
        }
    }

    fn went_on(&mut self, op: Op, part: &Part) {
        match (op, part) {
            (Op::Strings(left), Part::Strings(some)) if left > *some => self.ops.push(Op::Strings(left - some)),
            (Op::Total(inner), Part::Total(total)) => self.push(&inner, *total),
            (Op::Index(inner), Part::Index { width, keys }) => {
                self.ops.push(if *keys { Op::Keys(inner, *width) } else { Op::Indexes(*width) });
            }
            (Op::Keys(inner, width), Part::Keys(keys)) => {
                self.ops.push(Op::Indexes(width));
                self.push(&inner, *keys);
            }
            (Op::Indexes(width), Part::Indexes(rows)) if *rows > 0 => {
                self.ops.push(Op::Skip(rows.saturating_mul(width)));
            }
            _ => {}
        }
    }

    /// Values of a shape are to come.
    fn push(&mut self, shape: &Shape, rows: u64) {
        if rows == 0 {
            return;
        }
        match shape {
            Shape::Fixed(length) => self.ops.push(Op::Skip(length.saturating_mul(rows))),
            Shape::String => self.ops.push(Op::Strings(rows)),
            Shape::Nullable(inner) => {
                self.push(inner, rows);
                self.ops.push(Op::Skip(rows));
            }
            Shape::Array(inner) => {
                self.ops.push(Op::Total(Shape::clone(inner)));
                if rows > 1 {
                    self.ops.push(Op::Skip(8 * (rows - 1)));
                }
            }
            Shape::Tuple(elements) => elements.iter().rev().for_each(|element| self.push(element, rows)),
            Shape::LowCardinality(inner) => self.ops.push(Op::Index(Shape::clone(inner))),
        }
    }

    fn column(&self, op: &Op, bytes: &[u8]) -> Next {
        let mut c = Cursor::new(bytes);
        let value = || Cursor::new(bytes).u64_le();
        let read = match op {
            Op::Skip(length) if *length <= MAX_ROWS => return Next::Is(Part::Skip, *length, 1),
            Op::Skip(_) => return Next::Bad,
            Op::Strings(left) => return strings(bytes, *left),
            Op::Total(_) => c.u64_le().ok_or(Stop::More).map(Part::Total),
            Op::Index(_) => {
                // Width of the indexes, and whether there is a dictionary for all, for this, a new one.
                let index = |value: u64| Part::Index { width: 1 << (value & 3), keys: value & 0x200 != 0 };
                match value() {
                    Some(value) if value & !0x703 != 0 || value & 0x100 != 0 => Err(Stop::Bad),
                    _ => c.u64_le().ok_or(Stop::More).map(index),
                }
            }
            Op::Keys(..) => c.u64_le().ok_or(Stop::More).map(Part::Keys),
            Op::Indexes(_) => c.u64_le().ok_or(Stop::More).map(Part::Indexes),
        };
        match read {
            Ok(Part::Total(rows) | Part::Keys(rows) | Part::Indexes(rows)) if rows > MAX_ROWS => Next::Bad,
            read => whole(read, bytes, c),
        }
    }

    fn header(&self, c: &mut Cursor<'_>, rows: u64) -> Result<Part, Stop> {
        text(c)?;
        let kind = name_of_type(c)?;
        let custom = match self.revision {
            Some(revision) => revision.has(since::CUSTOM_SERIALIZATION)? && byte(c)? != 0,
            None => return Err(Stop::Unknown),
        };
        let mut shape = std::str::from_utf8(kind).ok().and_then(Shape::read).filter(|_| !custom);
        if shape.as_ref().is_some_and(Shape::has_strings) {
            let by_ends = self.revision.map_or(Err(Stop::Unknown), |revision| revision.has(since::STRINGS_BY_ENDS))?;
            // How they are written within other types is not certain.
            shape = shape.and_then(|shape| if by_ends { shape.by_ends() } else { Some(shape) });
        }
        // Of no rows, there is nothing, whatever they are.
        Ok(Part::Column(if rows == 0 && !custom { Some(Shape::Fixed(1)) } else { shape }))
    }

    fn packet(&self, role: Role, bytes: &[u8]) -> Next {
        let mut c = Cursor::new(bytes);
        let Some(kind) = c.u8() else {
            return Next::More;
        };
        let read = match role {
            Role::Request => self.asked(kind, &mut c, bytes.len()),
            Role::Response => match self.revision {
                _ if kind == 2 => match packet::exception(&mut c) {
                    Ok((code, rest)) => {
                        let want = bytes.len() - c.len();
                        return Next::Is(Part::Exception { code }, want as u64 + rest, want);
                    }
                    Err(stop) => Err(stop),
                },
                Some(revision) => self.answered(kind, &mut c, revision),
                // How it is written is not known.
                None => return if kind <= 18 { Next::Endless } else { Next::Bad },
            },
        };
        match read {
            Ok(Part::Query(query, at)) => {
                let length = (at as u64).saturating_add(query.length);
                let want = at.saturating_add(usize::try_from(query.length).unwrap_or(usize::MAX).min(4096));
                Next::Is(Part::Query(query, at), length, want)
            }
            read => whole(read, bytes, c),
        }
    }

    fn asked(&self, kind: u8, c: &mut Cursor<'_>, length: usize) -> Result<Part, Stop> {
        Ok(match kind {
            0 => {
                let hello = packet::client_hello(c)?;
                Part::ClientHello { revision: hello.revision, database: hello.database.to_vec() }
            }
            1 => {
                let query = query::read(c, self.revision)?;
                Part::Query(query, length - c.len())
            }
            2 | 7 => self.block(c, self.compressed)?,
            3 => Part::Cancel,
            4 => Part::Ping,
            5 | 6 | 8..=13 => Part::Foreign,
            _ => return Err(Stop::Bad),
        })
    }

    fn answered(&self, kind: u8, c: &mut Cursor<'_>, revision: Revision) -> Result<Part, Stop> {
        Ok(match kind {
            0 => Part::ServerHello { revision: packet::server_hello(c, revision.high)? },
            1 | 7 | 8 => self.block(c, self.compressed)?,
            3 => packet::progress(c, revision).map(|()| Part::Other)?,
            4 => Part::Pong,
            5 => Part::EndOfStream,
            6 => Part::Profile { rows: packet::profile(c, revision)? },
            10 | 14 => self.block(c, self.compressed && revision.has(since::COMPRESSED_LOGS)?)?,
            11 => text(c).and_then(|_| text(c)).map(|_| Part::Other)?,
            17 => name(c).map(|_| Part::Other)?,
            9 | 12 | 13 | 15 | 16 | 18 => Part::Foreign,
            _ => return Err(Stop::Bad),
        })
    }

    /// A block, after its packet's number: the name of a table, and unless it is compressed, what it is and how large.
    fn block(&self, c: &mut Cursor<'_>, compressed: bool) -> Result<Part, Stop> {
        name(c)?;
        if compressed {
            return Ok(Part::Compressed);
        }
        loop {
            match number(c)? {
                0 => break,
                1 if byte(c)? <= 1 => {}
                2 => packet::skip(c, 4)?,
                3 => {
                    let buckets = number(c)?.min(1 << 16);
                    packet::skip(c, 4 * usize::try_from(buckets).unwrap_or(usize::MAX))?;
                }
                _ => return Err(Stop::Bad),
            }
        }
        let (columns, rows) = (number(c)?, number(c)?);
        if columns > MAX_COLUMNS || rows > MAX_ROWS || columns == 0 && rows > 0 {
            return Err(Stop::Bad);
        }
        Ok(Part::Block { columns, rows })
    }
}
