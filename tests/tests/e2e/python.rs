//! Stacks of Python programs whose shape is known: through C functions that call back, generators, tasks, threads and deep recursion. By
//! the interpreter of the virtual environment, Debian's own, which is stripped, and those that `GEOPHONE_TEST_PYTHON` lists, separated by
//! colons (each may be a command of several words).

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::child::Guard;
use geophone_tests::receivers::Receiver;
use geophone_tests::{paths, wait};

use crate::profile::{Folded, folded, profile, run, total, words};
use crate::sending::written;

/// What runs in a shape of `shape.py`: functions, each in the one before it, and where they begin in the file.
type Shape = (&'static str, &'static [&'static str]);

const SHAPES: &[Shape] = &[
    ("sort", &["<module>", "main", "by_sort", "builtin_sorted", "key", "leaf"]),
    ("reduce", &["<module>", "main", "by_reduce", "add", "leaf"]),
    ("generator", &["<module>", "main", "by_generator", "delegate", "produce", "leaf"]),
    ("class", &["<module>", "main", "by_class", "leaf"]),
    ("tasks", &["<module>", "main", "inner", "leaf"]),
    ("threads", &["thread", "descend", "descend", "descend", "leaf"]),
];

/// Calls of `descend` in the shape `deep`, one in the other.
const DEEP: usize = 601;

fn interpreters() -> Result<Vec<String>> {
    let mut found = vec![paths::installed("venv/bin/python")?.display().to_string()];
    let debian = Path::new("/usr/bin/python3");
    if debian.exists() {
        found.push(debian.display().to_string());
    }
    let more = env::var("GEOPHONE_TEST_PYTHON").unwrap_or_default();
    found.extend(more.split(':').filter(|path| !path.is_empty()).map(str::to_owned));
    Ok(found)
}

fn script() -> PathBuf {
    paths::service("python/shape.py")
}

/// Runs a shape until it is dropped. By way of the standard input, because an interpreter of another root does not see the file.
fn start(python: &str, shape: &str) -> Result<Guard> {
    let mut parts = python.split_whitespace();
    let mut command = Command::new(parts.next().context("no interpreter")?);
    let source = std::fs::read_to_string(script())?;
    command.args(parts).args(["-c", RUN, &source, "120", shape]);
    Guard::start(&mut command)
}

/// Runs a program under the name that its file has.
const RUN: &str = "import sys; source = sys.argv.pop(1); exec(compile(source, '/srv/shape.py', 'exec'))";

/// The line that a function begins in, from 1.
fn line(function: &str) -> Result<usize> {
    let source = std::fs::read_to_string(script())?;
    let is_it = |line: &str| line.contains(&format!("def {function}("));
    let at = source.lines().position(is_it).with_context(|| format!("no {function}"))?;
    Ok(at + 1)
}

/// How a frame of a function is written.
fn frame(function: &str) -> Result<String> {
    match function {
        "<module>" => Ok("<module> (shape.py:1)".to_owned()),
        "builtin_sorted" => Ok(function.to_owned()),
        _ => Ok(format!("{function} (shape.py:{})", line(function)?)),
    }
}

/// Looks at a shape for two seconds. Returns the stacks, and what was said of them.
fn sample(python: &str, shape: &str, file: &Path) -> Result<(Folded, String)> {
    let guard = start(python, shape)?;
    // What is sampled before the program has begun is of the interpreter's own beginning.
    thread::sleep(Duration::from_millis(1500));
    let pid = guard.pid().to_string();
    let mut arguments = words(&["--duration", "2s", "--frequency", "499", "--pid", &pid, "-o"]);
    arguments.push(file.as_os_str());
    let (_, said) = profile(&arguments)?;
    Ok((folded(file)?, said))
}

/// Of the samples in the chain's last function, 99 in 100 must have come to it along the chain.
fn came_along(stacks: &[(Vec<String>, u64)], chain: &[String], said: &str) -> Result<()> {
    let last = chain.last().context("no chain")?;
    let (mut all, mut found, mut other) = (0, 0, None);
    for (stack, count) in stacks.iter().filter(|(stack, _)| stack.contains(last)) {
        let mut names = stack.iter();
        all += count;
        if chain.iter().all(|wanted| names.any(|name| name == wanted)) {
            found += count;
        } else {
            other = Some(stack);
        }
    }
    ensure!(all > 10 && all * 2 > total(stacks), "{all} of {} samples are in {last}: {said}", total(stacks));
    ensure!(found * 100 >= all * 99, "{found} of {all} along {chain:?}, but not {other:?}: {said}");
    Ok(())
}

/// Symbols of static functions are not there in all builds.
fn is_stripped(python: &str) -> bool {
    !python.contains("venv")
}

#[test]
fn functions_are_where_they_belong() -> Result<()> {
    let _shared = wait::shared();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.folded");
    for python in interpreters()? {
        for (shape, chain) in SHAPES {
            let chain = chain.iter().filter(|name| **name != "builtin_sorted" || !is_stripped(&python));
            let chain: Vec<String> = chain.map(|name| frame(name)).collect::<Result<_>>()?;
            let (stacks, said) = sample(&python, shape, &file)?;
            came_along(&stacks, &chain, &said).with_context(|| format!("{python}: {shape}"))?;
            let evaluates = |name: &String| name.starts_with("_PyEval_EvalFrame");
            let native: u64 =
                stacks.iter().filter(|(stack, _)| stack.iter().any(evaluates)).map(|(_, count)| count).sum();
            // Before such a function has begun a frame, and after it has ended it, it stands for none; on a machine that is too busy to make
            // rows in time, the walk ends in it.
            let is_walked = !said.contains("before all rows were there");
            ensure!(!is_walked || native * 50 <= total(&stacks), "{native} of {}: {said}\n{stacks:#?}", total(&stacks));
        }
    }
    Ok(())
}

#[test]
fn recursion_of_600_functions() -> Result<()> {
    let _shared = wait::shared();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.folded");
    for python in interpreters()? {
        let mut chain = vec![frame("<module>")?, frame("main")?];
        chain.extend(vec![frame("descend")?; DEEP]);
        chain.push(frame("leaf")?);
        let (stacks, said) = sample(&python, "deep", &file)?;
        came_along(&stacks, &chain, &said).context(python)?;
    }
    Ok(())
}

/// From its beginning to its end, in the formats that tell more than names.
#[test]
fn a_command_with_files_and_lines() -> Result<()> {
    let _shared = wait::shared();
    let folder = tempfile::tempdir()?;
    let files = ["a.pb.gz", "a.svg", "a.folded"].map(|name| folder.path().join(name));
    let (python, script) = (paths::installed("venv/bin/python")?, script());
    let receiver = Receiver::collector_of_profiles()?;
    let endpoint = format!("http://127.0.0.1:{}", receiver.grpc);
    let mut arguments = words(&["--frequency", "199", "--endpoint", &endpoint, "--protocol", "grpc"]);
    for file in &files {
        arguments.extend([OsStr::new("-o"), file.as_os_str()]);
    }
    arguments.extend([OsStr::new("--"), python.as_os_str(), script.as_os_str(), OsStr::new("4"), OsStr::new("reduce")]);
    let (table, said) = profile(&arguments)?;
    ensure!(table.contains("leaf") && table.contains("shape.py:"), "{table}");
    let [pprof, svg, text] = files;
    let stacks = folded(&text)?;
    let (leaf, add) = (frame("leaf")?, frame("add")?);
    let found: u64 = stacks.iter().filter(|(stack, _)| stack.contains(&leaf)).map(|(_, count)| count).sum();
    ensure!(found * 2 > total(&stacks), "{found} of {}: {said}", total(&stacks));
    let svg = std::fs::read_to_string(svg)?;
    ensure!(svg.contains(&format!("<title>{add} (")), "no {add}");
    // Which line of the function it was.
    let mut go = Command::new(paths::program("go")?);
    let output = run(go.args(["tool", "pprof", "-top", "-lines", "-sample_index=samples"]).arg(&pprof))?;
    let top = String::from_utf8(output.stdout)?;
    let lines = |function: &str, from: usize| {
        (from..from + 5).any(|line| top.contains(&format!(" {function} {}:{line}", script.display())))
    };
    ensure!(lines("leaf", line("leaf")? + 1) && lines("add", line("add")? + 1), "{top}");
    ensure!(said.contains("sent by otlp") && !said.contains("lost ("), "{said}");
    // The same in a receiver: name, file, the line that ran, and whose frame it is.
    let (mut sent, mut all) = (0, 0);
    for sample in written(&receiver, 1)? {
        all += sample.value;
        let is_leaf = |(name, kind): &(String, String)| (name.as_str(), kind.as_str()) == ("leaf", "cpython");
        let Some(at) = sample.frames.iter().position(is_leaf) else {
            continue;
        };
        sent += sample.value;
        let first = i64::try_from(line("leaf")?)?;
        let (file, ran) = sample.sources.get(at).context("no source")?;
        ensure!(*file == script.display().to_string() && (first..first + 6).contains(ran), "{file}:{ran}");
    }
    ensure!(u64::try_from(sent)? == found && u64::try_from(all)? == total(&stacks), "{sent} of {all}: {said}");
    Ok(())
}
