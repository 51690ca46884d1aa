//! Rewrites what is expected of the recordings in `tests/recordings`, for review by `git diff`.

use std::process::Command;

use anyhow::ensure;

pub fn run() -> anyhow::Result<()> {
    let status = Command::new("cargo")
        .current_dir(crate::ebpf::root()?)
        .args(["test", "--quiet", "--package", "geophone", "--test", "recordings", "expected"])
        .env("UPDATE_EXPECT", "1")
        .status()?;
    ensure!(status.success(), "the recordings could not be replayed");
    println!("rewritten: review them with `git diff tests/recordings`");
    Ok(())
}
