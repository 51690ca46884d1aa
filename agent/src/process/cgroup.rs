//! What the path of a control group says: which container, which systemd unit. Both versions of control groups, pure functions.

/// A container, as far as a control group's path names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The runtime's id: 64 hexadecimal digits for nearly all of them.
    pub id: Option<String>,
    /// The name a person gave it, where the path holds it (systemd-nspawn, LXC).
    pub name: Option<String>,
    /// The runtime, where the path tells.
    pub runtime: Option<&'static str>,
}

/// What comes before an id in the name of a scope or a directory, and which runtime writes it so.
const PREFIXES: &[(&str, &str)] = &[
    ("docker-", "docker"),
    ("cri-containerd-", "containerd"),
    ("nerdctl-", "containerd"),
    ("crio-conmon-", ""), // CRI-O's monitor of a container: not in it
    ("crio-", "cri-o"),
    ("libpod-conmon-", ""), // the same, of Podman
    ("libpod-payload-", "podman"),
    ("libpod-", "podman"),
];

/// Directories of which the children are named by an id alone.
const DIRECTORIES: &[(&str, &str)] = &[("docker", "docker"), ("libpod_parent", "podman"), ("machine.slice", "podman")];

/// The innermost container in a control group's path, or `None`.
#[must_use]
pub fn container(path: &str) -> Option<Container> {
    let mut parent = "";
    let mut found = None;
    for part in path.split('/').filter(|p| !p.is_empty()) {
        found = container_of(parent, part).or(found);
        parent = part;
    }
    found
}

fn container_of(parent: &str, part: &str) -> Option<Container> {
    let bare = part.strip_suffix(".scope").unwrap_or(part);
    if let Some((rest, runtime)) =
        PREFIXES.iter().find_map(|(prefix, runtime)| Some((bare.strip_prefix(prefix)?, *runtime)))
    {
        return (!runtime.is_empty() && is_id(rest)).then(|| Container {
            id: Some(rest.to_owned()),
            name: None,
            runtime: Some(runtime),
        });
    }
    // containerd without systemd: `/kubepods/besteffort/pod<uid>/<id>`, and `<slice>:cri-containerd:<id>`.
    if let Some((before, id)) = bare.rsplit_once(':') {
        return is_id(id).then(|| Container {
            id: Some(id.to_owned()),
            name: None,
            runtime: before.ends_with("containerd").then_some("containerd"),
        });
    }
    if let Some(name) = part.strip_prefix("systemd-nspawn@").and_then(|n| n.strip_suffix(".service")) {
        return Some(named(&unescape(name), "systemd-nspawn"));
    }
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some(named(name, "lxc"));
    }
    if parent == "lxc" && !part.starts_with('.') {
        return Some(named(part, "lxc"));
    }
    if let Some(name) = part.strip_prefix("machine-").and_then(|n| n.strip_suffix(".scope")) {
        return Some(Container { id: None, name: Some(unescape(name)), runtime: None });
    }
    if is_id(bare) {
        let runtime = DIRECTORIES.iter().find(|(directory, _)| *directory == parent).map(|(_, runtime)| *runtime);
        return Some(Container { id: Some(bare.to_owned()), name: None, runtime });
    }
    None
}

fn named(name: &str, runtime: &'static str) -> Container {
    Container { id: None, name: Some(name.to_owned()), runtime: Some(runtime) }
}

/// 64 lower-case hexadecimal digits; or 32 with `-` and a number, which is what Amazon's ECS on Fargate writes.
fn is_id(text: &str) -> bool {
    let hex = |t: &str| t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    match text.split_once('-') {
        None => text.len() == 64 && hex(text),
        Some((task, number)) => {
            task.len() == 32
                && hex(task)
                && (1..=20).contains(&number.len())
                && number.bytes().all(|b| b.is_ascii_digit())
        }
    }
}

/// Units that start whatever a person or a schedule asks for: their name says nothing of the process.
const LAUNCHERS: &[&str] = &[
    "anacron",
    "atd",
    "containerd",
    "cron",
    "crond",
    "docker",
    "podman",
    "rc-local",
    "runit",
    "screen",
    "ssh",
    "sshd",
    "supervisor",
    "supervisord",
    "tmux",
];

/// The systemd service of a control group's path, without `.service`; `None` for sessions, users' managers and units that start
/// anything (cron, ssh, supervisors). An instance keeps its name (`postgresql@15-main`) unless that is only a number (`worker@2`).
#[must_use]
pub fn unit(path: &str) -> Option<String> {
    let name = path.rsplit('/').find_map(|part| part.strip_suffix(".service"))?;
    let name = unescape(name);
    let (template, instance) = name.split_once('@').unwrap_or((&name, ""));
    let nothing = template.is_empty()
        || LAUNCHERS.contains(&template)
        || matches!(template, "user" | "getty" | "serial-getty" | "container-getty" | "systemd-nspawn")
        || template.starts_with("pm2-")
        || template.starts_with("run-"); // transient: systemd-run without a name
    if nothing {
        return None;
    }
    Some(if instance.bytes().all(|b| b.is_ascii_digit()) { template.to_owned() } else { name })
}

