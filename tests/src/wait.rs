//! Waiting for something with a deadline, and keeping tests that load the machine apart from the others.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a test waits for what should come at once, on a machine that may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks every few milliseconds until there is an answer.
///
/// # Errors
/// When there is none within `limit`; `what` says what was waited for.
pub fn until<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain for {what}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

static MACHINE: RwLock<()> = RwLock::new(());

/// Held by a test that can share the machine with others of its kind.
pub fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held by a test that loads the machine, or counts what is in the kernel: no other test runs meanwhile.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}
