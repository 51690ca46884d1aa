//! Profiles of what waits: the right functions, for the right times.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Result, ensure};
use geophone_tests::child::Guard;
use geophone_tests::{paths, wait};

use crate::profile::{self, Program, folded, words};

/// Part of a time that it may be wrong by.
const TOLERANCE: f64 = 0.05;
/// Part of it that it may take to get a processor.
const BUSY: f64 = 0.3;

/// The program, built with these flags.
fn program(flags: &[&str]) -> Result<Program> {
    Program::build(|path| {
        let mut gcc = Command::new(paths::program("gcc")?);
        gcc.args(["-O2", "-pthread", "-fno-optimize-sibling-calls"]).args(flags);
        gcc.arg("-o").arg(path).arg(paths::service("c/wait.c"));
        Ok(gcc)
    })
}

/// Seconds that stacks with these functions one behind the other have waited.
fn seconds(stacks: &[(Vec<String>, u64)], chain: &[&str]) -> f64 {
    let has = |stack: &[String]| stack.windows(chain.len()).any(|part| part == chain);
    let found: u64 = stacks.iter().filter(|(stack, _)| has(stack)).map(|(_, micros)| micros).sum();
    found as f64 / 1e6
}

/// No shorter than it must be; longer by what a busy machine takes to give a thread that was woken a processor.
fn near(found: f64, expected: f64, what: &str) -> Result<()> {
    let right = expected * (1.0 - TOLERANCE)..=expected * (1.0 + BUSY);
    ensure!(right.contains(&found), "{what}: {found} s, expected {expected} s");
    Ok(())
}

#[test]
fn sleeps_locks_and_pipes() -> Result<()> {
    let _shared = wait::shared();
    for flags in [["-fno-omit-frame-pointer"], ["-fomit-frame-pointer"]] {
        let program = program(&flags)?;
        let (file, pprof) = (program.file("a.folded"), program.file("a.pb.gz"));
        let mut arguments = words(&["--off-cpu", "-o"]);
        arguments.extend([file.as_os_str(), OsStr::new("-o"), pprof.as_os_str(), OsStr::new("--")]);
        arguments.extend([program.path.as_os_str(), OsStr::new("5")]);
        let (table, said) = profile::profile(&arguments)?;
        let stacks = folded(&file)?;
        for (function, expected) in [("by_sleep", 1.0), ("by_lock", 1.5), ("by_read", 2.5)] {
            near(seconds(&stacks, &["main", function]), expected, &format!("{flags:?}, {function}"))?;
        }
        // The other threads' parts, which nobody waits for but main.
        near(seconds(&stacks, &["holder"]), 1.5, "holder")?;
        near(seconds(&stacks, &["writer"]), 2.5, "writer")?;
        ensure!(
            stacks.iter().all(|(stack, _)| stack.last().is_some_and(|name| name == "__schedule_[k]")),
            "{stacks:#?}"
        );
        ensure!(said.contains(" waits of ") && !said.contains("left out:"), "{said}");
        ensure!(table.contains("by_read"), "{table}");
        let mut go = Command::new(paths::program("go")?);
        let top = profile::run(go.args(["tool", "pprof", "-top", "-cum", "-sample_index=off_cpu"]).arg(&pprof))?;
        let top = String::from_utf8(top.stdout)?;
        ensure!(top.lines().any(|line| line.ends_with(" by_read")), "{top}");
    }
    Ok(())
}

/// What still waits when sampling ends counts up to then; what is shorter than asked for does not.
#[test]
fn waits_that_last_and_waits_that_are_short() -> Result<()> {
    let _shared = wait::shared();
    let program = program(&[])?;
    let file = program.file("a.folded");
    let mut arguments = words(&["--off-cpu", "--off-cpu-min", "250ms", "--duration", "4s", "-o"]);
    arguments.extend([file.as_os_str(), OsStr::new("--"), program.path.as_os_str()]);
    arguments.extend(words(&["1", "60"]));
    // The program is ended before its time, and its status passed on.
    let output = Command::new(paths::agent()?).arg("profile").args(arguments).output()?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    let stacks = folded(&file)?;
    ensure!(seconds(&stacks, &["by_sleep"]) == 0.0, "{stacks:#?}");
    // One wait only, and on a busy machine a thread gets its processor late.
    let lock = seconds(&stacks, &["main", "by_lock"]);
    ensure!((0.3..=0.4).contains(&lock), "{lock} s; {stacks:#?}");
    // The rounds take 1.5 s of the four; what starting takes may be on either side, and the end is seen a little late.
    let last = seconds(&stacks, &["main", "at_end"]);
    ensure!((1.5..=2.7).contains(&last), "{last} s; {stacks:#?}");
    Ok(())
}

/// A process that goes on waiting, and others that are not asked for.
#[test]
fn one_process_while_it_goes_on() -> Result<()> {
    let _shared = wait::shared();
    let program = program(&[])?;
    let guard = Guard::start(Command::new(&program.path).arg("1000"))?;
    let other = Guard::start(Command::new(&program.path).arg("1000"))?;
    let file = program.file("a.folded");
    let pid = guard.pid().to_string();
    let mut arguments = words(&["--off-cpu", "--duration", "6s", "--pid", &pid, "-o"]);
    arguments.push(file.as_os_str());
    let (_, said) = profile::profile(&arguments)?;
    drop(other);
    let stacks = folded(&file)?;
    // What had begun before has no stack; at most one wait of half a second.
    let all = seconds(&stacks, &["main"]);
    ensure!((5.3..=6.1).contains(&all), "{all} s; {said}; {stacks:#?}");
    Ok(())
}
