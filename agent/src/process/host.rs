//! The host's own attributes, read once.

use std::{fs, path::Path};

use crate::protocol::Attributes;

use super::text::clean;

/// What is said of the host on every resource. By OpenTelemetry's conventions for `host` and `os`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// `host.name`, `host.id`, `host.arch`, `os.type`, `os.version`; those that are known.
    pub attributes: Attributes,
}

impl Host {
    /// Reads the host whose root directory is `root`: `/`, or where a container has it mounted. What cannot be read is left out.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let first = |paths: &[&str]| {
            paths.iter().find_map(|path| {
                let text = clean(fs::read_to_string(root.join(path)).ok()?.lines().next()?, 255);
                (!text.is_empty()).then_some(text)
            })
        };
        let mut attributes = Attributes::default();
        if let Some(name) = first(&["proc/sys/kernel/hostname", "etc/hostname"]) {
            attributes.push("host.name", name);
        }
        // systemd writes `uninitialized` while the first boot has not yet chosen one.
        let id = first(&["etc/machine-id", "var/lib/dbus/machine-id"])
            .filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
        if let Some(id) = id {
            attributes.push("host.id", id);
        }
        attributes.push("host.arch", architecture(std::env::consts::ARCH));
        attributes.push("os.type", "linux");
        let release = fs::read_to_string(root.join("etc/os-release"))
            .or_else(|_| fs::read_to_string(root.join("usr/lib/os-release")));
        if let Some(version) = release.ok().as_deref().and_then(version) {
            attributes.push("os.version", version);
        }
        Self { attributes }
    }
}

/// Rust's name of an architecture in the words of `host.arch`.
fn architecture(name: &'static str) -> &'static str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// `VERSION_ID` of an `os-release` file (rolling distributions have none).
fn version(release: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix("VERSION_ID="))?;
    let version = clean(value.trim().trim_matches(['"', '\'']), 64);
    (!version.is_empty()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Value;

    fn texts(host: &Host) -> Vec<(String, String)> {
        let text = |v: &Value| {
            if let Value::Text(t) = v { t.to_string() } else { panic!("{v:?}") }
        };
        host.attributes.0.iter().map(|(k, v)| (k.to_string(), text(v))).collect()
    }

    #[test]
    fn reads_a_root() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/sys/kernel/hostname", "node-1\n"),
            ("etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n"),
            ("etc/os-release", "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n"),
        ] {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), text).unwrap();
        }
        let host = texts(&Host::read(root.path()));
        for (key, value) in [
            ("host.name", "node-1"),
            ("host.id", "3d1219c7c4c5404aaa1f6d2a48adfda4"),
            ("os.type", "linux"),
            ("os.version", "12"),
        ] {
            assert!(host.contains(&(key.into(), value.into())), "{key} in {host:?}");
        }
    }

    #[test]
    fn leaves_out_what_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/machine-id"), "uninitialized\n").unwrap();
        let keys: Vec<_> = texts(&Host::read(root.path())).into_iter().map(|(k, _)| k).collect();
        assert_eq!(keys, ["host.arch", "os.type"]);
    }

    #[test]
    fn arch_is_in_the_words_of_the_conventions() {
        assert_eq!(architecture("x86_64"), "amd64");
        assert_eq!(architecture("aarch64"), "arm64");
        assert_eq!(architecture("s390x"), "s390x");
    }
}
