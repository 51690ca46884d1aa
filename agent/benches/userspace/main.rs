//! Userspace alone, on one thread: events of a recording through every stage of the agent up to encoded OTLP. Run by
//! `cargo xtask bench userspace`, or `cargo bench -p geophone --bench userspace -- --help`.
//!
//! Leaves out what the kernel and the network do: reading the rings, and sending what was encoded.

mod alloc;
mod stages;
mod synthetic;

use std::{hint::black_box, path::PathBuf, time::Instant};

use anyhow::{Context as _, ensure};
use clap::Parser;

use stages::{Recording, Stage};

/// How long an exchange takes the agent, stage by stage.
#[derive(Parser)]
struct Args {
    /// Exchanges of the recording that is made
    #[arg(long, default_value_t = 100_000)]
    exchanges: u64,
    /// Every stage runs so many times, in turns; the quickest counts
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A recording of yours instead
    #[arg(long)]
    recording: Option<PathBuf>,
    /// Runs only as far as this stage, for a profiler
    #[arg(long, value_enum)]
    profile: Option<Stage>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// Which side of its connections the process is on.
#[derive(Clone, Copy)]
pub enum Side {
    /// It answers.
    Server,
    /// It asks.
    Client,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut recordings = Vec::new();
    match &args.recording {
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
            recordings.push((path.display().to_string(), Recording::read(&bytes)?));
        }
        None => {
            for (name, side) in
                [("server (nginx: receive, writev, sendfile)", Side::Server), ("client (send, receive)", Side::Client)]
            {
                let recording = Recording::read(&synthetic::recording(side, args.exchanges)?)?;
                recordings.push((name.to_owned(), recording));
            }
        }
    }
    if let Some(stage) = args.profile {
        for (_, recording) in &recordings {
            for _ in 0..args.rounds {
                black_box(recording.run(stage)?);
            }
        }
        return Ok(());
    }
    println!(
        "| recording | spans | decode | + conn | + protocol | + process, trace | + OTLP | ns per exchange | exchanges/s on one core | allocations per exchange | bytes allocated | OTLP bytes |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (name, recording) in &recordings {
        println!("{}", measure(name, recording, args.rounds)?);
    }
    Ok(())
}

/// Runs all stages in turns, and says in a row of the table what each adds.
fn measure(name: &str, recording: &Recording, rounds: u32) -> anyhow::Result<String> {
    let mut times = vec![Vec::new(); Stage::ALL.len()];
    let mut whole = None;
    for _ in 0..rounds {
        for (stage, times) in Stage::ALL.into_iter().zip(&mut times) {
            let before = alloc::so_far();
            let began = Instant::now();
            let done = black_box(recording.run(stage)?);
            times.push(began.elapsed().as_secs_f64() * 1e9);
            let after = alloc::so_far();
            if stage == Stage::Encode {
                whole = Some((done, after.0 - before.0, after.1 - before.1));
            }
        }
    }
    let (done, allocations, bytes) = whole.context("no rounds")?;
    ensure!(done.spans > 0, "the recording has no exchanges");
    ensure!(done.encoded > 0, "nothing was encoded");
    let spans = done.spans as f64;
    let mut row = format!("| {name} | {}", done.spans);
    let (mut before, mut total) = (0.0, 0.0);
    for times in &times {
        // The work is always the same: what takes longer was disturbed.
        total = times.iter().copied().fold(f64::INFINITY, f64::min) / spans;
        row.push_str(&format!(" | {:.0}", total - before));
        before = total;
    }
    row.push_str(&format!(
        " | **{total:.0}** | {:.0} | {:.1} | {:.0} | {:.0} |",
        1e9 / total,
        allocations as f64 / spans,
        bytes as f64 / spans,
        done.encoded as f64 / spans
    ));
    Ok(row)
}
