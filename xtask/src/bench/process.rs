//! Processes that take part: started on a processor of their own with precedence over what else the machine does, measured, and ended.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::{
    process::{Pid, Signal, kill_process},
    time::{ClockId, clock_gettime},
};

/// How much precedence: a benchmark shares the machine with builds.
const NICE: &str = "-20";
/// Where a session's share of the processors is set: `nice` counts among the processes of one session only, unless this is
/// switched off (`kernel.sched_autogroup_enabled`).
const SESSION: &str = "/proc/self/autogroup";

/// Gives this session precedence as long as it lives.
pub struct Precedence(Option<String>);

impl Precedence {
    pub fn take() -> Self {
        // "/autogroup-17 nice 0"; nothing where there are no such groups, and then there is nothing to do.
        let before = fs::read_to_string(SESSION).ok().and_then(|text| Some(text.split_whitespace().nth(2)?.to_owned()));
        Self(before.filter(|_| fs::write(SESSION, NICE).is_ok()))
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        if let Some(before) = &self.0
            && let Err(error) = fs::write(SESSION, before)
        {
            eprintln!("{SESSION} stays at {NICE}: {error}");
        }
    }
}

/// A command that will run on one processor.
pub fn command(core: usize, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), "nice", "-n", NICE]).arg(program.as_ref());
    command.stdin(Stdio::null());
    command
}

/// A process that ends with this value.
#[derive(Debug)]
pub struct Owned(pub Child);

impl Owned {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end, and waits for that.
    pub fn end(&mut self, signal: Signal, patience: Duration) -> anyhow::Result<()> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).context("a strange process id")?;
        kill_process(pid, signal)?;
        let deadline = Instant::now() + patience;
        while self.0.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("process {} does not end", self.0.id());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // It may have ended meanwhile.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Processor time that this thread has used.
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Processor time that a process's threads have used, in nanoseconds, as the scheduler counts it.
pub fn cpu_time(pid: u32) -> anyhow::Result<f64> {
    let mut total = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let nanos: u64 = text.split_whitespace().next().and_then(|word| word.parse().ok()).context("schedstat")?;
        total += nanos as f64;
    }
    Ok(total)
}

/// What of memory a process has, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// At its peak, all that was resident.
    pub peak: f64,
    /// Now, what it allocated.
    pub anonymous: f64,
    /// Now, all that is resident.
    pub resident: f64,
    /// In the kernel, for its BPF maps.
    pub maps: f64,
}

/// Reads them.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kib.map(|kib| kib * 1024.0).with_context(|| format!("/proc/{pid}/status says nothing of {name}"))
    };
    let mut maps = 0.0;
    let mut counted = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed while the directory is read.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        if let (Some(id), Some(bytes)) = (value("map_id:"), value("memlock:"))
            && !counted.contains(&id)
        {
            counted.push(id);
            maps += bytes as f64;
        }
    }
    Ok(Memory { peak: field("VmHWM:")?, anonymous: field("RssAnon:")?, resident: field("VmRSS:")?, maps })
}
