//! Stacks of programs without frame pointers, whose shape is known: through libraries, callbacks, signals and deep recursion.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::child::Guard;
use geophone_tests::{paths, wait};
use tempfile::TempDir;

use crate::profile::{folded, profile, run, total, words};

/// Flags of a build without frame pointers.
pub(crate) const PLAIN: &[&str] = &["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls"];

type Stacks = Vec<(Vec<String>, u64)>;

pub(crate) struct Program {
    folder: TempDir,
}

impl Program {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()? })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compiles a source file to `name`.
    pub(crate) fn build(&self, name: &str, source: &str, flags: &[&str], libraries: &[&Path]) -> Result<PathBuf> {
        let path = self.path(name);
        let mut gcc = Command::new(paths::program("gcc")?);
        gcc.args(flags).arg("-o").arg(&path).arg(paths::service(source)).args(libraries);
        run(&mut gcc)?;
        Ok(path)
    }

    /// Runs a program, looks at it for two seconds, and returns its stacks and what was said of them.
    fn sample(&self, program: &Path, arguments: &[&str]) -> Result<(Stacks, String)> {
        let guard = Guard::start(Command::new(program).args(arguments))?;
        // What is sampled before the program has begun is of its loader.
        let maps = PathBuf::from(format!("/proc/{}/stat", guard.pid()));
        wait::until(wait::PATIENCE, "the program to run", || used(&maps).filter(|ticks| *ticks > 5).map(|_| ()))?;
        let (file, pid) = (self.path("a.folded"), guard.pid().to_string());
        let mut words = words(&["--duration", "2s", "--frequency", "499", "--pid", &pid, "-o"]);
        words.push(file.as_os_str());
        let (_, said) = profile(&words)?;
        Ok((folded(&file)?, said))
    }
}

/// The processor time that a process has used in its own code, in ticks.
pub(crate) fn used(stat: &Path) -> Option<u64> {
    let stat = std::fs::read_to_string(stat).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(11)?.parse().ok()
}

/// Which part of the samples that are in the chain's last function came to it along the chain, in percent.
fn along(stacks: &Stacks, chain: &[&str]) -> Result<f64> {
    let (mut all, mut found) = (0, 0);
    for (stack, count) in stacks {
        if stack.iter().any(|name| Some(name.as_str()) == chain.last().copied()) {
            let mut names = stack.iter();
            let is_there = chain.iter().all(|wanted| names.any(|name| name == wanted));
            all += count;
            found += if is_there { *count } else { 0 };
        }
    }
    let last = chain.last().copied().unwrap_or_default();
    ensure!(all > 10 && all * 10 > total(stacks) * 2, "{all} of {} samples are in {last}", total(stacks));
    Ok(found as f64 * 100.0 / all as f64)
}

fn nearly_all(stacks: &Stacks, chain: &[&str], said: &str) -> Result<()> {
    let share = along(stacks, chain)?;
    ensure!(share >= 99.0, "{share} % along {chain:?}: {said}\n{stacks:#?}");
    Ok(())
}

#[test]
fn programs_of_all_kinds() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::new()?;
    for flags in [&["-pie", "-fPIE"][..], &["-static"], &["-no-pie"], &["-O3", "-fcf-protection=full"]] {
        let flags: Vec<_> = PLAIN.iter().chain(flags).copied().collect();
        let path = program.build("burn", "c/burn.c", &flags, &[])?;
        let (stacks, said) = program.sample(&path, &["60"])?;
        nearly_all(&stacks, &["_start", "main", "outer", "inner", "burn_most"], &said)?;
        nearly_all(&stacks, &["_start", "main", "other", "burn_some"], &said)?;
        ensure!(said.contains(" complete"), "{said}");
    }
    Ok(())
}

#[test]
fn a_stripped_program() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::new()?;
    let path = program.build("burn", "c/burn.c", PLAIN, &[])?;
    let symbols = String::from_utf8(run(Command::new(paths::program("nm")?).arg("-S").arg(&path))?.stdout)?;
    run(Command::new(paths::program("strip")?).arg(&path))?;
    let (stacks, said) = program.sample(&path, &["60"])?;
    let functions: Vec<(u64, u64, &str)> = symbols
        .lines()
        .filter_map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            [start, size, _, name] => {
                Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(size, 16).ok()?, *name))
            }
            _ => None,
        })
        .collect();
    // `burn+0x1234` is a position in the file, which is the address in this program's code.
    let name = |place: &String| {
        let at = place.strip_prefix("burn+0x").and_then(|at| u64::from_str_radix(at, 16).ok());
        let function = at.and_then(|at| functions.iter().find(|(start, size, _)| (*start..start + size).contains(&at)));
        function.map_or_else(|| place.clone(), |(_, _, name)| (*name).to_owned())
    };
    let named = stacks.iter().map(|(stack, count)| (stack.iter().map(name).collect(), *count)).collect();
    nearly_all(&named, &["main", "outer", "inner", "burn_most"], &said)
}

