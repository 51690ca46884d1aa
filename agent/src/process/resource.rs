//! Facts become a [`Resource`], by OpenTelemetry's resource conventions. A pure function.
//!
//! Left out on purpose: `process.command_args` and `process.command_line` (they hold passwords and tokens), `process.owner` (a
//! container's user ids mean nothing outside of it) and `process.runtime.*` (a guess).

use std::borrow::Cow;

use crate::{protocol::Value, trace::Resource};

use super::{
    cgroup::container,
    environment,
    facts::Facts,
    host::Host,
    name::service_name,
    text::{base, clean},
};

/// The resource of a process on a host. What the process says of itself in `OTEL_RESOURCE_ATTRIBUTES` wins over what was found out,
/// except the pid, and `telemetry.sdk.*`, which names who recorded it.
#[must_use]
pub fn resource(facts: &Facts, host: &Host) -> Resource {
    let mut list = List(vec![("service.name".into(), service_name(facts).into())]);
    if facts.tgid != 0 && !facts.imagined {
        list.set("process.pid", facts.tgid);
    }
    for (key, value) in facts.otel_resource_attributes.as_deref().map(environment::attributes).unwrap_or_default() {
        if !key.starts_with("telemetry.sdk.") {
            list.set(key, value);
        }
    }
    if facts.parent != 0 {
        list.set("process.parent_pid", facts.parent);
    }
    if let Some(path) = &facts.executable {
        list.set("process.executable.name", base(path));
        list.set("process.executable.path", path.as_str());
    } else if !facts.comm.is_empty() {
        // What the conventions suggest for Linux: `Name` of `/proc/PID/status`.
        list.set("process.executable.name", clean(&facts.comm, 15));
    }
    if let Some(command) = &facts.command {
        list.set("process.command", command.as_str());
    }
    if let Some(container) = facts.cgroups.iter().find_map(|path| container(path)) {
        if let Some(id) = container.id {
            list.set("container.id", id);
        }
        if let Some(name) = container.name {
            list.set("container.name", clean(&name, 255));
        }
        if let Some(runtime) = container.runtime {
            list.set("container.runtime.name", runtime);
        }
    }
    for (key, value) in &host.attributes.0 {
        list.set(key.clone(), value.clone());
    }
    list.set("telemetry.sdk.name", "geophone");
    list.set("telemetry.sdk.language", "rust");
    list.set("telemetry.sdk.version", env!("CARGO_PKG_VERSION"));
    let mut resource = Resource::default();
    resource.attributes.0 = list.0;
    resource
}

/// Attributes of which each key is there once: the first to set it wins.
struct List(Vec<(Cow<'static, str>, Value)>);

impl List {
    fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let key = key.into();
        if !self.0.iter().any(|(known, _)| *known == key) {
            self.0.push((key, value.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Attributes;

    #[test]
    fn has_everything_known() {
        let facts = Facts {
            tgid: 42,
            parent: 7,
            comm: "node".into(),
            executable: Some("/usr/bin/node".into()),
            command: Some("node".into()),
            program: Some("server".into()),
            otel_resource_attributes: Some(
                "service.version=1.2,service.namespace=eu,host.name=mine,telemetry.sdk.name=fake,process.pid=1".into(),
            ),
            cgroups: vec![format!("/docker/{}", "ab".repeat(32))],
            ..Facts::default()
        };
        let mut host = Attributes::default();
        host.push("host.name", "node-1");
        host.push("os.type", "linux");
        let resource = resource(&facts, &Host { attributes: host });
        assert_eq!(resource.attributes.0.first(), Some(&("service.name".into(), "server".into())));
        for (key, value) in [
            ("service.version", "1.2"),
            ("service.namespace", "eu"),
            ("host.name", "mine"),
            ("os.type", "linux"),
            ("process.executable.name", "node"),
            ("process.executable.path", "/usr/bin/node"),
            ("process.command", "node"),
            ("container.id", &"ab".repeat(32)),
            ("container.runtime.name", "docker"),
            ("telemetry.sdk.name", "geophone"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ] {
            assert_eq!(resource.attributes.get(key), Some(&value.into()), "{key}");
        }
        assert_eq!(resource.attributes.get("process.pid"), Some(&42_i64.into()));
        assert_eq!(resource.attributes.get("process.parent_pid"), Some(&7_i64.into()));
        let mut keys: Vec<_> = resource.attributes.0.iter().map(|(k, _)| k.clone()).collect();
        keys.sort();
        let all = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), all, "OTLP wants unique keys");
    }

    #[test]
    fn says_no_more_than_is_known() {
        let resource = resource(&Facts { tgid: 42, comm: "curl".into(), ..Facts::default() }, &Host::default());
        let keys: Vec<_> =
            resource.attributes.0.iter().map(|(k, _)| k.as_ref()).filter(|k| !k.starts_with("telemetry.")).collect();
        assert_eq!(keys, ["service.name", "process.pid", "process.executable.name"]);
        assert_eq!(resource.attributes.get("service.name"), Some(&"curl".into()));
    }
}
