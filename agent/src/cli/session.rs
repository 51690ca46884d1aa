//! One run from its first probe to its account: what `run` and `demo` share.

use std::{
    path::{Path, PathBuf},
    process::{Child, ExitCode},
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use super::{
    CliError,
    capture::CaptureArgs,
    inject::key,
    logger,
    output::OutputSettings,
    profile::write,
    select::SelectArgs,
    send::{self, Receivers},
};
use crate::{
    bpf::{Context, Inject, Kernel, Options},
    doctor::{self, Machine},
    export::profiles::Sink,
    peer::{Contexts, Transport, TransportSettings, offer},
    pipeline::Pipeline,
    process::{self, Host, Selector},
    profile::{Output, Periods, Profiler, Start, report},
    run::{Account, Capture, Finished, Recorder, Settings, sample_clock, write_summary},
};

/// How long outputs may take to deliver what is queued when the agent stops; with the rest, it stops within five seconds.
const FLUSH: Duration = Duration::from_millis(3500);
/// The same for what sends profiles, after that.
const FLUSH_PROFILES: Duration = Duration::from_millis(500);
/// How often it is looked whether a command has ended, and whether the capture still runs.
const LOOK: Duration = Duration::from_millis(50);

/// A run that is under way.
pub struct Session {
    runtime: Runtime,
    capture: Capture,
    /// It was said that what ran already is known.
    is_ready: bool,
    peers: Option<Transport>,
    signals: [Signal; 3],
    profiles: Vec<Output>,
    sink: Option<Arc<Sink>>,
}

/// What is traced besides what the flags say.
pub struct Target {
    /// Which processes.
    pub selector: Selector,
    /// What this process starts.
    pub children: bool,
    /// How the agent talks to those of other hosts, if it does.
    pub peers: Option<TransportSettings>,
    /// Whether requests carry contexts in TCP options.
    pub contexts: Option<Contexts>,
    /// The bpffs on which other profilers find what threads work for, if they are to know it.
    pub share_context: Option<PathBuf>,
    /// Whether what is traced is sampled, too.
    pub sampling: Option<Sampling>,
    /// Into whose requests contexts are written, if into any, and whether also where that breaks something.
    pub inject: Option<(Selector, bool)>,
}

/// Sampling beside tracing.
pub struct Sampling {
    /// Samples a second on each processor.
    pub frequency: u32,
    /// Where the profile goes at the end.
    pub outputs: Vec<Output>,
    /// Where profiles go meanwhile, and how often.
    pub receivers: Option<(Receivers, Duration)>,
}

impl Session {
    /// Checks the host, loads and attaches the probes, and says so.
    pub fn start(
        select: &SelectArgs,
        capture: &CaptureArgs,
        output: &OutputSettings,
        target: Target,
        record: Option<&Path>,
    ) -> Result<Self, CliError> {
        logger::start(capture.debug_kernel);
        check(&select.processes.pid)?;
        raise_limits();
        let shared = capture.shared()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("geophone-export")
            .enable_all()
            .build()
            .map_err(|error| CliError::System { what: "threads", error })?;
        let outputs = output.start(runtime.handle())?;
        let system = |error| CliError::System { what: "signals", error };
        let inside = runtime.enter();
        let signals = [
            signal(SignalKind::interrupt()).map_err(system)?,
            signal(SignalKind::terminate()).map_err(system)?,
            signal(SignalKind::hangup()).map_err(system)?,
        ];
        drop(inside);

        let context = target.share_context.as_deref().map(Context::open).transpose()?;
        let host = Host::read(Path::new("/"));
        let recorder = record.map(|path| {
            let failed = |error| CliError::File { path: path.display().to_string(), error };
            Recorder::create(PathBuf::from(path), &host).map_err(failed)
        });
        let recorder = recorder.transpose()?;
        let processes = process::Settings { host, ..process::Settings::default() };
        let mut tracer = capture.tracer(sample_clock())?;
        let selective = target.children || !target.selector.is_everything();
        let report_exec = target.selector.depends_on_programs();
        let frequency = target.sampling.as_ref().map(|sampling| sampling.frequency);
        let greets = target.peers.as_ref().and_then(|peers| peers.greets.clone());
        let contexts = target.contexts;
        let key = match target.inject.is_some() || contexts.is_some() {
            true => Some(key().map_err(|error| CliError::System { what: "random numbers", error })?),
            false => None,
        };
        key.into_iter().for_each(|key| tracer.set_inject_key(key));
        let inject =
            key.zip(target.inject.as_ref()).map(|(key, (_, unsafe_too))| Inject { key, unsafe_too: *unsafe_too });
        let options = Options {
            sampling: frequency,
            greets: greets.is_some() || contexts.is_some(),
            contexts: key.filter(|_| contexts.is_some()),
            inject,
            ..capture.options(select, selective, report_exec)
        };
        let mut kernel = Kernel::load(&options)?;
        let front_end = kernel.front_end();
        let sampled = processes.clone();
        let mut pipeline = Pipeline::new(capture.limits(), shared, tracer, process::Table::new(processes));
        let peers = match target.peers {
            Some(settings) => {
                let (peers, transport) = Transport::start(settings)?;
                pipeline.set_peers(peers);
                Some(transport)
            }
            None => None,
        };
        match (&peers, &greets, &contexts) {
            (Some(transport), Some(greets), _) => {
                let greeting = transport.said(greets).greeting(greets.anywhere, contexts.is_some());
                kernel.greet(&greets.group, greeting)?;
            }
            (_, _, Some(contexts)) => kernel.greet(&contexts.group, offer(contexts.anywhere))?,
            _ => {}
        }
        let Target { selector, children, sampling, inject, .. } = target;
        let inject = inject.map(|(selector, _)| selector);
        let (mut profiles, mut sink, mut start) = (Vec::new(), None, None);
        if let Some(Sampling { frequency, outputs, receivers }) = sampling {
            profiles = outputs;
            let mut periods = None;
            if let Some((receivers, every)) = receivers {
                let sending = Arc::new(receivers.start(runtime.handle())?);
                sink = Some(Arc::clone(&sending));
                periods = Some(Periods { every, to: Box::new(move |profile| sending.hand_over(profile)) });
            }
            start = Some(Start { processes: sampled, frequency, periods });
        }
        let tls = !capture.no_tls;
        let settings =
            Settings { kernel, pipeline, selector, children, tls, recorder, context, sampling: start, inject };
        let mut capture = Capture::start(settings, outputs)?;
        if let Some(peers) = &peers {
            anstream::eprintln!("talking to the agents of other hosts on {} (UDP)", peers.address());
        }
        let is_ready = capture.is_ready();
        if !is_ready {
            anstream::eprintln!(
                "still looking at what runs already: until then, tasks and TLS of some processes are not read"
            );
        }
        anstream::eprintln!("capturing by {front_end}; spans go to {}; stop with Ctrl-C", output.describe());
        Ok(Self { runtime, capture, is_ready, peers, signals, profiles, sink })
    }

    /// Waits for a signal, the end of `child`, or of the time. Returns whether it was a signal.
    pub fn wait(&mut self, duration: Option<Duration>, mut child: Option<&mut Child>) -> bool {
        let Self { runtime, capture, is_ready, signals: [interrupt, terminate, hangup], .. } = self;
        runtime.block_on(async {
            let end = async {
                match duration {
                    Some(duration) => tokio::time::sleep(duration).await,
                    None => std::future::pending().await,
                }
            };
            let look = async {
                loop {
                    tokio::time::sleep(LOOK).await;
                    if !*is_ready && capture.is_ready() {
                        *is_ready = true;
                        anstream::eprintln!("what ran already is known now");
                    }
                    if capture.has_failed() || child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
                    {
                        break;
                    }
                }
            };
            tokio::select! {
                () = end => false,
                () = look => false,
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                _ = hangup.recv() => true,
            }
        })
    }

    /// Stops, delivers what is left, and gives account.
    pub fn finish(self) -> Result<ExitCode, CliError> {
        let finished = self.capture.stop().map_err(|error| CliError::System { what: "capture", error })?;
        let Finished { outputs, mut pipeline, counters, undecodable, recorded, runtimes, unreadable, profiler } =
            finished;
        let stats = outputs.stats();
        let peers = self.peers.map(|peers| {
            let stats = Arc::clone(peers.stats());
            peers.stop();
            stats
        });
        self.runtime.block_on(outputs.shutdown(FLUSH));
        let account = Account {
            kernel: counters.ok(),
            undecodable,
            recorded,
            runtimes,
            unreadable,
            peers,
            ..Account::of(&mut pipeline, stats)
        };
        // Nobody may be there to read it.
        let _ = write_summary(&account, &mut anstream::stderr().lock());
        let written = match profiler {
            Some(profiler) => write_profile(profiler, self.profiles, self.sink, &self.runtime),
            None => Ok(()),
        };
        self.runtime.shutdown_background();
        written.map(|()| ExitCode::SUCCESS)
    }
}

/// Names what was sampled since it was sent last, writes or sends it, and says what became of the samples.
fn write_profile(
    profiler: Profiler,
    outputs: Vec<Output>,
    sink: Option<Arc<Sink>>,
    runtime: &Runtime,
) -> Result<(), CliError> {
    let (profile, counts) = profiler.finish().map_err(|error| CliError::System { what: "sampling", error })?;
    let _ = report::summary(&profile, counts, &mut anstream::stderr().lock());
    for output in outputs {
        write(output, |output| output.write(&profile))?;
    }
    // The thread that handed it profiles has ended.
    if let Some(sink) = sink.and_then(Arc::into_inner) {
        sink.hand_over(profile);
        send::finish(sink, runtime.handle(), FLUSH_PROFILES);
    }
    Ok(())
}

/// Whether this host lets probes be attached, and these processes are there.
pub(super) fn check(pids: &[u32]) -> Result<(), CliError> {
    if let Err(problems) = doctor::preflight(&Machine::read(Path::new("/")))
        && let Some(first) = problems.into_iter().next()
    {
        return Err(first.into());
    }
    let is_there = |pid: &&u32| Path::new("/proc").join(pid.to_string()).exists();
    match pids.iter().find(|pid| !is_there(pid)) {
        Some(missing) => Err(CliError::NoProcess(*missing)),
        None => Ok(()),
    }
}

/// Raises what the agent may need more of, as far as it may. Failing is no reason not to start.
pub(super) fn raise_limits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    // Before Linux 5.11, maps are charged against this one.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}
