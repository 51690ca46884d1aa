//! How connections come, age and go.

use super::*;

const CLOSED: Ending = Ending::Closed;
const EVICTED: Ending = Ending::Evicted;

#[test]
fn what_came_before_the_close_can_still_be_read() {
    let mut bench = Bench::default();
    bench.data(data(0, 1, SEND, 0, b"q"));
    bench.event(&state(2, 1, Change::Closed, 0));
    bench.data(data(3, 1, RECEIVE, 0, b"a"));
    bench.tick(200 * MS);
    let said = bench.said(1);
    assert_eq!(said[1..], [Said::End(SEND, 2, CLOSED), Said::Bytes(RECEIVE, 0, b"a".to_vec())]);
    bench.tick(600 * MS);
    assert_eq!(bench.said(1), [Said::End(RECEIVE, 3, CLOSED)]);
    assert_eq!(bench.table.connections(), 0);
}

#[test]
fn what_is_missing_on_a_closed_connection_is_not_waited_for() {
    let mut bench = Bench::default();
    bench.data(data(0, 1, RECEIVE, 0, b"a"));
    bench.event(&state(2, 1, Change::Closed, 0));
    bench.data(data(3, 1, RECEIVE, 2, b"c"));
    assert_eq!(bench.said(1)[2..], [Said::Hole(RECEIVE, 1, 1, Gap::Lost), Said::Bytes(RECEIVE, 2, b"c".to_vec())]);
}

#[test]
fn what_has_ended_both_ways_is_soon_forgotten() {
    let mut bench = Bench::default();
    bench.data(data(0, 1, SEND, 0, b"q"));
    bench.event(&state(1, 1, Change::SendClosed, 0));
    bench.data(end(2, 1, RECEIVE, 0));
    bench.tick(100 * MS);
    assert_eq!(bench.table.connections(), 1);
    bench.tick(SECOND);
    assert_eq!((bench.said(1).len(), bench.table.connections()), (3, 0));
}

#[test]
fn a_reset_says_which() {
    let mut bench = Bench::default();
    bench.data(data(0, 1, SEND, 0, b"q"));
    bench.event(&state(2, 1, Change::Closed, 104));
    bench.tick(SECOND);
    assert_eq!(bench.said(1)[1..], [Said::End(SEND, 2, Ending::Reset(104)), Said::End(RECEIVE, 2, Ending::Reset(104))]);
}

#[test]
fn late_records_of_a_closed_connection_make_no_new_one() {
    let mut bench = Bench::default();
    bench.data(data(0, 1, SEND, 0, b"q"));
    bench.data(end(1, 1, RECEIVE, 0));
    bench.event(&state(2, 1, Change::Closed, 0));
    bench.said(1);
    bench.data(data(1, 1, SEND, 1, b"x"));
    assert_eq!((bench.said(1), bench.table.stats().after_end), (vec![], 1));
    bench.tick(SECOND);
    assert_eq!((bench.table.connections(), bench.table.stats().opened_unseen), (0, 1));
    // Ends and changes of what is not known make none either.
    bench.data(end(SECOND, 1, RECEIVE, 0));
    bench.event(&state(SECOND, 1, Change::Closed, 0));
    assert_eq!((bench.table.connections(), bench.table.stats().unknown), (0, 2));
}

#[test]
fn a_sock_used_again_is_another_connection() {
    let mut bench = Bench::default();
    bench.event(&open(0, 1, Role::Accept));
    bench.data(data(1, 1, SEND, 0, b"old"));
    let again = SocketId { sock: 1, born: 2 };
    bench.data(Data { socket: again, ..data(2, 1, SEND, 0, b"new") });
    let said = bench.said(1);
    assert_eq!(said[1..3], [Said::End(SEND, 2, EVICTED), Said::End(RECEIVE, 2, EVICTED)]);
    assert_eq!(said[3..], [Said::Bytes(SEND, 0, b"new".to_vec())]);
    assert_eq!((bench.known[&1].socket, &bench.known[&1].endpoints), (again, &None));
    bench.data(data(3, 1, SEND, 3, b"stale"));
    bench.event(&open(3, 1, Role::Accept));
    bench.event(&state(3, 1, Change::Closed, 0));
    assert_eq!((bench.said(1), bench.table.stats().stale), (vec![], 3));
    assert_eq!((bench.table.connections(), bench.table.stats().replaced), (1, 1));
}

