//! The thread that reads the kernel side and runs the pipeline: no lock, and no waiting for anything but events.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{Recorder, sample_clock, select::Selection};
use crate::{
    bpf::{Context, Counters, Kernel, LoadError, decode},
    event::{Event, Life, Nanos},
    export::Outputs,
    opaque::Unreadable,
    pipeline::Pipeline,
    process::Selector,
    profile::{Profiler, Start},
    runtime::{self, Watch},
    trace::{Serving, Span},
};

/// Records taken from the rings before spans are handed on and advice is given.
const ROUND: usize = 4096;
/// How long the thread sleeps at most while events come, and while they do not. The kernel side wakes it when a ring fills up, and
/// for every new process.
const BUSY: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(100);
/// How long after the last event it counts as idle.
const IDLE_AFTER: Nanos = 1_000_000_000;
/// How long the start waits until the runtimes of what runs already are known.
const PATIENCE: Duration = Duration::from_secs(5);
const TICK: Nanos = 100_000_000;
/// The wall clock may be steered by milliseconds a second, in virtual machines above all.
const CLOCK: Nanos = 200_000_000;

/// What a capture is started with.
pub struct Settings {
    /// The loaded programs, not attached yet.
    pub kernel: Kernel,
    /// The stages.
    pub pipeline: Pipeline,
    /// Which processes.
    pub selector: Selector,
    /// What this process starts is traced too.
    pub children: bool,
    /// What is encrypted is read.
    pub tls: bool,
    /// Where to record.
    pub recorder: Option<Recorder>,
    /// Where other profilers read what threads work for, if that is wanted.
    pub context: Option<Context>,
    /// How it is sampled, if it is, as the programs were loaded.
    pub sampling: Option<Start>,
    /// Into whose requests contexts are written, if that is wanted; only of those that are traced.
    pub inject: Option<Selector>,
}

/// A capture that runs.
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Finished>,
    /// Told when what ran already is known, as long as it is not.
    looked: Option<Receiver<()>>,
}

/// What is left of a capture.
pub struct Finished {
    /// The outputs, to be shut down.
    pub outputs: Outputs,
    /// The stages, for their counters.
    pub pipeline: Pipeline,
    /// The kernel side's counters at the end.
    pub counters: Result<Counters, LoadError>,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Records written to a recording, and those that it missed.
    pub recorded: Option<(u64, u64)>,
    /// Processes whose tasks were looked for.
    pub runtimes: runtime::Counts,
    /// TLS connections that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// What was sampled, if anything was; what becomes of it takes a while.
    pub profiler: Option<Profiler>,
}

