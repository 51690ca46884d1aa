//! A stack that runs.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::front::{Behind, php_fpm};
use super::programs::{Place, Program};
use super::shape::{Plan, Process, name};
use super::stacks::Stack;
use crate::child::Guard;
use crate::hosts::Hosts;
use crate::{ports, wait};

/// How long services may take to listen: several virtual machines that start on a busy processor need their time.
const LIMIT: Duration = Duration::from_secs(90);
/// How many milliseconds services think between calls, when they do.
const THINK: u64 = 20;
/// Connections to one service, when they are few.
const FEW: u64 = 8;

/// How a stack differs from the plain one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// No calls at the same time.
    pub sequential: bool,
    /// Time passes between calls.
    pub think: bool,
    /// Some requests are refused, and made once more.
    pub retries: bool,
    /// Few connections to each service, for which calls have to wait.
    pub few: bool,
}

/// A stack that runs; ends when dropped.
#[derive(Debug)]
pub struct Running {
    /// What it should do.
    pub plan: Plan,
    /// Where the client's requests go.
    pub entry: SocketAddr,
    /// For each process of the plan.
    guards: Vec<Guard>,
    /// The hosts on which the services run, one after the other, when it is not this machine alone.
    pub hosts: Option<Hosts>,
    folder: TempDir,
}

impl Running {
    /// Starts a stack and waits until all listen.
    ///
    /// # Errors
    /// When a program is not installed or does not listen.
    pub fn start(stack: &Stack, variant: Variant) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let hosts = (stack.hosts > 1).then(|| Hosts::new(stack.hosts)).transpose()?;
        let services: Vec<Behind> = (0..stack.shape.0.len())
            .map(|service| {
                let inner = ports::free()?;
                let outer = if stack.front.is_some() { ports::free()? } else { inner };
                Ok(Behind { name: name(service), outer, inner, environment: Vec::new() })
            })
            .collect::<Result<_>>()?;
        let mut starting = Starting {
            folder: folder.path(),
            hosts: hosts.as_ref(),
            variant,
            guards: Vec::new(),
            processes: Vec::new(),
            ways: Vec::new(),
        };
        let environments: Vec<_> =
            (0..services.len()).map(|service| starting.environment(stack, service, &services)).collect();
        let services: Vec<Behind> = services
            .into_iter()
            .zip(environments)
            .map(|(behind, environment)| Behind { environment, ..behind })
            .collect();
        starting.all(stack, &services)?;
        let Starting { guards, processes, ways, .. } = starting;
        let entry = services.first().context("a stack without services")?.outer;
        let entry = SocketAddr::from((outside(hosts.as_ref(), 0), entry));
        let plan = Plan { shape: stack.shape, processes, ways, retries: variant.retries };
        let mut running = Self { plan, entry, guards, hosts, folder };
        fs::write(running.key_file(), "a secret of the accuracy suite that is long enough")?;
        running.wait(&services)?;
        Ok(running)
    }

    fn wait(&mut self, services: &[Behind]) -> Result<()> {
        let ports = services.iter().enumerate().flat_map(|(at, service)| [(at, service.inner), (at, service.outer)]);
        for (service, port) in ports {
            let address = outside(self.hosts.as_ref(), service);
            let mut ended = None;
            let listens = wait::until(LIMIT, &format!("somebody to listen on port {port}"), || {
                ended = self
                    .guards
                    .iter_mut()
                    .find_map(|guard| matches!(guard.inner().try_wait(), Ok(Some(_))).then(|| format!("{guard:?}")));
                (ended.is_some() || TcpStream::connect((address, port)).is_ok()).then_some(())
            });
            if listens.is_err() || ended.is_some() {
                let said = self.said();
                listens.with_context(|| said.clone())?;
                ensure!(ended.is_none(), "{} ended at once:\n{said}", ended.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// The process of the plan that each process id belongs to.
    #[must_use]
    pub fn pids(&self) -> HashMap<u32, usize> {
        self.guards
            .iter()
            .enumerate()
            .flat_map(|(index, guard)| guard.family().into_iter().map(move |pid| (pid, index)))
            .collect()
    }

    /// The host of a process of the plan.
    #[must_use]
    pub fn host(&self, process: usize) -> usize {
        process % self.hosts.as_ref().map_or(1, Hosts::count)
    }

    /// The processes that were started on a host; what they started themselves is not among them.
    #[must_use]
    pub fn leaders(&self, host: usize) -> Vec<u32> {
        let here = self.guards.iter().enumerate().filter(|(process, _)| self.host(*process) == host);
        here.map(|(_, guard)| guard.pid()).collect()
    }

    /// The secret that the agents of several hosts share.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// Where a service with an SDK writes its spans.
    #[must_use]
    pub fn sdk_file(&self) -> PathBuf {
        self.folder.path().join("sdk.jsonl")
    }

    /// The end of what the services have complained about.
    #[must_use]
    pub fn said(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "log")
                && let Ok(said) = fs::read_to_string(&path)
                && !said.trim().is_empty()
            {
                let lines: Vec<&str> = said.lines().collect();
                let last = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
                text.push_str(&format!("{}:\n{}\n", entry.file_name().display(), last.join("\n")));
            }
        }
        text
    }
}

/// Where the client and this process reach a service.
fn outside(hosts: Option<&Hosts>, service: usize) -> Ipv4Addr {
    hosts.and_then(|hosts| hosts.get(service)).map_or(Ipv4Addr::LOCALHOST, |host| host.outside)
}

struct Starting<'a> {
    folder: &'a Path,
    hosts: Option<&'a Hosts>,
    variant: Variant,
    guards: Vec<Guard>,
    processes: Vec<Process>,
    ways: Vec<Vec<usize>>,
}

