//! The queue by itself: bounds, batches, settling.

use std::{sync::Arc, time::Duration};

use super::batch;
use crate::export::{DropReason, Limits, Snapshot, Stats, queue::Queue, sample, signal::Item as _};

fn queue(limits: Limits) -> (Arc<Queue>, Arc<Stats>) {
    let stats = Arc::<Stats>::default();
    (Queue::new(limits, Arc::clone(&stats)), stats)
}

fn limits() -> Limits {
    Limits { spans: 100, batch_spans: 40, interval: Duration::from_secs(3_600), ..Limits::default() }
}

fn dropped(stats: &Stats, reason: DropReason) -> u64 {
    stats.snapshot().dropped_for(reason)
}

#[tokio::test]
async fn drops_the_newest_beyond_its_bounds() {
    let (queue, stats) = queue(limits());
    queue.offer(&mut batch(90));
    queue.offer(&mut batch(30));
    assert_eq!(dropped(&stats, DropReason::QueueFull), 20);
    let first = queue.next().await.unwrap();
    assert_eq!(first.items().len(), 40);
    queue.offer(&mut batch(1));
    assert_eq!(dropped(&stats, DropReason::QueueFull), 21, "what is on its way counts");
    first.exported(0);
    queue.offer(&mut batch(41));
    assert_eq!(dropped(&stats, DropReason::QueueFull), 22);
    assert_eq!(stats.snapshot().pending(), 100);
}

#[tokio::test]
async fn is_bounded_in_bytes_too() {
    let bytes = sample::server().weight() * 3;
    let (queue, stats) = queue(Limits { bytes, ..limits() });
    queue.offer(&mut vec![sample::server(); 5]);
    assert_eq!((stats.snapshot().pending(), dropped(&stats, DropReason::QueueFull)), (3, 2));

    let (queue, stats) = self::queue(Limits { bytes: 1, ..limits() });
    queue.offer(&mut vec![sample::server(); 2]);
    assert_eq!(stats.snapshot().pending(), 1, "one span always fits");
}

#[tokio::test]
async fn batches_are_bounded_in_bytes() {
    let batch_bytes = sample::server().weight() * 2;
    let (queue, _) = queue(Limits { batch_bytes, ..limits() });
    queue.offer(&mut vec![sample::server(); 5]);
    queue.close(DropReason::Shutdown);
    let mut sizes = Vec::new();
    while let Some(batch) = queue.next().await {
        sizes.push(batch.items().len());
    }
    assert_eq!(sizes, [2, 2, 1]);
}

#[tokio::test]
async fn hands_on_after_the_interval() {
    let (queue, _) = queue(Limits { interval: Duration::from_millis(30), ..limits() });
    let began = std::time::Instant::now();
    queue.offer(&mut batch(1));
    assert_eq!(queue.next().await.unwrap().items().len(), 1);
    assert!(began.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn a_consumer_that_waits_is_woken() {
    let (queue, _) = queue(Limits { interval: Duration::from_millis(5), ..limits() });
    let consumer = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move {
            let mut spans = 0;
            while let Some(batch) = queue.next().await {
                spans += batch.items().len();
                batch.exported(0);
            }
            spans
        }
    });
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(3)).await;
        queue.offer(&mut batch(7));
    }
    queue.close(DropReason::Shutdown);
    assert_eq!(consumer.await.unwrap(), 140);
}

#[tokio::test]
async fn a_batch_that_is_thrown_away_is_counted() {
    let (queue, stats) = queue(limits());
    queue.offer(&mut batch(40));
    let (first, second) = queue.next().await.unwrap().split().unwrap();
    first.dropped(DropReason::Refused);
    drop(second);
    assert_eq!(dropped(&stats, DropReason::Refused), 20);
    assert_eq!(dropped(&stats, DropReason::Shutdown), 20);
    assert_eq!(stats.snapshot().pending(), 0);
}

#[tokio::test]
async fn what_comes_after_the_end_is_counted_once() {
    let (queue, stats) = queue(limits());
    queue.offer(&mut batch(50));
    let out = queue.next().await.unwrap();
    queue.abandon(DropReason::Shutdown);
    out.exported(0);
    queue.abandon(DropReason::Shutdown);
    queue.offer(&mut batch(5));
    assert!(queue.next().await.is_none());
    let Snapshot { offered, exported, .. } = stats.snapshot();
    assert_eq!((offered, exported, dropped(&stats, DropReason::Shutdown)), (55, 0, 55));
}
