//! Brokers of messages, and a client of all of them.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::{LOCAL, Recipe, Service, host_and_port, python};
use crate::wait::PATIENCE;
use crate::{child, paths};

impl Service {
    /// Mosquitto.
    ///
    /// # Errors
    /// When it does not start.
    pub fn mosquitto() -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let folder = tempfile::tempdir()?;
            let config = folder.path().join("mosquitto.conf");
            fs::write(&config, format!("listener {} {}\nallow_anonymous true\n", address.port(), address.ip()))?;
            let mut command = Command::new(paths::program("mosquitto")?);
            command.arg("-c").arg(config);
            Ok(Recipe { command, name: "mosquitto", folders: vec![folder] })
        })
    }

    /// NATS.
    ///
    /// # Errors
    /// When it does not start.
    pub fn nats() -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(paths::program("nats-server")?);
            command.args(["-a", &address.ip().to_string(), "-p", &address.port().to_string()]);
            Ok(Recipe { command, name: "nats-server", folders: Vec::new() })
        })
    }

    /// Lets a client publish, receive and acknowledge: see `services/python/queues.py`.
    ///
    /// # Errors
    /// When it does not run, or gets something else than what was sent.
    pub fn messages(&self, protocol: &str) -> Result<()> {
        let mut command = Command::new(python()?);
        command.arg(paths::service("python/queues.py")).arg(protocol).args(host_and_port(self.address));
        child::output(&mut command, PATIENCE).map(drop)
    }
}
