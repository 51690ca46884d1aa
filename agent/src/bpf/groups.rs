//! Where the control groups of version 2 are, to which programs are attached that see all TCP connections.

use std::{fs, io, os::fd::OwnedFd};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// The root of the groups: where it is mounted, or else by a mount that nobody else sees.
pub(super) fn root() -> io::Result<OwnedFd> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if let Some(path) = mounted(&mounts) {
        return Ok(fs::File::open(path)?.into());
    }
    let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// Where the whole hierarchy is mounted, by `/proc/self/mountinfo`.
fn mounted(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, path) = (fields.next()?, fields.next()?);
        (root == "/" && after.starts_with("cgroup2 ")).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_whole_hierarchy() {
        let other = "35 25 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let part = "40 25 0:31 /system.slice /mnt rw,relatime - cgroup2 cgroup2 rw\n";
        let whole = "41 25 0:31 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mounted(&[other, part, whole].concat()), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mounted(&[other, part].concat()), None);
        assert_eq!(mounted("41 25 0:31 /\n- cgroup2\n"), None);
    }
}
