//! Outputs that are lines of a stream: takes batches from a `Queue` and writes them, on a thread of its own, because a
//! terminal or a pipe may block for as long as its reader likes.

use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
    thread,
};

use tokio::{runtime::Handle, sync::oneshot};

use super::{
    json,
    queue::{Batch, Queue},
    stats::{DropReason, FailureKind},
    text::Layout,
};

/// How a span becomes a line.
#[derive(Clone, Debug)]
pub enum Format {
    /// For people.
    Text(Layout),
    /// For scripts.
    Json,
}

/// Writes all that comes out of the queue, until it is closed and empty, or the stream is closed by its reader.
/// What is returned resolves when the thread has ended.
///
/// # Errors
/// No thread can be started.
pub fn start(
    runtime: &Handle,
    queue: Arc<Queue>,
    format: Format,
    stream: Box<dyn Write + Send>,
) -> io::Result<oneshot::Receiver<()>> {
    let (ended, end) = oneshot::channel();
    let runtime = runtime.clone();
    thread::Builder::new().name("geophone-lines".to_owned()).spawn(move || {
        let mut stream = BufWriter::with_capacity(64 * 1024, stream);
        while let Some(batch) = runtime.block_on(queue.next()) {
            match write(&batch, &format, &mut stream) {
                Ok(()) => batch.exported(0),
                Err(error) => {
                    close(&queue, batch, &error);
                    break;
                }
            }
        }
        // Whoever waits may have stopped waiting.
        let _ = ended.send(());
        // What is still buffered was not taken: writing it again would fail, or block.
        let _ = stream.into_parts();
    })?;
    Ok(end)
}

fn write(batch: &Batch, format: &Format, stream: &mut BufWriter<Box<dyn Write + Send>>) -> io::Result<()> {
    for span in batch.items() {
        match format {
            Format::Text(layout) => layout.write(span, stream)?,
            Format::Json => json::write(span, stream)?,
        }
    }
    stream.flush()
}

/// Ends the output: the stream does not take any more. Some of `batch` may have been read; it counts as dropped.
fn close(queue: &Queue, batch: Batch, error: &io::Error) {
    queue.stats().failed(FailureKind::Refused, &error.to_string());
    if error.kind() == io::ErrorKind::BrokenPipe {
        log::info!("the output's reader has closed it: no more spans are written");
    } else {
        log::error!("spans cannot be written: {error}; no more are written");
    }
    queue.close(DropReason::OutputClosed);
    batch.dropped(DropReason::OutputClosed);
    queue.abandon(DropReason::OutputClosed);
}
