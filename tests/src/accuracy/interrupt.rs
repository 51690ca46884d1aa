//! Ending early: services and agents must not stay behind, nor the namespaces that were made for them.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::child::children;

/// How long the suite may take to end by itself once its services are gone.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits for SIGINT and SIGTERM in a thread of its own. Then the services and agents are ended, so that what runs fails and clears up, and
/// the value that is returned becomes true, so that nothing else is begun.
///
/// # Errors
/// When signals cannot be waited for.
pub fn watch() -> Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&interrupted);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(entered);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        set.store(true, Ordering::Relaxed);
        for pid in children(process::id()) {
            if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
                // It may have ended meanwhile.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        thread::sleep(LIMIT);
        process::exit(1);
    });
    Ok(interrupted)
}
