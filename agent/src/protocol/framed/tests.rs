//! A protocol made up for tests, in two kinds: answers in order, and answers that name their request. A message is `0xa5`, `?` or `!`, its
//! length in four bytes, its number in four bytes, and padding.

use compact_str::format_compact;
use proptest::prelude::*;

use super::*;
use crate::{
    conn::{Content, Ending, Gap},
    event::Direction::{Receive, Send},
    protocol::{
        Attributes, Exchange, Holes, Interest, Side, Understanding,
        cursor::Cursor,
        given::{holes, lengths, limits, losses, noise},
        testing::{Part, Wire, cut, int, play},
    },
};

const HEADER: usize = 10;
/// The number of a message of which it was missed.
const UNSEEN: i64 = u32::MAX as i64;

enum Pairs {
    InOrder(Queue<Call<u32>>),
    ById(Table<u32, Call<u32>>),
}

struct Toy {
    pairs: Pairs,
    answering: Option<u32>,
}

impl Framing for Toy {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        let mut c = Cursor::new(bytes);
        let mark = if role == Role::Request { b'?' } else { b'!' };
        if bytes[0] != 0xa5 || bytes.get(1).is_some_and(|b| *b != mark) {
            return Frame::Malformed;
        }
        match c.skip(2).and_then(|()| c.u32_be()) {
            None => Frame::More,
            Some(length) if (length as usize) < HEADER || length > 1 << 24 => Frame::Malformed,
            Some(length) => Frame::Message { length: length.into(), want: HEADER },
        }
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        match self.frame(role, bytes) {
            Frame::More => Found::More,
            Frame::Malformed | Frame::Endless => Found::No,
            Frame::Message { .. } => Found::At(0),
        }
    }
}

fn number(head: &Head<'_>) -> Option<u32> {
    let mut c = Cursor::new(&head.bytes);
    c.skip(6)?;
    c.u32_be()
}

impl Talk for Toy {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        let number = number(head).unwrap_or(u32::MAX);
        let mut attributes = Attributes::default();
        attributes.push("asked", number);
        let call = Call::ask_head(head, ("toy", format_compact!("{number}")), attributes, number, cx);
        match &mut self.pairs {
            Pairs::InOrder(queue) => queue.push(call, head.first, cx),
            Pairs::ById(table) => table.insert(number, call, cx),
        }
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        let number = number(head).unwrap_or(u32::MAX);
        let must_wait = self.calls().must_wait() && !(head.cut && matches!(self.pairs, Pairs::ById(_)));
        let call = match &mut self.pairs {
            Pairs::InOrder(queue) => queue.front(),
            Pairs::ById(table) => table.get(number),
        };
        let Some(call) = call else {
            if must_wait {
                return Taken::Later;
            }
            match &mut self.pairs {
                Pairs::InOrder(queue) => queue.orphan(cx),
                Pairs::ById(table) => table.orphan(cx),
            }
            self.answering = None;
            return Taken::Yes;
        };
        call.answered(head.first, cx);
        call.exchange.attributes.push("answered", number);
        call.exchange.holes.response_head = head.cut;
        self.answering = Some(number);
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        if role == Role::Request {
            let call = match &mut self.pairs {
                Pairs::InOrder(queue) => queue.back(),
                Pairs::ById(_) => None,
            };
            if let Some(call) = call.filter(|call| call.exchange.id.place == tail.first.offset) {
                call.asked_on(tail.last, cx);
            }
            return;
        }
        let Some(number) = self.answering.take() else {
            return;
        };
        let call = match &mut self.pairs {
            Pairs::InOrder(queue) => queue.pop(cx),
            Pairs::ById(table) => table.remove(number),
        };
        if let Some(mut call) = call {
            call.exchange.holes.length |= tail.lost;
            call.done(tail.last, cx);
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        match &mut self.pairs {
            Pairs::InOrder(queue) => queue,
            Pairs::ById(table) => table,
        }
    }

    fn lost(&mut self, role: Role) {
        if role == Role::Response {
            self.answering = None;
        }
    }
}

fn message(mark: u8, number: u32, padding: usize) -> Vec<u8> {
    let length = u32::try_from(HEADER + padding).unwrap();
    let mut bytes = vec![0xa5, mark];
    bytes.extend(length.to_be_bytes());
    bytes.extend(number.to_be_bytes());
    bytes.resize(HEADER + padding, 0);
    bytes
}

fn ask(number: u32) -> Vec<u8> {
    message(b'?', number, 5)
}

fn answer(number: u32) -> Vec<u8> {
    message(b'!', number, 20)
}

fn wire(server: bool, by_id: bool) -> Wire {
    let asks = if server { Receive } else { Send };
    let pairs = if by_id { Pairs::ById(Table::default()) } else { Pairs::InOrder(Queue::default()) };
    Wire::decoding(Box::new(Framed::new(asks, Toy { pairs, answering: None })))
}

