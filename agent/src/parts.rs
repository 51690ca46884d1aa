//! Files that anybody may have written, read in parts of a bounded size: what says how long a part is lies in the file.

use std::{fs::File, ops::Range};

use object::read::{ReadCache, ReadRef};

/// The usual bound: the largest tables of honest files have some 30 MiB.
pub const USUAL: u64 = 64 << 20;

/// A file whose parts are read as they are asked for, and kept as long as the cache lives.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    cache: &'a ReadCache<&'a File>,
    most: u64,
}

impl<'a> Parts<'a> {
    /// Of which each has `most` bytes at most.
    #[must_use]
    pub fn new(cache: &'a ReadCache<&'a File>, most: u64) -> Self {
        Self { cache, most }
    }
}

impl<'a> ReadRef<'a> for Parts<'a> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size > self.most { Err(()) } else { self.cache.read_bytes_at(offset, size) }
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        self.cache.read_bytes_at_until(range, delimiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_bounded() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(5_000_000_000).unwrap();
        let cache = ReadCache::new(&file);
        let parts = Parts::new(&cache, 16);
        assert_eq!(parts.len(), Ok(5_000_000_000));
        assert_eq!(parts.read_bytes_at(4_999_999_984, 16), Ok([0; 16].as_slice()));
        assert_eq!(parts.read_bytes_at(0, 17), Err(()));
        assert_eq!(parts.read_bytes_at(4_999_999_985, 16), Err(()));
    }
}
