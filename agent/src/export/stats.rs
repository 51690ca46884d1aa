//! What became of every span that an output was given. Can be read at any time, from any thread.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Why spans were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The queue was full: the receiver is too slow, or away for too long.
    QueueFull,
    /// The receiver took the request and refused some of its spans (partial success).
    Rejected,
    /// The receiver refused the request in a way that no retry mends.
    Refused,
    /// Retried for as long as is allowed.
    RetriesExhausted,
    /// A single span that is too large for the receiver.
    TooLarge,
    /// Answered with success, but by nothing that speaks OTLP: whether the spans arrived is not known.
    Unconfirmed,
    /// Not delivered when the time for shutting down was over.
    Shutdown,
    /// The output was closed by whoever read it.
    OutputClosed,
}

impl DropReason {
    /// All of them, in the order of [`Snapshot::dropped`].
    pub const ALL: [Self; 8] = [
        Self::QueueFull,
        Self::Rejected,
        Self::Refused,
        Self::RetriesExhausted,
        Self::TooLarge,
        Self::Unconfirmed,
        Self::Shutdown,
        Self::OutputClosed,
    ];

    /// Name for metrics and summaries.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::RetriesExhausted => "retries_exhausted",
            Self::TooLarge => "too_large",
            Self::Unconfirmed => "unconfirmed",
            Self::Shutdown => "shutdown",
            Self::OutputClosed => "output_closed",
        }
    }
}

/// In which way an attempt to deliver failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection, or it broke: nothing is known to have arrived.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The receiver asks for patience.
    Busy,
    /// The receiver refuses for good.
    Refused,
    /// The request is larger than the receiver takes.
    TooLarge,
    /// An answer that is not OTLP.
    BadAnswer,
}

impl FailureKind {
    /// All of them, in the order of [`Snapshot::failures`].
    pub const ALL: [Self; 6] =
        [Self::Unreachable, Self::TimedOut, Self::Busy, Self::Refused, Self::TooLarge, Self::BadAnswer];

    /// Name for metrics and summaries.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::BadAnswer => "bad_answer",
        }
    }
}

/// Counters of one output: `offered = exported + dropped + pending`.
#[derive(Debug, Default)]
pub struct Stats {
    offered: AtomicU64,
    exported: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    requests: AtomicU64,
    retries: AtomicU64,
    failures: [AtomicU64; FailureKind::ALL.len()],
    last_error: Mutex<Option<String>>,
}

/// The values of [`Stats`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Spans that the output was given.
    pub offered: u64,
    /// Spans that were taken by the receiver.
    pub exported: u64,
    /// Spans dropped, by [`DropReason`] in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Attempts to deliver a batch.
    pub requests: u64,
    /// Those of them that repeat an earlier one.
    pub retries: u64,
    /// Attempts that failed, by [`FailureKind`] in the order of [`FailureKind::ALL`].
    pub failures: [u64; FailureKind::ALL.len()],
    /// What was wrong the last time.
    pub last_error: Option<String>,
}

impl Stats {
    pub(super) fn offered(&self, spans: usize) {
        self.offered.fetch_add(spans as u64, Relaxed);
    }

    pub(super) fn exported(&self, spans: usize) {
        self.exported.fetch_add(spans as u64, Relaxed);
    }

    pub(super) fn dropped(&self, spans: usize, reason: DropReason) {
        for (counter, each) in self.dropped.iter().zip(DropReason::ALL) {
            if each == reason {
                counter.fetch_add(spans as u64, Relaxed);
            }
        }
    }

    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self, kind: FailureKind, error: &str) {
        for (counter, each) in self.failures.iter().zip(FailureKind::ALL) {
            if each == kind {
                counter.fetch_add(1, Relaxed);
            }
        }
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_owned());
    }

    /// The values now. What other threads count meanwhile may be in it in parts.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Snapshot {
            offered: read(&self.offered),
            exported: read(&self.exported),
            dropped: self.dropped.each_ref().map(read),
            requests: read(&self.requests),
            retries: read(&self.retries),
            failures: self.failures.each_ref().map(read),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

impl Snapshot {
    /// Spans dropped for one reason.
    #[must_use]
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        DropReason::ALL.iter().zip(self.dropped).find(|(each, _)| **each == reason).map_or(0, |(_, count)| count)
    }

    /// Attempts that failed in one way.
    #[must_use]
    pub fn failed_with(&self, kind: FailureKind) -> u64 {
        FailureKind::ALL.iter().zip(self.failures).find(|(each, _)| **each == kind).map_or(0, |(_, count)| count)
    }

    /// Spans dropped for whatever reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Spans that still wait in the queue, or for the receiver's answer.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.offered.saturating_sub(self.exported).saturating_sub(self.dropped_total())
    }
}
