//! Where things are: the workspace, what `cargo xtask setup` installed, the binaries under test.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// The workspace's root.
#[must_use]
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// A program or folder that `cargo xtask setup` put under `target/e2e/`.
///
/// # Errors
/// When it is not there.
pub fn installed(name: &str) -> Result<PathBuf> {
    let path = workspace().join("target/e2e").join(name);
    if !path.exists() {
        bail!("{} is missing: run `cargo xtask setup` first", path.display());
    }
    Ok(path)
}

/// A program of the machine, by its name.
///
/// # Errors
/// When it is not in `PATH` nor in the system's folders.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed: run `cargo xtask setup` first"))
}

/// A source file of a service under `tests/services/`.
#[must_use]
pub fn service(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("services").join(name)
}

/// A helper binary of this package, which cargo builds beside the test binaries.
///
/// # Errors
/// When it is not there.
pub fn helper(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find the path of this test binary")?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.with_context(|| format!("the helper binary {name} is not beside {}", own.display()))
}

/// The agent: `$GEOPHONE`, else the newest of the workspace's release and debug builds.
///
/// # Errors
/// When there is none.
pub fn agent() -> Result<PathBuf> {
    if let Some(path) = env::var_os("GEOPHONE") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("GEOPHONE names {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    ["release", "debug"]
        .map(|profile| target.join(profile).join("geophone"))
        .into_iter()
        .filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file)))
        .max()
        .map(|(_, file)| file)
        .context("no geophone binary: run `cargo build --release`, or set GEOPHONE to its path")
}
