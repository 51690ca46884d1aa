//! Developer commands: `cargo xtask --help`.

mod bench;
mod ebpf;
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
    /// Measure what the agent costs
    Bench(bench::Args),
    /// Build the kernel programs and put the object under ebpf/prebuilt/
    Ebpf(ebpf::Args),
    /// Boot another kernel in a virtual machine and run something in it
    Vm(vm::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Ebpf(args) => ebpf::run(&args),
        Command::Vm(args) => vm::run(&args),
    }
}
