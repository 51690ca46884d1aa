//! `cargo xtask bench`: what the agent costs, as Markdown. Each figure is a ratio within one run, or stands beside the figure
//! without the agent; what is compared takes turns, so that a noisy machine hurts all sides alike. Needs root; uses the loopback
//! interface only.

mod agent;
mod calls;
mod client;
mod connect;
mod decoders;
mod inject;
mod machine;
mod mechanisms;
mod memory;
mod process;
mod profile;
mod rate;
mod requests;
mod sink;
mod switches;
mod table;
mod userspace;
mod webserver;

use std::path::PathBuf;

use anyhow::ensure;
use clap::Subcommand;

/// Measures what the agent costs, and prints it as Markdown.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Takes this agent instead of building one
    #[arg(long, global = true, value_name = "FILE")]
    agent: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Everything, one after the other: some ten minutes
    All,
    /// What a system call costs: nothing loaded, another process traced, this one traced
    Calls(calls::Args),
    /// What a saturated nginx pays, and whether every request becomes a span
    Nginx(requests::Args),
    /// The highest rate at which an agent with one processor loses nothing
    Rate(rate::Args),
    /// Userspace alone: from events to encoded OTLP
    Userspace(userspace::Args),
    /// What sampling the whole host costs, next to other profilers; not part of `all`
    Profile(profile::Args),
    /// What looking at waits costs two processes that switch all the time; not part of `all`
    Switches(switches::Args),
    /// Each protocol's decoder alone: what an exchange costs, what a connection keeps, what is taken for what it is not
    Decoders(decoders::Args),
    /// What finding causes costs in the kernel, by program, for services of several runtimes; not part of `all`
    Mechanisms(mechanisms::Args),
    /// What a request costs with which a context is sent, in a header or a TCP option; not part of `all`
    Inject(inject::Args),
    /// What a TCP connection costs with the option by which agents find each other; not part of `all`
    Connect(connect::Args),
    /// The agent's memory: idle, and with many connections
    Memory(memory::Args),
    #[command(hide = true)]
    Worker,
    #[command(hide = true)]
    Client(client::Args),
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        Some(What::Worker) => return calls::worker::run(),
        Some(What::Client(args)) => return client::run(args),
        _ => ensure!(rustix::process::geteuid().is_root(), "the agent needs root: run this as root"),
    }
    // All is built before others are held up.
    if matches!(args.what, None | Some(What::All | What::Userspace(_))) {
        userspace::build()?;
    }
    if matches!(args.what, None | Some(What::All | What::Decoders(_))) {
        decoders::build()?;
    }
    let agent = match (&args.agent, &args.what) {
        (Some(path), _) => path.clone(),
        (None, Some(What::Userspace(_) | What::Decoders(_))) => PathBuf::new(),
        (None, _) => agent::build()?,
    };
    println!("{}\n", machine::describe());
    let _precedence = process::Precedence::take();
    match &args.what {
        Some(What::Userspace(args)) => userspace::run(args),
        Some(What::Decoders(args)) => decoders::run(args),
        Some(What::Calls(args)) => calls::run(args, &agent),
        Some(What::Nginx(args)) => requests::run(args, &agent),
        Some(What::Rate(args)) => rate::run(args, &agent),
        Some(What::Profile(args)) => profile::run(args, &agent),
        Some(What::Mechanisms(args)) => mechanisms::run(args, &agent),
        Some(What::Switches(args)) => switches::run(args, &agent),
        Some(What::Inject(args)) => inject::run(args, &agent),
        Some(What::Connect(args)) => connect::run(args, &agent),
        Some(What::Memory(args)) => memory::run(args, &agent),
        _ => {
            userspace::run(&userspace::Args::default())?;
            decoders::run(&decoders::Args::default())?;
            calls::run(&calls::Args::default(), &agent)?;
            requests::run(&requests::Args::default(), &agent)?;
            rate::run(&rate::Args::default(), &agent)?;
            memory::run(&memory::Args::default(), &agent)
        }
    }
}
