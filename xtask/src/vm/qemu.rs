//! Runs one guest under QEMU: its console, its time limit and its end. What the guest holds is decided elsewhere.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::kernels::Arch;

/// What begins the lines that the guest's first process says to the host.
const MARK: &str = "=== geophone vm: ";

/// How the guest's instructions are executed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Accelerator {
    /// Software emulation: works everywhere, for every architecture.
    Tcg,
    /// The processor's virtualisation: fast, for the architecture of this machine only.
    Kvm,
}

/// A guest to boot.
pub struct Guest<'a> {
    /// The processor to emulate.
    pub arch: Arch,
    /// The kernel image.
    pub kernel: &'a Path,
    /// Its first file system.
    pub initramfs: &'a Path,
    /// More words for the kernel's command line.
    pub append: &'a str,
    /// How to execute it.
    pub accelerator: Accelerator,
    /// Processors.
    pub cpus: u32,
    /// Memory, in MiB.
    pub memory: u32,
    /// From the start of QEMU to the end of the guest; then it is killed.
    pub limit: Duration,
    /// Show all that the guest's firmware and kernel say.
    pub debug: bool,
}

/// What came out of a guest.
#[derive(Debug)]
pub struct Outcome {
    /// The guest's `uname -r`.
    pub release: String,
    /// Exit status of the command.
    pub status: i32,
    /// From the start of QEMU to the start of the command.
    pub boot: Duration,
    /// From the start of the command to its end.
    pub command: Duration,
    /// Warnings and worse in the guest's kernel log.
    pub complaints: Vec<String>,
}

impl Guest<'_> {
    /// Boots the guest, hands each line of the command's output to `line` as it comes, and waits for the end.
    ///
    /// # Errors
    /// When QEMU cannot be started, when the time is over, or when the guest ends without saying how its command ended
    /// (a kernel panic): the message then has the end of its console.
    pub fn run(&self, mut line: impl FnMut(&str)) -> Result<Outcome> {
        let begin = Instant::now();
        let mut command = self.command();
        if self.debug {
            eprintln!("vm: {command:?}");
        }
        let mut process = Process(command.spawn().context("cannot start QEMU")?);
        let lines = process.lines().context("QEMU has no console")?;
        let mut console = Console::default();
        while console.status.is_none() {
            let left = self.limit.saturating_sub(begin.elapsed());
            match lines.recv_timeout(left) {
                Ok(text) => console.take(&text, begin, self.debug, &mut line),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the guest died; its last words:\n{}", console.tail())
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the guest was killed after {} s; its last words:\n{}", self.limit.as_secs(), console.tail())
                }
            }
        }
        console.outcome().context("the guest ended before its command began")
    }

    fn command(&self) -> Command {
        // `setpriv` has the kernel end QEMU when this process ends, however it does.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(format!("qemu-system-{}", self.arch.machine()))
            .args(self.arguments());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    fn arguments(&self) -> Vec<OsString> {
        let (machine, processor, console) = match self.arch {
            Arch::X86_64 => ("pc", "max", "ttyS0"),
            Arch::Aarch64 => ("virt", "cortex-a57", "ttyAMA0"),
        };
        let (accelerator, processor) = match self.accelerator {
            Accelerator::Tcg => ("tcg,thread=multi", processor),
            Accelerator::Kvm => ("kvm", "host"),
        };
        let talk = if self.debug { "ignore_loglevel geophone.debug" } else { "quiet" };
        let append = format!("console={console} panic=-1 {talk} {}", self.append);
        let cpus = self.cpus.to_string();
        let memory = self.memory.to_string();
        let mut arguments: Vec<OsString> = Vec::new();
        for (option, value) in [
            ("-machine", machine),
            ("-accel", accelerator),
            ("-cpu", processor),
            ("-smp", &cpus),
            ("-m", &memory),
            ("-display", "none"),
            ("-monitor", "none"),
            ("-serial", "stdio"),
            ("-append", append.trim_end()),
        ] {
            arguments.extend([option.into(), value.into()]);
        }
        arguments.extend(["-nodefaults".into(), "-no-reboot".into()]);
        arguments.extend(["-kernel".into(), self.kernel.into(), "-initrd".into(), self.initramfs.into()]);
        arguments
    }
}

/// QEMU; it does not outlive this value.
struct Process(Child);

impl Process {
    fn lines(&mut self) -> Option<Receiver<String>> {
        let mut console = BufReader::new(self.0.stdout.take()?);
        let (sender, receiver) = sync_channel(1024);
        thread::spawn(move || {
            let mut bytes = Vec::new();
            while console.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                bytes.clear();
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
        Some(receiver)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the console has said so far.
#[derive(Default)]
struct Console {
    begun: Option<(String, Duration)>,
    ended: Duration,
    status: Option<i32>,
    complaints: Vec<String>,
    last: Vec<String>,
}

impl Console {
    /// Lines of the console that an error message repeats.
    const LAST: usize = 60;

    fn take(&mut self, text: &str, begin: Instant, debug: bool, line: &mut impl FnMut(&str)) {
        if self.last.len() == Self::LAST {
            self.last.remove(0);
        }
        self.last.push(text.to_owned());
        // Firmware leaves escape sequences before the first line.
        let said = text.split_once(MARK).map(|(_, said)| said.split_once(' ').unwrap_or((said, "")));
        match said {
            Some(("begin", release)) => self.begun = Some((release.to_owned(), begin.elapsed())),
            Some(("kernel", complaint)) => self.complaints.push(complaint.to_owned()),
            Some(("end", status)) => {
                self.ended = begin.elapsed();
                self.status = Some(status.parse().unwrap_or(-1));
            }
            _ if self.begun.is_some() => line(text),
            _ if debug => eprintln!("{text}"),
            _ => {}
        }
    }

    fn tail(&self) -> String {
        self.last.join("\n")
    }

    fn outcome(self) -> Option<Outcome> {
        let (release, boot) = self.begun?;
        let command = self.ended.saturating_sub(boot);
        Some(Outcome { release, status: self.status?, boot, command, complaints: self.complaints })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> (Console, Vec<String>) {
        let mut console = Console::default();
        let mut output = Vec::new();
        for text in lines {
            console.take(text, Instant::now(), false, &mut |line| {
                output.push(line.to_owned());
            });
        }
        (console, output)
    }

    #[test]
    fn only_the_command_is_heard_and_its_status_is_kept() {
        let (console, output) = read(&[
            "SeaBIOS",
            "\u{1b}c=== geophone vm: begin 6.1.0-50-amd64",
            "hello",
            "=== geophone vm: kernel WARNING: CPU: 0",
            "=== geophone vm: end 3",
        ]);
        assert_eq!(output, ["hello"]);
        let outcome = console.outcome().unwrap();
        assert_eq!((outcome.release.as_str(), outcome.status), ("6.1.0-50-amd64", 3));
        assert_eq!(outcome.complaints, ["WARNING: CPU: 0"]);
    }

    #[test]
    fn a_guest_that_says_nothing_has_no_outcome() {
        let (console, output) = read(&["Kernel panic - not syncing", "Rebooting"]);
        assert!(output.is_empty() && console.status.is_none());
        assert!(console.tail().contains("Kernel panic"));
    }
}