fn said(wire: &Wire) -> Vec<(i64, Option<i64>)> {
    wire.out.iter().map(|e| (int(e, "asked").unwrap(), int(e, "answered"))).collect()
}

#[test]
fn one_after_the_other_and_pipelined() {
    for by_id in [false, true] {
        let mut wire = wire(true, by_id);
        wire.receive(ask(1)).send(answer(1)).receive([ask(2), ask(3)].concat()).send([answer(2), answer(3)].concat());
        assert_eq!(said(&wire), [(1, Some(1)), (2, Some(2)), (3, Some(3))]);
        let first = &wire.out[0];
        assert_eq!(
            (first.side, first.start, first.request_end, first.first_byte, first.end),
            (Side::Server, 1010, 1010, Some(1020), 1020)
        );
        assert_eq!((first.request_thread.tid, first.response_thread.unwrap().tid), (8, 7));
        assert_eq!(wire.out[2].id.place, 30);
        assert!(wire.out.iter().all(|e| e.holes == Holes::default()));
    }
}

#[test]
fn out_of_order_by_id() {
    let mut wire = wire(false, true);
    wire.send([ask(1), ask(2), ask(3)].concat()).receive(answer(3)).receive([answer(1), answer(2)].concat());
    assert_eq!(said(&wire), [(3, Some(3)), (1, Some(1)), (2, Some(2))]);
}

#[test]
fn answers_seen_before_their_requests() {
    for by_id in [false, true] {
        let mut wire = wire(false, by_id);
        for n in 1..4 {
            let answer = answer(n);
            wire.receive(&answer[..7]).receive(&answer[7..]).send(ask(n));
        }
        assert_eq!(said(&wire), [(1, Some(1)), (2, Some(2)), (3, Some(3))]);
        assert!(wire.out.iter().all(|e| e.first_byte.unwrap() >= e.start && e.end >= e.start));
    }
}

#[test]
fn an_answer_without_a_request_is_not_waited_for_for_ever() {
    for by_id in [false, true] {
        let mut wire = wire(false, by_id);
        wire.receive(answer(1)).tick(2_000_000_000);
        assert_eq!((wire.out.len(), wire.count("orphans")), (0, 1));
        wire.send(ask(2)).receive(answer(2));
        assert_eq!(said(&wire), [(2, Some(2))]);
        assert_eq!(wire.out[0].holes.pairing, !by_id);
    }
}

#[test]
fn what_is_large_is_passed_over() {
    let mut wire = wire(true, false);
    wire.receive(message(b'?', 1, 990));
    wire.send(&message(b'!', 1, 5_000_000)[..1000]);
    assert_eq!(wire.interest(Send), Interest { from: 5_000_010, bytes: 1024, never: false });
    wire.hole(Send, 4_999_010, Gap::NotCaptured).receive(ask(2)).send(answer(2));
    assert_eq!(said(&wire), [(1, Some(1)), (2, Some(2))]);
    assert_eq!((wire.out[0].first_byte, wire.out[0].end, wire.out[0].holes), (Some(1020), 1030, Holes::default()));
}

#[test]
fn a_part_of_the_only_answer_is_missing() {
    // As a large result of many messages, of which each call shows the first only.
    let mut wire = wire(false, false);
    wire.send(ask(1)).hole(Receive, 70, Gap::NotCaptured);
    assert_eq!(wire.interest(Receive).bytes, 16 << 10);
    wire.receive(answer(1)).send(ask(2)).receive(answer(2));
    assert_eq!(said(&wire), [(1, Some(1)), (2, Some(2))]);
    assert_eq!(wire.out[0].holes, Holes { length: true, ..Holes::default() });
    assert_eq!(wire.out[1].holes, Holes::default());
}

#[test]
fn after_a_loss_pairs_are_found_again() {
    let mut wire = wire(false, false);
    wire.send(ask(1)).hole(Send, 15, Gap::Lost).receive(answer(1)).receive(answer(2));
    for n in 3..7 {
        wire.send(ask(n)).receive(answer(n));
    }
    assert_eq!(said(&wire), [(1, Some(1)), (3, Some(3)), (4, Some(4)), (5, Some(5)), (6, Some(6))]);
    let pairing: Vec<_> = wire.out.iter().map(|e| e.holes.pairing).collect();
    assert_eq!(pairing, [false, true, true, false, false]);
}

#[test]
fn broken_connections() {
    let mut wire = wire(false, false);
    wire.send(ask(1)).receive(&answer(1)[..12]).send(ask(2)).end(Receive, Ending::Reset(libc::ECONNRESET));
    assert_eq!(said(&wire), [(1, Some(1)), (2, None)]);
    assert_eq!(wire.out[0].attributes.get("error.type"), Some(&"connection_reset".into()));
    assert_eq!(wire.out[0].holes, Holes { length: true, ..Holes::default() });
    assert_eq!(wire.out[1].holes, Holes { no_response: true, ..Holes::default() });
}

