//! Order, holes, overlaps and ends within one connection.

use super::*;

const LOST: Gap = Gap::Lost;
const LEFT_OUT: Gap = Gap::NotCaptured;

fn bytes(direction: Direction, offset: u64, bytes: &[u8]) -> Said {
    Said::Bytes(direction, offset, bytes.to_vec())
}

#[test]
fn calls_in_order_go_straight_through() {
    let mut bench = Bench::default();
    bench.event(&open(0, 1, Role::Accept));
    bench.data(data(1, 1, RECEIVE, 0, b"GET"));
    assert_eq!(bench.said(1), [bytes(RECEIVE, 0, b"GET")]);
    bench.data(data(2, 1, RECEIVE, 3, b" /"));
    bench.data(data(3, 1, SEND, 0, b"200"));
    assert_eq!(bench.said(1), [bytes(RECEIVE, 3, b" /"), bytes(SEND, 0, b"200")]);
    assert_eq!(bench.known[&1].role, Role::Accept);
    assert_eq!(bench.table.held(), 0);
}

#[test]
fn what_a_call_does_not_show_is_a_hole_in_its_place() {
    let mut bench = Bench::default();
    bench.data(Data { len: 10, skipped: 3, ..data(0, 1, SEND, 0, b"abc") });
    let said = bench.said(1);
    assert_eq!(said, [Said::Hole(SEND, 0, 3, LEFT_OUT), bytes(SEND, 3, b"abc"), Said::Hole(SEND, 6, 4, LEFT_OUT)]);
    let stats = bench.table.stats();
    assert_eq!((stats.captured_bytes, stats.not_captured_bytes, stats.lost_bytes), (3, 7, 0));
}

#[test]
fn a_connection_joined_in_the_middle_says_so() {
    let mut bench = Bench::default();
    bench.event(&open(0, 1, Role::Unknown));
    bench.data(data(1, 1, RECEIVE, 1 << 41, b"x"));
    assert_eq!(bench.said(1), [bytes(RECEIVE, 1 << 41, b"x")]);
}

#[test]
fn the_beginning_of_a_connection_that_was_seen_to_open_can_be_lost() {
    let mut bench = Bench::default();
    bench.event(&open(0, 1, Role::Connect));
    bench.data(data(1, 1, SEND, 4, b"x"));
    assert_eq!(bench.said(1), []);
    bench.tick(6 * MS);
    assert_eq!(bench.said(1), [Said::Hole(SEND, 0, 4, LOST), bytes(SEND, 4, b"x")]);
}

#[test]
fn a_call_that_comes_early_waits_for_those_before_it() {
    let mut bench = Bench::default();
    bench.event(&open(0, 1, Role::Connect));
    bench.data(data(2, 1, SEND, 3, b"def"));
    assert!(bench.table.held() > 0);
    bench.data(data(1, 1, SEND, 0, b"abc"));
    assert_eq!(bench.said(1), [bytes(SEND, 0, b"abc"), bytes(SEND, 3, b"def")]);
    assert_eq!((bench.table.held(), bench.table.stats().lost_bytes), (0, 0));
}

#[test]
fn the_next_event_ends_a_wait_that_took_too_long() {
    let mut bench = Bench::default();
    bench.data(data(0, 1, SEND, 0, b"abc"));
    bench.data(data(1, 1, SEND, 5, b"f"));
    bench.data(data(4 * MS, 2, SEND, 0, b"other"));
    assert_eq!(bench.said(1), [bytes(SEND, 0, b"abc")]);
    bench.data(data(5 * MS + 1, 2, SEND, 5, b"other"));
    assert_eq!(bench.said(1), [Said::Hole(SEND, 3, 2, LOST), bytes(SEND, 5, b"f")]);
    // What comes even later is not inserted any more.
    bench.data(data(6 * MS, 1, SEND, 3, b"de"));
    assert_eq!(bench.said(1), []);
    assert_eq!(bench.table.stats().overlap_bytes, 2);
}

#[test]
fn an_answer_does_not_overtake_a_question_that_waits() {
    let mut bench = Bench::default();
    bench.event(&open(0, 1, Role::Accept));
    bench.data(data(2, 1, RECEIVE, 1, b"ET"));
    bench.data(data(3, 1, SEND, 0, b"200"));
    assert_eq!(bench.said(1), []);
    bench.data(data(1, 1, RECEIVE, 0, b"G"));
    let said = bench.said(1);
    assert_eq!(said, [bytes(RECEIVE, 0, b"G"), bytes(RECEIVE, 1, b"ET"), bytes(SEND, 0, b"200")]);
}

#[test]
fn a_jump_that_was_asked_for_does_not_wait() {
    let mut bench = Bench::default();
    bench.data(data(0, 1, SEND, 0, b"head"));
    bench.table.set_skip_until(socket(1), SEND, 1_000);
    bench.data(data(1, 1, SEND, 990, b"last and next"));
    let said = bench.said(1);
    assert_eq!(said[1..], [Said::Hole(SEND, 4, 986, LEFT_OUT), bytes(SEND, 990, b"last and next")]);
    // The call that reaches the offset is always reported: when it is missing, it is lost.
    bench.table.set_skip_until(socket(1), SEND, 2_000);
    bench.data(data(2, 1, SEND, 2_010, b"x"));
    assert_eq!(bench.said(1), []);
    bench.tick(20 * MS);
    let said = bench.said(1);
    assert_eq!(said[..2], [Said::Hole(SEND, 1_003, 997, LEFT_OUT), Said::Hole(SEND, 2_000, 10, LOST)]);
}

