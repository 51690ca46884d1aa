//! Profiles of programs whose shape is known: the right functions, the right callers, the right shares, in files that other tools read.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use geophone_tests::child::Guard;
use geophone_tests::{paths, wait};
use rustix::process::Signal;
use tempfile::TempDir;

/// Percentage points that a share may be wrong by.
const TOLERANCE: f64 = 5.0;

/// How long the kernel may take to check and load the programs on a busy machine.
const LOADING: Duration = Duration::from_secs(120);

/// A compiled program in a folder of its own, which profiles go to as well.
pub(crate) struct Program {
    folder: TempDir,
    pub(crate) path: PathBuf,
}

impl Program {
    pub(crate) fn c() -> Result<Self> {
        Self::build(|path| {
            let mut gcc = Command::new(paths::program("gcc")?);
            gcc.args(["-O2", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]);
            gcc.arg("-o").arg(path).arg(paths::service("c/burn.c"));
            Ok(gcc)
        })
    }

    fn go() -> Result<Self> {
        Self::build(|path| {
            let mut go = Command::new(paths::program("go")?);
            go.arg("build").arg("-o").arg(path).arg(paths::service("go/burn/main.go"));
            Ok(go)
        })
    }

    pub(crate) fn build(compiler: impl FnOnce(&Path) -> Result<Command>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("burn");
        run(&mut compiler(&path)?)?;
        Ok(Self { folder, path })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
    Ok(output)
}

/// Runs `geophone profile` to its end. Returns what it said on both of its outputs.
pub(crate) fn profile(arguments: &[&OsStr]) -> Result<(String, String)> {
    let output = run(Command::new(paths::agent()?).arg("profile").args(arguments))?;
    Ok((String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
}

pub(crate) fn words<'a>(words: &[&'a str]) -> Vec<&'a OsStr> {
    words.iter().map(|word| OsStr::new(*word)).collect()
}

/// Folded stacks: names from the outermost to the innermost, and how often.
pub(crate) type Folded = Vec<(Vec<String>, u64)>;

/// Reads a file of them.
pub(crate) fn folded(path: &Path) -> Result<Folded> {
    let text = fs::read_to_string(path)?;
    let line = |line: &str| {
        let (stack, count) = line.rsplit_once(' ').context("a line without a count")?;
        Ok((stack.split(';').map(str::to_owned).collect(), count.parse()?))
    };
    text.lines().map(line).collect()
}

pub(crate) fn total(stacks: &[(Vec<String>, u64)]) -> u64 {
    stacks.iter().map(|(_, count)| count).sum()
}

/// Which part of the samples, in percent, is in stacks with these functions one behind the other.
fn share(stacks: &[(Vec<String>, u64)], chain: &[&str]) -> f64 {
    let has = |stack: &[String]| stack.windows(chain.len()).any(|part| part == chain);
    let found: u64 = stacks.iter().filter(|(stack, _)| has(stack)).map(|(_, count)| count).sum();
    found as f64 * 100.0 / total(stacks).max(1) as f64
}

fn near(share: f64, expected: f64) -> Result<()> {
    ensure!((share - expected).abs() <= TOLERANCE, "{share:.1} %, expected {expected} %");
    Ok(())
}

#[test]
fn shares_and_callers_of_a_c_program() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::c()?;
    let files = ["a.folded", "a.svg", "a.pb.gz"].map(|name| program.file(name));
    let mut arguments = words(&["--frequency", "499"]);
    for file in &files {
        arguments.extend([OsStr::new("-o"), file.as_os_str()]);
    }
    arguments.extend([OsStr::new("--"), program.path.as_os_str(), OsStr::new("4")]);
    let (table, said) = profile(&arguments)?;
    let [text, svg, pprof] = files;
    let stacks = folded(&text)?;
    // Four seconds of one processor.
    let samples = total(&stacks);
    ensure!((1600..=2400).contains(&samples), "{samples} samples; {said}");
    near(share(&stacks, &["main", "outer", "inner", "burn_most"]), 75.0)?;
    near(share(&stacks, &["main", "other", "burn_some"]), 25.0)?;
    ensure!(said.contains("written: "), "{said}");
    ensure!(table.contains("burn_most") && table.contains("burn_some"), "{table}");
    let whole = said.split(" samples in ").nth(1).and_then(|rest| rest.split(": ").nth(1)).unwrap_or_default();
    let whole: u64 = whole.split(' ').next().unwrap_or_default().parse().with_context(|| said.clone())?;
    ensure!(whole * 100 >= samples * 99, "{said}");
    let svg = fs::read_to_string(svg)?;
    ensure!(svg.contains("<title>burn_most (") && svg.contains("<script"), "no flame graph");
    reads(&pprof, samples)
}