impl Capture {
    /// Attaches the programs and starts the thread: when this returns, everything is seen, but for what [`Self::is_ready`] says.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start(settings: Settings, outputs: Outputs) -> Result<Self, LoadError> {
        let Settings { mut kernel, mut pipeline, selector, children, tls, recorder, context, sampling, inject } =
            settings;
        let mut selection = Selection::new(selector, children);
        if context.is_some() {
            pipeline.watch_serving();
        }
        // First attach, then look at what there is: what begins in between is seen by both.
        kernel.attach()?;
        selection.scan(pipeline.processes());
        selection.apply(&mut kernel)?;
        let mut injection = inject.map(|selector| Selection::new(selector, false));
        if let Some(injection) = &mut injection {
            injection.scan(pipeline.processes());
            injection.marks().try_for_each(|(tgid, chosen)| kernel.choose(tgid, chosen))?;
        }
        let chosen = selection.chosen();
        let profiler = match sampling {
            Some(start) => {
                let (tables, chosen) = (kernel.take_tables(), chosen.clone().unwrap_or_default());
                let profiler = Profiler::start(start, tables, chosen)?;
                kernel.start_sampling()?;
                Some(profiler)
            }
            None => None,
        };
        let (runtimes, looked) = kernel.take_hooks().map(|hooks| Watch::start(hooks, chosen, tls)).transpose()?.unzip();
        let stop = Arc::new(AtomicBool::new(false));
        let mut worker = Worker {
            stop: Arc::clone(&stop),
            kernel,
            pipeline,
            selection,
            injection,
            over: Vec::new(),
            runtimes,
            recorder,
            context,
            profiler,
            outputs,
            spans: Vec::with_capacity(ROUND),
            undecodable: 0,
            last_event: 0,
            last_tick: 0,
            last_clock: 0,
        };
        let thread = thread::Builder::new().name("geophone-capture".to_owned()).spawn(move || {
            worker.run();
            worker.finish()
        })?;
        // Their tasks matter from the first request on; but nothing is worth waiting for long.
        let looked = looked.filter(|looked| looked.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout));
        Ok(Self { stop, thread, looked })
    }

    /// Whether the tasks and the TLS of what ran already are known. A busy host may take longer for that than the start waits.
    pub fn is_ready(&mut self) -> bool {
        if self.looked.as_ref().is_some_and(|looked| looked.try_recv() != Err(TryRecvError::Empty)) {
            self.looked = None;
        }
        self.looked.is_none()
    }

    /// Whether the thread has ended by itself, which it must not.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Takes what has come so far, ends what is under way, and stops.
    ///
    /// # Errors
    /// When the thread has failed, which it must not.
    pub fn stop(self) -> io::Result<Finished> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| io::Error::other("the capture thread failed"))
    }
}

struct Worker {
    stop: Arc<AtomicBool>,
    kernel: Kernel,
    pipeline: Pipeline,
    selection: Selection,
    injection: Option<Selection>,
    /// Sockets into whose requests no contexts are written any more.
    over: Vec<u64>,
    runtimes: Option<Watch>,
    recorder: Option<Recorder>,
    context: Option<Context>,
    profiler: Option<Profiler>,
    outputs: Outputs,
    spans: Vec<Span>,
    undecodable: u64,
    last_event: Nanos,
    last_tick: Nanos,
    last_clock: Nanos,
}

impl Worker {
    fn run(&mut self) {
        let mut young = false;
        while !self.stop.load(Ordering::Acquire) {
            let quiet = Kernel::now().saturating_sub(self.last_event) > IDLE_AFTER;
            let timeout = match (young, quiet) {
                // They are complete after this time, see `rings`.
                (true, _) => Duration::from_millis(1),
                (false, false) => BUSY,
                (false, true) => IDLE,
            };
            if let Err(error) = self.kernel.wait(timeout) {
                log::error!("waiting for events failed: {error}");
                thread::sleep(BUSY);
            }
            young = self.round();
            self.tick();
        }
    }

    /// Takes what is in the rings. Returns whether there is more, too young to be taken.
    fn round(&mut self) -> bool {
        loop {
            self.pipeline.hear(Kernel::now(), &mut self.spans);
            let Self { kernel, pipeline, selection, runtimes, recorder, profiler, spans, undecodable, .. } = self;
            let Self { injection, over, .. } = self;
            let (count, young) = kernel.drain(ROUND, |record| match decode::event(record) {
                Ok(event) => {
                    if let Event::Sample(sample) = &event {
                        if let Some(profiler) = profiler
                            && selection.admits(&event, pipeline.processes())
                        {
                            profiler.sample(record, |number| pipeline.sample(number, sample));
                        }
                        return;
                    }
                    if let (Event::Process(process), Some(profiler)) = (&event, &mut *profiler) {
                        profiler.process(process);
                    }
                    if let Event::Inject(inject) = &event
                        && inject.context.is_none()
                    {
                        over.push(inject.sock);
                    }
                    if take(record, &event, pipeline, selection, recorder.as_mut(), spans)
                        && let Event::Process(process) = &event
                    {
                        if let Some(runtimes) = &*runtimes {
                            runtimes.event(process);
                        }
                        if let Some(injection) = injection {
                            injection.note(process, pipeline.processes());
                        }
                    }
                }
                Err(_) => *undecodable += 1,
            });
            if count > 0 {
                self.last_event = Kernel::now();
            }
            for advice in self.pipeline.take_advice() {
                self.kernel.advise(advice.socket, advice.direction, advice.decrypted, advice.interest);
            }
            for tgid in self.pipeline.opaque().take_fresh() {
                if let Some(runtimes) = &self.runtimes {
                    runtimes.encrypted(tgid);
                }
            }
            for tgid in self.pipeline.take_puzzling() {
                if let Some(runtimes) = &self.runtimes {
                    runtimes.more(tgid);
                }
            }
            if let Err(error) = self.selection.apply(&mut self.kernel) {
                log::warn!("a process that was chosen is not traced: {error}");
            }
            self.inject();
            self.pipeline.tell();
            self.outputs.send(&mut self.spans);
            self.link();
            if count < ROUND {
                return young;
            }
        }
    }