#[test]
fn a_jump_that_was_asked_for_may_be_of_any_size() {
    let mut bench = Bench::default();
    bench.data(data(0, 1, SEND, 0, b"head"));
    bench.table.set_skip_until(SocketId { sock: 1, born: 9 }, SEND, u64::MAX);
    bench.data(data(1, 1, SEND, 1 << 41, b"x"));
    assert_eq!(bench.table.stats().implausible, 1);
    bench.table.set_skip_until(socket(1), SEND, 1 << 41);
    bench.data(data(1, 1, SEND, 1 << 41, b"x"));
    assert_eq!(bench.said(1)[1..], [Said::Hole(SEND, 4, (1 << 41) - 4, LEFT_OUT), bytes(SEND, 1 << 41, b"x")]);
    bench.table.set_skip_until(socket(1), SEND, 1 << 43);
    bench.data(data(2, 1, SEND, (1 << 43) + 5, b"y"));
    bench.tick(6 * MS);
    assert_eq!(bench.said(1)[1], Said::Hole(SEND, 1 << 43, 5, LOST));
}

#[test]
fn overlaps_are_trimmed_and_duplicates_ignored() {
    let mut bench = Bench::default();
    bench.data(data(0, 1, SEND, 0, b"abcd"));
    bench.data(data(1, 1, SEND, 0, b"abcd"));
    bench.data(data(2, 1, SEND, 2, b"cdef"));
    bench.data(Data { len: 8, skipped: 1, ..data(3, 1, SEND, 4, b"fghi") });
    let said = bench.said(1);
    assert_eq!(said[..2], [bytes(SEND, 0, b"abcd"), bytes(SEND, 4, b"ef")]);
    assert_eq!(said[2..], [bytes(SEND, 6, b"ghi"), Said::Hole(SEND, 9, 3, LEFT_OUT)]);
    assert_eq!((bench.table.stats().overlaps, bench.table.stats().overlap_bytes), (3, 8));
}

#[test]
fn damaged_calls_are_counted_and_harmless() {
    let mut bench = Bench::default();
    bench.data(data(0, 1, SEND, 1 << 50, b"abcd"));
    bench.said(1);
    bench.data(data(1, 1, SEND, u64::MAX, b"x"));
    bench.data(data(1, 1, SEND, (1 << 50) + (1 << 41), b"x"));
    bench.data(data(1, 1, SEND, (1 << 50) - (1 << 31), b"x"));
    assert_eq!((bench.table.stats().implausible, bench.table.held()), (3, 0));
    bench.data(Data { len: 2, ..data(2, 1, SEND, (1 << 50) + 4, b"efgh") });
    bench.data(Data { len: 2, skipped: 9, ..data(2, 1, SEND, (1 << 50) + 6, b"gh") });
    let said = bench.said(1);
    assert_eq!(said, [bytes(SEND, (1 << 50) + 4, b"ef"), Said::Hole(SEND, (1 << 50) + 6, 2, LEFT_OUT)]);
    assert_eq!(bench.table.stats().malformed, 2);
}

#[test]
fn one_direction_may_end_while_the_other_goes_on() {
    let mut bench = Bench::default();
    bench.data(data(0, 1, SEND, 0, b"question"));
    bench.event(&state(1, 1, Change::SendClosed, 0));
    bench.data(data(2, 1, RECEIVE, 0, b"answer"));
    bench.data(end(3, 1, RECEIVE, 6));
    let said = bench.said(1);
    assert_eq!(
        said[1..],
        [Said::End(SEND, 1, Ending::Closed), bytes(RECEIVE, 0, b"answer"), Said::End(RECEIVE, 3, Ending::Closed)]
    );
    bench.data(data(4, 1, SEND, 8, b"late"));
    bench.data(data(4, 1, RECEIVE, 60, b"late"));
    bench.data(end(5, 1, RECEIVE, 6));
    assert_eq!((bench.said(1), bench.table.stats().after_end), (vec![], 2));
}

#[test]
fn an_end_waits_for_what_comes_before_it() {
    let mut bench = Bench::default();
    bench.event(&open(0, 1, Role::Accept));
    bench.data(data(2, 1, SEND, 1, b"b"));
    bench.event(&state(3, 1, Change::SendClosed, 0));
    bench.data(end(4, 1, RECEIVE, 2));
    assert_eq!(bench.said(1), []);
    bench.data(data(1, 1, SEND, 0, b"a"));
    let said = bench.said(1);
    assert_eq!(said, [bytes(SEND, 0, b"a"), bytes(SEND, 1, b"b"), Said::End(SEND, 3, Ending::Closed)]);
    bench.tick(6 * MS);
    assert_eq!(bench.said(1), [Said::Hole(RECEIVE, 0, 2, LOST), Said::End(RECEIVE, 4, Ending::Closed)]);
}

#[test]
fn too_much_held_back_is_released() {
    let mut bench = Bench::new(Limits { held: 1_000, ..Limits::default() });
    bench.data(data(0, 1, SEND, 0, b"a"));
    bench.data(data(1, 1, SEND, 10, &[1; 500]));
    assert_eq!(bench.said(1).len(), 1);
    bench.data(data(2, 1, SEND, 1_000, &[2; 500]));
    assert_eq!(bench.said(1).len(), 4);
    assert_eq!((bench.table.held(), bench.table.stats().held_overflows), (0, 1));

    let mut bench = Bench::new(Limits { held_total: 1_000, ..Limits::default() });
    for sock in [1, 2] {
        bench.data(data(sock, sock, SEND, 0, b"a"));
        bench.data(data(sock, sock, SEND, 10, &[1; 600]));
    }
    assert_eq!((bench.said(1).len(), bench.said(2).len()), (3, 1));
    assert!(bench.table.held() <= 1_000);
}
