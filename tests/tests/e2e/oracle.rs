//! The stacks of programs without frame pointers, next to those of another unwinder that shares nothing with ours: `perf record --call-graph
//! dwarf`, which copies the stacks and walks them afterwards, with the debug information of files.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::child::Guard;
use geophone_tests::{paths, wait};

use crate::profile::{folded, profile, run, words};
use crate::unwinding::{PLAIN, Program, used};

/// Percentage points by which the shares of a stack may differ.
const TOLERANCE: f64 = 6.0;
/// Percent of the samples of each that must have stacks which the other has seen, too. On a busy machine there are few samples, and one in
/// `clock_gettime` is half a percent.
const COMMON: f64 = 98.0;
/// The functions of the programs.
const OWN: &[&str] = &[
    "_start",
    "main",
    "outer",
    "inner",
    "other",
    "deep",
    "burn_most",
    "burn_some",
    "by_library",
    "library_call",
    "back",
    "by_sort",
    "compare",
    "by_signal",
    "handler",
    "spin",
];
/// What is none of those: names depend on what is known of libraries, frames do not.
const OTHER: &str = "?";

/// Frames of perf's that are behind a signal handler and end there.
const REACHED: usize = 5;

/// Stacks, the outermost function first, each with its share of the samples in percent.
type Shares = BTreeMap<Vec<String>, f64>;

fn shares(stacks: impl IntoIterator<Item = (Vec<String>, u64)>) -> Shares {
    let mut counts: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    for (stack, count) in stacks {
        *counts.entry(stack).or_default() += count;
    }
    let all: u64 = counts.values().sum();
    counts.into_iter().map(|(stack, count)| (stack, count as f64 * 100.0 / all.max(1) as f64)).collect()
}

/// A stack whose names are those of the programs.
fn normal(stack: impl Iterator<Item = String>) -> Vec<String> {
    stack.map(|name| if OWN.contains(&&*name) { name } else { OTHER.to_owned() }).collect()
}

fn ours(pid: &str, file: &Path) -> Result<Shares> {
    let mut arguments = words(&["--duration", "3s", "--frequency", "499", "--pid", pid, "-o"]);
    arguments.push(file.as_os_str());
    profile(&arguments)?;
    // Without the service, and without what was sampled in the kernel, as perf is told to leave it out.
    let user = folded(file)?.into_iter().filter(|(stack, _)| stack.iter().all(|name| !name.ends_with("_[k]")));
    Ok(shares(user.map(|(stack, count)| (normal(stack.into_iter().skip(1)), count))))
}

fn theirs(pid: &str, file: &Path) -> Result<Shares> {
    let perf = || paths::program("perf").context("there is nothing to compare with");
    let mut record = Command::new(perf()?);
    // Of the stack, as much as perf copies.
    record.args(["record", "--quiet", "--event", "cpu-clock:u", "--freq", "499", "--call-graph", "dwarf,65528"]);
    run(record.args(["--pid", pid, "--output"]).arg(file).args(["--", "sleep", "3"]))?;
    let mut script = Command::new(perf()?);
    script.args(["script", "--fields", "ip,sym", "--no-inline", "--max-stack", "2048", "--input"]).arg(file);
    let text = String::from_utf8(run(&mut script)?.stdout)?;
    // A sample is a paragraph, the innermost function first.
    let stacks = text.split("\n\n").filter_map(|sample| {
        let frames = sample.lines().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned);
        let mut stack = normal(frames);
        stack.reverse();
        (!stack.is_empty()).then_some((stack, 1))
    });
    Ok(shares(stacks))
}

/// The share of one's samples whose stacks are, by this, one of the other's.
fn common(one: &Shares, other: &Shares, is: impl Fn(&[String], &[String]) -> bool) -> f64 {
    one.iter().filter(|(stack, _)| other.keys().any(|other| is(stack, other))).map(|(_, share)| share).sum()
}

#[test]
fn stacks_are_those_of_perf() -> Result<()> {
    let _alone = wait::alone();
    let program = Program::new()?;
    let with = |more: &[&'static str]| PLAIN.iter().chain(more).copied().collect::<Vec<_>>();
    let library = program.build("libframes.so", "c/frames.c", &with(&["-DLIBRARY", "-shared", "-fPIC"]), &[])?;
    let folder = format!("-Wl,-rpath,{}", program.path("").display());
    let mut flags = with(&[]);
    flags.push(&folder);
    let frames = program.build("frames", "c/frames.c", &flags, &[&library])?;
    // Of static programs, perf finds descriptions only by an index that linkers leave out.
    let burn = |name: &str, flags: &[&'static str]| program.build(name, "c/burn.c", &with(flags), &[]);
    let (pie, fixed, hard) = (
        burn("pie", &["-pie", "-fPIE"])?,
        burn("static", &["-static", "-Wl,--eh-frame-hdr"])?,
        burn("hard", &["-O3", "-fcf-protection=full"])?,
    );
    let mut table = String::new();
    for (path, argument) in [
        (&pie, None),
        (&fixed, None),
        (&hard, None),
        (&pie, Some("100")),
        (&pie, Some("600")),
        (&frames, Some("library")),
        (&frames, Some("sort")),
        (&frames, Some("signal")),
        (&frames, Some("stack")),
    ] {
        let mut command = Command::new(path);
        let guard = Guard::start(command.arg("60").args(argument))?;
        let (pid, stat) = (guard.pid().to_string(), PathBuf::from(format!("/proc/{}/stat", guard.pid())));
        wait::until(wait::PATIENCE, "the program to run", || used(&stat).filter(|ticks| *ticks > 5).map(|_| ()))?;
        let ours = ours(&pid, &program.path("a.folded"))?;
        let theirs = theirs(&pid, &program.path("perf.data"))?;
        // Behind a signal handler, perf finds who raised the signal, and no more.
        let is_cut = matches!(argument, Some("signal" | "stack"));
        let is = |ours: &[String], theirs: &[String]| {
            // Rare is what is sampled between two calls: the outer part of what the other has seen.
            let is_outer = ours.starts_with(theirs) || theirs.starts_with(ours);
            is_outer || is_cut && theirs.len() >= REACHED && ours.ends_with(theirs)
        };
        let (here, there) = (common(&ours, &theirs, is), common(&theirs, &ours, |theirs, ours| is(ours, theirs)));
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let what = format!("{name} {}", argument.unwrap_or_default());
        let far = ours.iter().map(|(stack, share)| (share - theirs.get(stack).unwrap_or(&0.0)).abs());
        let far = if is_cut { 0.0 } else { far.fold(0.0, f64::max) };
        table += &format!(
            "{what}: {} stacks of ours, {} of perf's; {here:.1} % of our samples have a stack that perf has seen{}, \
             {there:.1} % of perf's one of ours; shares differ by at most {far:.1} points\n",
            ours.len(),
            theirs.len(),
            if is_cut { " the inner end of" } else { "" },
        );
        ensure!(here >= COMMON && there >= COMMON && far <= TOLERANCE, "{table}\nours: {ours:#?}\nperf's: {theirs:#?}");
    }
    println!("{table}");
    Ok(())
}
