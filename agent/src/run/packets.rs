//! A packet capture through the pipeline.

use super::replay::Course;
use crate::{
    conn,
    event::Nanos,
    packets::{File, FileError, Flows, Heard, Lookup, Segment, Stats, Unusable},
    pipeline::Pipeline,
    process::Facts,
    trace::{ClockSample, Span},
};

/// How long a segment waits for those before it: as long as a retransmission takes at first (RFC 6298, section 2.1).
const REORDER: Nanos = 1_000_000_000;
/// How long a connection that is over is remembered: what comes a second time then is no new one.
const LINGER: Nanos = 5_000_000_000;
/// What waits meanwhile, in bytes: a fast connection's window.
const HELD: usize = 4 << 20;

/// What came of a packet capture.
#[derive(Debug, Default)]
pub struct ReplayedPackets {
    /// What was seen.
    pub stats: Stats,
    /// The file ends in the middle of a packet.
    pub cut: bool,
}

/// The bounds of the connection stage for packets, which come in another order more often and later than calls do.
#[must_use]
pub fn packet_limits(limits: conn::Limits) -> conn::Limits {
    conn::Limits {
        reorder: REORDER,
        held: HELD,
        held_total: limits.held_total.max(64 * HELD),
        linger: LINGER,
        ..limits
    }
}

/// The clock of a packet capture, which is the time of day.
#[must_use]
pub fn packet_clock() -> ClockSample {
    ClockSample { before: 0, wall: 0, after: 0 }
}

/// Runs all packets through the pipeline; `each` is given the spans as they become complete, and empties the list. Time passes as the
/// packets say. `dns_ports`: where datagrams are lookups.
///
/// # Errors
/// When the file is damaged. What came before has been handed on. One that was only cut off is no error.
pub fn replay_packets(
    file: &mut File,
    pipeline: &mut Pipeline,
    dns_ports: &[u16],
    mut each: impl FnMut(&mut Vec<Span>),
) -> Result<ReplayedPackets, FileError> {
    let mut replayed = ReplayedPackets::default();
    let mut flows = Flows::default();
    let mut course = Course::default();
    let result = loop {
        let packet = match file.next() {
            Ok(Some(packet)) => packet,
            Ok(None) => break Ok(()),
            Err(FileError::Cut) => {
                replayed.cut = true;
                break Ok(());
            }
            Err(error) => break Err(error),
        };
        flows.stats.packets += 1;
        course.now = course.now.max(packet.time);
        let now = course.now;
        let mut hear = |heard: Heard<'_>| match heard {
            Heard::Server(server) => pipeline.processes().fill(
                Facts {
                    tgid: server.number,
                    imagined: true,
                    otel_service_name: Some(server.address.to_string()),
                    ..Facts::default()
                },
                now,
            ),
            Heard::Event(event) => pipeline.event(&event, &mut course.spans),
        };
        let taken = match Segment::of(&packet) {
            Ok(segment) => {
                flows.segment(now, &segment, &mut hear);
                Ok(())
            }
            Err(Unusable::Other) => Lookup::of(&packet, dns_ports).map(|lookup| flows.lookup(now, &lookup, &mut hear)),
            Err(why) => Err(why),
        };
        match taken {
            Ok(()) => {}
            Err(Unusable::Other) => flows.stats.other += 1,
            Err(Unusable::Fragment) => flows.stats.fragments += 1,
            Err(Unusable::Damaged) => flows.stats.damaged += 1,
        }
        course.go_on(pipeline, &mut each);
    };
    course.finish(pipeline, &mut each);
    replayed.stats = flows.stats;
    result.map(|()| replayed)
}
