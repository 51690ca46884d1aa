//! `cargo xtask accuracy`: installs and builds what the chosen stacks need, builds the agent and the suite, and runs the suite with the
//! arguments that it was given. The suite itself is `tests/src/accuracy`.

mod kits;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};

/// What the suite is given.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Arguments of the suite: stacks and flags; --help says which
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let root = crate::ebpf::root()?;
    let suite = build(&root, "geophone-tests", &["--bin", "accuracy", "--bin", "accuracy-service"], "accuracy")?;
    let kits = Command::new(&suite).arg("--kits").args(&args.arguments).stderr(Stdio::inherit()).output()?;
    ensure!(kits.status.success(), "the suite does not take these arguments");
    let kits = String::from_utf8(kits.stdout)?;
    // Asked for help or a list, it says that instead.
    if kits.lines().any(|line| kits::known(line).is_none()) {
        print!("{kits}");
        return Ok(());
    }
    kits::install(&root, kits.lines())?;
    let agent = match env::var_os("GEOPHONE") {
        Some(path) => PathBuf::from(path),
        None => build(&root, "geophone", &["--bin", "geophone"], "geophone")?,
    };
    let status = Command::new(&suite).args(&args.arguments).env("GEOPHONE", agent).current_dir(&root).status()?;
    ensure!(status.success(), "the suite ended with {status}");
    Ok(())
}

/// Builds a package with optimisation and returns where one of its programs is.
fn build(root: &Path, package: &str, what: &[&str], program: &str) -> anyhow::Result<PathBuf> {
    let output = Command::new("cargo")
        .current_dir(root)
        .args(["build", "--quiet", "--release", "--locked", "--package", package, "--message-format=json"])
        .args(what)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo build")?;
    ensure!(output.status.success(), "{package} does not build");
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let path = message.get("executable").and_then(serde_json::Value::as_str).map(PathBuf::from);
        if let Some(path) = path.filter(|path| path.file_name().is_some_and(|name| name == program)) {
            return Ok(path);
        }
    }
    bail!("cargo does not say where it put {program}")
}
