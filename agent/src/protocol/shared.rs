//! What all sessions share: how they are configured, and the counters of what they could not understand.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::http::Routes;

/// The configuration and the counters of a group of sessions, usually all of them.
#[derive(Debug)]
pub struct Shared {
    /// Bytes of each call that are captured unless a decoder asks for another amount.
    pub capture: u32,
    /// How paths become routes.
    pub routes: Routes,
    /// Whether client spans carry `url.template`, by the same heuristic as routes, in attributes and name.
    pub client_templates: bool,
    /// Whether ids in paths and queries are told, by which a request and what it has caused may be known.
    pub link_values: bool,
    /// What went wrong, by reason.
    pub counts: Counts,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            capture: 1024,
            routes: Routes::default(),
            client_templates: false,
            link_values: true,
            counts: Counts::default(),
        }
    }
}

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// Events that no span tells of, or that a span tells of only in part. Each only grows.
        #[derive(Debug, Default)]
        pub struct Counts {
            $($(#[doc = $doc])+ pub $name: AtomicU64,)+
        }

        impl Counts {
            /// Name and value of each.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.load(Relaxed))),+].into_iter()
            }
        }
    };
}

counts! {
    /// Connections on which TLS was seen, which is left alone.
    given_up_tls,
    /// Of those, connections of which what is inside came from a TLS library after all.
    tls_decrypted,
    /// Connections given up: nothing that is known was found in time.
    given_up_unknown,
    /// Connections given up: a message broke the rules of its protocol, or was ambiguous.
    given_up_malformed,
    /// Connections left alone because their protocol was switched (`Upgrade`, `CONNECT`).
    switched,
    /// Connections left alone because they are the agent's own export.
    own,
    /// Connections whose first guess of a protocol was wrong.
    redetected,
    /// Times that the pairing of requests and responses was lost with missing bytes, and had to be found again.
    unpaired,
    /// Requests reported without their response although the connection had not ended: their response could not be told.
    flushed,
    /// Responses without a request that is known.
    orphans,
    /// Times that a connection had more outstanding requests than are kept.
    overflows,
    /// Message heads of which only a part was seen.
    truncated_heads,
    /// Request heads that never became complete.
    abandoned_heads,
    /// Header blocks with fields that could not be known, because they refer to what was sent before and not seen.
    unknown_fields,
    /// Times that the place in a stream of frames was lost with missing bytes, and had to be found again.
    lost_frames,
    /// Datagrams from or to a port of DNS that are no messages of it.
    datagrams_foreign,
    /// Datagrams of multicast DNS, whose questions nobody in particular answers.
    datagrams_multicast,
}

/// Counts one more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
