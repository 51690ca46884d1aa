//! What became of every message, on both sides.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! stats {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// Counters of what agents tell each other. Each only grows, and can be read at any time from any thread.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: AtomicU64,)+
        }

        impl Stats {
            /// Name and value of each.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.load(Relaxed))),+].into_iter()
            }
        }
    };
}

stats! {
    /// Contexts that were sent to a peer, each peer counted.
    told,
    /// Contexts that a peer has acknowledged.
    acknowledged,
    /// Contexts that no peer acknowledged in time: most are lost, of some only the acknowledgement is.
    unacknowledged,
    /// Contexts that were sent again because no acknowledgement came.
    resent,
    /// Contexts that were sent to several peers because none is known for the address.
    broadcast,
    /// Contexts for which no peer is known: what asks no host with an agent is told nobody.
    no_peer,
    /// Trace states left out because they are too long.
    state_left_out,
    /// Contexts heard from peers.
    heard,
    /// Contexts heard that found their request.
    applied,
    /// Contexts heard whose request never came: of a connection that is unknown or not traced here.
    unknown,
    /// The same of contexts that their sender has told to several peers: all but one have to be unknown.
    not_mine,
    /// Contexts heard whose request had been let go without one.
    late,
    /// Contexts heard again.
    duplicate,
    /// Requests that were held, and for which none came in time.
    missed,
    /// Datagrams sent.
    datagrams_sent,
    /// Their bytes, without those of UDP and IP.
    bytes_sent,
    /// Datagrams received, whatever they are.
    datagrams_received,
    /// Their bytes, without those of UDP and IP.
    bytes_received,
    /// Datagrams that were not sealed with the key: forged or damaged, or the sender has another key.
    forged,
    /// Datagrams that came again, or so late that this cannot be told.
    replayed,
    /// Datagrams that are no message, or make no sense.
    malformed,
    /// Datagrams of a version that is not understood.
    other_version,
    /// Datagrams for another agent, or one that ran here before.
    misdirected,
    /// Peers found.
    found,
    /// Peers found anew because they had been started again.
    restarted,
    /// Peers that have fallen silent or have said that they stop.
    gone,
    /// Addresses at which no agent has answered.
    unanswered,
    /// Datagrams that the network refused to take.
    send_failed,
    /// Contexts dropped because the capture thread was faster than the thread that sends, or the other way round.
    queue_full,
    /// Contexts dropped because as much is kept for acknowledgement as may be.
    backlog_full,
    /// Requests and contexts forgotten because so many wait for each other.
    waiting_full,
    /// Peers and addresses not taken in because there are so many.
    peers_full,
    /// Connections on which an agent has said by a TCP option where it is.
    greeted,
    /// What was said so and is no address of an agent, or one where this one may not look, or more than it looks for at a time.
    greeting_refused,
    /// Connections on whose way sequence numbers are rewritten, as such an option has shown.
    rewritten,
}

/// Counts so many more.
pub(super) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}
