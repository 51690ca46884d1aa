//! What files and the kernel's own code in processes are told by: here, and on the kernel side.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

use geophone_ebpf::unwind::FileKey;

use crate::profile::maps::{self, FileId, Mapped};

/// Bytes of the code that the kernel puts into processes.
const VDSO: u64 = 1 << 20;

/// What rows can be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    /// A file.
    File(FileId),
    /// The code that the kernel puts into processes, which is the same in all.
    Vdso,
}

/// Seconds, nanoseconds, bytes.
pub(super) type Stamp = (i64, i64, u64);

/// When a file was written, and its size.
pub(super) fn stamp(file: &File) -> Option<Stamp> {
    let metadata = file.metadata().ok()?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

/// What rows for a mapping can be made of.
pub(super) fn key(what: &Mapped) -> Option<Key> {
    match what {
        Mapped::File { id, .. } => Some(Key::File(*id)),
        Mapped::Kernel(name) if **name == *"[vdso]" => Some(Key::Vdso),
        Mapped::Kernel(_) | Mapped::Anonymous => None,
    }
}

/// What the kernel side tells it by.
pub(super) fn file_key(key: Key, stamp: Option<Stamp>) -> Option<FileKey> {
    let Key::File(id) = key else {
        return Some(FileKey::VDSO);
    };
    let (seconds, nanos, size) = stamp?;
    Some(FileKey { inode: id.inode, size, seconds, nanos: u32::try_from(nanos).ok()?, device: id.kernel_device() })
}

/// The file of this program.
pub(super) fn own_program() -> Option<FileId> {
    let path = fs::read_link("/proc/self/exe").ok()?;
    let mappings = maps::parse(&fs::read_to_string("/proc/self/maps").ok()?);
    mappings.into_iter().find_map(|mapping| match mapping.what {
        Mapped::File { id, path: mapped } if path.as_os_str() == &*mapped => Some(id),
        _ => None,
    })
}

/// The process that has started another one.
pub(super) fn parent(tgid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{tgid}/stat")).ok()?;
    // The name before may have anything in it: `PID (NAME) STATE PARENT`.
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

/// The code that the kernel has put into this process.
pub(super) fn vdso() -> Option<Vec<u8>> {
    let mappings = maps::parse(&fs::read_to_string("/proc/self/maps").ok()?);
    let vdso = mappings.iter().find(|mapping| key(&mapping.what) == Some(Key::Vdso))?;
    let len = vdso.end.checked_sub(vdso.start).filter(|len| *len <= VDSO)?;
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, vdso.start).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{super::compile, *};

    #[test]
    fn files_are_told_by_what_the_kernel_knows() {
        let stamp = |file: &File| stamp(file).unwrap();
        let file = File::open("/proc/self/exe").unwrap();
        let key = file_key(Key::File(own_program().unwrap()), Some(stamp(&file))).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!((key.inode, key.size, key.seconds), (metadata.ino(), metadata.len(), metadata.mtime()));
        let id = FileId { device: 254 << 32 | 7, inode: 1 };
        assert_eq!(file_key(Key::File(id), Some((1, 2, 3))).unwrap().device, 254 << 20 | 7);
        assert_eq!((file_key(Key::Vdso, None), file_key(Key::File(id), None)), (Some(FileKey::VDSO), None));
    }

    #[test]
    fn this_program_and_its_parent_are_found() {
        let own = own_program().unwrap();
        let metadata = fs::metadata("/proc/self/exe").unwrap();
        assert_eq!(own.inode, std::os::unix::fs::MetadataExt::ino(&metadata));
        assert_eq!(parent(std::process::id()), Some(std::os::unix::process::parent_id()));
        assert_eq!(parent(u32::MAX), None);
    }

    #[test]
    fn the_kernels_own_code_has_rows() {
        if cfg!(target_arch = "x86_64") {
            let table = compile(vdso().unwrap().as_slice()).unwrap();
            assert!(table.rows().len() > 10);
        }
    }
}
