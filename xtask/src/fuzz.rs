//! Runs the fuzz targets of `agent/fuzz`, each for a while; fails when one finds something. Needs nightly Rust and `cargo-fuzz`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};

#[derive(clap::Args)]
pub struct Args {
    /// Which targets; default: all
    targets: Vec<String>,
    /// How long each runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

/// A case that takes longer than this many seconds counts as a finding.
const TIMEOUT: u32 = 10;
/// And so does one that takes more than this many MiB.
const MEMORY: u32 = 2048;

pub fn run(args: &Args) -> anyhow::Result<()> {
    let root = crate::ebpf::root()?;
    let fuzz = root.join("agent/fuzz");
    let known = list(&fuzz)?;
    if let Some(unknown) = args.targets.iter().find(|target| !known.contains(target)) {
        bail!("there is no fuzz target {unknown}; there are: {}", known.join(", "));
    }
    let targets = if args.targets.is_empty() { &known } else { &args.targets };
    let mut failed = Vec::new();
    for target in targets {
        println!("{target}: {} s", args.seconds);
        if !one(&root, &fuzz, target, args.seconds)? {
            failed.push(target.as_str());
        }
    }
    ensure!(failed.is_empty(), "found something: {} (the cases are in agent/fuzz/artifacts)", failed.join(", "));
    println!("{} targets, {} s each: nothing found", targets.len(), args.seconds);
    Ok(())
}

fn list(fuzz: &Path) -> anyhow::Result<Vec<String>> {
    let output = cargo(fuzz, "list").stderr(Stdio::inherit()).output().context("cargo +nightly fuzz")?;
    ensure!(
        output.status.success(),
        "`cargo +nightly fuzz` does not run: `cargo install cargo-fuzz`, with nightly Rust"
    );
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

fn one(root: &Path, fuzz: &Path, target: &str, seconds: u32) -> anyhow::Result<bool> {
    // What is found on the way is kept in the first of the folders, which is not committed.
    let corpus = fuzz.join("corpus").join(target);
    std::fs::create_dir_all(&corpus)?;
    let mut command = cargo(fuzz, "run");
    command.arg(target).arg(&corpus);
    let recordings = (target == "recording").then(|| root.join("tests/recordings"));
    let seeds = [Some(fuzz.join("seeds").join(target)), recordings];
    command.args(seeds.into_iter().flatten().filter(|folder| folder.is_dir()));
    command.arg("--");
    let dictionary = fuzz.join("http.dict");
    command.arg(format!("-dict={}", dictionary.display()));
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={TIMEOUT}"),
        format!("-rss_limit_mb={MEMORY}"),
        "-print_final_stats=1".to_owned(),
    ]);
    Ok(command.status().context("cargo +nightly fuzz run")?.success())
}

fn cargo(fuzz: &Path, what: &str) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(fuzz).args(["+nightly", "fuzz", what, "--fuzz-dir", "."]);
    command.env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
    command
}
