//! `geophone profile`.

use std::{
    ffi::OsString,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

use super::{
    CliError, diff, logger,
    output::duration,
    run::{end, spawn},
    select::{HEADING, ProcessArgs},
    send::{self, SendArgs},
    session::{check, raise_limits},
    show,
};
use crate::{
    export::profiles::Sink,
    process::{self, Host, Table},
    profile::{Collection, Kind, Output, OutputError, Settings, report},
};

/// How long is sampled when nothing is said and no command is run.
const USUAL: Duration = Duration::from_secs(10);
/// How long receivers may take to take what is left at the end.
const FLUSH: Duration = Duration::from_secs(10);
/// Characters of the bar of progress.
const BAR: usize = 20;
/// How often the line of progress changes.
const PROGRESS: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    long_about = "Say which functions processors are busy with: so many times a second, what runs on each processor is looked at, \
                  with its callers. Nothing is restarted or changed. Programs need no frame pointers: callers are found by what files \
                  say for C++ exceptions and debuggers (x86_64). Where they are not found, the function itself is right, and \
                  the summary counts the stacks that are not whole.",
    after_help = "Examples:\n  \
                  sudo geophone profile                                   the whole host for 10 s, as a table\n  \
                  sudo geophone profile --exe nginx -o nginx.svg          one service, as a flame graph for a browser\n  \
                  sudo geophone profile --pid 4711 -o cpu.pb.gz && go tool pprof -top cpu.pb.gz\n  \
                  sudo geophone profile -o build.svg -- make -j4          one command and what it starts, until it ends\n  \
                  sudo geophone profile --pid 4711 --off-cpu -o waits.svg where its threads wait, by time\n  \
                  sudo geophone profile --endpoint http://localhost:4317 --interval 15s   to an OTLP receiver, until Ctrl-C\n  \
                  geophone profile diff before.folded after.folded        what has become more, and what less"
)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    processes: ProcessArgs,
    /// Every process of this host, and the kernel's own threads; the default
    #[arg(long, conflicts_with_all = ["pid", "exe", "comm", "container", "cgroup", "program"], help_heading = HEADING)]
    all: bool,
    /// How long, such as 30s; default: 10s, and with a command until it ends
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Samples a second on each processor
    #[arg(long, value_name = "HZ", default_value_t = 99, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    frequency: u32,
    /// Say where threads wait, and for how long, instead of what runs
    #[arg(long, conflicts_with = "frequency")]
    off_cpu: bool,
    /// Shorter waits are left out
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = duration, requires = "off_cpu")]
    off_cpu_min: Duration,
    /// Say the lines of sources, and show functions that were inlined, where there is debug information (takes time at the end)
    #[arg(long)]
    lines: bool,
    /// Where the profile goes: NAME.svg (flame graph), NAME.pb.gz (pprof) or NAME.folded (text); may be given several times
    #[arg(long, short, value_name = "FILE")]
    output: Vec<PathBuf>,
    #[command(flatten)]
    send: SendArgs,
    /// Start this command, and sample it and what it starts; its standard output goes to standard error
    #[arg(last = true, id = "program", value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Say what has become more, and what less, from one profile to another
    Diff(diff::Args),
    /// Show a profile that was written, or what of it was sampled for one endpoint or one trace
    Show(show::Args),
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    logger::start(false);
    match &args.action {
        Some(Action::Diff(args)) => return diff::run(args),
        Some(Action::Show(args)) => return show::run(args),
        None => {}
    }
    check(&args.processes.pid)?;
    let outputs = args.output.iter().map(|path| Output::open(path)).collect::<Result<Vec<_>, _>>()?;
    raise_limits();
    if args.send.interval.is_some() && !args.send.is_wanted() {
        return Err(CliError::NowhereToSend);
    }
    let (runtime, stop) = signals()?;
    let sink = args.send.check()?.start(runtime.handle())?;
    let settings = Settings {
        selector: args.processes.selector(),
        children: !args.command.is_empty(),
        kind: args.kind(),
        lines: args.lines,
    };
    // Resources are to be those of the spans.
    let host = Host::read(Path::new("/"));
    let processes = Table::new(process::Settings { host, ..process::Settings::default() });
    let mut collection = Collection::start(settings, processes)?;
    let mut child = match args.command.split_first() {
        Some((program, arguments)) => Some(spawn(program, arguments).map_err(|error| {
            let command = program.to_string_lossy().into_owned();
            CliError::Start { command, error }
        })?),
        None => None,
    };
    let interval = args.send.interval;
    let is_endless = child.is_some() || interval.is_some();
    let until = Until { limit: args.duration.or_else(|| (!is_endless).then_some(USUAL)), stop: &stop };
    sample(&mut collection, &until, child.as_mut(), interval.map(|interval| (interval, &sink)))?;
    let status = child.map(end);
    let (profile, counts) = collection.finish();
    // Nobody may be there to read it.
    let _ = report::top(&profile, &mut anstream::stdout().lock());
    let _ = report::summary(&profile, counts, &mut anstream::stderr().lock());
    for output in outputs {
        write(output, |output| output.write(&profile))?;
    }
    sink.hand_over(profile);
    let is_sent = send::finish(sink, runtime.handle(), FLUSH);
    let own = if is_sent { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok(status.unwrap_or(own))
}

