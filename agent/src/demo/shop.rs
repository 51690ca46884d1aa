//! Starts the processes of the shop, tells them of each other, and ends them.

use std::{
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::service::Role;

/// How the shop is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The executable that has the subcommand, and the arguments before the role.
    pub command: (PathBuf, Vec<String>),
    /// How long a slow payment takes.
    pub slow: Duration,
}

impl Settings {
    /// This executable, with the hidden subcommand `demo-service`; 4.5 s.
    ///
    /// # Errors
    /// When the path of this executable is not known.
    pub fn of_this_executable() -> io::Result<Self> {
        Ok(Self { command: (std::env::current_exe()?, vec!["demo-service".into()]), slow: Duration::from_millis(4500) })
    }
}

/// Why the shop did not start. What had been started was ended again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A process could not be started.
    #[error("cannot start the demo's service {name}: {error}", name = .0.name(), error = .1)]
    Spawn(Role, #[source] io::Error),
    /// It ended, or did not say where it listens.
    #[error("the demo's service {} did not start to listen", .0.name())]
    Silent(Role),
}

/// The shop's processes. They end when this is dropped, and when this process ends, however that comes.
#[derive(Debug)]
pub struct Shop {
    settings: Settings,
    processes: Vec<Process>,
}

#[derive(Debug)]
struct Process {
    role: Role,
    child: Child,
    address: Option<SocketAddr>,
    /// Kept open, so that whatever it may print is no error.
    out: Option<BufReader<ChildStdout>>,
}

impl Shop {
    /// Starts the four services. Returns when all of them listen; nobody asks them anything yet.
    ///
    /// # Errors
    /// When one of them does not start.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let mut shop = Self { settings, processes: Vec::new() };
        // Each after those that it asks.
        for role in [Role::Cart, Role::Payment, Role::Orders, Role::Gateway] {
            shop.add(role)?;
        }
        Ok(shop)
    }

    /// Lets the customers in: a process that sends a few requests a second.
    ///
    /// # Errors
    /// When it does not start.
    pub fn open(&mut self) -> Result<(), StartError> {
        self.add(Role::Shopper)
    }

    /// The services' process ids (not the customers').
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let services = self.processes.iter().filter(|process| process.role != Role::Shopper);
        services.map(|process| process.child.id()).collect()
    }

    /// Where a service listens. `None` for the customers, who do not.
    #[must_use]
    pub fn address(&self, role: Role) -> Option<SocketAddr> {
        self.processes.iter().find(|process| process.role == role)?.address
    }

    /// The gateway's base URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        self.address(Role::Gateway).map_or_else(String::new, |address| format!("http://{address}"))
    }

    fn add(&mut self, role: Role) -> Result<(), StartError> {
        let (program, arguments) = &self.settings.command;
        let mut command = Command::new(program);
        command.args(arguments).arg(role.name());
        if role == Role::Payment {
            command.arg(format!("--slow-ms={}", self.settings.slow.as_millis()));
        }
        for peer in role.peers() {
            if let Some(address) = self.address(*peer) {
                command.arg(format!("--peer={}={address}", peer.name()));
            }
        }
        // What is set for the agent is not meant for them, and their names are their own.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTEL_")) {
            command.env_remove(name);
        }
        command
            .env("OTEL_SERVICE_NAME", role.name())
            .env("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=geophone-demo");
        // A group of its own: an interrupt from the keyboard reaches this process alone, which then ends the shop in order.
        command.arg0(role.name()).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| StartError::Spawn(role, e))?;
        let out = child.stdout.take().map(BufReader::new);
        self.processes.push(Process { role, child, address: None, out });
        if role == Role::Shopper {
            return Ok(());
        }
        let process = self.processes.last_mut().ok_or(StartError::Silent(role))?;
        let lines = process.out.as_mut().ok_or(StartError::Silent(role))?.lines();
        let address =
            lines.map_while(Result::ok).find_map(|line| line.split_once("listening on ")?.1.trim().parse().ok());
        process.address = Some(address.ok_or(StartError::Silent(role))?);
        Ok(())
    }
}

impl Drop for Shop {
    /// Asks all of them to end (their standard input ends), customers first; kills who has not after a second.
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            drop(process.child.stdin.take());
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        for process in &mut self.processes {
            while matches!(process.child.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    // Only fails where it has ended by itself.
                    let _ = process.child.kill();
                    let _ = process.child.wait();
                    break;
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
