//! Lines and inlined functions of real programs: from their own debug information, and from a separate file.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::{paths, wait};
use tempfile::TempDir;

use crate::profile::{Folded, folded, profile, run, total, words};

/// Samples a program that runs for two seconds, with lines. The folded stacks, the pprof file, and what was said.
fn sample(folder: &Path, program: &Path) -> Result<(Folded, PathBuf, String)> {
    let (text, pprof) = (folder.join("a.folded"), folder.join("a.pb.gz"));
    let mut arguments = words(&["--lines", "--frequency", "499", "-o"]);
    arguments.extend([text.as_os_str(), OsStr::new("-o"), pprof.as_os_str(), OsStr::new("--"), program.as_os_str()]);
    arguments.push(OsStr::new("2"));
    let (table, said) = profile(&arguments)?;
    Ok((folded(&text)?, pprof, format!("{table}{said}")))
}

/// Which part of the samples is in this chain of frames, one behind the other.
fn share(stacks: &[(Vec<String>, u64)], chain: &[String]) -> f64 {
    let is_in = |stack: &[String]| stack.windows(chain.len()).any(|part| part == chain);
    let found: u64 = stacks.iter().filter(|(stack, _)| is_in(stack)).map(|(_, count)| count).sum();
    found as f64 * 100.0 / total(stacks).max(1) as f64
}

/// The number of the line that a comment marks.
fn line(source: &str, mark: &str) -> Result<usize> {
    source.lines().position(|line| line.contains(mark)).map(|index| index + 1).context(mark.to_owned())
}

fn c(folder: &TempDir) -> Result<PathBuf> {
    let path = folder.path().join("inlined");
    let mut gcc = Command::new(paths::program("gcc")?);
    gcc.args(["-O2", "-g", "-Wl,--build-id"]).arg("-o").arg(&path).arg(paths::service("c/inlined.c"));
    run(&mut gcc)?;
    Ok(path)
}

#[test]
fn inlined_functions_of_a_c_program() -> Result<()> {
    let _shared = wait::shared();
    let folder = tempfile::tempdir()?;
    let path = c(&folder)?;
    let source = fs::read_to_string(paths::service("c/inlined.c"))?;
    let frame = |function: &str| {
        anyhow::Ok(format!("{function} (inlined.c:{})", line(&source, &format!("/* {function}'s line"))?))
    };
    let chain = ["main", "work", "mix"].map(frame).into_iter().collect::<Result<Vec<_>>>()?;
    let deepest = chain.iter().cloned().chain([frame("step")?]).collect::<Vec<_>>();
    let is_right = |stacks: &[(Vec<String>, u64)], said: &str| {
        let part = chain.get(..2).unwrap_or_default();
        ensure!(share(stacks, part) > 95.0 && share(stacks, &deepest) > 20.0, "{stacks:#?}: {said}");
        anyhow::Ok(())
    };
    let (stacks, pprof, said) = sample(folder.path(), &path)?;
    is_right(&stacks, &said)?;
    ensure!(said.contains(" mix ") && said.contains(" step "), "{said}");
    // Another reader of the file finds the same lines.
    let mut go = Command::new(paths::program("go")?);
    let output = run(go.args(["tool", "pprof", "-lines", "-traces", "-sample_index=samples"]).arg(&pprof))?;
    let text = String::from_utf8(output.stdout)?;
    for function in ["step", "mix", "work", "main"] {
        let wanted = format!("{function} ");
        let at = format!("inlined.c:{}", line(&source, &format!("/* {function}'s line"))?);
        ensure!(text.lines().any(|line| line.contains(&wanted) && line.contains(&at)), "{function}, {at}: {text}");
    }
    // Debug information in a file of its own.
    let separate = folder.path().join("inlined.debug");
    let objcopy = || Ok::<_, anyhow::Error>(Command::new(paths::program("objcopy")?));
    run(objcopy()?.arg("--only-keep-debug").arg(&path).arg(&separate))?;
    run(objcopy()?.arg("--strip-all").arg(&path))?;
    let (stacks, _, _) = sample(folder.path(), &path)?;
    ensure!(share(&stacks, &chain) == 0.0, "{stacks:#?}");
    run(objcopy()?.current_dir(folder.path()).arg("--add-gnu-debuglink=inlined.debug").arg(&path))?;
    let (stacks, _, said) = sample(folder.path(), &path)?;
    is_right(&stacks, &said)
}

#[test]
fn inlined_functions_of_a_rust_program() -> Result<()> {
    let _shared = wait::shared();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("inlined");
    let source = paths::service("rust/inlined.rs");
    let mut rustc = Command::new(paths::program("rustc")?);
    run(rustc.args(["--edition", "2024", "-O", "-g", "-o"]).arg(&path).arg(&source))?;
    let (stacks, _, said) = sample(folder.path(), &path)?;
    let source = fs::read_to_string(source)?;
    let frame = |function: &str, part: &str| anyhow::Ok(format!("{function} (inlined.rs:{})", line(&source, part)?));
    let work = frame("inlined::work", "mixer.mix(")?;
    let is_mixed = |stack: &[String]| {
        stack.windows(2).any(
            |pair| matches!(pair, [outer, inner] if *outer == work && inner.starts_with("inlined::Mixer<u64>::mix (inlined.rs:")),
        )
    };
    let found: u64 = stacks.iter().filter(|(stack, _)| is_mixed(stack)).map(|(_, count)| count).sum();
    ensure!(found * 100 > total(&stacks) * 90, "{stacks:#?}: {said}");
    Ok(())
}
