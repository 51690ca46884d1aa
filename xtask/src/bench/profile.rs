//! `bench profile`: what sampling the whole host costs, next to other profilers, under the same load: programs without frame pointers on every
//! processor.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use super::{
    machine,
    process::{self, Memory, Owned},
    table,
};

/// How often a profiler is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What a profiler may take longer than it samples.
const PATIENCE: Duration = Duration::from_secs(60);
/// `BPF_PROG_TYPE_PERF_EVENT`
const PERF_EVENT: &str = "7";
/// Whether the kernel measures programs.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds; in each, every profiler runs once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Another profiler's command, which is to sample for the same time, such as 'perf record -a -F 99 -o /dev/null -- sleep 15'
    #[arg(long, value_name = "COMMAND")]
    next_to: Vec<String>,
}

/// What a profiler has cost.
#[derive(Default)]
struct Cost {
    /// Nanoseconds of processor time.
    cpu: f64,
    memory: Memory,
    /// Nanoseconds that its programs ran in the kernel, and how often.
    kernel: (f64, f64),
}

/// Lets the kernel measure programs for as long as this lives.
pub struct Statistics(String);

impl Statistics {
    pub fn start() -> anyhow::Result<Self> {
        let before = fs::read_to_string(STATISTICS)?;
        fs::write(STATISTICS, "1")?;
        Ok(Self(before))
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(STATISTICS, self.0.trim()) {
            eprintln!("{STATISTICS} stays at 1: {error}");
        }
    }
}

pub fn run(args: &Args, binary: &Path) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("geophone-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = measure(args, binary, &folder);
    fs::remove_dir_all(&folder)?;
    result
}

fn measure(args: &Args, binary: &Path, folder: &Path) -> anyhow::Result<()> {
    let burn = folder.join("burn");
    let source = crate::ebpf::root()?.join("tests/services/c/burn.c");
    let flags = ["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-o"];
    ensure!(Command::new("gcc").args(flags).arg(&burn).arg(source).status()?.success(), "gcc failed");
    let load = (0..machine::processors()).map(|core| {
        // Without precedence over the profilers.
        let mut command = Command::new("taskset");
        Ok(Owned(command.args(["-c", &core.to_string()]).arg(&burn).args(["100000", "20"]).spawn()?))
    });
    let _load = load.collect::<anyhow::Result<Vec<_>>>()?;
    let _statistics = Statistics::start()?;
    let profile = folder.join("a.folded");
    let mut ours = Command::new(binary);
    ours.args(["profile", "--all", "--duration", &format!("{}s", args.seconds), "-o"]).arg(&profile);
    let mut commands = vec![(format!("geophone profile --all, {} s", args.seconds), ours)];
    for line in &args.next_to {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {line}")]);
        commands.push((line.clone(), command));
    }
    let mut rows = Vec::new();
    for _ in 0..args.rounds {
        for (name, command) in &mut commands {
            rows.push(row(name, command, args.seconds)?);
        }
    }
    table::head(&TEXTS, &FIGURES);
    rows.iter().for_each(|row| table::row(row));
    Ok(())
}

/// The columns of the table.
const TEXTS: [&str; 2] = ["profiler", "what it says"];
const FIGURES: [&str; 5] =
    ["processor time, s", "of one processor", "kernel µs a run of its program", "RSS peak MB", "maps in the kernel MB"];

fn row(name: &str, command: &mut Command, seconds: u32) -> anyhow::Result<Vec<String>> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut said = child.stderr.take().context("no standard error")?;
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        // What it said before that is still worth something.
        let _ = said.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let cost = watch(child, PATIENCE + Duration::from_secs(seconds.into()))?;
    let said = reader.join().unwrap_or_default();
    let summary = said.lines().find(|line| line.contains("samples")).unwrap_or_default().to_owned();
    let (time, runs) = cost.kernel;
    Ok(vec![
        format!("`{name}`"),
        summary,
        format!("{:.2}", cost.cpu / 1e9),
        format!("{:.2} %", cost.cpu / 1e7 / f64::from(seconds)),
        if runs > 0.0 { format!("{:.1}", time / runs / 1e3) } else { String::new() },
        format!("{:.0}", cost.memory.peak / 1e6),
        format!("{:.0}", cost.memory.maps / 1e6),
    ])
}

/// Looks at a profiler until it ends.
fn watch(child: Child, patience: Duration) -> anyhow::Result<Cost> {
    let mut child = Owned(child);
    let deadline = Instant::now() + patience;
    let mut cost = Cost::default();
    loop {
        if let Some(status) = child.0.try_wait()? {
            ensure!(status.success(), "it ended with {status}");
            return Ok(cost);
        }
        if Instant::now() > deadline {
            bail!("it does not end");
        }
        // It may end at any moment.
        let pid = child.pid();
        cost.cpu = process::cpu_time(pid).map_or(cost.cpu, |cpu| cpu.max(cost.cpu));
        if let Ok(memory) = process::memory(pid) {
            let maps = memory.maps.max(cost.memory.maps);
            cost.memory = Memory { maps, ..memory };
        }
        let kernel = kernel(pid);
        cost.kernel = if kernel.1 > cost.kernel.1 { kernel } else { cost.kernel };
        thread::sleep(LOOK);
    }
}

/// For how long a process's programs on perf events ran, in nanoseconds, and how often.
fn kernel(pid: u32) -> (f64, f64) {
    let (mut time, mut runs, mut seen) = (0.0, 0.0, Vec::new());
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        let number = |name| field(name).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        if let (Some(kind), Some(id)) = (field("prog_type:"), field("prog_id:"))
            && kind == PERF_EVENT
            && !seen.contains(&id)
        {
            seen.push(id);
            time += number("run_time_ns:");
            runs += number("run_cnt:");
        }
    }
    (time, runs)
}
