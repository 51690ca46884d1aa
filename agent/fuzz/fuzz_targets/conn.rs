//! Any events through the connection stage: it keeps its promises to the next stage, and its bounds of memory.

#![no_main]

use geophone::conn::{Connection, Limits, Table, Update};
use geophone_fuzz::{Promises, Step, steps};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { connections: 3, held: 1_500, held_total: 2_500, idle: 12_000_000_000, ..Limits::default() };
    let mut table = Table::<Promises>::new(limits);
    let mut sink = |connection: &Connection, promises: &mut Promises, update: &Update<'_>| {
        promises.check(connection, update);
    };
    let mut steps = steps(data);
    for step in steps.by_ref() {
        match step {
            Step::Event(event) => table.event(&event, &mut sink),
            Step::Tick(now) => table.tick(now, &mut sink),
            Step::Skip(socket, direction, offset) => table.set_skip_until(socket, direction, offset),
        }
        assert!(table.connections() <= limits.connections, "no more connections than allowed");
        assert!(table.held() <= limits.held_total, "no more bytes held back than allowed");
    }
    table.finish(steps.now(), &mut sink);
    assert_eq!((table.connections(), table.held()), (0, 0), "nothing is left at the end");
});
