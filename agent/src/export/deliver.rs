//! Takes batches from a `Queue` and delivers them: in parts if they are too large, again and again if the receiver is busy or away, and
//! settles each. How items become requests, and what is made of answers, is a [`Carrier`]'s.

use std::{io, sync::Arc, time::Instant};

use tokio::{sync::watch, task::JoinSet};

use super::{
    health::Health,
    queue::{Batch, Queue},
    retry::{Failure, Retry, RetryPolicy},
    signal::Item,
    stats::{DropReason, FailureKind, Stats},
};

/// Most requests on their way at once, so that a receiver far away does not limit the rate.
const IN_FLIGHT: usize = 4;

/// What a receiver said that has the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It took the items, but so many.
    Accepted {
        /// Items refused (partial success).
        rejected: u64,
        /// Why, or a warning; may be empty.
        message: String,
    },
    /// It said something else, described here.
    Unconfirmed(String),
}

/// How items become requests to a receiver, and what is made of its answers.
pub trait Carrier: Send + Sync + 'static {
    /// What is carried.
    type Item: Item;
    /// An encoded batch; may be sent several times.
    type Request: Clone + Send + Sync;

    /// How the log calls the receiver.
    fn name(&self) -> &str;

    /// Encodes a batch.
    ///
    /// # Errors
    /// The compressor's.
    fn request(&self, items: &[Self::Item]) -> io::Result<Self::Request>;

    /// Sends a request.
    ///
    /// # Errors
    /// It did not arrive, was not answered in time, or was refused.
    fn send(&self, request: Self::Request) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

/// An output that sends requests.
#[derive(Debug)]
pub struct Delivery<C> {
    carrier: C,
    retry: RetryPolicy,
    stats: Arc<Stats>,
    health: Health,
    /// Turns true when the agent is to end.
    ending: watch::Receiver<bool>,
}

impl<C: Carrier> Delivery<C> {
    /// By this carrier.
    pub fn new(carrier: C, retry: RetryPolicy, stats: Arc<Stats>, ending: watch::Receiver<bool>) -> Self {
        let health = Health::new(C::Item::NAME, carrier.name().to_owned());
        Self { carrier, retry, stats, health, ending }
    }
    /// Delivers all that comes out of the queue, until it is closed and empty.
    pub async fn run(self, queue: Arc<Queue<C::Item>>) {
        let output = Arc::new(self);
        let mut deliveries = JoinSet::new();
        while let Some(batch) = queue.next().await {
            while deliveries.len() >= IN_FLIGHT {
                deliveries.join_next().await;
            }
            while deliveries.try_join_next().is_some() {}
            let output = Arc::clone(&output);
            deliveries.spawn(async move { output.deliver(batch).await });
        }
        while deliveries.join_next().await.is_some() {}
    }

    /// Delivers one batch, in parts if it is too large.
    async fn deliver(&self, batch: Batch<C::Item>) {
        let mut parts = vec![batch];
        while let Some(batch) = parts.pop() {
            let request = match self.carrier.request(batch.items()) {
                Ok(request) => request,
                Err(error) => {
                    self.health.failed(&format!("compression failed: {error}"));
                    batch.dropped(DropReason::Refused);
                    continue;
                }
            };
            match self.send(request).await {
                Ok(Answer::Accepted { rejected, message }) => {
                    if rejected > 0 {
                        self.health.rejected(rejected, &message);
                    }
                    batch.exported(usize::try_from(rejected).unwrap_or(usize::MAX));
                }
                Ok(Answer::Unconfirmed(_)) => batch.dropped(DropReason::Unconfirmed),
                Err(failure) if failure.kind == FailureKind::TooLarge => match batch.split() {
                    Ok((first, second)) => parts.extend([second, first]),
                    Err(batch) => batch.dropped(DropReason::TooLarge),
                },
                Err(failure) if failure.retry == Retry::Never => {
                    batch.dropped(DropReason::Refused);
                }
                Err(_) if *self.ending.borrow() => batch.dropped(DropReason::Shutdown),
                Err(_) => batch.dropped(DropReason::RetriesExhausted),
            }
        }
    }

    /// Sends a request until it is answered, or there is no more time.
    async fn send(&self, request: C::Request) -> Result<Answer, Failure> {
        let began = Instant::now();
        let mut attempts = 0;
        let mut ending = self.ending.clone();
        loop {
            self.stats.request();
            let failure = match self.carrier.send(request.clone()).await {
                Ok(Answer::Unconfirmed(message)) => {
                    self.stats.failed(FailureKind::BadAnswer, &message);
                    self.health.failed(&message);
                    return Ok(Answer::Unconfirmed(message));
                }
                Ok(answer) => {
                    self.health.recovered();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            attempts += 1;
            self.stats.failed(failure.kind, &failure.message);
            if failure.kind == FailureKind::TooLarge {
                return Err(failure);
            }
            self.health.failed(&failure.message);
            let Some(wait) = self.retry.wait(failure.retry, attempts, began.elapsed()) else {
                return Err(failure);
            };
            // Who ends does not wait for a receiver that is not there. One that is asks for time: it gets what is left.
            if *ending.borrow() && failure.kind == FailureKind::Unreachable {
                return Err(failure);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // Once more now, for the last time.
                () = ended(&mut ending), if failure.kind == FailureKind::Unreachable => {}
            }
            self.stats.retry();
        }
    }
}

/// Waits for the agent to end.
async fn ended(ending: &mut watch::Receiver<bool>) {
    if ending.wait_for(|ending| *ending).await.is_err() {
        // Nobody is left who could say so.
        std::future::pending::<()>().await;
    }
}