#[test]
fn what_is_no_message() {
    let mut wire = wire(true, false);
    wire.receive(ask(1)).send("garbage");
    assert_eq!(wire.understanding(), Understanding::Not(crate::protocol::Foreign::Malformed));
    assert_eq!(said(&wire), [(1, None)]);
    let mut stream = Stream::default();
    let toy = Toy { pairs: Pairs::InOrder(Queue::default()), answering: None };
    let (mut origin, mut content) = (Origin::default(), Content::Bytes(&[0xa5, b'?', 0, 0, 0, 0]));
    assert!(matches!(stream.next(Role::Request, &mut origin, &mut content, &toy), Some(Step::Malformed)));
}

/// Numbers of what is asked together and answered together, with the padding of question and answer.
type Batches = Vec<Vec<(usize, usize)>>;

fn turns(batches: &Batches, reverse: bool) -> Vec<Part> {
    let mut turns = Vec::new();
    let mut number = 0;
    for batch in batches {
        let numbered: Vec<_> = batch.iter().zip(number..).collect();
        number += u32::try_from(batch.len()).unwrap();
        let asked = numbered.iter().flat_map(|((padding, _), n)| message(b'?', *n, *padding)).collect();
        let mut answers: Vec<_> = numbered.iter().map(|((_, padding), n)| message(b'!', *n, *padding)).collect();
        if reverse {
            answers.reverse();
        }
        turns.push(Part { request: true, bytes: asked });
        turns.push(Part { request: false, bytes: answers.concat() });
    }
    turns
}

fn batches(most: usize) -> impl Strategy<Value = Batches> {
    let padding = || prop_oneof![3 => 0..30_usize, 1 => 30..3000_usize];
    prop::collection::vec(prop::collection::vec((padding(), padding()), 1..=most), 1..10)
}

/// Whatever was missed: what is said is true.
fn check(out: &[Exchange], limited: bool) -> Result<(), TestCaseError> {
    let mut seen = std::collections::HashSet::new();
    for exchange in out {
        let asked = int(exchange, "asked").unwrap();
        if asked == UNSEEN {
            continue;
        }
        prop_assert!(seen.insert(asked), "{asked} twice");
        let answered = int(exchange, "answered");
        prop_assert!(exchange.start <= exchange.end && exchange.request_end >= exchange.start);
        // Records lost on both sides of what was not captured cannot be told from a large answer.
        let excused = exchange.holes.pairing || limited && exchange.holes.length;
        if !excused {
            prop_assert!(
                answered.is_none_or(|answered| answered == asked || answered == UNSEEN),
                "{asked} has {answered:?}"
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_captured_everything_right(batches in batches(4), lengths in lengths(), server in any::<bool>(), by_id in any::<bool>()) {
        let mut wire = wire(server, by_id);
        play(&mut wire, &cut(&turns(&batches, by_id), &lengths), server, usize::MAX, &|_| false);
        check(&wire.out, false)?;
        prop_assert_eq!(wire.out.len(), batches.concat().len());
        for exchange in &wire.out {
            prop_assert_eq!(exchange.holes, Holes::default());
            prop_assert_eq!(int(exchange, "asked"), int(exchange, "answered"));
        }
    }

    #[test]
    fn any_limit_and_any_call_lost(
        batches in batches(3), lengths in lengths(), server in any::<bool>(), by_id in any::<bool>(),
        limit in limits(), lost in losses(),
    ) {
        let mut wire = wire(server, by_id);
        play(&mut wire, &cut(&turns(&batches, by_id), &lengths), server, limit, &|i| lost[i % lost.len()]);
        check(&wire.out, limit < usize::MAX)?;
    }

    #[test]
    fn joined_anywhere(batches in batches(3), lengths in lengths(), server in any::<bool>(), by_id in any::<bool>(), from in 0..40_usize) {
        let mut parts = cut(&turns(&batches, by_id), &lengths);
        let before = parts.drain(..from.min(parts.len())).collect::<Vec<_>>();
        let length = |request: bool| before.iter().filter(|p| p.request == request).map(|p| p.bytes.len() as u64).sum::<u64>();
        let (sent, received) = if server { (length(false), length(true)) } else { (length(true), length(false)) };
        let mut wire = wire(server, by_id).joined_at(sent, received);
        play(&mut wire, &parts, server, usize::MAX, &|_| false);
        check(&wire.out, false)?;
    }

    #[test]
    fn any_bytes(parts in prop::collection::vec((any::<bool>(), prop_oneof![
        prop::collection::vec(any::<u8>(), 1..60), (0..5_u32).prop_map(ask), (0..5_u32).prop_map(answer),
        Just(vec![0xa5, b'?', 0xff, 0xff]), Just(vec![0xa5, b'!', 0]),
    ], holes()), 0..30), by_id in any::<bool>()) {
        let mut wire = wire(true, by_id);
        noise(&mut wire, parts)?;
    }
}
