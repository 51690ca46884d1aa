//! Where file systems are mounted, by `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).

/// Where the whole of a file system of this kind is mounted; a part of one, as containers see it, does not count.
#[must_use]
pub fn mounted<'a>(mountinfo: &'a str, kind: &str) -> Option<&'a str> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, path) = (fields.next()?, fields.next()?);
        (root == "/" && after.split(' ').next() == Some(kind)).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_whole_of_it() {
        let other = "35 25 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let part = "40 25 0:31 /system.slice /mnt rw,relatime - cgroup2 cgroup2 rw\n";
        let whole = "41 25 0:31 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mounted(&[other, part, whole].concat(), "cgroup2"), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mounted(&[other, part].concat(), "cgroup2"), None);
        assert_eq!(mounted("41 25 0:31 /\n- cgroup2\n", "cgroup2"), None);
    }
}
