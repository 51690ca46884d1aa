//! Brokers of messages, and a client of all of them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::{LOCAL, Recipe, SLOW, Service, classes, host_and_port, python};
use crate::{child, paths, ports};

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

    /// Kafka, a broker that is its own controller.
    ///
    /// # Errors
    /// When it does not start.
    pub fn kafka() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("server.properties");
        let classes = classes("kafka")?;
        Self::on_port(LOCAL, |address| {
            let controller = ports::free()?;
            let text = fs::read_to_string(paths::service("java/kafka.properties"))?;
            let text = text.replace("{PORT}", &address.port().to_string());
            let text = text.replace("{CONTROLLER}", &controller.to_string());
            fs::write(&config, text.replace("{DIR}", &folder.path().join("data").to_string_lossy()))?;
            let java = |main: &str| -> Result<Command> {
                let mut command = Command::new(paths::program("java")?);
                command.args(["-Xmx512m", "-cp", &classes, main]);
                Ok(command)
            };
            let mut format = java("kafka.tools.StorageTool")?;
            format.args(["format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c"]).arg(&config).stderr(Stdio::null());
            child::output(&mut format, SLOW)?;
            let mut command = java("kafka.Kafka")?;
            command.arg(&config);
            Ok(Recipe { command, name: "kafka", folders: vec![folder] })
        })
    }

    /// RabbitMQ.
    ///
    /// # Errors
    /// When it does not start.
    pub fn rabbitmq() -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let folder = tempfile::tempdir()?;
            let distribution = ports::free()?;
            // Its script gives up root for a user that cannot read this folder: the server itself does not mind.
            let program = server_script()?;
            let mut command = Command::new(program);
            command
                .env("HOME", folder.path())
                .env("RABBITMQ_NODENAME", format!("geophone{}@localhost", address.port()))
                .env("RABBITMQ_NODE_IP_ADDRESS", address.ip().to_string())
                .env("RABBITMQ_NODE_PORT", address.port().to_string())
                .env("RABBITMQ_DIST_PORT", distribution.to_string())
                .env("RABBITMQ_MNESIA_BASE", folder.path())
                .env("RABBITMQ_LOG_BASE", folder.path())
                .env("RABBITMQ_CONFIG_FILE", folder.path().join("none"))
                .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.path().join("plugins"));
            Ok(Recipe { command, name: "rabbit", folders: vec![folder] })
        })
    }

    /// Lets a client publish, receive and acknowledge: see `services/python/queues.py`.
    ///
    /// # Errors
    /// When it does not run, or gets something else than what was sent.
    pub fn messages(&self, protocol: &str) -> Result<()> {
        let mut command = Command::new(python()?);
        command.arg(paths::service("python/queues.py")).arg(protocol).args(host_and_port(self.address));
        child::output(&mut command, SLOW).map(drop)
    }
}

/// The script that starts RabbitMQ's server as whoever calls it, which is in no usual folder.
fn server_script() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/rabbitmq/lib").context("RabbitMQ is not installed")?;
    let mut scripts = versions.filter_map(|entry| Some(entry.ok()?.path().join("sbin/rabbitmq-server")));
    scripts.find(|script| script.is_file()).context("RabbitMQ has no rabbitmq-server")
}