    /// Hands on samples, and what they were taken for; tells others what threads work for.
    fn link(&mut self) {
        if let Some(context) = &mut self.context {
            for Serving { tgid, tid, of } in self.pipeline.take_serving() {
                context.set((tgid, tid), of);
            }
        }
        if let Some(profiler) = &mut self.profiler {
            self.pipeline.take_samples().for_each(|samples| profiler.settled(samples));
            profiler.flush();
        }
    }

    /// Tells the kernel side into whose requests contexts are to be written, and into which connections' no more.
    fn inject(&mut self) {
        self.over.drain(..).for_each(|sock| self.kernel.leave(sock));
        for (tgid, chosen) in self.injection.iter_mut().flat_map(Selection::marks) {
            if let Err(error) = self.kernel.choose(tgid, chosen) {
                log::warn!("no contexts are written into the requests of process {tgid}, which was chosen: {error}");
            }
        }
    }

    fn tick(&mut self) {
        let now = Kernel::now();
        if now.saturating_sub(self.last_tick) < TICK {
            return;
        }
        self.last_tick = now;
        if now.saturating_sub(self.last_clock) >= CLOCK {
            self.last_clock = now;
            let sample = sample_clock();
            self.pipeline.sample_clock(sample);
            if let Some(recorder) = &mut self.recorder {
                recorder.clock(sample);
            }
        }
        self.pipeline.tick(now, &mut self.spans);
        self.pipeline.tell();
        self.outputs.send(&mut self.spans);
        self.link();
    }

    fn finish(mut self) -> Finished {
        // What was sent just now is still too young to be taken.
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(1));
            self.round();
        }
        self.pipeline.finish(Kernel::now(), &mut self.spans);
        self.pipeline.tell();
        self.outputs.send(&mut self.spans);
        self.link();
        let encryption = self.runtimes.as_ref().map(Watch::encryption);
        let why = |tgid: u32| encryption.as_ref().map(|encryption| encryption(tgid)).unwrap_or_default();
        let unreadable = self.pipeline.opaque().unreadable(why);
        Finished {
            unreadable,
            counters: self.kernel.counters(),
            outputs: self.outputs,
            pipeline: self.pipeline,
            undecodable: self.undecodable,
            recorded: self.recorder.map(Recorder::finish),
            runtimes: self.runtimes.map(|runtimes| runtimes.counts()).unwrap_or_default(),
            profiler: self.profiler,
        }
    }
}

/// Takes one event. Whether it was wanted.
fn take(
    record: &[u8],
    event: &Event<'_>,
    pipeline: &mut Pipeline,
    selection: &mut Selection,
    recorder: Option<&mut Recorder>,
    spans: &mut Vec<Span>,
) -> bool {
    // First of all, because the process may end at any moment.
    if let Event::Process(process) = event
        && process.what == Life::Exec
    {
        pipeline.processes().apply(process);
    }
    if !selection.admits(event, pipeline.processes()) {
        return false;
    }
    if let Some(recorder) = recorder {
        recorder.record(record, event, pipeline.processes());
    }
    pipeline.event(event, spans);
    true
}
