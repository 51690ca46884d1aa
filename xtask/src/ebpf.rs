//! Builds the kernel programs with nightly Rust and `bpf-linker`. The object is committed, so that only who changes `ebpf/` needs
//! those two; `--check` proves that the committed object is what the sources give.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

/// Where the object is committed.
const PREBUILT: &str = "ebpf/prebuilt/geophone.bpf.o";

#[derive(clap::Args)]
pub struct Args {
    /// Fail when the committed object is not what the sources give, instead of replacing it
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let root = root()?;
    let built = build(&root)?;
    let prebuilt = root.join(PREBUILT);
    if args.check {
        let (new, old) = (std::fs::read(&built)?, std::fs::read(&prebuilt).context(PREBUILT)?);
        ensure!(new == old, "{PREBUILT} is not what ebpf/ gives: run `cargo xtask ebpf` and commit the result");
        println!("{PREBUILT} is what ebpf/ gives ({} bytes)", old.len());
    } else {
        std::fs::create_dir_all(prebuilt.parent().context("no parent")?)?;
        std::fs::copy(&built, &prebuilt)?;
        println!("{PREBUILT}: {} bytes", std::fs::metadata(&prebuilt)?.len());
    }
    Ok(())
}

/// The workspace's folder.
pub fn root() -> anyhow::Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?.to_owned())
}

/// Whether what building needs is installed.
pub fn can_build() -> bool {
    let works = |program: &str, args: &[&str]| {
        Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
    };
    works("cargo", &["+nightly", "--version"]) && works("bpf-linker", &["--version"])
}

fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let target = root.join("target/bpf");
    // Paths in debug information must not depend on where the checkout is.
    let flags = [
        // Offsets of registers come in at run time: which architecture is named here makes no difference to the object.
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--remap-path-prefix={}=.", root.display()),
    ];
    let status = Command::new("cargo")
        .current_dir(root)
        .args(["+nightly", "build", "--quiet", "--release", "--locked", "--package", "geophone-ebpf"])
        .args(["--features", "programs", "--bin", "geophone-programs"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .status()
        .context("cargo +nightly")?;
    ensure!(status.success(), "the kernel programs do not build; docs/development.md says what building them needs");
    let built = target.join("bpfel-unknown-none/release/geophone-programs");
    let stripped = target.join("geophone.bpf.o");
    // The debug sections are five sixths of the object; the loader needs only `.BTF`.
    for strip in ["llvm-strip-22", "llvm-strip"] {
        match Command::new(strip).args(["--strip-debug", "-o"]).arg(&stripped).arg(&built).status() {
            Ok(status) if status.success() => return Ok(stripped),
            Ok(status) => bail!("{strip}: {status}"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(strip),
        }
    }
    bail!("llvm-strip was not found: install LLVM 22");
}
