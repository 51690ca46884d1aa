//! HPACK's tables (RFC 7541, section 2.3): the static one, and the dynamic one as far as it is known.
//!
//! The dynamic table counts from its newest entry. So what is not known of the connection's past costs the old entries only: an index
//! behind those that were seen is unknown, and whatever is added from now on has its right place. An entry is kept here for as long
//! as it may be referred to, as far as that is known; longer does no harm, because nobody refers to it any more.

use std::collections::VecDeque;

/// What an entry's size counts besides its name and value.
const OVERHEAD: usize = 32;
/// The size of a table of which nothing was said.
const USUAL: usize = 4096;
/// The most that is kept of a table, whatever its encoder may use: what is older is then unknown.
const MOST: usize = 16 << 10;

/// A part of a field: `None` when it is not known.
pub(super) type Part<'a> = Option<&'a [u8]>;

/// A dynamic table.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    /// Of all entries together.
    size: usize,
    /// What the entries may have.
    limit: usize,
}

/// A field in the table.
#[derive(Debug)]
struct Entry {
    /// Name and value.
    text: Box<[u8]>,
    /// Length of the name; `None` if that is not known.
    name: Option<u32>,
    /// Whether the value is known.
    value: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, limit: USUAL }
    }
}

impl Table {
    /// The field of this index, which counts from 1 over both tables; what is not there is unknown.
    pub(super) fn get(&self, index: u32) -> (Part<'_>, Part<'_>) {
        let Some(index) = (index as usize).checked_sub(1) else {
            return (None, None);
        };
        if let Some((name, value)) = STATIC.get(index) {
            return (Some(name.as_bytes()), Some(value.as_bytes()));
        }
        let Some(entry) = self.entries.get(index - STATIC.len()) else {
            return (None, None);
        };
        let (name, value) = entry.text.split_at_checked(entry.name.unwrap_or(0) as usize).unwrap_or_default();
        (entry.name.map(|_| name), entry.value.then_some(value))
    }

    /// Adds a field.
    pub(super) fn add(&mut self, name: Part<'_>, value: Part<'_>) {
        let (name_len, value_len) = (name.map(<[u8]>::len), value.map_or(0, <[u8]>::len));
        let size = name_len.unwrap_or(0) + value_len + OVERHEAD;
        if size > self.limit {
            // It is not kept, and nothing else is (section 4.4).
            return self.forget();
        }
        self.size += size;
        self.evict();
        let text = [name.unwrap_or_default(), value.unwrap_or_default()].concat().into();
        // A name's length is below the limit.
        self.entries.push_front(Entry { text, name: name_len.map(|len| len as u32), value: value.is_some() });
    }

    /// The encoder says how much it uses from now on.
    pub(super) fn resize(&mut self, limit: u32) {
        self.limit = usize::try_from(limit).unwrap_or(MOST).min(MOST);
        self.evict();
    }

    /// Entries may have been added that were not seen: those that are known have no place any more.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.size = 0;
    }

    fn evict(&mut self) {
        while self.size > self.limit
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size = self.size.saturating_sub(oldest.text.len() + OVERHEAD);
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Appendix A.
static STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_count_from_the_newest() {
        let mut table = Table::default();
        assert_eq!(table.get(2), (Some(&b":method"[..]), Some(&b"GET"[..])));
        assert_eq!(table.get(61).0, Some(&b"www-authenticate"[..]));
        assert_eq!((table.get(0), table.get(62), table.get(u32::MAX)), ((None, None), (None, None), (None, None)));
        table.add(Some(b"a"), Some(b"1"));
        table.add(None, Some(b"2"));
        table.add(Some(b"c"), None);
        assert_eq!(table.get(62), (Some(&b"c"[..]), None));
        assert_eq!(table.get(63), (None, Some(&b"2"[..])));
        assert_eq!(table.get(64), (Some(&b"a"[..]), Some(&b"1"[..])));
        table.forget();
        table.add(Some(b"d"), Some(b"4"));
        assert_eq!((table.get(62).0, table.get(63)), (Some(&b"d"[..]), (None, None)));
    }

    #[test]
    fn the_oldest_are_evicted() {
        let mut table = Table::default();
        table.resize(100);
        for value in [b"1", b"2", b"3"] {
            table.add(Some(b"name"), Some(value));
        }
        assert_eq!((table.len(), table.size()), (2, 74));
        assert_eq!(table.get(63).1, Some(&b"2"[..]));
        // Too large for the table: it is empty afterwards.
        table.add(Some(b"name"), Some(&[b'x'; 90]));
        assert_eq!((table.len(), table.size()), (0, 0));
        table.add(Some(b"n"), Some(b"v"));
        table.resize(0);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let mut table = Table::default();
        table.resize(u32::MAX);
        for i in 0..10_000_u32 {
            table.add(Some(b"n"), Some(&i.to_be_bytes()));
        }
        assert!(table.size() <= MOST && table.len() <= MOST / OVERHEAD);
        assert_eq!(table.get(62).1, Some(&9_999_u32.to_be_bytes()[..]));
    }
}
