//! What the agent has to say of itself: one line each on standard error.

use log::{LevelFilter, Log, Metadata, Record};

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries are heard when something is wrong.
        metadata.target().starts_with("geophone") || metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            anstream::eprintln!("geophone: {}", record.args());
        }
    }

    fn flush(&self) {}
}

/// Starts logging. With `kernel`, the kernel programs are heard too.
pub fn start(kernel: bool) {
    // Fails when it was started before: then it works already.
    let _ = log::set_logger(&Logger);
    log::set_max_level(if kernel { LevelFilter::Debug } else { LevelFilter::Info });
}
