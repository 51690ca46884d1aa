//! All that CI runs, step by step, with an account at the end. A step that fails does not keep the others from running.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;

use crate::ebpf;

#[derive(clap::Args)]
pub struct Args {
    /// Only these steps
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Step>,
    /// Not these steps
    #[arg(long, value_enum, value_delimiter = ',')]
    skip: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// cargo fmt --check
    Format,
    /// clippy without warnings
    Lint,
    /// The committed kernel object is what its sources give (where the toolchain for it is installed)
    Object,
    /// Unit and property tests, recordings
    Unit,
    /// Real servers, clients and receivers (root)
    E2e,
    /// Whole traces of real services in a few languages (root); `cargo xtask accuracy` measures all
    Accuracy,
    /// Other kernels and the other architecture, in virtual machines
    Vm,
}

/// Kernels that every change is tried on: the oldest, the newest,
/// and the other architecture.
const KERNELS: &[&str] = &["5.10", "7.2", "6.1-arm64"];

/// What all steps together leave on the disk of a fresh clone, in GiB, with room for the packages they unpack on their way.
const DISK: u64 = 10;
/// More end-to-end tests than this do not fail for want of time.
const RETRIED: usize = 24;

pub fn run(args: &Args) -> anyhow::Result<()> {
    let root = ebpf::root()?;
    let space = rustix::fs::statvfs(&root)?;
    let free = (space.f_bavail * space.f_frsize) >> 30;
    if free < DISK {
        // Said beforehand because a linker without space says no more than "Bus error".
        println!("warning: {free} GiB are free here; a fresh clone needs {DISK}");
    }
    let mut account = Vec::new();
    for step in Step::value_variants() {
        if args.skip.contains(step) || !args.only.is_empty() && !args.only.contains(step) {
            continue;
        }
        println!("==> {step:?}");
        let start = Instant::now();
        let result = step.run(&root);
        if let Err(error) = &result {
            println!("==> {step:?} failed: {error:#}");
        }
        account.push((step, start.elapsed(), result.is_ok()));
    }
    println!("\n{:<8} {:>7}", "step", "time");
    for (step, time, passed) in &account {
        let time = Duration::from_secs(time.as_secs());
        println!("{:<8} {:>5} s  {}", format!("{step:?}"), time.as_secs(), if *passed { "passed" } else { "FAILED" });
    }
    ensure!(account.iter().all(|(_, _, passed)| *passed), "not everything passed");
    Ok(())
}

impl Step {
    fn run(self, root: &Path) -> anyhow::Result<()> {
        let cargo = |args: &[&str]| call(root, "cargo", args);
        match self {
            Self::Format => cargo(&["fmt", "--all", "--check"]),
            Self::Lint => cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
            Self::Object => {
                if ebpf::can_build() {
                    return cargo(&["xtask", "ebpf", "--check"]);
                }
                // Whoever has no kernel toolchain has not changed the object either; CI always has it.
                ensure!(std::env::var_os("CI").is_none(), "the toolchain for the kernel programs is not installed");
                println!("not compared: docs/development.md says what building the kernel programs needs");
                Ok(())
            }
            Self::Unit => {
                let mut tests = Command::new("cargo");
                tests.args(["test", "--workspace", "--exclude", "geophone-tests", "--locked"]).current_dir(root);
                if std::env::var_os("CI").is_some() {
                    // CI says whether a change is sound; looking for new cases is for every other run, and for the fuzz targets.
                    tests.env("PROPTEST_RNG_SEED", "1");
                }
                let status = tests.status()?;
                ensure!(status.success(), "cargo test: {status}");
                Ok(())
            }
            Self::E2e => {
                cargo(&["xtask", "setup"])?;
                cargo(&["build", "--release", "--locked", "-p", "geophone"])?;
                end_to_end(root)
            }
            // Far below what is reached, so that a busy machine passes; far above what a broken mechanism leaves.
            Self::Accuracy => cargo(&[
                "xtask",
                "accuracy",
                "go",
                "python-threads",
                "node-http",
                "nginx",
                "--concurrency",
                "8",
                "--requests",
                "200",
                "--min-traces",
                "80",
                "--max-wrong",
                "2",
            ]),
            Self::Vm => {
                let mut args = vec!["xtask", "vm"];
                args.extend(KERNELS);
                cargo(&args)
            }
        }
    }
}

/// Runs the end-to-end tests, then once more, one by one, those that failed: they run beside each other on few processors, and their
/// time limits are those of an idle machine. What passed only then is named; what fails twice has failed.
fn end_to_end(root: &Path) -> anyhow::Result<()> {
    let tests = ["test", "--locked", "-p", "geophone-tests"];
    let mut child = Command::new("cargo").args(tests).current_dir(root).stdout(Stdio::piped()).spawn()?;
    let mut failed = Vec::new();
    for line in BufReader::new(child.stdout.take().context("its output")?).lines() {
        let line = line?;
        println!("{line}");
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            failed.push(name.to_owned());
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    ensure!(!failed.is_empty() && failed.len() <= RETRIED, "cargo {}: {status}", tests.join(" "));
    println!("==> once more, one by one: {}", failed.join(", "));
    let mut again = Vec::from(tests);
    again.extend(["--", "--exact", "--test-threads=1"]);
    again.extend(failed.iter().map(String::as_str));
    call(root, "cargo", &again)?;
    println!("==> passed only the second time: {}", failed.join(", "));
    Ok(())
}

fn call(root: &Path, program: &str, args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(program).args(args).current_dir(root).status()?;
    if !status.success() {
        bail!("{program} {}: {status}", args.join(" "));
    }
    Ok(())
}
