//! `bench switches`: what looking at waits costs whoever switches often: two processes on one processor that hand a byte to and fro.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use super::{
    process::{self, Owned},
    profile, table,
};

/// Until an agent that was started looks at waits.
const START: Duration = Duration::from_secs(4);
/// Until it has ended.
const END: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds; in each, every way runs once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Switches of each
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u32).range(1000..))]
    switches: u32,
}

/// What is compared: `None` is nobody.
const WAYS: [(&str, Option<&[&str]>); 3] = [
    ("not attached", None),
    ("the whole host, waits from 1 ms", Some(&["--all"])),
    // Which is not there.
    ("another program", Some(&["--exe", "geophone-bench-nobody"])),
];

/// What one run came to.
struct Figures {
    /// Nanoseconds of the pair's processor time for a switch.
    switch: f64,
    /// Switches a second.
    rate: f64,
    /// The agent's processor time while it lasted, as a part of one processor.
    agent: f64,
    /// Nanoseconds that a run of its program took.
    program: f64,
}

pub fn run(args: &Args, binary: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    measure(args, binary, folder.path())
}

fn measure(args: &Args, binary: &Path, folder: &Path) -> anyhow::Result<()> {
    let pair = folder.join("switches");
    let source = crate::ebpf::root()?.join("tests/services/c/switches.c");
    ensure!(Command::new("gcc").args(["-O2", "-o"]).arg(&pair).arg(source).status()?.success(), "gcc failed");
    let mut all: [Vec<Figures>; WAYS.len()] = Default::default();
    for _ in 0..args.rounds {
        for ((_, way), figures) in WAYS.iter().zip(&mut all) {
            figures.push(one(&pair, args.switches, way.map(|flags| (binary, flags)))?);
        }
    }
    // By itself, because measuring programs costs, too.
    let _statistics = profile::Statistics::start()?;
    let programs = WAYS.iter().map(|(_, way)| one(&pair, args.switches, way.map(|flags| (binary, flags))));
    let programs = programs.collect::<anyhow::Result<Vec<_>>>()?;
    table::head(
        &["waits are looked at of"],
        &[
            "switches a second",
            "processor time a switch, ns",
            "next to not attached",
            "of that the program, ns",
            "agent, of one processor",
        ],
    );
    let median =
        |figures: &[Figures], of: fn(&Figures) -> f64| table::median(&figures.iter().map(of).collect::<Vec<_>>());
    for (((name, _), figures), program) in WAYS.iter().zip(&all).zip(&programs) {
        // Round by round, because the machine is not always as fast.
        let ratios: Vec<f64> =
            figures.iter().zip(&all[0]).map(|(with, without)| with.switch / without.switch).collect();
        let switches: Vec<f64> = figures.iter().map(|figures| figures.switch).collect();
        table::row(&[
            (*name).to_owned(),
            table::thousands(median(figures, |figures| figures.rate)),
            format!("{:.0} ({})", table::median(&switches), table::spread(&switches, 0)),
            format!("{:.2} ({})", table::median(&ratios), table::spread(&ratios, 2)),
            format!("{:.0}", program.program),
            format!("{:.2} %", median(figures, |figures| figures.agent) * 100.0),
        ]);
    }
    Ok(())
}

fn one(pair: &Path, switches: u32, agent: Option<(&Path, &[&str])>) -> anyhow::Result<Figures> {
    let mut agent = match agent {
        Some((binary, flags)) => {
            let mut command = Command::new(binary);
            command.args(["profile", "--off-cpu", "--duration", "600s"]).args(flags);
            let child = Owned(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
            thread::sleep(START);
            Some(child)
        }
        None => None,
    };
    let used = |agent: &Option<Owned>| agent.as_ref().map_or(Ok(0.0), |agent| process::cpu_time(agent.pid()));
    let (before, start) = (used(&agent)?, Instant::now());
    let kernel = |agent: &Option<Owned>| {
        agent.as_ref().map_or((0.0, 0.0), |agent| profile::kernel(agent.pid(), profile::RAW_TRACEPOINT))
    };
    let ran_before = kernel(&agent);
    let output = Command::new(pair).arg(switches.to_string()).output()?;
    let elapsed = start.elapsed().as_nanos() as f64;
    let (after, ran) = (used(&agent)?, kernel(&agent));
    if let Some(agent) = &mut agent {
        agent.end(Signal::INT, END)?;
    }
    ensure!(output.status.success(), "the pair has failed");
    let text = String::from_utf8(output.stdout)?;
    let (switch, rate) = text.trim().split_once(' ').context("the pair says nothing")?;
    let runs = ran.1 - ran_before.1;
    Ok(Figures {
        switch: switch.parse()?,
        rate: rate.parse()?,
        agent: (after - before) / elapsed,
        program: if runs > 0.0 { (ran.0 - ran_before.0) / runs } else { 0.0 },
    })
}