/// systemd's escapes in unit names: `\x2d` stands for `-`. What is no valid escape stays.
fn unescape(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.strip_prefix(b"x").and_then(|hex| hex.split_at_checked(2)).and_then(|(hex, after)| {
            let byte = u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?;
            Some((byte, after))
        });
        match escaped {
            Some((byte, after)) if first == b'\\' => {
                out.push(byte);
                rest = after;
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "3f0c8e6c5d0a4e7bb1e2f3a4958677889900aabbccddeeff0011223344556677";

    #[test]
    fn containers() {
        let cases: &[(&str, Option<&str>, Option<&str>)] = &[
            // Docker: version 1; version 2 with the cgroupfs driver, and with systemd's.
            ("/docker/ID", Some("ID"), Some("docker")),
            ("/system.slice/docker-ID.scope", Some("ID"), Some("docker")),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope", Some("ID"), Some("docker")),
            ("/docker/ID/system.slice/nginx.service", Some("ID"), Some("docker")),
            // Kubernetes: containerd and CRI-O, with either driver.
            ("/kubepods/besteffort/pod7d9b2f2e-1111-4222-8333-444455556666/ID", Some("ID"), None),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7d9b_2f2e.slice/cri-containerd-ID.scope",
                Some("ID"),
                Some("containerd"),
            ),
            (
                "/system.slice/containerd.service/kubepods-burstable-pod7d9b.slice:cri-containerd:ID",
                Some("ID"),
                Some("containerd"),
            ),
            ("/kubepods.slice/kubepods-pod1.slice/crio-ID.scope", Some("ID"), Some("cri-o")),
            ("/kubepods.slice/kubepods-pod1.slice/crio-ID.scope/container", Some("ID"), Some("cri-o")),
            ("/kubepods.slice/kubepods-pod1.slice/crio-conmon-ID.scope", None, None),
            // Podman: as root, without root, and its monitor.
            ("/machine.slice/libpod-ID.scope", Some("ID"), Some("podman")),
            ("/machine.slice/libpod-ID.scope/container", Some("ID"), Some("podman")),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope", Some("ID"), Some("podman")),
            ("/libpod_parent/ID", Some("ID"), Some("podman")),
            ("/machine.slice/libpod-conmon-ID.scope", None, None),
            ("/nerdctl-ID.scope", Some("ID"), Some("containerd")),
            (
                "/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-1234567890",
                Some("FARGATE"),
                None,
            ),
            // No container.
            ("/", None, None),
            ("", None, None),
            ("/system.slice/nginx.service", None, None),
            ("/user.slice/user-1000.slice/session-3.scope", None, None),
            ("/docker/buildx", None, None),
            ("/docker-short.scope", None, None),
            ("/memory/process_api/c1f99f357551d1356701c377a87c5c49", None, None),
        ];
        for (path, id, runtime) in cases {
            let found = container(&path.replace("ID", ID)).unwrap_or_default();
            let id =
                id.map(|id| id.replace("ID", ID).replace("FARGATE", "0123456789abcdef0123456789abcdef-1234567890"));
            assert_eq!((found.id, found.runtime), (id, *runtime), "{path}");
        }
    }

    #[test]
    fn named_containers() {
        for (path, name, runtime) in [
            (
                "/machine.slice/systemd-nspawn@web\\x2d1.service/payload/system.slice/nginx.service",
                "web-1",
                Some("systemd-nspawn"),
            ),
            ("/machine.slice/machine-web.scope/payload", "web", None),
            ("/lxc.payload.web/init.scope", "web", Some("lxc")),
            ("/lxc/web", "web", Some("lxc")),
        ] {
            let found = container(path).unwrap();
            assert_eq!((found.id, found.name.as_deref(), found.runtime), (None, Some(name), runtime), "{path}");
        }
    }

    #[test]
    fn a_container_in_a_container_is_the_inner_one() {
        let inner = ID.replace('3', "9");
        assert_eq!(container(&format!("/docker/{ID}/docker/{inner}")).unwrap().id, Some(inner));
    }

    #[test]
    fn units() {
        for (path, expected) in [
            ("/system.slice/nginx.service", Some("nginx")),
            ("/system.slice/nginx.service/worker", Some("nginx")),
            ("/system.slice/system-postgresql.slice/postgresql@15-main.service", Some("postgresql@15-main")),
            ("/system.slice/system-worker.slice/worker@2.service", Some("worker")),
            ("/system.slice/my\\x2dshop.service", Some("my-shop")),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service", Some("shop")),
            ("/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service", Some("nginx")),
            ("/machine.slice/systemd-nspawn@web.service/payload", None),
            ("/user.slice/user-1000.slice/session-3.scope", None),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope", None),
            ("/system.slice/cron.service", None),
            ("/system.slice/ssh.service", None),
            ("/system.slice/pm2-deploy.service", None),
            ("/system.slice/run-r0f.service", None),
            ("/init.scope", None),
            ("/", None),
            (".service", None),
            ("/@.service", None),
            ("/\\x.service", Some("\\x")),
        ] {
            assert_eq!(unit(path).as_deref(), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn takes_anything(path in "(/|docker-|crio-|:|@|\\\\x?|[0-9a-f]{0,3}|\\PC|\\.service|\\.scope|lxc|systemd-nspawn@){0,10}") {
            if let Some(container) = container(&path) {
                prop_assert!(container.id.is_some() || container.name.is_some());
            }
            let unit = unit(&path);
            prop_assert_ne!(unit.as_deref(), Some(""));
        }
    }
}
