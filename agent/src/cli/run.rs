//! `geophone run`.

use std::{
    ffi::OsString,
    os::fd::AsFd as _,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use super::{
    CliError,
    capture::CaptureArgs,
    inject::InjectArgs,
    output::{OutputArgs, duration, period},
    peers::PeerArgs,
    select::SelectArgs,
    send::{PyroscopeArgs, Receivers},
    session::{Sampling, Session, Target},
};
use crate::{export::WhenFull, profile::Output};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    select: SelectArgs,
    #[command(flatten)]
    capture: CaptureArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    peers: PeerArgs,
    #[command(flatten)]
    inject: InjectArgs,
    /// Stop by itself after this time, such as 30s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Let other profilers on this host know which trace and span threads work for, by the map `otel/traces_ctx_v1` of OpenTelemetry eBPF
    /// Instrumentation on this bpffs (/sys/fs/bpf)
    #[arg(long, value_name = "BPFFS", num_args = 0..=1, require_equals = true, default_missing_value = "/sys/fs/bpf")]
    share_context: Option<PathBuf>,
    /// Also record what is captured, for `geophone replay`; it holds what was sent, credentials included
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Sample what is traced too, so many times a second on each processor (99), with the request that each sample was taken for
    #[arg(long, value_name = "HZ", num_args = 0..=1, default_missing_value = "99", help_heading = PROFILE)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    profile: Option<u32>,
    /// Where the profile goes at the end: NAME.pb.gz (pprof, with trace_id, span_id and endpoint as labels), NAME.svg (flame graph) or
    /// NAME.folded (text); may be given several times, and switches sampling on
    #[arg(long, value_name = "FILE", help_heading = PROFILE, conflicts_with_all = ["profile_otlp", "pyroscope"])]
    profile_output: Vec<PathBuf>,
    /// Send profiles while it goes on, by OTLP to where spans go, unless OTEL_EXPORTER_OTLP_PROFILES_* say otherwise; switches sampling on
    #[arg(long, help_heading = PROFILE)]
    profile_otlp: bool,
    #[command(flatten, next_help_heading = PROFILE)]
    pyroscope: PyroscopeArgs,
    /// How often profiles are sent
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = period, help_heading = PROFILE)]
    profile_interval: Duration,
    /// Start this command, and trace it and what it starts; its standard output goes to standard error
    // Not by its own name, which is that of `--command`.
    #[arg(last = true, id = "program", value_name = "COMMAND")]
    command: Vec<OsString>,
}

const PROFILE: &str = "Profile";
/// Samples a second when nothing else is said.
const FREQUENCY: u32 = 99;

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    let output = args.output.check(WhenFull::Drop)?;
    let peers = args.peers.check()?;
    let contexts = args.peers.contexts()?;
    let target = Target {
        selector: args.select.processes.selector(),
        children: !args.command.is_empty(),
        peers,
        contexts,
        share_context: args.share_context.clone(),
        sampling: args.sampling()?,
        inject: args.inject.check(),
    };
    let mut session = Session::start(&args.select, &args.capture, &output, target, args.record.as_deref())?;
    let mut child = match args.command.split_first() {
        Some((program, arguments)) => match spawn(program, arguments) {
            Ok(child) => Some(child),
            Err(error) => {
                session.finish()?;
                return Err(CliError::Start { command: program.to_string_lossy().into_owned(), error });
            }
        },
        None => None,
    };
    session.wait(args.duration, child.as_mut());
    let status = child.map(end);
    let done = session.finish()?;
    Ok(status.unwrap_or(done))
}

impl Args {
    fn sampling(&self) -> Result<Option<Sampling>, CliError> {
        let outputs = self.profile_output.iter().map(|path| Output::open(path)).collect::<Result<Vec<_>, _>>()?;
        let sends = self.profile_otlp || self.pyroscope.is_given();
        let receivers = || Receivers::new(self.profile_otlp, self.output.receiver(), &self.pyroscope);
        let receivers = sends.then(receivers).transpose()?.map(|receivers| (receivers, self.profile_interval));
        let frequency = self.profile.or((sends || !outputs.is_empty()).then_some(FREQUENCY));
        Ok(frequency.map(|frequency| Sampling { frequency, outputs, receivers }))
    }
}

pub(super) fn spawn(program: &OsString, arguments: &[OsString]) -> std::io::Result<Child> {
    // Standard output belongs to the spans.
    let stdout = std::io::stderr().as_fd().try_clone_to_owned()?;
    Command::new(program).args(arguments).stdout(Stdio::from(stdout)).spawn()
}

/// Ends a command that still runs: asks it first. Returns its exit status.
pub(super) fn end(mut child: Child) -> ExitCode {
    let deadline = Instant::now() + Duration::from_secs(1);
    if matches!(child.try_wait(), Ok(None)) {
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = child.kill();
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    match child.wait().ok().and_then(|status| status.code()) {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    }
}
