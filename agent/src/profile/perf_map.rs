//! Perf maps: the files in which runtimes that compile while they run (Node.js, Java with an agent, .NET) say what they have put
//! where. A line is `START SIZE NAME`, both numbers hexadecimal. Written by whoever is profiled, so nothing in them is relied on.
//! Format: `tools/perf/Documentation/jit-interface.txt` of Linux.

use std::collections::BTreeMap;

/// Symbols of one file that are kept.
const MOST: usize = 1 << 20;
/// Bytes of one name that are kept.
const NAME: usize = 512;

/// What is where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerfMap {
    /// By the first address: the address behind it, and the name.
    symbols: BTreeMap<u64, (u64, Box<str>)>,
}

impl PerfMap {
    /// Reads the text of a file. What is written later wins: code moves, and others take its place. Lines that make no sense are left out.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut symbols = BTreeMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            if let Some((start, end, name)) = parse(line)
                && (symbols.len() < MOST || symbols.contains_key(&start))
            {
                symbols.insert(start, (end, name));
            }
        }
        Self { symbols }
    }

    /// The name of the code at an address.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<&str> {
        let (_, (end, name)) = self.symbols.range(..=address).next_back()?;
        (address < *end).then_some(name)
    }
}

fn parse(line: &[u8]) -> Option<(u64, u64, Box<str>)> {
    let line = line.get(..line.len().min(NAME + 40))?;
    let line = String::from_utf8_lossy(line);
    let mut parts = line.splitn(3, ' ');
    let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok();
    let (start, size, name) = (hex(parts.next()?)?, hex(parts.next()?)?, parts.next()?.trim());
    let end = start.checked_add(size).filter(|end| *end > start)?;
    (!name.is_empty()).then(|| (start, end, name.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_found() {
        let map = PerfMap::parse(
            b"1000 20 LazyCompile:*handle /app/server.js:12\n0x2000 10 stub\nnonsense\n3000 0 empty\n1000 8 later\n",
        );
        assert_eq!(map.find(0x1007), Some("later"));
        assert_eq!(map.find(0x1008), None, "what was there is no more");
        assert_eq!(map.find(0x2000), Some("stub"));
        assert_eq!(map.find(0x3000), None);
        assert_eq!(map.find(0xfff), None);
    }

    #[test]
    fn endless_names_are_cut() {
        let line = [b"1000 10 ".as_slice(), &[b'a'; 100_000]].concat();
        assert!(PerfMap::parse(&line).find(0x1000).unwrap().len() <= NAME + 40);
        assert_eq!(PerfMap::parse(b"ffffffffffffffff 2 wraps").find(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), address in any::<u64>()) {
            let _ = PerfMap::parse(&bytes).find(address);
        }
    }
}
