//! What is looked at: flags that `run` and `profile` share.

use clap::Args;

use crate::process::{Pattern, Selector};

/// What their help is headed by.
pub const HEADING: &str = "Selection (default: everything; several of a kind mean any of them)";

/// Which processes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = HEADING)]
pub struct ProcessArgs {
    /// A process, and all that it starts
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// An executable, by name (nginx, python*) or path (/usr/sbin/*)
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    exe: Vec<String>,
    /// A command name as `ps -o comm` shows it
    #[arg(long = "command", value_name = "PATTERN", value_delimiter = ',')]
    comm: Vec<String>,
    /// A container, by the beginning of its id
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    container: Vec<String>,
    /// A control group, and those below it
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    cgroup: Vec<String>,
}

impl ProcessArgs {
    /// As the agent takes it.
    pub fn selector(&self) -> Selector {
        let patterns = |list: &[String]| list.iter().map(Pattern::new).collect();
        Selector {
            pids: self.pid.clone(),
            executables: patterns(&self.exe),
            commands: patterns(&self.comm),
            containers: self.container.clone(),
            cgroups: self.cgroup.clone(),
        }
    }
}

/// Which processes and connections.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = HEADING)]
pub struct SelectArgs {
    #[command(flatten)]
    pub processes: ProcessArgs,
    /// A port, at either end of a connection; only of the processes above, if any is given
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Vec<u16>,
}