/// Whether an agent has perf events: it is the last thing that it sets up.
fn samples(agent: u32) -> bool {
    let entries = fs::read_dir(format!("/proc/{agent}/fd")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|descriptor| {
        let of = |folder| Path::new("/proc").join(agent.to_string()).join(folder).join(&descriptor);
        // Before Linux 5.15, perf events have no links.
        fs::read_link(of("fd")).is_ok_and(|target| target.as_os_str() == "anon_inode:[perf_event]")
            || fs::read_to_string(of("fdinfo")).is_ok_and(|info| info.contains("link_type:\tperf"))
    })
}

/// What `go tool pprof` makes of a file.
fn reads(pprof: &Path, samples: u64) -> Result<()> {
    let tool = |flags: &[&str]| {
        let mut go = Command::new(paths::program("go")?);
        let output = run(go.args(["tool", "pprof"]).args(flags).arg(pprof))?;
        anyhow::Ok(String::from_utf8(output.stdout)?)
    };
    let top = tool(&["-top", "-sample_index=samples"])?;
    ensure!(top.contains(&format!("of {samples} total")), "{samples}: {top}");
    let line = top.lines().find(|line| line.ends_with(" burn_most")).with_context(|| top.clone())?;
    let percent = line.split_whitespace().nth(1).and_then(|word| word.strip_suffix('%')).context("no share")?;
    near(percent.parse()?, 75.0)?;
    let raw = tool(&["-raw"])?;
    ensure!(raw.contains("samples/count cpu/nanoseconds"), "{raw}");
    ensure!(raw.contains("service.name:[burn]") && raw.contains("thread.name:[burn]"), "{raw}");
    let peek = tool(&["-peek", "^inner$"])?;
    ensure!(peek.contains("outer") && peek.contains("burn_most"), "{peek}");
    Ok(())
}

#[test]
fn deep_recursion_up_to_the_bound() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::c()?;
    let file = program.file("a.folded");
    for (depth, whole) in [(100, true), (1100, false)] {
        let mut arguments = words(&["--frequency", "199", "-o"]);
        let depth_text = depth.to_string();
        arguments.extend([file.as_os_str(), OsStr::new("--"), program.path.as_os_str(), OsStr::new("1")]);
        arguments.push(OsStr::new(&depth_text));
        let (_, said) = profile(&arguments)?;
        let stacks = folded(&file)?;
        let mut chain = vec!["main"];
        chain.extend(vec!["deep"; depth + 1]);
        chain.push("burn_most");
        let found = share(&stacks, &chain);
        ensure!((found > 99.0) == whole, "{depth}: {found} %; {said}");
        ensure!(said.contains(" 0 cut at") == whole, "{said}");
    }
    Ok(())
}

#[test]
fn a_go_program_by_its_number() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::go()?;
    let guard = Guard::start(Command::new(&program.path).arg("120"))?;
    let (file, pid) = (program.file("a.folded"), guard.pid().to_string());
    let mut arguments = words(&["--duration", "3s", "--frequency", "499", "--pid", &pid, "-o"]);
    arguments.push(file.as_os_str());
    let (_, said) = profile(&arguments)?;
    let stacks = folded(&file)?;
    ensure!(total(&stacks) > 50, "{said}");
    let found = share(&stacks, &["main.main.func1", "main.work", "main.leaf"]);
    ensure!(found > 95.0, "{found} %");
    ensure!(stacks.iter().all(|(stack, _)| stack.first().is_some_and(|service| service == "burn")), "other processes");
    Ok(())
}

/// Started while sampling goes on, selected by name, and gone before names are looked for.
#[test]
fn processes_that_come_and_go() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::c()?;
    let name = format!("burn-{}", std::process::id());
    let (path, file) = (program.file(&name), program.file("a.folded"));
    fs::rename(&program.path, &path)?;
    let mut command = Command::new(paths::agent()?);
    command.args(["profile", "--duration", "5m", "--frequency", "199", "--exe", &name, "-o"]).arg(&file);
    let mut agent = Guard::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    wait::until(LOADING, "perf events", || samples(agent.pid()).then_some(()))?;
    for _ in 0..3 {
        run(Command::new(&path).arg("0.5"))?;
    }
    // Its file as well.
    fs::remove_file(&path)?;
    agent.signal(Signal::INT)?;
    ensure!(agent.wait(wait::PATIENCE)?.success(), "the agent failed");
    let stacks = folded(&file)?;
    ensure!(total(&stacks) > 150, "{} samples", total(&stacks));
    near(share(&stacks, &["main", "outer", "inner", "burn_most"]), 75.0)
}

