//! The fields of one header block, kept until it is known what they belong to.

use super::hpack::Field;
use crate::protocol::http::Fields;

/// Bytes of names and values that are kept of a header block; what is behind them is not known.
const MAX_TEXT: usize = 16 << 10;
/// A buffer that is larger is given back.
const KEEP_TEXT: usize = 2048;

/// The fields of a header block.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Names and values, one after the other.
    text: Vec<u8>,
    /// Of each field: where in the text its name ends and its value ends.
    ends: Vec<(u32, u32)>,
    /// A part of a field is not known, or there may be further fields.
    pub(super) unknown: bool,
}

impl Head {
    /// For the next header block.
    pub(super) fn clear(&mut self) {
        if self.text.capacity() > KEEP_TEXT {
            *self = Self::default();
        }
        self.text.clear();
        self.ends.clear();
        self.unknown = false;
    }

    /// Takes the next field.
    pub(super) fn add(&mut self, field: Field<'_>) {
        let (Some(name), Some(value)) = (field.name, field.value) else {
            self.unknown = true;
            return;
        };
        // What nobody asks for, and might be secret.
        if matches!(name, b"cookie" | b"set-cookie" | b"authorization" | b"proxy-authorization") {
            return;
        }
        if self.text.len() + name.len() + value.len() > MAX_TEXT {
            self.unknown = true;
            return;
        }
        self.text.extend_from_slice(name);
        let name_end = self.text.len() as u32;
        self.text.extend_from_slice(value);
        self.ends.push((name_end, self.text.len() as u32));
    }

    /// Names and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().filter_map(move |&(name_end, value_end)| {
            let name = self.text.get(start as usize..name_end as usize);
            let value = self.text.get(name_end as usize..value_end as usize);
            start = value_end;
            name.zip(value)
        })
    }

    /// The value of the first field of this name.
    pub(super) fn get(&self, wanted: &str) -> Option<&[u8]> {
        self.iter().find_map(|(name, value)| (name == wanted.as_bytes()).then_some(value))
    }

    /// The same as text, if it is.
    pub(super) fn text(&self, wanted: &str) -> Option<&str> {
        std::str::from_utf8(self.get(wanted)?).ok()
    }

    /// What the fields say that HTTP's spans tell.
    pub(super) fn fields(&self) -> Fields<'_> {
        let mut fields = Fields::default();
        for (name, value) in self.iter() {
            if name == b":authority" {
                fields.host = Some(value);
            } else if let Ok(name) = std::str::from_utf8(name) {
                fields.add(name, value);
            }
        }
        fields
    }

    /// `:status`.
    pub(super) fn status(&self) -> Option<u16> {
        self.text(":status")?.parse().ok().filter(|status| (100..1000).contains(status))
    }

    /// Whether it is a request's.
    pub(super) fn is_request(&self) -> bool {
        self.iter().any(|(name, _)| matches!(name, b":method" | b":path" | b":scheme" | b":authority"))
    }
}
