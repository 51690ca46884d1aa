//! Any bytes as a packet capture: read to its end or refused, and its segments through the connection stage, which keeps its promises.

#![no_main]

use std::io::Cursor;

use geophone::{
    conn::{Connection, Limits, Table, Update},
    packets::{File, Flows, Heard, Segment},
    run::packet_limits,
};
use geophone_fuzz::Promises;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mut file) = File::new(Cursor::new(data.to_vec())) else { return };
    let mut table = Table::<Promises>::new(packet_limits(Limits { connections: 3, ..Limits::default() }));
    let mut sink = |connection: &Connection, promises: &mut Promises, update: &Update<'_>| {
        promises.check(connection, update);
    };
    let mut flows = Flows::default();
    let mut now = 0;
    while let Ok(Some(packet)) = file.next() {
        now = now.max(packet.time);
        let Ok(segment) = Segment::of(&packet) else { continue };
        flows.segment(now, &segment, |heard| {
            if let Heard::Event(event) = heard {
                table.event(&event, &mut sink);
            }
        });
    }
    table.finish(now, &mut sink);
});
