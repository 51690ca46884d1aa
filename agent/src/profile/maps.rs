//! The text of `/proc/PID/maps`: which file's bytes are where in a process. Only what can be executed is kept.

use std::sync::Arc;

/// Mappings that are kept of one process; a JIT compiler may make many, a program does not have so many.
const MOST: usize = 16_384;

/// Where code is in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Behind the last one.
    pub end: u64,
    /// Position in the file of the first address.
    pub offset: u64,
    /// What is mapped.
    pub what: Mapped,
}

/// What a mapping holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// A part of a file.
    File {
        /// Which.
        id: FileId,
        /// Its path as the process sees it, or saw it when it was mapped.
        path: Arc<str>,
    },
    /// Memory without a file: code that the process made itself.
    Anonymous,
    /// Code of the kernel's: `[vdso]`, `[vsyscall]`.
    Kernel(Arc<str>),
}

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Device: major number in the upper half.
    pub device: u64,
    /// Inode.
    pub inode: u64,
}

impl FileId {
    /// By the device's number as the kernel has it in memory (`dev_t`): 12 bits of major number above 20 bits of minor number.
    #[must_use]
    pub fn of_kernel(device: u64, inode: u64) -> Self {
        Self { device: (device >> 20) << 32 | device & 0xf_ffff, inode }
    }

    /// The device's number as the kernel has it in memory.
    #[must_use]
    pub fn kernel_device(self) -> u32 {
        ((self.device >> 32) as u32 & 0xfff) << 20 | self.device as u32 & 0xf_ffff
    }
}

/// The executable mappings, in order of their addresses. Lines that make no sense are left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = text.lines().filter_map(line).take(MOST).collect();
    mappings.sort_by_key(|mapping| mapping.start);
    mappings
}

/// `START-END PERMISSIONS OFFSET MAJOR:MINOR INODE    PATH`
fn line(line: &str) -> Option<Mapping> {
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let mut rest = line;
    let mut field = || {
        let (field, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = behind.trim_start_matches(' ');
        field
    };
    let (start, end) = field().split_once('-')?;
    let permissions = field();
    let offset = hex(field())?;
    let (major, minor) = field().split_once(':')?;
    let inode = field().parse().ok()?;
    // What is left is the path, which may have spaces in it.
    let path = rest;
    let (start, end) = (hex(start)?, hex(end)?);
    if start >= end || !permissions.contains('x') {
        return None;
    }
    let what = if inode != 0 {
        let id = FileId { device: hex(major)? << 32 | hex(minor)?, inode };
        Mapped::File { id, path: path.strip_suffix(" (deleted)").unwrap_or(path).into() }
    } else if path.starts_with("[v") {
        Mapped::Kernel(path.into())
    } else {
        Mapped::Anonymous
    };
    Some(Mapping { start, end, offset, what })
}

/// The mapping that an address is in.
#[must_use]
pub fn find(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    let behind = mappings.partition_point(|mapping| mapping.start <= address);
    mappings.get(behind.checked_sub(1)?).filter(|mapping| address < mapping.end)
}

/// Takes over what was read later. What was there before and is not now is kept, if nothing else came to its place: samples that were
/// taken before may need it.
pub fn merge(old: &mut Vec<Mapping>, new: Vec<Mapping>) {
    let mut all = new;
    let gone = |mapping: &Mapping| {
        let at = all.partition_point(|other| other.end <= mapping.start);
        all.get(at).is_none_or(|other| other.start >= mapping.end)
    };
    let kept: Vec<Mapping> = old.drain(..).filter(gone).collect();
    let room = MOST.saturating_sub(all.len());
    all.extend(kept.into_iter().take(room));
    all.sort_by_key(|mapping| mapping.start);
    *old = all;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
55d0a0000000-55d0a0001000 r--p 00000000 fe:00 131 /opt/my shop/cart (deleted)
55d0a0001000-55d0a0003000 r-xp 00001000 fe:00 131 /opt/my shop/cart (deleted)
7f0000000000-7f0000001000 rwxp 00000000 00:00 0
7f0000002000-7f0000003000 r-xp 00000000 00:00 0    [anon:jit]
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0    [vdso]
nonsense
7f0-7e0 r-xp 00000000 00:00 0
";

    #[test]
    fn code_is_found() {
        let maps = parse(TEXT);
        assert_eq!(maps.len(), 4);
        let cart = find(&maps, 0x55d0_a000_2fff).unwrap();
        assert_eq!(cart.offset, 0x1000);
        let id = FileId { device: 0xfe << 32, inode: 131 };
        assert_eq!(cart.what, Mapped::File { id, path: "/opt/my shop/cart".into() });
        assert_eq!(find(&maps, 0x55d0_a000_3000), None);
        assert_eq!(find(&maps, 0x10), None);
        assert_eq!(find(&maps, 0x7f00_0000_0000).unwrap().what, Mapped::Anonymous);
        assert_eq!(find(&maps, 0x7f00_0000_2000).unwrap().what, Mapped::Anonymous);
        assert_eq!(find(&maps, 0x7ffd_0000_0000).unwrap().what, Mapped::Kernel("[vdso]".into()));
    }

    #[test]
    fn reads_its_own() {
        let maps = parse(&std::fs::read_to_string("/proc/self/maps").unwrap());
        let own = find(&maps, reads_its_own as fn() as usize as u64).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert!(matches!(&own.what, Mapped::File { path, .. } if **path == *exe.to_str().unwrap()));
    }

    #[test]
    fn later_maps_win_and_what_went_is_kept() {
        let one = |start: u64, end: u64, offset| Mapping { start, end, offset, what: Mapped::Anonymous };
        let mut maps = vec![one(0x1000, 0x2000, 1), one(0x3000, 0x4000, 1), one(0x6000, 0x7000, 1)];
        merge(&mut maps, vec![one(0x3800, 0x5000, 2), one(0x8000, 0x9000, 2)]);
        let found = |address| find(&maps, address).map(|mapping| mapping.offset);
        assert_eq!([found(0x1000), found(0x3800), found(0x6000), found(0x8000)], [Some(1), Some(2), Some(1), Some(2)]);
        assert_eq!(found(0x3000), None, "its place was taken");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([0-9a-f]{1,18}-?[0-9a-f ]{0,20}[rwxp-]{0,4} ?\n?){0,20}", address in any::<u64>()) {
            let mut maps = parse(&text);
            let _ = find(&maps, address);
            merge(&mut maps, parse(TEXT));
            prop_assert!(maps.is_sorted_by_key(|mapping| mapping.start));
        }
    }
}