#[test]
fn through_a_library_a_callback_and_signals() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::new()?;
    let flags = |more: &[&'static str]| PLAIN.iter().chain(more).copied().collect::<Vec<_>>();
    let library = program.build("libframes.so", "c/frames.c", &flags(&["-DLIBRARY", "-shared", "-fPIC"]), &[])?;
    let folder = format!("-Wl,-rpath,{}", program.folder.path().display());
    let path = {
        let mut flags = flags(&[]);
        flags.push(&folder);
        program.build("frames", "c/frames.c", &flags, &[&library])?
    };
    for (way, chain) in [
        ("library", &["_start", "main", "by_library", "library_call", "back", "spin"][..]),
        ("sort", &["_start", "main", "by_sort", "compare", "spin"]),
        ("signal", &["_start", "main", "by_signal", "handler", "spin"]),
        ("stack", &["_start", "main", "by_signal", "handler", "spin"]),
    ] {
        let (stacks, said) = program.sample(&path, &["60", way])?;
        nearly_all(&stacks, chain, &said).context(way)?;
    }
    Ok(())
}

#[test]
fn recursion_of_600() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::new()?;
    let path = program.build("burn", "c/burn.c", PLAIN, &[])?;
    let (stacks, said) = program.sample(&path, &["60", "600"])?;
    let mut chain = vec!["_start", "main"];
    chain.extend(["deep"; 601]);
    chain.push("burn_most");
    let share = along(&stacks, &chain)?;
    ensure!(share >= 100.0, "{share} %: {said}");
    ensure!(said.contains(" 0 without their outermost callers, 0 cut at 1024 frames, 0 unreadable"), "{said}");
    Ok(())
}

/// From its first sample on, but for the moment that making rows takes.
#[test]
fn a_program_that_begins_while_samples_are_taken() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::new()?;
    let path = program.build("burn", "c/burn.c", PLAIN, &[])?;
    let file = program.path("a.folded");
    let mut arguments = words(&["--frequency", "199", "-o"]);
    arguments.extend([file.as_os_str(), OsStr::new("--"), path.as_os_str(), OsStr::new("2")]);
    let (_, said) = profile(&arguments)?;
    let share = along(&folded(&file)?, &["_start", "main", "outer", "inner", "burn_most"])?;
    ensure!(share > 75.0, "{share} %: {said}");
    Ok(())
}

/// Of programs that end before the agent has read what is mapped in them: whole, and with their names, once the file is known (since
/// Linux 6.1).
#[test]
fn programs_that_live_for_milliseconds() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::new()?;
    let path = program.build("burn", "c/burn.c", PLAIN, &[])?;
    let (share, said) = short(&program, &["sh", "-c", &often(&path)])?;
    ensure!(share > 95.0, "{share} %: {said}");
    Ok(())
}

/// As in a container: there, a process has mapped another file than the one that it sees.
#[test]
fn programs_that_live_for_milliseconds_on_an_overlay() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::new()?;
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| program.path(name));
    for folder in [&lower, &upper, &work, &merged] {
        std::fs::create_dir(folder)?;
    }
    program.build("lower/burn", "c/burn.c", PLAIN, &[])?;
    let [lower, upper, work] = [&lower, &upper, &work].map(|path| path.display());
    let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    let script =
        format!("mount -t overlay overlay -o {layers} {} && {}", merged.display(), often(&merged.join("burn")));
    let (share, said) = short(&program, &["unshare", "--mount", "sh", "-c", &script])?;
    // Without knowing the file it would be a third; the first ones come before its rows are there.
    ensure!(share > 80.0, "{share} %: {said}");
    Ok(())
}

/// Runs a program many times, each for a millisecond or a little more.
fn often(path: &Path) -> String {
    format!("for n in $(seq 80); do {} 0.001; done", path.display())
}

/// Which part of the samples in the programs that a command starts came along the known way, in percent.
fn short(program: &Program, command: &[&str]) -> Result<(f64, String)> {
    let file = program.path("a.folded");
    let mut arguments = words(&["--frequency", "199", "-o"]);
    arguments.extend([file.as_os_str(), OsStr::new("--")]);
    arguments.extend(words(command));
    let (_, said) = profile(&arguments)?;
    Ok((along(&folded(&file)?, &["_start", "main", "outer", "inner", "burn_most"])?, said))
}
