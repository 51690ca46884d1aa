//! What `geophone profile` makes of a program whose shape is known.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{
    burn::{CHAIN, DEPTH},
    process::{self, Line, Process},
};

/// How long the profile takes, and an emulated processor to verify its program.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the profile goes.
const FILE: &str = "/tmp/geophone-smoke.folded";

/// Percent of the samples whose stacks must have all callers.
const WHOLE: u64 = 99;

/// Looks at a process for three seconds: every caller is there in nearly every sample. Where stacks are walked by frame pointers only, as many
/// callers as the kernel walks, of a program that was built with them; of one that was not, only that samples are there.
pub fn check(program: &str, own: &str) -> Result<String> {
    let burning = Process::start(own, &["burn"])?;
    ensure!(burning.output(PATIENCE)? == "ready", "it did not begin");
    let pid = burning.id().to_string();
    let arguments = ["profile", "--pid", &pid, "--duration", "3s", "--frequency", "99", "-o", FILE];
    let (status, said) = process::run(program, &arguments, PATIENCE)?;
    let said: Vec<String> = said
        .into_iter()
        .map(|line| match line {
            Line::Out(text) | Line::Err(text) => text,
        })
        .collect();
    ensure!(status.success(), "it ended with {status}: {}", said.join("; "));
    let folded = std::fs::read_to_string(FILE).context(FILE)?;
    let summary = said.into_iter().filter(|line| line.contains("samples in ") || line.starts_with("walking stacks"));
    let summary = summary.collect::<Vec<_>>().join("; ");
    let (all, whole) = count(&folded)?;
    ensure!(all >= 20, "{all} samples: {summary}");
    if cfg!(target_arch = "x86_64") {
        ensure!(whole * 100 >= all * WHOLE, "{whole} of {all} stacks have all callers: {summary}");
    }
    Ok(format!("{whole} of {all} stacks have all {} callers; {summary}", DEPTH + 2))
}

/// Samples in the innermost function, and those of them that have all callers.
fn count(folded: &str) -> Result<(u64, u64)> {
    let [outermost, between, innermost] = CHAIN;
    let (mut all, mut whole) = (0, 0);
    for line in folded.lines() {
        let (stack, count) = line.rsplit_once(' ').context("a line without a count")?;
        let count: u64 = count.parse()?;
        let frames: Vec<&str> = stack.split(';').collect();
        let place = |name| frames.iter().position(|frame| *frame == name);
        if let Some(inner) = place(innermost) {
            all += count;
            let outer = place(outermost).filter(|outer| inner - outer == DEPTH + 2);
            let is_whole = outer.and_then(|outer| frames.get(outer + 1..inner));
            whole += if is_whole.is_some_and(|way| way.iter().all(|frame| *frame == between)) { count } else { 0 };
        }
    }
    Ok((all, whole))
}
