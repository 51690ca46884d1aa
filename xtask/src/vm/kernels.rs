//! The kernels that geophone is tried on: Debian's, one per series and architecture. How they are fetched and booted is
//! elsewhere.

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// A processor architecture, with its name in each of the tools that ask for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// Debian's name.
    pub fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The name that Rust and QEMU use.
    pub fn machine(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The Rust target whose programs run in the guest without any library.
    pub fn target(self) -> String {
        format!("{}-unknown-linux-gnu", self.machine())
    }

    /// Whether this is the architecture of the machine that we run on.
    pub fn is_host(self) -> bool {
        std::env::consts::ARCH == self.machine()
    }
}

/// A kernel to boot.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Version up to the second number, `5.10`.
    pub series: &'static str,
    /// The Debian suite that has it.
    pub suite: &'static str,
    /// What it runs on.
    pub arch: Arch,
}

impl Kernel {
    const fn new(name: &'static str, series: &'static str, suite: &'static str, arch: Arch) -> Self {
        Self { name, series, suite, arch }
    }
}

/// The oldest kernel that is supported, the newest that there is, and the long-term ones between them. On aarch64 there
/// is at least one on each side of Linux 6.3, where the socket tracepoints appeared.
pub static KERNELS: [Kernel; 8] = [
    Kernel::new("5.10", "5.10", "bullseye", Arch::X86_64),
    Kernel::new("6.1", "6.1", "bookworm", Arch::X86_64),
    Kernel::new("6.12", "6.12", "trixie", Arch::X86_64),
    Kernel::new("7.2", "7.2", "forky", Arch::X86_64),
    Kernel::new("5.10-arm64", "5.10", "bullseye", Arch::Aarch64),
    Kernel::new("6.1-arm64", "6.1", "bookworm", Arch::Aarch64),
    Kernel::new("6.12-arm64", "6.12", "trixie", Arch::Aarch64),
    Kernel::new("7.2-arm64", "7.2", "forky", Arch::Aarch64),
];

/// Reads the name of a kernel, for clap: `--help` lists them all.
pub fn parser() -> impl TypedValueParser<Value = &'static Kernel> {
    PossibleValuesParser::new(KERNELS.iter().map(|kernel| kernel.name))
        .try_map(|name| KERNELS.iter().find(|kernel| kernel.name == name).ok_or("no such kernel"))
}
