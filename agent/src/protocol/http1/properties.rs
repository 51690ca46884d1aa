//! Any conversation, in any split into calls, with any capture limit, with any calls lost: each span is right or says what is
//! missing, and no request ever has another's response. Request and response of an exchange carry the same number, the
//! request in its path, the response in its status.

use proptest::prelude::*;

use crate::{
    conn::{Content, Gap},
    event::{Direction, Nanos},
    protocol::{
        Exchange, Holes,
        testing::{Wire, int, text},
    },
};

/// The status of the first exchange; those of the following ones count up.
const FIRST: i64 = 400;

#[derive(Clone, Debug)]
enum Body {
    None,
    Length(usize),
    Chunks(Vec<usize>),
}

impl Body {
    fn size(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Length(size) => *size,
            Self::Chunks(sizes) => sizes.iter().sum(),
        }
    }

    fn write(&self, message: &mut Vec<u8>) {
        match self {
            Self::None => message.extend(b"Content-Length: 0\r\n\r\n"),
            Self::Length(size) => {
                message.extend(format!("Content-Length: {size}\r\n\r\n").bytes());
                message.resize(message.len() + size, b'x');
            }
            Self::Chunks(sizes) => {
                message.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for size in sizes {
                    message.extend(format!("{size:x};e=1\r\n").bytes());
                    message.resize(message.len() + size, b'x');
                    message.extend(b"\r\n");
                }
                message.extend(b"0\r\nTrailer: t\r\n\r\n");
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Pair {
    head: bool,
    padding: usize,
    request: Body,
    interim: usize,
    response: Body,
}

impl Pair {
    fn request(&self, number: usize) -> Vec<u8> {
        let method = if self.head { "HEAD" } else { "POST" };
        let padding = "p".repeat(self.padding);
        let mut message = format!("{method} /r{number} HTTP/1.1\r\nHost: h\r\nX-Padding: {padding}\r\n").into_bytes();
        self.request.write(&mut message);
        message
    }

    fn response(&self, number: usize) -> Vec<u8> {
        let mut message = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(self.interim);
        let padding = "p".repeat(self.padding);
        message.extend(format!("HTTP/1.1 {} Status\r\nX-Padding: {padding}\r\n", FIRST + number as i64).bytes());
        let head_only = message.len();
        self.response.write(&mut message);
        if self.head {
            let body = message.windows(4).skip(head_only - 4).position(|w| w == b"\r\n\r\n").unwrap();
            message.truncate(head_only - 4 + body + 4);
        }
        message
    }
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        Just(Body::None),
        (1..3000_usize).prop_map(Body::Length),
        prop::collection::vec(1..900_usize, 0..4).prop_map(Body::Chunks),
    ]
}

fn any_pair() -> impl Strategy<Value = Pair> {
    let padding = prop_oneof![3 => 0..40_usize, 1 => 40..700_usize];
    (prop::bool::weighted(0.1), padding, body(), 0..2_usize, body()).prop_map(
        |(head, padding, request, interim, response)| Pair {
            head,
            padding,
            request: if head { Body::None } else { request },
            interim,
            response,
        },
    )
}

/// Pairs in the order of their numbers, in batches: those of a batch are asked together and answered together.
#[derive(Clone, Debug)]
struct Plan {
    batches: Vec<Vec<Pair>>,
    /// Where calls end, as distances.
    cuts: Vec<usize>,
    server: bool,
}

fn plan(most: usize) -> impl Strategy<Value = Plan> {
    let cuts = prop::collection::vec(prop_oneof![1 => 1..4_usize, 4 => 1..3000_usize], 1..12);
    (prop::collection::vec(prop::collection::vec(any_pair(), 1..=most), 1..8), cuts, any::<bool>())
        .prop_map(|(batches, cuts, server)| Plan { batches, cuts, server })
}

#[derive(Clone, Debug)]
struct Call {
    request: bool,
    bytes: Vec<u8>,
}

/// Where a message's first and last byte are, in calls.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    first: usize,
    last: usize,
}

#[derive(Debug)]
struct Script {
    calls: Vec<Call>,
    /// Of each pair: request, response.
    truth: Vec<(Span, Span, Pair)>,
}

impl Plan {
    fn script(&self) -> Script {
        let mut cuts = self.cuts.iter().copied().cycle();
        let mut script = Script { calls: Vec::new(), truth: Vec::new() };
        let mut number = 0;
        for batch in &self.batches {
            let numbers: Vec<usize> = (number..number + batch.len()).collect();
            number += batch.len();
            let mut spans = [Vec::new(), Vec::new()];
            for (side, spans) in [true, false].into_iter().zip(&mut spans) {
                let messages: Vec<_> = batch
                    .iter()
                    .zip(&numbers)
                    .map(|(pair, n)| if side { pair.request(*n) } else { pair.response(*n) })
                    .collect();
                let all = messages.concat();
                let first_call = script.calls.len();
                let mut ends = Vec::new();
                let mut at = 0;
                while at < all.len() {
                    let end = (at + cuts.next().unwrap()).min(all.len());
                    script.calls.push(Call { request: side, bytes: all[at..end].to_vec() });
                    ends.push(end);
                    at = end;
                }
                let call_of = |byte: usize| first_call + ends.iter().position(|end| byte < *end).unwrap();
                let mut at = 0;
                for (message, pair) in messages.iter().zip(batch) {
                    // Times of a response count from the final one.
                    let interim = if side { 0 } else { pair.interim * b"HTTP/1.1 100 Continue\r\n\r\n".len() };
                    spans.push(Span { first: call_of(at + interim), last: call_of(at + message.len() - 1) });
                    at += message.len();
                }
            }
            let [requests, responses] = spans;
            script.truth.extend(requests.into_iter().zip(responses).zip(batch).map(|((a, b), p)| (a, b, p.clone())));
        }
        script
    }
}

/// When a call is seen: the n-th at this time.
fn time(call: usize) -> Nanos {
    1_010 + 10 * call as u64
}

/// Plays a script as `conn` would hand it on: lost calls become holes before the direction's next call,
/// or its end.
fn play(wire: &mut Wire, script: &Script, server: bool, limit: usize, lost: &dyn Fn(usize) -> bool) {
    let mut missing = [0, 0];
    for (i, call) in script.calls.iter().enumerate() {
        let missing = &mut missing[usize::from(call.request)];
        let direction = if call.request == server { Direction::Receive } else { Direction::Send };
        if lost(i) {
            *missing += call.bytes.len() as u64;
            continue;
        }
        let mut put = |content: Content<'_>| {
            wire.now = time(i) - 10;
            wire.put(direction, content);
        };
        if *missing > 0 {
            put(Content::Hole(std::mem::take(missing), Gap::Lost));
        }
        let (seen, unseen) = call.bytes.split_at(limit.min(call.bytes.len()));
        put(Content::Bytes(seen));
        if !unseen.is_empty() {
            put(Content::Hole(unseen.len() as u64, Gap::NotCaptured));
        }
    }
    for (request, missing) in [false, true].into_iter().zip(missing).filter(|(_, missing)| *missing > 0) {
        let direction = if request == server { Direction::Receive } else { Direction::Send };
        wire.put(direction, Content::Hole(missing, Gap::Lost));
    }
    wire.close();
}

