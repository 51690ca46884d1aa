//! The guest's first file system: an initramfs in the cpio format "newc", written here so that no cpio, no root and no
//! temporary tree is needed. Uncompressed, because software emulation unpacks slowly and loads fast.
//! Format: `Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result};

const FOLDER: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;

/// An archive that is being written. Folders are made as files need them.
#[derive(Default)]
pub struct Initramfs {
    bytes: Vec<u8>,
    entries: u32,
    folders: Vec<String>,
}

impl Initramfs {
    /// Adds an empty folder, and those above it. `path` has no leading slash, here and below.
    pub fn folder(&mut self, path: &str) {
        if path.is_empty() || self.folders.iter().any(|known| known == path) {
            return;
        }
        self.parent(path);
        self.folders.push(path.to_owned());
        self.entry(path, FOLDER, &[]);
    }

    /// Adds a file with these permission bits.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.parent(path);
        self.entry(path, REGULAR | (permissions & 0o7777), content);
    }

    /// Adds a file of this machine, with its permissions.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn host_file(&mut self, path: &str, from: &Path) -> Result<()> {
        let cannot = || format!("cannot read {}", from.display());
        let content = fs::read(from).with_context(cannot)?;
        let permissions = fs::metadata(from).with_context(cannot)?.permissions().mode();
        self.file(path, permissions, &content);
        Ok(())
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = if mode == FOLDER { 2 } else { 1 };
        // The magic, then: inode, mode, owner, group, links, time, size, device (2), special device (2), length of the
        // name with its zero byte, and a checksum that this format does not use.
        let head = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}",
            self.entries,
            0,
            0,
            0,
            content.len(),
            0,
            0,
            0,
            0,
            path.len() + 1,
            0
        );
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an archive back: name, mode and content of each entry.
    fn entries(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        while !archive.is_empty() {
            let field = |index: usize| {
                let digits = std::str::from_utf8(&archive[6 + 8 * index..14 + 8 * index]).unwrap();
                usize::from_str_radix(digits, 16).unwrap()
            };
            assert!(archive.starts_with(b"070701"));
            let (mode, size, name) = (field(1), field(6), field(11));
            let content = (110 + name).next_multiple_of(4);
            assert_eq!(archive[110 + name - 1], 0);
            entries.push((
                String::from_utf8(archive[110..110 + name - 1].to_vec()).unwrap(),
                u32::try_from(mode).unwrap(),
                archive[content..content + size].to_vec(),
            ));
            archive = &archive[(content + size).next_multiple_of(4)..];
        }
        entries
    }

    #[test]
    fn folders_come_once_and_before_what_is_in_them() {
        let mut image = Initramfs::default();
        image.file("usr/bin/tool", 0o755, b"12345");
        image.folder("usr/bin");
        let archive = image.finish();
        let expected: [(&str, u32, &[u8]); 4] = [
            ("usr", 0o040_755, b""),
            ("usr/bin", 0o040_755, b""),
            ("usr/bin/tool", 0o100_755, b"12345"),
            ("TRAILER!!!", 0, b""),
        ];
        let entries = entries(&archive);
        let entries: Vec<(&str, u32, &[u8])> =
            entries.iter().map(|(name, mode, content)| (name.as_str(), *mode, content.as_slice())).collect();
        assert_eq!(entries, expected);
    }
}