/// Writes a file, and says so.
pub(super) fn write(output: Output, write: impl FnOnce(Output) -> Result<(), OutputError>) -> Result<(), CliError> {
    let path = output.path().display().to_string();
    write(output)?;
    anstream::eprintln!("written: {path}");
    Ok(())
}

impl Args {
    fn kind(&self) -> Kind {
        if self.off_cpu { Kind::OffCpu { least: self.off_cpu_min } } else { Kind::OnCpu { frequency: self.frequency } }
    }
}

/// When sampling ends, if no command does before.
struct Until<'a> {
    limit: Option<Duration>,
    stop: &'a AtomicBool,
}

impl Until<'_> {
    fn is_over(&self, since: Instant) -> bool {
        self.stop.load(Ordering::Acquire) || self.limit.is_some_and(|limit| since.elapsed() >= limit)
    }
}

/// Samples until the time is over, the command has ended, or a signal says so. Meanwhile, profiles of an interval each are sent, if that is
/// wanted.
fn sample(
    collection: &mut Collection,
    until: &Until<'_>,
    mut child: Option<&mut Child>,
    send: Option<(Duration, &Sink)>,
) -> Result<(), CliError> {
    let start = Instant::now();
    let mut progress = std::io::stderr().is_terminal().then_some(start);
    let mut cut = send.map(|(interval, _)| start + interval);
    while !until.is_over(start) && child.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(None))) {
        collection.round().map_err(|error| CliError::System { what: "waiting for samples", error })?;
        let now = Instant::now();
        if let Some((due, (interval, sink))) = cut.zip(send)
            && now >= due
        {
            sink.hand_over(collection.cut());
            cut = Some(due.max(now - interval) + interval);
        }
        if let Some(next) = progress.filter(|next| now >= *next) {
            progress = Some(next + PROGRESS);
            line(start.elapsed(), until.limit, collection.taken());
        }
    }
    if progress.is_some() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    Ok(())
}

/// The line of progress, over the one before it.
fn line(elapsed: Duration, limit: Option<Duration>, samples: u64) {
    // Standard error is a terminal, but it may be gone.
    let _ = write!(std::io::stderr(), "\r\x1b[K{}", progress(elapsed, limit, samples));
}

/// A bar, where it is known how long it takes, and what has come so far.
fn progress(elapsed: Duration, limit: Option<Duration>, samples: u64) -> String {
    let seconds = elapsed.as_secs_f64();
    let (bar, of) = match limit.map(|limit| limit.as_secs_f64()) {
        Some(limit) => {
            let part = if limit > 0.0 { (seconds / limit).min(1.0) } else { 1.0 };
            let done = (part * BAR as f64) as usize;
            (format!("[{}{}] ", "#".repeat(done), "-".repeat(BAR - done)), format!(" of {limit:.0}"))
        }
        None => (String::new(), String::new()),
    };
    format!("{bar}sampling: {seconds:.1}{of} s, {samples} samples; stop with Ctrl-C")
}

/// What becomes true when a signal asks for the end, and the thread that waits for it.
fn signals() -> Result<(Runtime, Arc<AtomicBool>), CliError> {
    let failed = |error| CliError::System { what: "signals", error };
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(failed)?;
    let stop = Arc::new(AtomicBool::new(false));
    let guard = runtime.enter();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signal = signal(kind).map_err(failed)?;
        let stop = Arc::clone(&stop);
        runtime.spawn(async move {
            signal.recv().await;
            stop.store(true, Ordering::Release);
        });
    }
    drop(guard);
    Ok((runtime, stop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_bar_where_the_end_is_known() {
        let at =
            |millis, limit: Option<u64>| progress(Duration::from_millis(millis), limit.map(Duration::from_secs), 42);
        assert_eq!(at(2_500, Some(10)), "[#####---------------] sampling: 2.5 of 10 s, 42 samples; stop with Ctrl-C");
        assert_eq!(at(2_500, None), "sampling: 2.5 s, 42 samples; stop with Ctrl-C");
        assert!(at(99_000, Some(10)).starts_with("[####################] "));
        assert!(at(0, Some(0)).starts_with("[####################] "));
    }
}
