//! Developer commands: `cargo xtask --help`.

mod ebpf;
<<<<<<< HEAD
mod setup;
=======
mod test;
>>>>>>> main
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
    /// Build the kernel programs and put the object under ebpf/prebuilt/
    Ebpf(ebpf::Args),
<<<<<<< HEAD
    /// Install and build what the end-to-end tests run
    Setup,
=======
    /// Everything that CI runs
    Test(test::Args),
>>>>>>> main
    /// Boot another kernel in a virtual machine and run something in it
    Vm(vm::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Ebpf(args) => ebpf::run(&args),
<<<<<<< HEAD
        Command::Setup => setup::run(),
=======
        Command::Test(args) => test::run(&args),
>>>>>>> main
        Command::Vm(args) => vm::run(&args),
    }
}
