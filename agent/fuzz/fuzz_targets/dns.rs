//! Any updates of a connection that has been recognised as DNS over TCP; and any datagrams.
#![no_main]

use geophone::{
    event::{Datagram, Direction, SocketId, Thread},
    protocol::{Note, Shared, dns::Datagrams},
};
use libfuzzer_sys::fuzz_target;

const CAPTURED: &str = include_str!("../../src/protocol/dns/captured.txt");

fuzz_target!(|data: &[u8]| {
    geophone_fuzz::converse("dns", CAPTURED, 2, data);
    datagrams(data);
});

/// Of each datagram, one byte says how long it is, one which way it goes, how much was captured, and how much later it comes.
fn datagrams(mut data: &[u8]) {
    let (shared, mut datagrams, mut out, mut time) = (Shared::default(), Datagrams::default(), Vec::new(), 0);
    while let [len, how, rest @ ..] = data {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        time += u64::from(how >> 4) * 500_000_000;
        let captured = if how & 2 == 0 { bytes } else { &bytes[..bytes.len() / 2] };
        let datagram = Datagram {
            time,
            socket: SocketId { sock: 1, born: 1 },
            thread: Thread::default(),
            direction: if how & 1 == 0 { Direction::Send } else { Direction::Receive },
            local: ([127, 0, 0, 1], 53).into(),
            remote: (how & 4 == 0).then(|| ([127, 0, 0, 1], 5000 + u16::from(how & 8)).into()),
            netns: 1,
            len: u32::from(*len).min(bytes.len() as u32),
            bytes: captured,
        };
        datagrams.datagram(&shared, &datagram, &mut out, |_, _| {});
    }
    datagrams.finish(&shared, &mut out);
    let asked = out.iter().filter(|note| matches!(note, Note::Asked(_))).count();
    let done = out.iter().filter(|note| matches!(note, Note::Done(exchange) if exchange.start <= exchange.end)).count();
    assert_eq!(asked, done);
}
