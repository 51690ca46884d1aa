//! Files that debug information was moved to: by build id below `/usr/lib/debug`, or where `.gnu_debuglink` says. Looked for in the mount
//! namespaces of the processes, below their roots, and then in ours.
//! Rules: <https://sourceware.org/gdb/current/onlinedocs/gdb.html/Separate-Debug-Files.html>

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use object::{Object as _, ObjectSection as _, ReadCache, ReadRef};

use crate::{
    parts::{self, Parts},
    profile::files::below_root,
};

/// Where distributions put them.
const FOLDER: &str = "/usr/lib/debug";
/// Our own root.
const OURS: &str = "/proc/self";
/// Bytes of a file whose checksum is computed.
const CHECKED: u64 = 1 << 30;

/// Whether a file has debug information of its own.
pub(super) fn has_any<'a, R: ReadRef<'a>>(object: &object::File<'a, R>) -> bool {
    // Only the header stays of what was moved away, in some files.
    object.section_by_name(".debug_info").is_some_and(|section| section.file_range().is_some_and(|(_, size)| size > 0))
}

/// Opens the file that has it instead; one that belongs to another build is none.
pub(super) fn open<'a, R: ReadRef<'a>>(
    object: &object::File<'a, R>,
    path: &str,
    processes: &[impl AsRef<Path>],
) -> Option<File> {
    let id = object.build_id().ok().flatten().filter(|id| id.len() >= 2);
    let link = object.gnu_debuglink().ok().flatten();
    let roots = processes.iter().map(AsRef::as_ref).chain([Path::new(OURS)]);
    let names = names(id, link.map(|(name, _)| name), path);
    for root in roots {
        for name in &names {
            let is_it = |file: &File| match (id, link) {
                (Some(id), _) => has_id(file, id),
                (None, Some((_, checksum))) => matches(file, checksum),
                (None, None) => false,
            };
            if let Some(file) = below_root(root, name).filter(is_it) {
                return Some(file);
            }
        }
    }
    None
}

/// Where it may be, the surest first.
fn names(id: Option<&[u8]>, link: Option<&[u8]>, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    if let Some((first, rest)) = id.and_then(<[u8]>::split_first) {
        let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        names.push(format!("{FOLDER}/.build-id/{first:02x}/{rest}.debug"));
    }
    // It is a file's name, not a way to somewhere else.
    let is_name = |name: &&str| !name.is_empty() && !name.contains('/');
    if let Some(name) = link.and_then(|name| std::str::from_utf8(name).ok()).filter(is_name) {
        let (folder, own) = path.rsplit_once('/').unwrap_or_default();
        if own != name {
            names.push(format!("{folder}/{name}"));
        }
        names.extend([format!("{folder}/.debug/{name}"), format!("{FOLDER}{folder}/{name}")]);
    }
    names
}

fn has_id(file: &File, id: &[u8]) -> bool {
    let cache = ReadCache::new(file);
    let object = object::File::parse(Parts::new(&cache, parts::USUAL));
    object.is_ok_and(|object| has_any(&object) && object.build_id().ok().flatten() == Some(id))
}

fn matches(file: &File, checksum: u32) -> bool {
    let sum = || -> io::Result<u32> {
        let mut crc = flate2::Crc::new();
        let mut buffer = vec![0; 64 << 10];
        let mut rest = file.take(CHECKED);
        loop {
            match rest.read(&mut buffer)? {
                0 => return Ok(crc.sum()),
                read => crc.update(buffer.get(..read).unwrap_or_default()),
            }
        }
    };
    let is_small = file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= CHECKED);
    let has_some = || {
        let cache = ReadCache::new(file);
        object::File::parse(Parts::new(&cache, parts::USUAL)).is_ok_and(|object| has_any(&object))
    };
    is_small && sum().is_ok_and(|sum| sum == checksum) && has_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_debuggers() {
        let id: &[u8] = &[0xab, 0xcd, 0x01];
        let all = names(Some(id), Some(b"shop.debug"), "/opt/shop/bin/shop");
        assert_eq!(
            all,
            [
                "/usr/lib/debug/.build-id/ab/cd01.debug",
                "/opt/shop/bin/shop.debug",
                "/opt/shop/bin/.debug/shop.debug",
                "/usr/lib/debug/opt/shop/bin/shop.debug",
            ]
        );
        assert_eq!(names(None, Some(b"../../etc/shadow"), "/opt/shop"), Vec::<String>::new());
        assert!(!names(None, Some(b"shop"), "/opt/shop").contains(&"/opt/shop".to_owned()), "itself");
    }
}
