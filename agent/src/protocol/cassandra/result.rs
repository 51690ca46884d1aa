//! Bodies of responses.

use super::envelope::{Header, Opcode};
use crate::protocol::cursor::Cursor;

/// Types in types that are followed.
const MAX_DEPTH: u32 = 16;

/// What an answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said<'a> {
    /// An error's code, if that could be read.
    pub(super) error: Option<Option<i32>>,
    pub(super) rows: Option<u32>,
    /// The keyspace that the connection has now.
    pub(super) keyspace: Option<&'a [u8]>,
    /// The id of what was prepared.
    pub(super) prepared: Option<&'a [u8]>,
}

/// Reads a response's body, as far as it is there.
pub(super) fn said<'a>(header: &Header, mut c: Cursor<'a>) -> Said<'a> {
    let mut said = Said::default();
    match header.opcode {
        Opcode::Error => said.error = Some(c.i32_be()),
        Opcode::Result => match c.i32_be() {
            Some(2) => said.rows = rows(header.version, &mut c),
            Some(3) => said.keyspace = c.prefixed_u16_be(),
            Some(4) => said.prepared = c.prefixed_u16_be(),
            _ => {}
        },
        _ => {}
    }
    said
}

/// How many rows there are: after what is said of their columns.
fn rows(version: u8, c: &mut Cursor<'_>) -> Option<u32> {
    let (flags, columns) = (c.u32_be()?, c.u32_be()?);
    if flags & 2 != 0 {
        super::body::value(c)?;
    }
    if version >= 5 && flags & 8 != 0 {
        c.prefixed_u16_be()?;
    }
    if flags & 4 == 0 {
        if flags & 1 != 0 {
            c.prefixed_u16_be()?;
            c.prefixed_u16_be()?;
        }
        for _ in 0..columns {
            if flags & 1 == 0 {
                c.prefixed_u16_be()?;
                c.prefixed_u16_be()?;
            }
            c.prefixed_u16_be()?;
            of_type(c, 0)?;
        }
    }
    c.u32_be()
}

/// Passes over a column's type.
fn of_type(c: &mut Cursor<'_>, depth: u32) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    match c.u16_be()? {
        0x00 => c.prefixed_u16_be().map(|_| ()),
        // List, set.
        0x20 | 0x22 => of_type(c, depth + 1),
        // Map.
        0x21 => of_type(c, depth + 1).and_then(|()| of_type(c, depth + 1)),
        // User-defined type: keyspace, name, fields.
        0x30 => {
            c.prefixed_u16_be()?;
            c.prefixed_u16_be()?;
            for _ in 0..c.u16_be()? {
                c.prefixed_u16_be()?;
                of_type(c, depth + 1)?;
            }
            Some(())
        }
        // Tuple.
        0x31 => {
            for _ in 0..c.u16_be()? {
                of_type(c, depth + 1)?;
            }
            Some(())
        }
        _ => Some(()),
    }
}

/// The specification's name of an error.
pub(super) fn error_name(code: i32) -> Option<&'static str> {
    Some(match code {
        0x0000 => "SERVER_ERROR",
        0x000a => "PROTOCOL_ERROR",
        0x0100 => "AUTHENTICATION_ERROR",
        0x1000 => "UNAVAILABLE",
        0x1001 => "OVERLOADED",
        0x1002 => "IS_BOOTSTRAPPING",
        0x1003 => "TRUNCATE_ERROR",
        0x1100 => "WRITE_TIMEOUT",
        0x1200 => "READ_TIMEOUT",
        0x1300 => "READ_FAILURE",
        0x1400 => "FUNCTION_FAILURE",
        0x1500 => "WRITE_FAILURE",
        0x1600 => "CDC_WRITE_FAILURE",
        0x1700 => "CAS_WRITE_UNKNOWN",
        0x2000 => "SYNTAX_ERROR",
        0x2100 => "UNAUTHORIZED",
        0x2200 => "INVALID",
        0x2300 => "CONFIG_ERROR",
        0x2400 => "ALREADY_EXISTS",
        0x2500 => "UNPREPARED",
        _ => return None,
    })
}
