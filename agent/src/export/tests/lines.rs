//! Lines to streams that fail, or block.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use tokio::runtime::Handle;

use super::{Running, limits};
use crate::export::{DropReason, Format, Limits, Outputs, WhenFull};

fn running(stream: impl Write + Send + 'static, limits: Limits) -> Running {
    let mut outputs = Outputs::new(Handle::current());
    outputs.add_lines(Format::Json, Box::new(stream), limits).unwrap();
    Running::new(outputs)
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn lines(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|byte| **byte == b'\n').count()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes nothing until its other end says so, or is gone.
struct Blocked(mpsc::Receiver<()>);

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Failing(io::ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

#[tokio::test]
async fn writes_a_line_for_each_span() {
    let stream = Shared::default();
    let running = running(stream.clone(), limits());
    running.send(100);
    assert_eq!((running.settled().await.exported, stream.lines()), (100, 100));
    running.send(1);
    let (counted, _) = running.ended(Duration::from_secs(5)).await;
    assert_eq!((counted.exported, stream.lines()), (101, 101));
}

#[tokio::test]
async fn several_outputs_get_every_span() {
    let streams = [Shared::default(), Shared::default()];
    let mut outputs = Outputs::new(Handle::current());
    for stream in &streams {
        outputs.add_lines(Format::Json, Box::new(stream.clone()), limits()).unwrap();
    }
    let mut spans = super::batch(50);
    outputs.send(&mut spans);
    assert!(spans.is_empty());
    outputs.shutdown(Duration::from_secs(5)).await;
    assert_eq!(streams.map(|stream| stream.lines()), [50, 50]);
}

#[tokio::test]
async fn a_closed_pipe_ends_the_output_quietly() {
    for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull] {
        let running = running(Failing(kind), limits());
        running.send(10);
        let counted = running.settled().await;
        assert_eq!((counted.dropped_for(DropReason::OutputClosed), counted.failures.iter().sum()), (10, 1u64));
        running.send(10);
        let (counted, took) = running.ended(Duration::from_secs(5)).await;
        assert_eq!((counted.dropped_for(DropReason::OutputClosed), counted.failures.iter().sum()), (20, 1u64));
        assert!(took < Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_blocked_stream_blocks_neither_the_producer_nor_shutdown() {
    let (go, blocked) = mpsc::sync_channel(1);
    let running = running(Blocked(blocked), Limits { spans: 100, ..limits() });
    let began = std::time::Instant::now();
    for _ in 0..1_000 {
        running.send(10);
    }
    assert!(began.elapsed() < Duration::from_secs(2));
    let (stats, counted) = (Arc::clone(&running.stats), running.ended(Duration::from_millis(200)).await.0);
    assert_eq!(counted.dropped_for(DropReason::QueueFull), 9_900);
    assert_eq!(counted.dropped_for(DropReason::Shutdown), 100);
    // What is written later was counted already.
    drop(go);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(stats.snapshot(), counted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_may_wait_loses_nothing() {
    let stream = Shared::default();
    let patient = Limits { spans: 10, when_full: WhenFull::Wait, ..limits() };
    let running = running(stream.clone(), patient);
    let running = tokio::task::spawn_blocking(move || {
        for _ in 0..100 {
            running.send(25);
        }
        running
    });
    let (counted, _) = running.await.unwrap().ended(Duration::from_secs(5)).await;
    assert_eq!((counted.exported, stream.lines()), (2_500, 2_500));
}
