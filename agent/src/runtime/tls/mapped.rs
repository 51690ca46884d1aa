//! The files that a process runs code from, as its memory map says. A file that was deleted or replaced is found all the same, and so is
//! one in a container: by the map itself, not by its path.

use std::{
    collections::HashSet,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

/// Of a process's map more is not read: some have a million parts.
const MAP: u64 = 8 << 20;
/// Files that are looked at.
const FILES: usize = 1024;

/// A file that a process runs code from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Opens the very file, whatever its path means by now.
    pub open: PathBuf,
    /// The same by its path, for who may not use the first.
    pub path: PathBuf,
}

/// Reads them, each once.
///
/// # Errors
/// When the map cannot be read.
pub fn mapped(proc: &Path) -> io::Result<Vec<Mapped>> {
    let map = std::fs::File::open(proc.join("maps"))?;
    parse(BufReader::new(map.take(MAP)), proc)
}

fn parse(map: impl BufRead, proc: &Path) -> io::Result<Vec<Mapped>> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for line in map.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        let mut parts = line.splitn(6, ' ');
        let (Some(range), Some(access), _, Some(device), Some(inode), Some(path)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let path = path.trim_start();
        if inode == "0" || access.as_bytes().get(2) != Some(&b'x') || !path.starts_with('/') {
            continue;
        }
        if found.len() >= FILES {
            break;
        }
        if seen.insert((device.to_owned(), inode.to_owned())) {
            found.push(Mapped { open: proc.join("map_files").join(range), path: in_root(proc, path) });
        }
    }
    Ok(found)
}

/// A path of the process's own file system.
fn in_root(proc: &Path, path: &str) -> PathBuf {
    proc.join("root").join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn code_of_files() {
        let map = "\
55d0c0a00000-55d0c0a02000 r--p 00000000 fe:01 1234                       /usr/bin/curl
55d0c0a02000-55d0c0a05000 r-xp 00002000 fe:01 1234                       /usr/bin/curl
7f0000000000-7f0000001000 r-xp 00000000 00:2f 99                         /lib/libssl.so.3 (deleted)
7f0000001000-7f0000002000 r-xp 00000000 00:2f 99                         /lib/libssl.so.3 (deleted)
7f0000003000-7f0000004000 rwxp 00000000 00:00 0
7f0000003000-7f0000004000 r-xp 00000000 00:01 7                          anon_inode:[perf]
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0                          [vdso]
nonsense
";
        let found = parse(map.as_bytes(), Path::new("/proc/7")).unwrap();
        let open: Vec<_> = found.iter().map(|file| file.open.to_str().unwrap()).collect();
        assert_eq!(
            open,
            ["/proc/7/map_files/55d0c0a02000-55d0c0a05000", "/proc/7/map_files/7f0000000000-7f0000001000"]
        );
        assert_eq!(found[0].path, Path::new("/proc/7/root/usr/bin/curl"));
    }

    #[test]
    fn its_own() {
        let found = mapped(Path::new("/proc/self")).unwrap();
        let own = std::env::current_exe().unwrap();
        assert!(found.iter().any(|file| file.path.ends_with(own.strip_prefix("/").unwrap())), "{found:?}");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(map in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(map.as_slice(), Path::new("/proc/7"));
        }
    }
}
