//! Where the control groups of version 2 are, to which programs are attached that see all TCP connections.

use std::{fs, io, os::fd::OwnedFd};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::process::mounted;

/// The root of the groups: where it is mounted, or else by a mount that nobody else sees.
pub(super) fn root() -> io::Result<OwnedFd> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if let Some(path) = mounted(&mounts, "cgroup2") {
        return Ok(fs::File::open(path)?.into());
    }
    let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}
