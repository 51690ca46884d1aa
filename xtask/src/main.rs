//! Developer commands: `cargo xtask --help`.

mod accuracy;
mod bench;
mod ebpf;
mod fuzz;
mod recordings;
mod setup;
mod test;
mod vm;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "What a developer or CI runs", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure how many requests of real services become whole traces: `cargo xtask accuracy -- --help`
    Accuracy(accuracy::Args),
    /// Measure what the agent costs
    Bench(bench::Args),
    /// Build the kernel programs and put the object under ebpf/prebuilt/
    Ebpf(ebpf::Args),
    /// Feed the parsers with made-up bytes, in search of a panic
    Fuzz(fuzz::Args),
    /// Rewrite what is expected of the recordings in tests/recordings, for review
    Recordings,
    /// Install and build what the end-to-end tests run
    Setup,
    /// Everything that CI runs
    Test(test::Args),
    /// Boot another kernel in a virtual machine and run something in it
    Vm(vm::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Accuracy(args) => accuracy::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Ebpf(args) => ebpf::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Recordings => recordings::run(),
        Command::Setup => setup::run(),
        Command::Test(args) => test::run(&args),
        Command::Vm(args) => vm::run(&args),
    }
}
