//! Whatever happens to the records of two streams, what comes out is the streams with holes in the right places.

use proptest::prelude::*;

use super::*;

/// What becomes of a call's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Comes, so much later than in order of time.
    Late(Nanos),
    /// Comes a second time as well, so much later than the first one.
    Twice(Nanos),
    /// Does not come.
    Lost,
    /// Is not made, on advice.
    Unwanted,
}

#[derive(Clone, Debug)]
struct Step {
    direction: Direction,
    len: usize,
    skipped: usize,
    captured: usize,
    /// Since the call before.
    after: Nanos,
    fate: Fate,
}

impl Step {
    fn comes(&self) -> bool {
        matches!(self.fate, Fate::Late(_) | Fate::Twice(_))
    }

    /// Its record, at this place in its stream.
    fn record<'a>(&self, time: Nanos, offset: usize, bytes: &'a mut Vec<u8>) -> Data<'a> {
        bytes.clear();
        bytes.extend((0..self.captured).map(|at| byte(offset + self.skipped + at)));
        Data {
            len: self.len as u32,
            skipped: self.skipped as u32,
            ..data(time, 1, self.direction, offset as u64, bytes)
        }
    }

    /// What its record shows of it.
    fn shows(&self, offset: usize) -> impl Iterator<Item = Byte> {
        let shown = self.skipped..self.skipped + self.captured;
        (0..self.len).map(move |at| match shown.contains(&at) {
            true => Byte::Is(byte(offset + at)),
            false => Byte::Missing(Gap::NotCaptured),
        })
    }
}

fn step(fate: impl Strategy<Value = Fate>) -> impl Strategy<Value = Step> {
    (any::<bool>(), 1..60_usize, 0..20_usize, 0..60_usize, 0..2 * MS, fate).prop_map(
        |(send, len, skipped, captured, after, fate)| Step {
            direction: if send { SEND } else { RECEIVE },
            len,
            skipped: skipped.min(len),
            captured: captured.min(len - skipped.min(len)),
            after,
            fate,
        },
    )
}

fn disturbed() -> impl Strategy<Value = Step> {
    step(prop_oneof![
        4 => Just(Fate::Late(0)),
        2 => (0..5 * MS).prop_map(Fate::Late),
        1 => (0..50 * MS).prop_map(Fate::Twice),
        1 => Just(Fate::Lost),
    ])
}

fn advised() -> impl Strategy<Value = Step> {
    step(prop_oneof![2 => Just(Fate::Late(0)), 1 => Just(Fate::Lost), 2 => Just(Fate::Unwanted)])
}

/// A byte of a stream, as it must come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    Is(u8),
    Missing(Gap),
}

fn byte(offset: usize) -> u8 {
    (offset * 7 % 251) as u8
}

/// Lays out what was said of a direction byte by byte.
fn stream(said: &[Said], direction: Direction) -> Vec<Byte> {
    let mut stream = Vec::new();
    for said in said {
        match said {
            Said::Bytes(way, offset, bytes) if *way == direction => {
                assert_eq!(*offset, stream.len() as u64);
                stream.extend(bytes.iter().map(|&byte| Byte::Is(byte)));
            }
            Said::Hole(way, offset, len, gap) if *way == direction => {
                assert_eq!(*offset, stream.len() as u64);
                stream.extend((0..*len).map(|_| Byte::Missing(*gap)));
            }
            _ => {}
        }
    }
    stream
}

proptest! {
    #[test]
    fn streams_come_out_whole_but_for_what_was_lost(steps in prop::collection::vec(disturbed(), 1..80)) {
        let mut expected: [Vec<Byte>; 2] = [Vec::new(), Vec::new()];
        // When it arrives, when it happened, where in its stream, which call.
        let mut arrivals = Vec::new();
        let mut time = 0;
        for step in &steps {
            time += step.after;
            let way = &mut expected[step.direction as usize];
            let offset = way.len();
            if step.comes() {
                way.extend(step.shows(offset));
            } else {
                way.extend((0..step.len).map(|_| Byte::Missing(Gap::Lost)));
            }
            match step.fate {
                Fate::Late(delay) => arrivals.push((time + delay, time, offset, step)),
                Fate::Twice(delay) => {
                    arrivals.push((time, time, offset, step));
                    arrivals.push((time + delay, time, offset, step));
                }
                Fate::Lost | Fate::Unwanted => {}
            }
        }
        arrivals.sort_by_key(|&(arrival, ..)| arrival);

        let mut bench = Bench::default();
        let mut bytes = Vec::new();
        bench.event(&open(0, 1, Role::Accept));
        let split = arrivals.partition_point(|&(arrival, ..)| arrival <= time);
        let (before, after) = arrivals.split_at(split);
        for &(_, time, offset, step) in before {
            bench.data(step.record(time, offset, &mut bytes));
        }
        // The ends come in order of time, before what is late.
        for direction in [SEND, RECEIVE] {
            bench.data(end(time, 1, direction, expected[direction as usize].len() as u64));
        }
        for &(_, time, offset, step) in after {
            bench.data(step.record(time, offset, &mut bytes));
        }
        bench.tick(time + 6 * MS);
        let said = bench.said(1);
        for direction in [SEND, RECEIVE] {
            prop_assert_eq!(&stream(&said, direction), &expected[direction as usize]);
            prop_assert!(said.contains(&Said::End(direction, time, Ending::Closed)));
        }
        prop_assert_eq!(bench.table.held(), 0);
        let missing = expected.iter().flatten().filter(|byte| **byte == Byte::Missing(Gap::Lost)).count();
        prop_assert_eq!(bench.table.stats().lost_bytes, missing as u64);
        let all = bench.table.stats().captured_bytes + bench.table.stats().not_captured_bytes;
        prop_assert_eq!(all as usize, expected.iter().flatten().count() - missing);
    }

    #[test]
    fn what_nobody_wanted_is_not_lost(steps in prop::collection::vec(advised(), 1..80)) {
        let mut bench = Bench::default();
        let mut bytes = Vec::new();
        let mut expected: [Vec<Byte>; 2] = [Vec::new(), Vec::new()];
        let (mut seen, mut wanted_from, mut time) = ([0, 0], [0, 0], 0);
        bench.event(&open(0, 1, Role::Accept));
        for step in &steps {
            time += step.after;
            let way = step.direction as usize;
            let offset = expected[way].len();
            if step.fate == Fate::Unwanted {
                wanted_from[way] = offset + step.len;
                bench.table.set_skip_until(socket(1), step.direction, wanted_from[way] as u64);
            }
            if step.comes() {
                for (at, byte) in expected[way].iter_mut().enumerate().skip(seen[way]) {
                    *byte = Byte::Missing(if at < wanted_from[way] { Gap::NotCaptured } else { Gap::Lost });
                }
                expected[way].extend(step.shows(offset));
                seen[way] = offset + step.len;
                bench.data(step.record(time, offset, &mut bytes));
                // So that what was lost is not still waited for when the next advice comes.
                time += 6 * MS;
                bench.tick(time);
            } else {
                expected[way].extend((0..step.len).map(|_| Byte::Missing(Gap::Lost)));
            }
        }
        let said = bench.said(1);
        for direction in [SEND, RECEIVE] {
            let way = direction as usize;
            prop_assert_eq!(&stream(&said, direction)[..], &expected[way][..seen[way]]);
        }
    }
}
