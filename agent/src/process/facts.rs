//! What is known of a process: plain values, so that a recording can hold them.
//!
//! Arguments and environment are not kept, because they hold secrets; only what was derived from them is.

use serde::{Deserialize, Serialize};

/// What was read of a process. Everything that could not be read is empty or `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Process id, in the agent's pid namespace.
    pub tgid: u32,
    /// It is no process of a host, but what stands for one where only packets were seen: its id means nothing.
    pub imagined: bool,
    /// The parent's; 0 where not known.
    pub parent: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`); with the pid it is unique. 0 where not known.
    pub start: u64,
    /// Command name, at most 15 bytes (`/proc/PID/comm`).
    pub comm: String,
    /// Path of the executable, as the process sees it.
    pub executable: Option<String>,
    /// What the process calls itself: its first argument, of a longer title the first word. At most 256 bytes.
    pub command: Option<String>,
    /// What runs, judged by the command line: a script, module, jar, main class or executable.
    pub program: Option<String>,
    /// The command line says that this is a helper of its parent, which has the same `program`.
    pub like_parent: bool,
    /// The value of `OTEL_SERVICE_NAME` in its environment.
    pub otel_service_name: Option<String>,
    /// The value of `OTEL_RESOURCE_ATTRIBUTES` in its environment. At most 16 KiB.
    pub otel_resource_attributes: Option<String>,
    /// Paths of its control groups, each once: version 2 first, then those of version 1 hierarchies.
    pub cgroups: Vec<String>,
    /// Inode of its network namespace.
    pub netns: Option<u64>,
}
