//! Connections whose bytes come from a TLS library.

use super::*;

fn inside(time: Nanos, direction: Direction, offset: u64, bytes: &[u8]) -> Data<'_> {
    Data { decrypted: true, ..data(time, 1, direction, offset, bytes) }
}

#[test]
fn the_streams_begin_anew() {
    let mut bench = Bench::default();
    bench.event(&open(0, 1, Role::Accept));
    bench.data(data(1, 1, RECEIVE, 0, b"hello, in TLS"));
    // This one waits for what comes before it, and is of no use any more when what is inside becomes known.
    bench.data(data(2, 1, SEND, 5, b"later"));
    assert!(bench.table.held() > 0);
    bench.data(inside(3, RECEIVE, 0, b"GET"));
    assert_eq!(bench.table.held(), 0);
    bench.data(inside(4, SEND, 0, b"HTTP"));
    // What goes through the socket is told no more; a straggler is ignored.
    bench.data(data(5, 1, RECEIVE, 13, b"straggler"));
    bench.data(inside(6, RECEIVE, 3, b" /"));
    assert_eq!(
        bench.said(1),
        [
            Said::Bytes(RECEIVE, 0, b"hello, in TLS".to_vec()),
            Said::Bytes(RECEIVE, 0, b"GET".to_vec()),
            Said::Bytes(SEND, 0, b"HTTP".to_vec()),
            Said::Bytes(RECEIVE, 3, b" /".to_vec()),
        ]
    );
    assert!(bench.known[&1].decrypted);
    assert_eq!(bench.table.stats().encrypted, 1);
}

#[test]
fn lost_calls_are_holes_as_anywhere() {
    let mut bench = Bench::default();
    bench.data(inside(0, SEND, 10, b"x"));
    bench.tick(SECOND);
    let lost = Said::Hole(SEND, 0, 10, Gap::Lost);
    assert_eq!(bench.said(1)[..2], [lost, Said::Bytes(SEND, 10, b"x".to_vec())]);
}

#[test]
fn joined_in_the_middle() {
    let mut bench = Bench::default();
    bench.data(Data { relative: true, ..inside(0, SEND, 1_000, b"x") });
    bench.data(Data { relative: true, ..inside(1, RECEIVE, 2_000, b"y") });
    assert_eq!(bench.said(1), [Said::Bytes(SEND, 1_000, b"x".to_vec()), Said::Bytes(RECEIVE, 2_000, b"y".to_vec())]);
}
