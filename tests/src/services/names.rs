//! A server of names, and what asks it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::{LOCAL, Recipe, Service, host_and_port, python};
use crate::netns::Namespace;
use crate::{paths, ports};

impl Service {
    /// dnsmasq on port 53 of a network namespace. Every name below `example.org` has the addresses 192.0.2.1 and 2001:db8::1, but
    /// `missing.example.org` does not exist.
    ///
    /// # Errors
    /// When it does not start.
    pub fn dnsmasq(namespace: &Namespace) -> Result<Self> {
        let address = SocketAddr::new(namespace.inside.parse()?, 53);
        let mut command = namespace.command(&paths::program("dnsmasq")?);
        command.args([
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--conf-file=/dev/null",
        ]);
        command.args([
            "--user=root",
            "--pid-file=",
            "--address=/example.org/192.0.2.1",
            "--address=/example.org/2001:db8::1",
            "--address=/missing.example.org/",
        ]);
        command.arg(format!("--listen-address={}", namespace.inside));
        let recipe = Recipe { command, name: "dnsmasq", folders: Vec::new() };
        Self::run(recipe, address, PathBuf::new(), || std::net::TcpStream::connect(address).is_ok())
    }

    /// A service that looks up what it is asked for, on a machine whose only server of names is this one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn lookups(names: &Self) -> Result<Self> {
        let address = SocketAddr::new(LOCAL, ports::free()?);
        let mut command = configured(names)?;
        command.arg(python()?).arg(paths::service("python/lookups.py")).args(host_and_port(address));
        let recipe = Recipe { command, name: "lookups", folders: Vec::new() };
        Self::run(recipe, address, PathBuf::new(), || std::net::TcpStream::connect(address).is_ok())
    }
}

/// A command that runs the program which it is given on a machine whose only server of names is this one.
///
/// # Errors
/// When there is no place for the configuration.
pub fn configured(names: &Service) -> Result<Command> {
    let script = format!(
        "mount -t tmpfs none /mnt && echo 'nameserver {}' > /mnt/resolv.conf && mount --bind /mnt/resolv.conf /etc/resolv.conf && exec \"$@\"",
        names.address.ip()
    );
    let mut command = Command::new(paths::program("unshare")?);
    command.args(["--mount", "sh", "-c", &script, "sh"]);
    Ok(command)
}

/// `services/python/lookups.py`.
///
/// # Errors
/// When Python's environment is not installed.
pub fn lookups() -> Result<Command> {
    let mut command = Command::new(python()?);
    command.arg(paths::service("python/lookups.py"));
    Ok(command)
}