fn number(exchange: &Exchange) -> usize {
    let key = if exchange.attributes.get("url.path").is_some() { "url.path" } else { "url.full" };
    text(exchange, key).rsplit_once("/r").unwrap().1.parse().unwrap()
}

/// Whatever was missed: what is said is true.
fn check(script: &Script, out: &[Exchange]) -> Result<(), TestCaseError> {
    let mut seen = vec![false; script.truth.len()];
    for exchange in out {
        let n = number(exchange);
        let (request, response, pair) = &script.truth[n];
        prop_assert!(!std::mem::replace(&mut seen[n], true), "{n} twice");
        let status = int(exchange, "http.response.status_code");
        if exchange.holes.pairing {
            // Said to be no more than likely.
            continue;
        }
        prop_assert!(status.is_none_or(|status| status == FIRST + n as i64), "{n} has {status:?}");
        prop_assert_eq!(status.is_none(), exchange.holes.no_response);
        prop_assert_eq!(exchange.start, time(request.first));
        if let Some(size) = int(exchange, "http.request.body.size") {
            prop_assert_eq!(size, pair.request.size() as i64);
        }
        if !exchange.holes.no_response && !exchange.holes.length {
            let size = if pair.head { 0 } else { pair.response.size() };
            if let Some(seen) = int(exchange, "http.response.body.size") {
                prop_assert_eq!(seen, size as i64);
            }
            prop_assert_eq!(exchange.first_byte, Some(time(response.first)));
            prop_assert_eq!(exchange.end, time(response.last));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_captured_everything_right(plan in plan(4)) {
        let script = plan.script();
        let mut wire = Wire::new();
        play(&mut wire, &script, plan.server, usize::MAX, &|_| false);
        check(&script, &wire.out)?;
        prop_assert_eq!(wire.out.len(), script.truth.len());
        for (n, exchange) in wire.out.iter().enumerate() {
            prop_assert_eq!(number(exchange), n);
            prop_assert_eq!(exchange.holes, Holes::default());
            prop_assert_eq!(exchange.request_end, time(script.truth[n].0.last));
            prop_assert_eq!(int(exchange, "http.request.body.size").unwrap_or(0), script.truth[n].2.request.size() as i64);
        }
    }

    #[test]
    fn answers_seen_before_their_requests(pairs in prop::collection::vec(any_pair(), 1..6), early in prop::collection::vec(any::<bool>(), 6)) {
        let mut wire = Wire::new();
        for (n, pair) in pairs.iter().enumerate() {
            if early[n] {
                wire.receive(pair.response(n)).send(pair.request(n));
            } else {
                wire.send(pair.request(n)).receive(pair.response(n));
            }
        }
        let seen: Vec<_> = wire.out.iter().map(|e| (number(e), int(e, "http.response.status_code"), e.holes)).collect();
        let all: Vec<_> = (0..pairs.len()).map(|n| (n, Some(FIRST + n as i64), Holes::default())).collect();
        prop_assert_eq!(seen, all);
    }

    #[test]
    fn any_capture_limit(plan in plan(4), limit in 0..1500_usize) {
        let script = plan.script();
        let mut wire = Wire::new();
        play(&mut wire, &script, plan.server, limit, &|_| false);
        check(&script, &wire.out)?;
    }

    #[test]
    fn any_call_lost(plan in plan(3), limit in prop_oneof![Just(usize::MAX), 0..1500_usize], lost in prop::collection::vec(prop::bool::weighted(0.2), 40)) {
        let script = plan.script();
        let mut wire = Wire::new();
        play(&mut wire, &script, plan.server, limit, &|i| lost[i % lost.len()]);
        check(&script, &wire.out)?;
    }

    #[test]
    fn joined_anywhere(plan in plan(3), from in 0..30_usize) {
        let mut script = plan.script();
        let from = from.min(script.calls.len());
        // What went before is only an offset.
        let before = |request: bool| script.calls[..from].iter().filter(|c| c.request == request).map(|c| c.bytes.len() as u64).sum::<u64>();
        let (asked, answered) = (before(true), before(false));
        let (sent, received) = if plan.server { (answered, asked) } else { (asked, answered) };
        for call in &mut script.calls[..from] {
            call.bytes.clear();
        }
        let mut wire = Wire::new().joined_at(sent, received);
        play(&mut wire, &script, plan.server, usize::MAX, &|i| i < from);
        check(&script, &wire.out)?;
    }

    #[test]
    fn pairs_are_found_again_after_a_loss(plan in plan(1), tail in prop::collection::vec(any_pair(), 6), lost in prop::collection::vec(any::<bool>(), 12)) {
        let mut plan = plan;
        let mut wire = Wire::new();
        let before = plan.script().calls.len();
        plan.cuts = vec![usize::MAX / 2];
        let head = plan.batches.len();
        plan.batches.extend(tail.into_iter().map(|pair| vec![pair]));
        let script = plan.script();
        let lossy = 2 * head;
        prop_assert!(before >= lossy);
        play(&mut wire, &script, plan.server, usize::MAX, &|i| i < lossy && lost[i % lost.len()]);
        check(&script, &wire.out)?;
        let last: Vec<_> = wire.out.iter().rev().take(2).map(|e| (number(e), e.holes)).collect();
        prop_assert_eq!(last, vec![(script.truth.len() - 1, Holes::default()), (script.truth.len() - 2, Holes::default())]);
    }

    #[test]
    fn any_bytes(parts in prop::collection::vec((any::<bool>(), prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        Just(b"GET /r1 HTTP/1.1\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
        Just(b"Content-Length: 18446744073709551615\r\n\r\n".to_vec()),
        Just(b"ffffffffffffff\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
    ], prop::option::of((any::<u64>(), any::<bool>()))), 0..30)) {
        let mut wire = Wire::new();
        for (receive, bytes, hole) in parts {
            let direction = if receive { Direction::Receive } else { Direction::Send };
            wire.put(direction, Content::Bytes(&bytes));
            if let Some((length, lost)) = hole {
                let gap = if lost { Gap::Lost } else { Gap::NotCaptured };
                wire.put(direction, Content::Hole(length >> 16, gap));
            }
        }
        wire.tick(10_000_000_000).close();
        for exchange in &wire.out {
            prop_assert!(exchange.start <= exchange.end);
        }
    }
}

fn pair(padding: usize, head: bool, request: Body, response: Body) -> Pair {
    Pair { head, padding, request, interim: 0, response }
}

fn empty() -> Pair {
    pair(0, false, Body::None, Body::None)
}

/// Plays a conversation of which these calls are lost, and checks what is said of it.
fn play_lossy(batches: Vec<Vec<Pair>>, cuts: Vec<usize>, limit: usize, lost: &[usize]) {
    let script = Plan { batches, cuts, server: false }.script();
    let mut wire = Wire::new();
    play(&mut wire, &script, false, limit, &|i| lost.contains(&i));
    check(&script, &wire.out).unwrap();
}

/// The end of the request's head is lost, which is noticed only after its answer is lost, too.
#[test]
fn a_lost_answer_and_the_next_request() {
    let first = vec![
        pair(0, false, Body::Chunks(vec![]), Body::None),
        pair(358, false, Body::Length(1028), Body::None),
        pair(36, false, Body::Chunks(vec![]), Body::Chunks(vec![429])),
    ];
    let head = pair(0, true, Body::None, Body::None);
    let batches = vec![first, vec![empty()], vec![head], vec![empty()]];
    play_lossy(batches, vec![606, 952, 105, 1, 1024, 1], usize::MAX, &[2, 3, 6]);
}

/// Two requests are under way, the first of them unseen; the second one's answer is in what is not captured of the call that
/// answers the first.
#[test]
fn an_unseen_request_and_an_answer_that_is_not_captured() {
    let first = vec![pair(665, false, Body::Length(2720), Body::None), empty()];
    play_lossy(vec![first, vec![empty()], vec![empty()]], vec![793, 431, 1433], 21, &[0]);
}

/// The first answer of all waits for its request, which is lost; the next requests come after it.
#[test]
fn an_answer_that_waits_when_its_requests_are_joined() {
    let batches = vec![
        vec![pair(0, false, Body::Length(1114), Body::None), pair(24, false, Body::None, Body::Length(1))],
        vec![pair(0, false, Body::None, Body::Chunks(vec![63])), pair(30, false, Body::None, Body::Length(1019))],
        vec![pair(21, false, Body::Chunks(vec![217, 284]), Body::None)],
        vec![pair(0, false, Body::Length(567), Body::None)],
    ];
    play_lossy(batches, vec![422], 81, &[0]);
}
