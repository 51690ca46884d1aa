//! `cargo xtask vm`: boots Debian's kernels in QEMU and runs the smoke test, or any command, in them. Needs root only to
//! install QEMU; the rest runs as anyone, without network once the kernels are in the cache.

mod build;
mod image;
mod kernels;
mod packages;
mod qemu;
mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use image::Initramfs;
use kernels::{Arch, KERNELS, Kernel};
use qemu::{Accelerator, Guest};
use report::{Check, Row};

/// Boots another kernel in a virtual machine, and runs the smoke test or any command in it.
///
/// The guest has busybox, the agent as /bin/geophone and the smoke test as /bin/geophone-smoke, all pseudo file systems
/// mounted, the loopback interface up, and no disk and no network. The status is the command's.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The kernels to boot, one after the other.
    #[arg(value_name = "KERNEL", value_parser = kernels::parser(), required_unless_present = "all")]
    kernels: Vec<&'static Kernel>,
    /// Takes every kernel. With the smoke test, it prints the table for docs/kernels.md.
    #[arg(long, conflicts_with = "kernels")]
    all: bool,
    /// What to run in the guest, by its shell where it is a single word, for example `'uname -a; dmesg'`.
    #[arg(last = true)]
    command: Vec<String>,
    /// Adds a file of this machine to the guest; without a path it goes to /root.
    #[arg(long, value_name = "FILE[:GUEST_PATH]")]
    add: Vec<String>,
    /// Takes this static agent instead of building one.
    #[arg(long, value_name = "FILE", conflicts_with = "no_agent")]
    agent: Option<PathBuf>,
    /// Leaves the agent and the smoke test out, for a quick look at a kernel.
    #[arg(long, requires = "command")]
    no_agent: bool,
    /// Shows what firmware and kernel say, and QEMU's command line.
    #[arg(long)]
    debug: bool,
    /// How the guest is executed.
    #[arg(long, value_enum, default_value = "tcg")]
    accel: Accelerator,
    /// Processors of the guest.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Memory of the guest, in MiB.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..))]
    memory: u32,
    /// Words for the kernel's command line, for example `lockdown=confidentiality`.
    #[arg(long, default_value = "", hide_default_value = true)]
    append: String,
    /// Kills the guest after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Looks for newer kernel packages than those in the cache.
    #[arg(long)]
    refresh: bool,
    /// Address of a Debian archive; the one that this machine's apt uses when not given.
    #[arg(long, value_name = "URI")]
    mirror: Option<String>,
}

/// Runs the subcommand.
///
/// # Errors
/// When something needed is missing and cannot be installed or built, when a guest does not end in time, and when its
/// command, or any check of the smoke test, fails.
pub fn run(args: &Args) -> Result<()> {
    let workshop = Workshop::new(args)?;
    let kernels: Vec<&Kernel> = if args.all { KERNELS.iter().collect() } else { args.kernels.clone() };
    if !args.command.is_empty() {
        return kernels.into_iter().try_for_each(|kernel| command(&workshop, kernel));
    }
    let rows: Vec<Row<'_>> = kernels.into_iter().map(|kernel| smoke(&workshop, kernel)).collect();
    print!("{}", report::table(&rows));
    verdict(&rows)
}

fn command(workshop: &Workshop<'_>, kernel: &Kernel) -> Result<()> {
    let outcome = workshop.boot(kernel, &workshop.args.command, |line| println!("{line}"))?;
    for complaint in &outcome.complaints {
        eprintln!("vm: {}: the kernel complains: {complaint}", kernel.name);
    }
    ensure!(outcome.status == 0, "{}: the command ended with status {}", kernel.name, outcome.status);
    Ok(())
}

fn smoke<'a>(workshop: &Workshop<'_>, kernel: &'a Kernel) -> Row<'a> {
    let mut checks = Vec::new();
    let command = ["/bin/geophone-smoke".to_owned(), "check".to_owned()];
    let outcome = workshop.boot(kernel, &command, |line| {
        checks.extend(Check::read(line));
        eprintln!("{}: {line}", kernel.name);
    });
    Row { kernel, outcome, checks }
}

