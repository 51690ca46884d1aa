//! Developer commands: `cargo xtask --help`.

mod setup;

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
    /// Install and build what the end-to-end tests run.
    Setup,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Setup => setup::run(),
    }
}
