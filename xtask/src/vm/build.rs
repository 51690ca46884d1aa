//! Builds the programs that run inside a guest: static, because an initramfs has no libraries.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use super::{kernels::Arch, packages, tool};

/// Builds `package` of this workspace for `arch` and returns its program, which has the package's name.
///
/// It is the release profile without link-time optimisation and debug information, which a guest has no use for and which
/// take minutes. Another architecture than the machine's is built with its standard library where rustup has installed
/// that, otherwise with nightly and the library's sources.
///
/// # Errors
/// When the build fails, or a cross compiler is missing and cannot be installed.
pub fn program(package: &str, arch: Arch, target_folder: &Path) -> Result<PathBuf> {
    let target = arch.target();
    let mut cargo = if arch.is_host() || has_standard_library(&target) {
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    } else {
        let mut nightly = Command::new("cargo");
        nightly.args(["+nightly", "-Zbuild-std=std,panic_abort"]).env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
        nightly
    };
    if !arch.is_host() {
        cross_compiler(arch, &target, &mut cargo)?;
    }
    cargo
        .args(["build", "--quiet", "--release", "--package", package, "--target", &target])
        .arg("--target-dir")
        .arg(target_folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo");
    eprintln!("vm: building {package} for {target}");
    tool(&mut cargo)?;
    let program = target_folder.join(target).join("release").join(package);
    ensure!(program.exists(), "cargo built no {}", program.display());
    Ok(program)
}

/// Whether the default toolchain can build for `target` without more.
fn has_standard_library(target: &str) -> bool {
    let query = tool(Command::new("rustc").args(["--print", "target-libdir", "--target", target]));
    query.is_ok_and(|folder| Path::new(folder.trim()).exists())
}

/// Has `cargo` link with the cross compiler; C sources in dependencies need it too.
fn cross_compiler(arch: Arch, target: &str, cargo: &mut Command) -> Result<()> {
    let machine = arch.machine();
    let compiler = format!("{machine}-linux-gnu-gcc");
    let package = format!("gcc-{}-linux-gnu", machine.replace('_', "-"));
    let library = format!("libc6-dev-{}-cross", arch.debian());
    packages::ensure_installed(&[(&compiler, &package), (&compiler, &library)])?;
    let name = target.replace('-', "_");
    cargo.env(format!("CARGO_TARGET_{}_LINKER", name.to_uppercase()), &compiler);
    cargo.env(format!("CC_{name}"), &compiler);
    Ok(())
}