fn verdict(rows: &[Row<'_>]) -> Result<()> {
    let failed: Vec<&Row<'_>> = rows.iter().filter(|row| !row.passed()).collect();
    for row in &failed {
        for fault in row.faults() {
            eprintln!("vm: {}: {fault}", row.kernel.name);
        }
    }
    ensure!(failed.is_empty(), "{} of {} kernels failed", failed.len(), rows.len());
    Ok(())
}

/// Where guests are put together.
struct Workshop<'a> {
    args: &'a Args,
    target: PathBuf,
    cache: PathBuf,
}

impl<'a> Workshop<'a> {
    fn new(args: &'a Args) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not in a workspace")?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target = std::path::absolute(target)?;
        let cache = target.join("vm");
        fs::create_dir_all(&cache)?;
        Ok(Self { args, target, cache })
    }

    /// Boots `kernel`, runs `command` in it, and hands on what it prints.
    fn boot(&self, kernel: &Kernel, command: &[String], line: impl FnMut(&str)) -> Result<qemu::Outcome> {
        let args = self.args;
        let emulator = format!("qemu-system-{}", kernel.arch.machine());
        let package = match kernel.arch {
            Arch::X86_64 => "qemu-system-x86",
            Arch::Aarch64 => "qemu-system-arm",
        };
        packages::ensure_installed(&[(&emulator, package)])?;
        let boot = packages::fetch(kernel, &self.cache, args.refresh, args.mirror.as_deref())?;
        let initramfs = self.cache.join(format!("{}.cpio", kernel.name));
        fs::write(&initramfs, self.initramfs(kernel.arch, &boot.busybox, command)?)?;
        eprintln!("vm: {}: booting {}", kernel.name, boot.package);
        let guest = Guest {
            arch: kernel.arch,
            kernel: &boot.vmlinuz,
            initramfs: &initramfs,
            append: &args.append,
            accelerator: args.accel,
            cpus: args.cpus,
            memory: args.memory,
            limit: Duration::from_secs(args.timeout),
            debug: args.debug,
        };
        let outcome = guest.run(line);
        fs::remove_file(&initramfs)?;
        outcome
    }

    fn initramfs(&self, arch: Arch, busybox: &Path, command: &[String]) -> Result<Vec<u8>> {
        let mut image = Initramfs::default();
        for folder in ["dev", "proc", "sys", "run", "tmp", "root", "etc"] {
            image.folder(folder);
        }
        image.file("init", 0o755, include_bytes!("init.sh"));
        image.file("command", 0o644, script(command).as_bytes());
        image.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
        image.host_file("bin/busybox", busybox)?;
        if !self.args.no_agent {
            let agent = match &self.args.agent {
                Some(agent) => agent.clone(),
                None => build::program("geophone", arch, &self.target)?,
            };
            image.host_file("bin/geophone", &agent)?;
            image.host_file("bin/geophone-smoke", &build::program("geophone-smoke", arch, &self.target)?)?;
        }
        for added in &self.args.add {
            let (from, to) = match added.split_once(':') {
                Some((from, to)) => (Path::new(from), to.trim_start_matches('/').to_owned()),
                None => {
                    let from = Path::new(added);
                    let name = from.file_name().with_context(|| format!("{added} is not a file"))?;
                    (from, format!("root/{}", name.to_string_lossy()))
                }
            };
            image.host_file(&to, from)?;
        }
        Ok(image.finish())
    }
}

fn script(command: &[String]) -> String {
    match command {
        [line] => format!("{line}\n"),
        words => {
            let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
            format!("{}\n", quoted.join(" "))
        }
    }
}

/// Runs a program of this machine to its end and returns what it printed.
fn tool(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}): {}", output.status, said.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
