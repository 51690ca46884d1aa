//! Nothing is lost: whatever happens, what is complete comes out.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::event::Injected;

/// Whatever happens next: what it is, on which thread or task, on which connection, and something else that it takes.
type Step = (u8, u32, u64, u64);

fn who(number: u32) -> Thread {
    match number {
        0..3 => thread(A, 101 + number),
        3 => task(A, 101, 7, 0),
        4 => task(A, 102, 8, 7),
        _ => thread(B, 201),
    }
}

/// A small world in which everything has happened that was to, the ends that are still open, and how many calls are complete.
fn happen(most: usize, steps: &[Step]) -> (World, Vec<(End, Side)>, u64) {
    let mut world = World::new();
    world.engine.limits.calls = most;
    let mut places = [[0; 4]; 2];
    let mut open = Vec::new();
    let mut complete = 0;
    for &(what, on, connection, more) in steps {
        let from = who(on);
        let mut next = |received: u64| {
            let place = &mut places[received as usize][connection as usize];
            *place += 1;
            End(20 + 2 * connection + received, *place)
        };
        // Contexts of few traces and spans, so that they meet.
        let context = origin(5 + u128::from(more), 70 + connection);
        match what {
            0..3 => {
                let end = next(1);
                open.push((end, Side::Server));
                world.ask(Side::Server, end, from, (what == 2).then_some(context), &[more]);
            }
            3..6 => {
                let end = next(0);
                open.push((end, Side::Client));
                if what == 5 {
                    let (trace, span) = (context.trace.id.to_bytes(), context.span.to_bytes());
                    world.engine.injected(&Injected { at: 0, trace, span, flags: 1 });
                }
                world.ask(Side::Client, end, from, (what != 3).then_some(context), &[more]);
            }
            6..9 if !open.is_empty() => {
                let (end, side) = if what == 8 { open.swap_remove(0) } else { open.remove(0) };
                world.end(side, end, from);
                complete += 1;
            }
            9 if !open.is_empty() => {
                let (end, side) = open[0];
                world.engine.answered(&Answered { id: id(end), side, time: world.now, thread: from });
            }
            10 => {
                let (sock, place) = (20 + 2 * connection, places[0][connection as usize] + 1);
                let how = match more {
                    0 => How::Clone,
                    1 => How::Wake(connection),
                    2 => How::Spawn,
                    3 => How::Claim { sock, place },
                    4 => How::Serve { sock: sock + 1, place },
                    5 => How::Connect(sock),
                    6 => How::Idle,
                    _ => How::Delegate,
                };
                world.hand(from, who(connection as u32), how);
            }
            11 => world.engine.closed(SocketId { sock: 20 + connection, born: 1 }),
            12 => world.engine.ended(if on < 5 { A } else { B }),
            _ => {
                world.pass(more * 100 * MS);
            }
        }
    }
    (world, open, complete)
}

/// Whether each span is of its parent's trace.
fn is_of_one_trace(spans: &[Settled]) -> bool {
    let traces: Vec<_> = spans.iter().map(|span| (span.span, span.trace.id)).collect();
    let of = |parent: SpanId| traces.iter().find(|(span, _)| *span == parent).map(|(_, trace)| *trace);
    // Those of contexts are chosen by the test, and are not the spans of one trace only.
    let is_chosen = |span: SpanId| span.to_bytes()[..7] == [0; 7];
    let fits = |span: &Settled| is_chosen(span.parent) || of(span.parent).is_none_or(|trace| trace == span.trace.id);
    spans.iter().all(fits)
}

proptest! {
    /// Whoever asks whom, itself included, and in whatever order that is seen: each call that is complete comes out once, or is counted as given
    /// up.
    #[test]
    fn each_call_comes_out_once(most in 1usize..40, steps in vec((0u8..15, 0u32..6, 0u64..4, 0u64..8), 0..200)) {
        let (mut world, _, complete) = happen(most, &steps);
        let out = world.finish().spans.len() as u64;
        let stats = world.engine.stats();
        let counted = stats.evicted + stats.left_to_sdks;
        prop_assert!(out <= complete && complete <= out + counted, "{} of {}, {} counted", out, complete, counted);
    }

    /// When all have been complete for a minute, all have come out, each in its parent's trace.
    #[test]
    fn nothing_waits_for_ever(steps in vec((0u8..15, 0u32..6, 0u64..4, 0u64..8), 0..200)) {
        let (mut world, open, complete) = happen(1000, &steps);
        let all = complete + open.len() as u64;
        for (end, side) in open {
            world.end(side, end, who(0));
        }
        for _ in 0..60 {
            world.pass(1_000 * MS);
        }
        prop_assert!(is_of_one_trace(&world.spans));
        let out = world.spans.len() as u64 + world.engine.stats().left_to_sdks;
        prop_assert_eq!(out, all);
    }
}