#[test]
fn code_that_node_compiles_has_names() -> Result<()> {
    let _shared = wait::shared();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.folded");
    let (node, script) = (paths::program("node")?, paths::service("node/burn.js"));
    let mut arguments = words(&["--frequency", "199", "-o"]);
    arguments.extend([file.as_os_str(), OsStr::new("--"), node.as_os_str()]);
    let log = format!("--logfile={}", folder.path().join("v8.log").display());
    arguments.extend(words(&[
        "--perf-basic-prof",
        "--interpreted-frames-native-stack",
        "--no-logfile-per-isolate",
        &log,
    ]));
    arguments.extend([script.as_os_str(), OsStr::new("3")]);
    let (_, said) = profile(&arguments)?;
    let stacks = folded(&file)?;
    let found: u64 = stacks
        .iter()
        .filter(|(stack, _)| stack.iter().any(|name| name.contains("leafOfWork") && name.ends_with("_[j]")))
        .map(|(_, count)| count)
        .sum();
    ensure!(found * 100 > total(&stacks) * 60, "{found} of {}; {said}", total(&stacks));
    Ok(())
}

#[test]
fn what_cannot_work_is_said_in_one_sentence() -> Result<()> {
    let _shared = wait::shared();
    for (arguments, expected) in [
        (vec!["-o", "/nonexistent/a.svg"], "cannot write /nonexistent/a.svg"),
        (vec!["-o", "a.pdf"], "a.pdf: the name must end in"),
        (vec!["--pid", "4194304"], "--pid 4194304: there is no such process"),
        (vec!["--", "/nonexistent/program"], "cannot start /nonexistent/program"),
    ] {
        let output = Command::new(paths::agent()?).arg("profile").args(&arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = said.lines().collect();
        let [line] = lines.as_slice() else { bail!("{arguments:?}: {said}") };
        ensure!(!output.status.success() && line.contains(expected), "{arguments:?}: {said}");
    }
    Ok(())
}

#[test]
fn a_start_that_fails_leaves_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.svg");
    for arguments in [&["--pid", "4194304"][..], &["--interval", "15s"], &["--", "/nonexistent/program"]] {
        let mut agent = Command::new(paths::agent()?);
        let output = agent.arg("profile").arg("-o").arg(&file).args(arguments).output()?;
        ensure!(!output.status.success() && !file.exists(), "{arguments:?}: {output:?}");
    }
    Ok(())
}

#[test]
fn an_interval_is_not_nothing() -> Result<()> {
    for arguments in [&["profile", "--otlp", "--interval", "0s"][..], &["run", "--profile-interval", "0s"]] {
        let output = Command::new(paths::agent()?).args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains("at least 1ms"), "{arguments:?}: {said}");
    }
    Ok(())
}

/// Two profiles of different lengths, one in each format that is read: shares are compared.
#[test]
fn the_difference_of_two_profiles() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name);
    fs::write(file("before.folded"), "shop;main;parse 30\nshop;main;write 10\n")?;
    fs::write(file("after.folded"), "shop;main;parse 30\nshop;main;write 50\nshop;main;parse;copy 20\n")?;
    let (before, after, graph) = (file("before.folded"), file("after.folded"), file("diff.svg"));
    let mut arguments = words(&["diff", "-o"]);
    arguments.extend([graph.as_os_str(), before.as_os_str(), after.as_os_str()]);
    let (table, said) = profile(&arguments)?;
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let expected = [
        ["75.0%", "30.0%", "-45.0", "parse"],
        ["25.0%", "50.0%", "+25.0", "write"],
        ["0.0%", "20.0%", "+20.0", "copy"],
    ];
    ensure!(rows == expected, "{table}");
    ensure!(said.contains("40 samples before, 100 after"), "{said}");
    ensure!(fs::read_to_string(&graph)?.contains("<title>write (50 samples, 50.00%; +25.00%)</title>"));
    for (name, why) in [("a.svg", "must end in .folded"), ("none.folded", "cannot read"), ("b.pb.gz", "cannot read")] {
        if name.starts_with('b') {
            fs::write(file(name), "no gzip")?;
        }
        let output = Command::new(paths::agent()?).args(["profile", "diff"]).arg(file(name)).arg(&after).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains(why) && said.lines().count() == 1, "{name}: {said}");
    }
    Ok(())
}
