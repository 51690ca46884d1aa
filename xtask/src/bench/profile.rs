//! `bench profile`: what sampling the whole host costs, next to other profilers, under the same load: programs without frame pointers on every
//! processor; as another load, short-lived programs besides; and compilers.

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
/// `BPF_PROG_TYPE_RAW_TRACEPOINT`
pub const RAW_TRACEPOINT: &str = "17";
/// From which part of its time on a profiler is in its stride, and for how long before the end it still is.
const STEADY: f64 = 0.4;
const END: f64 = 0.5;
/// Starts programs that end at once, one after the other: a thousand a second where nothing else runs.
const SHORT: &str = "while :; do /bin/true; /bin/ls / >/dev/null; done";
/// Compiles small files, one after the other, and links them: a build as far as processes go.
const COMPILE: &str = "while :; do for n in 1 2 3 4; do gcc -O1 -c -o $0-$n.o small.c; done; gcc -o $0 $0-1.o; done";
/// Such a file.
const SMALL: &str = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
    static int sum(const char *text) { int all = 0; while (*text) all += *text++; return all; }\n\
    int main(int count, char **words) { int all = 0; for (int n = 0; n < count; n++) all ^= sum(words[n]) + (int)strlen(words[n]);\n\
    printf(\"%d\\n\", all); return all == 0 ? EXIT_FAILURE : EXIT_SUCCESS; }\n";
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
    /// Only under one of the loads
    #[arg(long)]
    load: Option<Load>,
    /// Another profiler's command, which is to sample for the same time, such as 'perf record -a -F 99 -o /dev/null -- sleep 15'
    #[arg(long, value_name = "COMMAND")]
    next_to: Vec<String>,
}

/// What keeps processors busy.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Load {
    /// One program on each processor
    Busy,
    /// The same, and programs that live for a millisecond
    Short,
    /// A build of small files on each processor, and nothing else
    Compile,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Short => "short-lived",
            Self::Compile => "compilers",
        }
    }

    /// Starts it.
    fn start(self, burn: &Path, folder: &Path) -> anyhow::Result<Vec<Owned>> {
        let mut all = Vec::new();
        for core in (0..machine::processors()).map(|core| core.to_string()) {
            // Without precedence over the profilers.
            let mut command = Command::new("taskset");
            command.args(["-c", &core]).current_dir(folder);
            match self {
                Self::Compile => command.args(["sh", "-c", COMPILE, &core]),
                Self::Busy | Self::Short => command.arg(burn).args(["100000", "20"]),
            };
            all.push(Owned(command.spawn()?));
        }
        if self == Self::Short {
            all.push(Owned(Command::new("sh").args(["-c", SHORT]).spawn()?));
        }
        Ok(all)
    }
}

/// What a profiler has cost.
#[derive(Default)]
struct Cost {
    /// Nanoseconds of processor time.
    cpu: f64,
    /// The same of each second in its stride.
    steady: f64,
    memory: Memory,
    /// Processes and threads that have begun meanwhile, on the whole host.
    begun: f64,
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
    let folder = tempfile::tempdir()?;
    measure(args, binary, folder.path())
}

fn measure(args: &Args, binary: &Path, folder: &Path) -> anyhow::Result<()> {
    let burn = folder.join("burn");
    let source = crate::ebpf::root()?.join("tests/services/c/burn.c");
    let flags = ["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-o"];
    ensure!(Command::new("gcc").args(flags).arg(&burn).arg(source).status()?.success(), "gcc failed");
    fs::write(folder.join("small.c"), SMALL)?;
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
    let all = [Load::Busy, Load::Short, Load::Compile].into_iter();
    for load in all.filter(|load| args.load.is_none_or(|only| only == *load)) {
        let _running = load.start(&burn, folder)?;
        for _ in 0..args.rounds {
            for (name, command) in &mut commands {
                rows.push(row(load.name(), name, command, args.seconds)?);
            }
        }
    }
    table::head(&TEXTS, &FIGURES);
    rows.iter().for_each(|row| table::row(row));
    Ok(())
}

/// The columns of the table.
const TEXTS: [&str; 3] = ["load", "profiler", "what it says"];
const FIGURES: [&str; 8] = [
    "processor time, s",
    "of one processor",
    "in its stride",
    "ms for 1,000 samples",
    "ms for 1,000 that began",
    "kernel µs a run of its program",
    "RSS peak MB",
    "maps in the kernel MB",
];

fn row(load: &str, name: &str, command: &mut Command, seconds: u32) -> anyhow::Result<Vec<String>> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut said = child.stderr.take().context("no standard error")?;
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        // What it said before that is still worth something.
        let _ = said.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let cost = watch(child, f64::from(seconds))?;
    let said = reader.join().unwrap_or_default();
    let summary = said.lines().find(|line| line.contains("samples")).unwrap_or_default().to_owned();
    let (time, runs) = cost.kernel;
    let samples = summary.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default();
    let each = |count: f64| if count > 0.0 { format!("{:.1}", cost.cpu / 1e3 / count) } else { String::new() };
    Ok(vec![
        load.to_owned(),
        format!("`{name}`"),
        summary,
        format!("{:.2}", cost.cpu / 1e9),
        format!("{:.2} %", cost.cpu / 1e7 / f64::from(seconds)),
        format!("{:.2} %", cost.steady / 1e7),
        each(samples),
        each(cost.begun),
        if runs > 0.0 { format!("{:.1}", time / runs / 1e3) } else { String::new() },
        format!("{:.0}", cost.memory.peak / 1e6),
        format!("{:.0}", cost.memory.maps / 1e6),
    ])
}

/// Looks at a profiler that is to sample for so many seconds, until it ends.
fn watch(child: Child, seconds: f64) -> anyhow::Result<Cost> {
    let mut child = Owned(child);
    let start = Instant::now();
    let deadline = start + PATIENCE + Duration::from_secs_f64(seconds);
    let mut cost = Cost::default();
    let before = begun()?;
    // When it was in its stride for the first time, and how much it had used by then.
    let mut first: Option<(f64, f64)> = None;
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
        let time = start.elapsed().as_secs_f64();
        if time < seconds {
            cost.begun = begun()? - before;
        }
        if time >= seconds * STEADY && time < seconds - END {
            let (began, used) = *first.get_or_insert((time, cost.cpu));
            if time > began {
                cost.steady = (cost.cpu - used) / (time - began);
            }
        }
        if let Ok(memory) = process::memory(pid) {
            let maps = memory.maps.max(cost.memory.maps);
            cost.memory = Memory { maps, ..memory };
        }
        let kernel = kernel(pid, PERF_EVENT);
        cost.kernel = if kernel.1 > cost.kernel.1 { kernel } else { cost.kernel };
        thread::sleep(LOOK);
    }
}

/// Processes and threads that have begun since the host did.
fn begun() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    text.lines()
        .find_map(|line| line.strip_prefix("processes ")?.parse().ok())
        .context("/proc/stat says nothing of processes")
}

/// For how long a process's programs of a kind ran, in nanoseconds, and how often.
pub fn kernel(pid: u32, kind: &str) -> (f64, f64) {
    let (mut time, mut runs, mut seen) = (0.0, 0.0, Vec::new());
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        let number = |name| field(name).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        if let (Some(its), Some(id)) = (field("prog_type:"), field("prog_id:"))
            && its == kind
            && !seen.contains(&id)
        {
            seen.push(id);
            time += number("run_time_ns:");
            runs += number("run_cnt:");
        }
    }
    (time, runs)
}
