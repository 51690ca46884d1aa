//! `bench decoders`: each protocol's decoder alone, in a program of the agent's own (`agent/benches/decoders`).

use super::userspace::cargo;

#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// For that program: see `-- --help`
    #[arg(last = true)]
    args: Vec<String>,
}

/// Builds it.
pub fn build() -> anyhow::Result<()> {
    cargo("decoders", &["--no-run"], &[])
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    println!("### Decoders: recorded conversations to exchanges, and what detection mistakes\n");
    println!(
        "Conversations of real clients and servers that are in the repository, each on a connection of its own from its first byte to its \
         end, as the server's side hears it, on one thread. Nanoseconds of the processor; the quickest of nine rounds, which take turns.\n"
    );
    cargo("decoders", &[], &args.args)?;
    println!();
    Ok(())
}
