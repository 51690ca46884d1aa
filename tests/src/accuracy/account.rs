//! Processor time of the agent.

use std::fs;

use anyhow::{Context as _, Result};

/// Processor time that a process's threads have used, in microseconds, as the scheduler counts it.
///
/// # Errors
/// When there is no such process.
pub fn cpu_micros(pid: u32) -> Result<f64> {
    let mut total = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while the directory is read.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let nanos: f64 = text.split_whitespace().next().and_then(|word| word.parse().ok()).context("schedstat")?;
        total += nanos / 1000.0;
    }
    Ok(total)
}