#[test]
fn a_late_open_brings_the_addresses() {
    let mut bench = Bench::default();
    bench.data(data(1, 1, SEND, 0, b"x"));
    assert!(bench.known[&1].endpoints.is_none());
    bench.event(&open(0, 1, Role::Accept));
    bench.data(data(2, 1, SEND, 1, b"y"));
    assert!(bench.known[&1].endpoints.is_some());
    assert_eq!((bench.known[&1].since, bench.table.connections()), (START, 1));
}

#[test]
fn a_quiet_connection_is_told_the_time_and_ends_when_idle() {
    let mut bench = Bench::new(Limits { quiet: 5 * SECOND, idle: 12 * SECOND, ..Limits::default() });
    bench.event(&open(0, 1, Role::Accept));
    bench.data(data(0, 1, SEND, 0, b"x"));
    bench.said(1);
    for second in 1..=20 {
        bench.tick(second * SECOND);
    }
    let said = bench.said(1);
    assert_eq!(said[..2], [Said::Tick(5 * SECOND), Said::Tick(10 * SECOND)]);
    assert_eq!(said[2..], [Said::End(SEND, 15 * SECOND, EVICTED), Said::End(RECEIVE, 15 * SECOND, EVICTED)]);
    // It wakes up with its addresses, as a stream that is joined in the middle.
    bench.data(data(21 * SECOND, 1, SEND, 9, b"y"));
    assert_eq!(bench.said(1), [Said::Bytes(SEND, 9, b"y".to_vec())]);
    assert!(bench.known[&1].endpoints.is_some());
    bench.event(&state(22 * SECOND, 1, Change::Closed, 0));
    bench.tick(23 * SECOND);
    assert_eq!((bench.said(1).len(), bench.table.connections()), (2, 0));
    assert_eq!(bench.table.stats().evicted_idle, 1);
}

#[test]
fn a_sleeping_connection_that_closes_has_nothing_more_to_say() {
    let mut bench = Bench::new(Limits { idle: SECOND, ..Limits::default() });
    bench.event(&open(0, 1, Role::Accept));
    bench.tick(2 * SECOND);
    assert_eq!((bench.said(1).len(), bench.table.connections()), (2, 1));
    bench.event(&state(3 * SECOND, 1, Change::Closed, 0));
    assert_eq!((bench.said(1), bench.table.connections()), (vec![], 0));

    bench.event(&open(3 * SECOND, 1, Role::Accept));
    bench.tick(5 * SECOND);
    assert_eq!(bench.said(1).len(), 2);
    bench.finish(6 * SECOND);
    assert_eq!((bench.said(1), bench.table.connections()), (vec![], 0));
}

#[test]
fn the_least_recently_used_connection_makes_room() {
    let mut bench = Bench::new(Limits { connections: 3, ..Limits::default() });
    for sock in 1..=3 {
        bench.data(data(0, sock, SEND, 0, b"x"));
    }
    bench.tick(MS);
    bench.data(data(MS, 1, SEND, 1, b"y"));
    bench.data(data(2 * MS, 4, SEND, 0, b"x"));
    assert_eq!(bench.said(2)[1..], [Said::End(SEND, 2 * MS, EVICTED), Said::End(RECEIVE, 2 * MS, EVICTED)]);
    // A closed one goes first, whenever it was used.
    bench.event(&state(3 * MS, 4, Change::Closed, 0));
    bench.data(data(4 * MS, 5, SEND, 0, b"x"));
    assert_eq!(bench.said(4)[1..], [Said::End(SEND, 3 * MS, CLOSED), Said::End(RECEIVE, 3 * MS, CLOSED)]);
    assert_eq!((bench.table.connections(), bench.table.stats().evicted_full), (3, 1));
}

