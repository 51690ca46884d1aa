//! Network namespaces that the tests make, joined to the host by a pair of virtual interfaces.

use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};

use crate::group::Group;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace; removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    group: Option<Group>,
    /// The host's end of the link.
    pub host: String,
    /// The namespace's end of the link.
    pub inside: String,
}

impl Namespace {
    /// Makes one, with an address of 10.0.0.0/8 at each end of the link.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn new() -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % 250 + 1;
        let third = process::id() % 250;
        let name = format!("gptest-{}-{number}", process::id());
        let made = Self {
            name,
            group: None,
            host: format!("10.231.{third}.{number}"),
            inside: format!("10.232.{third}.{number}"),
        };
        let (outer, inner) = (format!("gp{third}o{number}"), format!("gp{third}i{number}"));
        let (name, host, inside) = (&made.name, &made.host, &made.inside);
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add {outer} type veth peer name {inner} netns {name}"))?;
        ip(&format!("address add {host} peer {inside} dev {outer}"))?;
        ip(&format!("link set {outer} up"))?;
        ip(&format!("-n {name} address add {inside} peer {host} dev {inner}"))?;
        ip(&format!("-n {name} link set {inner} up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(made)
    }

    /// What `ip netns` calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same command, run in it.
    #[must_use]
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = self.command(Path::new(command.get_program()));
        inside.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// From now on, what runs in it is in a control group of its own, too.
    ///
    /// # Errors
    /// When there are no control groups of version 2.
    pub fn group(&mut self) -> Result<()> {
        self.group = Some(Group::new(&self.name)?);
        Ok(())
    }

    /// A command that runs in it.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match &self.group {
            None => Command::new("ip"),
            Some(group) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "echo 0 > \"$0\" && exec \"$@\""]).arg(group.members()).arg("ip");
                shell
            }
        };
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The link goes with it.
        let _gone = ip(&format!("netns delete {}", self.name));
    }
}

/// Runs `ip` with these words.
pub(crate) fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip").args(arguments.split(' ')).status().context("cannot run ip (package iproute2)")?;
    ensure!(status.success(), "ip {arguments}: {status}");
    Ok(())
}
