//! `bench mechanisms`: what finding causes costs in the kernel, program by program, for a request to services of several runtimes. A trap into a probe is
//! paid in addition to what the probe's program runs for.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{process::Owned, profile, table};

/// How often the kernel is asked.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stacks of the accuracy suite
    #[arg(default_values_t = ["python-threads", "aiohttp", "node-fetch", "go", "go-channels", "tokio", "java-url", "nginx"].map(str::to_owned))]
    stacks: Vec<String>,
    /// Requests of each, each of which makes four calls
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
}

/// What a program has run for: nanoseconds, and how often.
type Runs = (f64, f64);

pub fn run(args: &Args, agent: &Path) -> anyhow::Result<()> {
    let _statistics = profile::Statistics::start()?;
    println!("{} requests, 16 at once. Each has 9 spans, 19 behind nginx.\n", args.requests);
    table::head(&["stack", "program"], &["runs a request", "ns a run", "µs a request"]);
    for stack in &args.stacks {
        let before = programs()?;
        let mut suite = Command::new(std::env::current_exe()?);
        suite.args(["accuracy", stack, "--concurrency", "16", "--json", "--requests", &args.requests.to_string()]);
        suite.env("GEOPHONE", agent).stdout(Stdio::piped());
        let mut suite = Owned(suite.spawn()?);
        let mut seen = BTreeMap::new();
        let status = loop {
            if let Some(status) = suite.0.try_wait()? {
                break status;
            }
            seen.extend(programs()?.into_iter().filter(|(id, _)| !before.contains_key(id)));
            thread::sleep(LOOK);
        };
        ensure!(status.success(), "the suite ended with {status}");
        let mut text = String::new();
        suite.0.stdout.take().context("its output")?.read_to_string(&mut text)?;
        let measured: Value = serde_json::from_str(text.lines().last().context("it said nothing")?)?;
        let requests = measured.pointer("/score/requests").and_then(Value::as_f64).context("how many requests")?;
        let mut by_name: BTreeMap<String, Runs> = BTreeMap::new();
        for (name, (time, runs)) in seen.into_values() {
            let sum = by_name.entry(name).or_default();
            *sum = (sum.0 + time, sum.1 + runs);
        }
        let mut rows: Vec<_> = by_name.into_iter().filter(|(_, (_, runs))| *runs > 0.0).collect();
        rows.sort_by(|(_, a), (_, b)| b.0.total_cmp(&a.0));
        let all: f64 = rows.iter().map(|(_, (time, _))| time).sum();
        for (name, (time, runs)) in rows {
            table::row(&[
                stack.clone(),
                format!("`{name}`"),
                format!("{:.1}", runs / requests),
                format!("{:.0}", time / runs),
                format!("{:.2}", time / requests / 1e3),
            ]);
        }
        let userspace = measured.get("agent_micros").and_then(Value::as_f64).unwrap_or_default();
        table::row(&[
            stack.clone(),
            "all".into(),
            String::new(),
            String::new(),
            format!("{:.2}", all / requests / 1e3),
        ]);
        table::row(&[
            stack.clone(),
            "the agent in userspace".into(),
            String::new(),
            String::new(),
            format!("{userspace:.0}"),
        ]);
    }
    Ok(())
}

/// The kernel's programs by their ids: names, and what they have run for so far.
fn programs() -> anyhow::Result<BTreeMap<u64, (String, Runs)>> {
    let output = Command::new("bpftool").args(["prog", "show", "--json"]).output().context("bpftool")?;
    ensure!(output.status.success(), "bpftool: {}", String::from_utf8_lossy(&output.stderr));
    let programs: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let one = |program: &Value| {
        let number = |key: &str| program.get(key).and_then(Value::as_f64).unwrap_or_default();
        Some((
            program["id"].as_u64()?,
            (program["name"].as_str()?.to_owned(), (number("run_time_ns"), number("run_cnt"))),
        ))
    };
    Ok(programs.iter().filter_map(one).collect())
}
