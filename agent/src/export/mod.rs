//! Export: finished [`Span`]s, and profiles, out, to one or several outputs, each with a bounded queue and its own counters.
//!
//! The producer is a plain thread that calls [`Outputs::send`]; everything else runs on tokio, or on threads of its own.

mod deliver;
mod health;
pub mod json;
mod lines;
pub mod otlp;
pub mod profiles;
mod queue;
mod retry;
#[cfg(test)]
mod sample;
mod signal;
mod stats;
#[cfg(test)]
mod tests;
mod text;

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::JoinHandle,
};

use self::{
    deliver::{Carrier, Delivery},
    otlp::{
        Otlp,
        config::{Config, ConfigError},
    },
    queue::Queue,
};
pub use self::{
    lines::Format,
    queue::{Limits, WhenFull},
    retry::RetryPolicy,
    signal::{Item, Signal},
    stats::{DropReason, FailureKind, Snapshot, Stats},
    text::Layout,
};
use crate::trace::Span;

/// An output that cannot be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No thread can be started for it.
    #[error("no thread can be started for an output: {0}")]
    Thread(#[from] io::Error),
}

/// Where spans go, or profiles. Dropped without [`Outputs::shutdown`], what is still queued is lost.
#[derive(Debug)]
pub struct Outputs<T = Span> {
    runtime: Handle,
    ending: watch::Sender<bool>,
    outputs: Vec<Output<T>>,
}

#[derive(Debug)]
struct Output<T> {
    name: &'static str,
    queue: Arc<Queue<T>>,
    worker: Worker,
}

#[derive(Debug)]
enum Worker {
    Task(JoinHandle<()>),
    Thread(oneshot::Receiver<()>),
}

impl<T: Item> Outputs<T> {
    /// No output yet. Their work is done on `runtime`.
    #[must_use]
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, ending: watch::Sender::new(false), outputs: Vec::new() }
    }

    fn add<C: Carrier<Item = T>>(&mut self, name: &'static str, carrier: C, limits: Limits, retry: RetryPolicy) {
        let stats = Arc::<Stats>::default();
        let queue = Queue::new(limits, Arc::clone(&stats));
        let delivery = Delivery::new(carrier, retry, stats, self.ending.subscribe());
        let worker = Worker::Task(self.runtime.spawn(delivery.run(Arc::clone(&queue))));
        self.outputs.push(Output { name, queue, worker });
    }

    /// Hands items to every output, and leaves `items` empty with its memory, to be filled again. Never waits, unless an
    /// output was added with [`WhenFull::Wait`]. One lock per call and output: better called with all items of a round than
    /// with each alone.
    pub fn send(&self, items: &mut Vec<T>) {
        if items.is_empty() {
            return;
        }
        if let Some((last, others)) = self.outputs.split_last() {
            for output in others {
                output.queue.offer(&mut items.clone());
            }
            last.queue.offer(items);
        }
        items.clear();
    }

    /// Name and counters of every output, in the order in which they were added. The counters can be read for as long as
    /// they are kept, after shutdown too.
    #[must_use]
    pub fn stats(&self) -> Vec<(&'static str, Arc<Stats>)> {
        self.outputs.iter().map(|output| (output.name, Arc::clone(output.queue.stats()))).collect()
    }

    /// Ends in stages: nothing more is taken in; what is queued is delivered for as long as `time` allows; the rest is
    /// dropped and counted. Afterwards every item that was ever sent is settled.
    pub async fn shutdown(self, time: Duration) {
        let deadline = Instant::now() + time;
        self.ending.send_replace(true);
        for output in &self.outputs {
            output.queue.close(DropReason::Shutdown);
        }
        for output in self.outputs {
            match output.worker {
                Worker::Task(mut task) => {
                    if tokio::time::timeout_at(deadline.into(), &mut task).await.is_err() {
                        task.abort();
                    }
                }
                Worker::Thread(end) => {
                    // A thread that is blocked in a write cannot be ended: it is left behind.
                    let _ = tokio::time::timeout_at(deadline.into(), end).await;
                }
            }
            output.queue.abandon(DropReason::Shutdown);
        }
    }
}

impl<T: Signal> Outputs<T> {
    /// Adds an OTLP receiver. Does not wait for it: it need not be there.
    ///
    /// # Errors
    /// The settings for TLS are not valid.
    pub fn add_otlp(&mut self, config: &Config, limits: Limits, retry: RetryPolicy) -> Result<(), StartError> {
        let inside = self.runtime.enter();
        let otlp = Otlp::<T>::new(config)?;
        drop(inside);
        self.add("otlp", otlp, limits, retry);
        Ok(())
    }
}

impl Outputs {
    /// Adds a stream of lines. It may block, or be closed by its reader, without harm.
    ///
    /// # Errors
    /// No thread can be started for it.
    pub fn add_lines(
        &mut self,
        format: Format,
        stream: Box<dyn Write + Send>,
        limits: Limits,
    ) -> Result<(), StartError> {
        let name = match format {
            Format::Text(_) => "text",
            Format::Json => "json",
        };
        let queue = Queue::new(limits, Arc::default());
        let worker = Worker::Thread(lines::start(&self.runtime, Arc::clone(&queue), format, stream)?);
        self.outputs.push(Output { name, queue, worker });
        Ok(())
    }
}
