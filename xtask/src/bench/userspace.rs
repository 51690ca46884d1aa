//! `bench userspace`: the agent's stages alone, in a program of the agent's own (`agent/benches/userspace`).

use anyhow::{Context as _, ensure};

use super::{machine, process};

#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// For that program: see `-- --help`
    #[arg(last = true)]
    args: Vec<String>,
}

/// Builds it.
pub fn build() -> anyhow::Result<()> {
    cargo("userspace", &["--no-run"], &[])
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    println!("### Userspace: from events to encoded OTLP\n");
    println!(
        "A synthetic recording (100,000 exchanges on 64 keep-alive connections) through every stage of the agent on one thread. \
         The quickest of nine runs of each stage, which take turns; a column is what this stage adds, in ns per exchange.\n"
    );
    cargo("userspace", &[], &args.args)?;
    println!();
    Ok(())
}

/// Builds and runs a benchmark of the agent's package, or only builds it.
pub(super) fn cargo(name: &str, options: &[&str], args: &[String]) -> anyhow::Result<()> {
    let status = process::command(machine::agent(), "cargo")
        .current_dir(crate::ebpf::root()?)
        .args(["bench", "--quiet", "--locked", "--package", "geophone", "--bench", name])
        .args(options)
        .arg("--")
        .args(args)
        .status()
        .context("cargo bench")?;
    ensure!(status.success(), "the benchmark `{name}` failed");
    Ok(())
}
