//! `geophone profile`.

use std::{
    ffi::OsString,
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
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
    session::{check, raise_limits},
    show,
};
use crate::{
    process::{self, Pattern, Selector, Table},
    profile::{Collection, Output, Settings, report},
};

/// How long is sampled when nothing is said and no command is run.
const USUAL: Duration = Duration::from_secs(10);
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
                  geophone profile diff before.folded after.folded        what has become more, and what less"
)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// A process, and all that it starts
    #[arg(long, value_name = "PID", value_delimiter = ',', help_heading = SELECTION)]
    pid: Vec<u32>,
    /// An executable, by name (nginx, python*) or path (/usr/sbin/*)
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', help_heading = SELECTION)]
    exe: Vec<String>,
    /// A container, by the beginning of its id
    #[arg(long, value_name = "ID", value_delimiter = ',', help_heading = SELECTION)]
    container: Vec<String>,
    /// A control group, and those below it
    #[arg(long, value_name = "PATH", value_delimiter = ',', help_heading = SELECTION)]
    cgroup: Vec<String>,
    /// Every process of this host, and the kernel's own threads; the default
    #[arg(long, conflicts_with_all = ["pid", "exe", "container", "cgroup", "program"], help_heading = SELECTION)]
    all: bool,
    /// How long, such as 30s; default: 10s, and with a command until it ends
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Samples a second on each processor
    #[arg(long, value_name = "HZ", default_value_t = 99, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    frequency: u32,
    /// Where the profile goes: NAME.svg (flame graph), NAME.pb.gz (pprof) or NAME.folded (text); may be given several times
    #[arg(long, short, value_name = "FILE")]
    output: Vec<PathBuf>,
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

const SELECTION: &str = "Selection (default: everything; several of a kind mean any of them)";

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    logger::start(false);
    match &args.action {
        Some(Action::Diff(args)) => return diff::run(args),
        Some(Action::Show(args)) => return show::run(args),
        None => {}
    }
    check(&args.pid)?;
    let outputs = args.output.iter().map(|path| Output::open(path)).collect::<Result<Vec<_>, _>>()?;
    raise_limits();
    let (_runtime, stop) = signals()?;
    let settings =
        Settings { selector: args.selector(), children: !args.command.is_empty(), frequency: args.frequency };
    let mut collection = Collection::start(settings, Table::new(process::Settings::default()))?;
    let mut child = match args.command.split_first() {
        Some((program, arguments)) => Some(spawn(program, arguments).map_err(|error| {
            let command = program.to_string_lossy().into_owned();
            CliError::Start { command, error }
        })?),
        None => None,
    };
    let limit = args.duration.or_else(|| child.is_none().then_some(USUAL));
    sample(&mut collection, limit, child.as_mut(), &stop)?;
    let status = child.map(end);
    let (profile, counts) = collection.finish();
    // Nobody may be there to read it.
    let _ = report::top(&profile, &mut anstream::stdout().lock());
    let _ = report::summary(&profile, counts, &mut anstream::stderr().lock());
    for output in outputs {
        let path = output.path().display().to_string();
        output.write(&profile)?;
        anstream::eprintln!("written: {path}");
    }
    Ok(status.unwrap_or(ExitCode::SUCCESS))
}

impl Args {
    fn selector(&self) -> Selector {
        Selector {
            pids: self.pid.clone(),
            executables: self.exe.iter().map(Pattern::new).collect(),
            commands: Vec::new(),
            containers: self.container.clone(),
            cgroups: self.cgroup.clone(),
        }
    }
}

/// Samples until the time is over, the command has ended, or a signal says so.
fn sample(
    collection: &mut Collection,
    limit: Option<Duration>,
    mut child: Option<&mut Child>,
    stop: &AtomicBool,
) -> Result<(), CliError> {
    let start = Instant::now();
    let mut progress = std::io::stderr().is_terminal().then_some(start);
    while !stop.load(Ordering::Acquire)
        && limit.is_none_or(|limit| start.elapsed() < limit)
        && child.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(None)))
    {
        collection.round().map_err(|error| CliError::System { what: "waiting for samples", error })?;
        if let Some(next) = progress.filter(|next| Instant::now() >= *next) {
            progress = Some(next + PROGRESS);
            line(start.elapsed(), limit, collection.taken());
        }
    }
    if progress.is_some() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    Ok(())
}

/// The line of progress, over the one before it.
fn line(elapsed: Duration, limit: Option<Duration>, samples: u64) {
    let of = limit.map(|limit| format!(" of {:.0}", limit.as_secs_f64())).unwrap_or_default();
    // Standard error is a terminal, but it may be gone.
    let _ = write!(
        std::io::stderr(),
        "\r\x1b[Ksampling: {:.1}{of} s, {samples} samples; stop with Ctrl-C",
        elapsed.as_secs_f64()
    );
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