impl Starting<'_> {
    fn all(&mut self, stack: &Stack, services: &[Behind]) -> Result<()> {
        let scripts = stack.programs.contains(&Program::Php);
        let front = match stack.front {
            Some(front) => {
                // Between the proxy and PHP, nothing is HTTP.
                let process = Process { name: "front".into(), optional_client: scripts, ..Process::default() };
                Some(self.process(process, front.command(services, scripts, self.folder)?)?)
            }
            None => None,
        };
        if scripts {
            let process = Process { name: "php-fpm".into(), optional_server: true, ..Process::default() };
            let fpm = self.process(process, php_fpm(services, self.folder)?)?;
            self.ways = services.iter().map(|_| front.into_iter().chain([fpm]).collect()).collect();
            return Ok(());
        }
        for (service, &program) in services.iter().zip(&stack.programs) {
            let folder = self.folder;
            let host = if self.hosts.is_some() { "0.0.0.0" } else { "127.0.0.1" };
            let mut command = program.command(Place { port: service.inner, host, folder })?;
            command.env("PORT", service.inner.to_string()).env("HOST", host);
            command.envs(service.environment.iter().map(|(name, value)| (name, value)));
            let sdk = program == Program::Sdk;
            if sdk {
                command.env("SPANS", folder.join("sdk.jsonl"));
            }
            let process = Process { name: service.name.into(), optional_server: sdk, optional_client: sdk };
            let process = self.process(process, command)?;
            self.ways.push(front.into_iter().chain([process]).collect());
        }
        Ok(())
    }

    fn process(&mut self, process: Process, mut command: Command) -> Result<usize> {
        let log = File::create(self.folder.join(format!("{}.log", process.name)))?;
        // One process for each service, where there are hosts: nothing stands before them.
        if let Some(host) = self.hosts.and_then(|hosts| hosts.get(self.guards.len())) {
            command = host.namespace.inside(&command);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.guards.push(Guard::start(&mut command)?);
        self.processes.push(process);
        Ok(self.guards.len() - 1)
    }

    /// What a service is told.
    fn environment(&self, stack: &Stack, service: usize, services: &[Behind]) -> Vec<(&'static str, String)> {
        let groups = stack.shape.0.get(service).copied().unwrap_or_default();
        let address = |&callee: &usize| {
            let port = services.get(callee).map_or(0, |callee| callee.outer);
            let host = self.hosts.and_then(|hosts| hosts.get(callee));
            let address = host.map_or(Ipv4Addr::LOCALHOST, |host| host.address);
            format!("{}={address}:{port}", name(callee))
        };
        let between = if self.variant.sequential { ";" } else { "," };
        let calls: Vec<String> =
            groups.iter().map(|group| group.iter().map(address).collect::<Vec<_>>().join(between)).collect();
        let mut environment = vec![("OTEL_SERVICE_NAME", name(service).to_owned()), ("CALLS", calls.join(";"))];
        if self.variant.think {
            environment.push(("THINK", THINK.to_string()));
        }
        if self.variant.few {
            environment.push(("POOL", FEW.to_string()));
        }
        if self.variant.retries {
            environment.push(("RETRIES", "1".to_owned()));
        }
        environment
    }
}
