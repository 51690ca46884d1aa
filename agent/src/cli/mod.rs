//! The command line. Flags as they were given are one type, checked settings another: nothing is loaded before all of it has been
//! checked.

mod capture;
mod completions;
mod demo;
mod diff;
mod doctor;
mod inject;
mod logger;
mod output;
mod peers;
mod profile;
mod replay;
mod run;
mod select;
mod send;
mod session;
mod show;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thiserror::Error;

use crate::{
    bpf::{ContextError, GreetError, LoadError},
    demo as shop,
    doctor::Problem,
    export, packets, peer,
    profile::{InputError, OutputError as ProfileError},
    protocol::http::PatternError,
    recording,
};

#[derive(Parser)]
#[command(
    name = "geophone",
    version,
    about = "Hears every request that the services of this host make and serve, without touching them",
    long_about = "Hears every request that the services of this host make and serve, without touching them: kernel probes capture \
                  what is sent and received, and spans come out, on the terminal or as OTLP. Nothing is restarted or changed.",
    after_help = "Examples:\n  \
                  sudo geophone run                               every service of this host, on the terminal\n  \
                  sudo geophone run --port 8080 --duration 30s    one port, for half a minute\n  \
                  sudo geophone run -- curl http://localhost/     one command and what it starts\n  \
                  sudo geophone run --endpoint http://localhost:4317\n  \
                  sudo geophone demo                              nothing to look at yet? a small shop under load"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trace what this host's services send and receive
    Run(Box<run::Args>),
    /// Make spans of a recording that `geophone run --record` made, or of a packet capture (tcpdump, Wireshark)
    Replay(replay::Args),
    /// Say which functions processors are busy with: a table, a flame graph, pprof
    Profile(Box<profile::Args>),
    /// Say what this kernel offers, what is missing, and what that costs
    Doctor(doctor::Args),
    /// Start a small shop of real processes under load, and trace it
    Demo(demo::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    #[command(hide = true)]
    DemoService(shop::Arguments),
}

/// Why a command failed: one sentence that says what is wrong and what to do.
#[derive(Debug, Error)]
pub enum CliError {
    /// The host cannot do it.
    #[error(transparent)]
    Host(#[from] Problem),
    /// The kernel refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An output cannot be started.
    #[error(transparent)]
    Output(#[from] export::StartError),
    /// A route pattern is none.
    #[error(transparent)]
    Route(#[from] PatternError),
    /// Talking to other agents makes no sense as it was asked for.
    #[error(transparent)]
    PeerFlags(#[from] peers::PeerError),
    /// Agents cannot find each other by a TCP option.
    #[error(transparent)]
    Greet(#[from] GreetError),
    /// Talking to other agents cannot be started.
    #[error(transparent)]
    Peers(#[from] peer::StartError),
    /// The demo did not start.
    #[error(transparent)]
    Demo(#[from] shop::StartError),
    /// A recording cannot be read.
    #[error("{path}: {error}")]
    Recording {
        /// Which.
        path: String,
        /// Why.
        error: recording::ReadError,
    },
    /// A packet capture cannot be read.
    #[error("{path}: {error}")]
    Packets {
        /// Which.
        path: String,
        /// Why.
        error: packets::FileError,
    },
    /// A file is nothing that can be replayed.
    #[error(
        "{path}: this is neither a recording of geophone (`geophone run --record FILE` makes one) nor a packet capture \
         (pcap or pcapng, `tcpdump -w FILE` makes one)"
    )]
    NotReplayable {
        /// Which.
        path: String,
    },
    /// Profiles of intervals are wanted, and nobody to get them.
    #[error("--interval: say where to send the profiles, by --endpoint, --otlp or --pyroscope")]
    NowhereToSend,
    /// Other profilers cannot be told what threads work for.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A profile cannot be written.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A profile cannot be read.
    #[error(transparent)]
    ProfileInput(#[from] InputError),
    /// A file cannot be used.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A process that was chosen is not there.
    #[error("--pid {0}: there is no such process")]
    NoProcess(u32),
    /// A command cannot be started.
    #[error("cannot start {command}: {error}")]
    Start {
        /// Which.
        command: String,
        /// Why.
        error: std::io::Error,
    },
    /// The operating system refused something that always works.
    #[error("{what}: {error}")]
    System {
        /// What it was for.
        what: &'static str,
        /// Why.
        error: std::io::Error,
    },
}

/// Runs the command that the arguments of this process name. Arguments that make no sense end the process with status 2.
///
/// # Errors
/// See [`CliError`].
pub fn main() -> Result<ExitCode, CliError> {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::DemoService(args) => {
            shop::serve(&args).map_err(|error| CliError::System { what: "demo service", error })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
