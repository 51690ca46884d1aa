//! Developer commands: `cargo xtask --help`.

mod vm;

use clap::{Parser, Subcommand};

/// What a developer or CI runs.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot another kernel in a virtual machine, and run the smoke test or any command in it.
    Vm(vm::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Vm(args) => vm::run(&args),
    }
}