#[test]
fn the_end_of_one_unix_socket_is_the_end_of_what_its_peer_sends() {
    let mut bench = Bench::default();
    bench.event(&open_unix(0, 1, 2, 10));
    bench.event(&open_unix(0, 2, 1, 20));
    bench.data(Data { relative: true, ..data(1, 1, SEND, 0, b"bye") });
    bench.data(Data { relative: true, ..data(2, 2, RECEIVE, 0, b"bye") });
    bench.data(Data { relative: true, ..end(3, 2, RECEIVE, 3) });
    assert_eq!(bench.said(2)[1..], [Said::End(RECEIVE, 3, CLOSED)]);
    assert_eq!(bench.said(1)[1..], [Said::End(SEND, 3, CLOSED)]);
    // It may have closed one direction only: the answer still arrives.
    bench.tick(4 * SECOND);
    bench.data(Data { relative: true, ..data(4 * SECOND, 2, SEND, 0, b"bye too") });
    bench.tick(8 * SECOND);
    assert_eq!(bench.said(1), [Said::End(RECEIVE, 8 * SECOND, EVICTED)]);
    assert_eq!(bench.said(2), [Said::Bytes(SEND, 0, b"bye too".to_vec())]);
    bench.tick(10 * SECOND);
    assert_eq!(bench.said(2), [Said::End(SEND, 10 * SECOND, EVICTED)]);
    assert_eq!((bench.table.connections(), bench.table.stats().evicted_doubtful), (0, 2));
}

#[test]
fn a_peer_that_is_another_socket_by_now_is_left_alone() {
    let mut bench = Bench::default();
    bench.event(&open_unix(0, 1, 2, 10));
    bench.event(&open_unix(0, 2, 3, 20));
    bench.data(data(1, 1, RECEIVE, 0, b"x"));
    bench.data(end(2, 1, RECEIVE, 1));
    assert_eq!(bench.said(2), []);
}

#[test]
fn unix_sockets_of_a_process_that_ended_are_over_unless_another_one_uses_them() {
    let mut bench = Bench::default();
    for sock in 1..=4 {
        bench.event(&open_unix(0, sock, 0, 7));
    }
    bench.event(&open(0, 5, Role::Accept));
    let by = |tgid, time, sock| Data {
        thread: Thread { tgid, tid: 1, ..Thread::default() },
        ..data(time, sock, SEND, 0, b"x")
    };
    bench.data(by(7, 1, 1));
    bench.data(by(7, 1, 2));
    bench.data(by(9, 1, 3));
    bench.event(&exit(2, 7));
    bench.tick(SECOND);
    bench.data(Data { thread: Thread { tgid: 9, tid: 1, ..Thread::default() }, ..data(SECOND, 2, SEND, 1, b"y") });
    bench.tick(6 * SECOND);
    assert_eq!(bench.said(1)[1..], [Said::End(SEND, 6 * SECOND, EVICTED), Said::End(RECEIVE, 6 * SECOND, EVICTED)]);
    for sock in [2, 3, 5] {
        assert!(!bench.said(sock).iter().any(|said| matches!(said, Said::End(..))), "{sock}");
    }
    assert_eq!((bench.table.connections(), bench.table.stats().evicted_doubtful), (3, 2));
}

#[test]
fn at_the_end_everything_ends() {
    let mut bench = Bench::default();
    bench.event(&open(0, 1, Role::Accept));
    bench.data(data(1, 1, SEND, 1, b"b"));
    bench.data(data(1, 2, SEND, 0, b"x"));
    bench.event(&state(2, 2, Change::Closed, 0));
    bench.finish(3);
    assert_eq!(bench.said(1)[2..], [Said::End(SEND, 3, EVICTED), Said::End(RECEIVE, 3, EVICTED)]);
    assert_eq!(bench.said(2)[1..], [Said::End(SEND, 2, CLOSED), Said::End(RECEIVE, 2, CLOSED)]);
    assert_eq!((bench.table.connections(), bench.table.held()), (0, 0));
}

#[test]
fn a_damaged_first_time_does_not_stop_the_clock() {
    let mut bench = Bench::new(Limits { idle: SECOND, ..Limits::default() });
    bench.data(Data { time: u64::MAX, ..data(0, 1, SEND, 0, b"x") });
    bench.data(Data { time: u64::MAX, ..data(0, 1, SEND, 9, b"x") });
    bench.tick(0);
    bench.tick(2 * SECOND);
    assert_eq!((bench.table.connections(), bench.table.held()), (0, 0));
}
