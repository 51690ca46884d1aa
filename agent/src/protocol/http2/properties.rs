//! Any conversation, in any split into calls, with any capture limit, with any calls lost, joined anywhere: each span is right or says
//! what is missing, and no request ever has another's response. Request and response of a stream carry the same number, the request in
//! its path, the response in its status.

use proptest::prelude::*;

use super::{frame::PREFACE, testing::*};
use crate::{
    conn::{Content, Gap},
    event::Direction,
    protocol::{
        Exchange, Holes, Value,
        http::is_grpc_call,
        testing::{Wire, int},
    },
};

/// The status of the first exchange; those of the following ones count up.
const FIRST: i64 = 300;

#[derive(Clone, Debug)]
struct Pair {
    grpc: bool,
    /// Sizes of the request's messages, or of parts of its body.
    request: Vec<usize>,
    response: Vec<usize>,
    trailers: bool,
    padding: usize,
    /// How much of the header block is in the first frame.
    cut: usize,
}

fn pair() -> impl Strategy<Value = Pair> {
    let sizes = || prop::collection::vec(prop_oneof![3 => 0..60_usize, 1 => 60..3000_usize], 0..4);
    (any::<bool>(), sizes(), sizes(), any::<bool>(), 0..300_usize, 1..60_usize).prop_map(
        |(grpc, request, response, trailers, padding, cut)| Pair { grpc, request, response, trailers, padding, cut },
    )
}

#[derive(Clone, Debug)]
struct Plan {
    pairs: Vec<Pair>,
    /// In which order the frames of streams come.
    order: Vec<prop::sample::Index>,
    /// Where calls end, as distances.
    cuts: Vec<usize>,
    server: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    let order = prop::collection::vec(any::<prop::sample::Index>(), 1..20);
    let cuts = prop::collection::vec(prop_oneof![1 => 1..12_usize, 4 => 1..3000_usize], 1..12);
    (prop::collection::vec(pair(), 1..8), order, cuts, any::<bool>()).prop_map(|(pairs, order, cuts, server)| Plan {
        pairs,
        order,
        cuts,
        server,
    })
}

#[derive(Clone, Debug)]
struct Call {
    request: bool,
    bytes: Vec<u8>,
}

impl Pair {
    fn fields<'a>(&self, request: bool, padding: &'a str) -> Vec<(&'a str, &'a str)> {
        let kind = if self.grpc { "application/grpc" } else { "text/plain" };
        let mut fields = if request { vec![(":method", "POST"), (":scheme", "http")] } else { vec![] };
        fields.extend([("content-type", kind), ("x-padding", padding)]);
        fields
    }

    fn body(&self, request: bool) -> Vec<Vec<u8>> {
        let sizes = if request { &self.request } else { &self.response };
        sizes.iter().map(|size| if self.grpc { message(*size) } else { vec![b'x'; *size] }).collect()
    }

    /// Frames of one direction of the stream, with what they need of the connection's compression filled in when they are sent.
    fn frames(&self, request: bool) -> Vec<Part> {
        let mut parts = vec![Part::Head];
        parts.extend(self.body(request).into_iter().map(Part::Body));
        parts.push(if self.trailers && !request { Part::Trailers } else { Part::End });
        parts
    }
}

#[derive(Clone, Debug)]
enum Part {
    Head,
    Body(Vec<u8>),
    Trailers,
    End,
}

impl Plan {
    /// The conversation in calls, requests before their responses.
    fn script(&self) -> Vec<Call> {
        let mut calls = Vec::new();
        let mut cuts = self.cuts.iter().copied().cycle();
        let (mut requests, mut responses) = (Encoder::default(), Encoder::default());
        let mut begin = PREFACE.to_vec();
        begin.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]));
        calls.push(Call { request: true, bytes: begin });
        calls.push(Call { request: false, bytes: frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]) });
        for request in [true, false] {
            let encoder = if request { &mut requests } else { &mut responses };
            let mut left: Vec<(usize, std::collections::VecDeque<Part>)> =
                self.pairs.iter().map(|pair| pair.frames(request).into()).enumerate().collect();
            let mut order = self.order.iter().cycle();
            let mut bytes = Vec::new();
            let mut begun = 0;
            while !left.is_empty() {
                // A client opens its streams in the order of their ids.
                let at = order.next().unwrap().index(left.len());
                let at = if request && left[at].0 > begun {
                    left.iter().position(|(n, _)| *n == begun).unwrap_or(at)
                } else {
                    at
                };
                let (n, parts) = &mut left[at];
                let (n, part) = (*n, parts.pop_front().unwrap());
                if matches!(part, Part::Head) {
                    begun = begun.max(n + 1);
                }
                bytes.extend(self.pairs[n].encode(n, request, &part, encoder));
                left.retain(|(_, parts)| !parts.is_empty());
            }
            while !bytes.is_empty() {
                let rest = bytes.split_off(cuts.next().unwrap().min(bytes.len()));
                calls.push(Call { request, bytes: std::mem::replace(&mut bytes, rest) });
            }
        }
        calls
    }
}

impl Pair {
    fn encode(&self, n: usize, request: bool, part: &Part, encoder: &mut Encoder) -> Vec<u8> {
        let id = 1 + 2 * n as u32;
        match part {
            Part::Head => {
                let padding = "p".repeat(self.padding);
                let (path, status) = (format!("/s.S/r{n}"), (FIRST + n as i64).to_string());
                let mut fields = vec![if request { (":path", &*path) } else { (":status", &*status) }];
                fields.extend(self.fields(request, &padding));
                let block = encoder.block(&fields);
                let (first, rest) = block.split_at(self.cut.min(block.len()));
                if rest.is_empty() {
                    return frame(HEADERS, END_HEADERS, id, first);
                }
                [frame(HEADERS, 0, id, first), frame(CONTINUATION, END_HEADERS, id, rest)].concat()
            }
            Part::Body(body) => frame(DATA, PADDED, id, &[&[2][..], body, &[0, 0]].concat()),
            Part::Trailers => {
                let code = (n % 17).to_string();
                let fields = [(if self.grpc { "grpc-status" } else { "x-sum" }, &*code), ("x-end", "1")];
                frame(HEADERS, END_HEADERS | END_STREAM, id, &encoder.block(&fields))
            }
            Part::End => frame(DATA, END_STREAM, id, &[]),
        }
    }

    fn size(&self, request: bool) -> i64 {
        self.body(request).iter().map(Vec::len).sum::<usize>() as i64
    }
}

/// Of each exchange the parts of the request's body, of the response's, each with whether it is a message, and whether there are trailers.
type Bodies = (Vec<(bool, Vec<u8>)>, Vec<(bool, Vec<u8>)>, bool);

fn calls() -> impl Strategy<Value = Vec<Bodies>> {
    // What is no message is none wherever it is among messages: its first byte is no message's, or it is too long for itself.
    let part = prop_oneof![
        9 => (0..300_usize).prop_map(|size| (true, message(size))),
        1 => prop::collection::vec(2..=0x7f_u8, 1..40).prop_map(|bytes| (false, bytes)),
        1 => (0..40_usize).prop_map(|size| (false, [message(size), vec![0xff]].concat())),
    ];
    let body = || prop::collection::vec(part.clone(), 1..4);
    prop::collection::vec((body(), body(), prop::bool::weighted(0.8)), 1..6)
}

/// Plays a script as `conn` would hand it on: lost calls become holes before the direction's next call, or its end.
fn play(wire: &mut Wire, script: &[Call], server: bool, limit: usize, lost: &dyn Fn(usize) -> bool) {
    let mut missing = [0, 0];
    let direction = |request: bool| if request == server { Direction::Receive } else { Direction::Send };
    for (i, call) in script.iter().enumerate() {
        let missing = &mut missing[usize::from(call.request)];
        if lost(i) {
            *missing += call.bytes.len() as u64;
            continue;
        }
        if *missing > 0 {
            wire.put(direction(call.request), Content::Hole(std::mem::take(missing), Gap::Lost));
        }
        let (seen, unseen) = call.bytes.split_at(limit.min(call.bytes.len()));
        if !seen.is_empty() {
            wire.put(direction(call.request), Content::Bytes(seen));
        }
        if !unseen.is_empty() {
            wire.put(direction(call.request), Content::Hole(unseen.len() as u64, Gap::NotCaptured));
        }
    }
    for (request, missing) in [false, true].into_iter().zip(missing).filter(|(_, missing)| *missing > 0) {
        wire.put(direction(request), Content::Hole(missing, Gap::Lost));
    }
    wire.tick(300_000_000).close();
}

fn known_text<'a>(exchange: &'a Exchange, key: &str) -> Option<&'a str> {
    match exchange.attributes.get(key) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// Whatever was missed: what is said is true.
fn check(plan: &Plan, out: &[Exchange]) -> Result<(), TestCaseError> {
    let mut seen = std::collections::HashSet::new();
    for exchange in out {
        prop_assert_eq!(exchange.protocol, "http", "{:?}", exchange);
        let n = (exchange.id.place as usize - 1) / 2;
        let pair = &plan.pairs[n];
        prop_assert!(seen.insert(n), "{n} twice");
        prop_assert!(pair.grpc || !is_grpc_call(exchange), "{:?}", exchange);
        let path = ["rpc.method", "url.path", "url.full"].iter().find_map(|key| known_text(exchange, key));
        match path {
            Some(path) => prop_assert!(path.ends_with(&format!("s.S/r{n}")), "{path} for {n}"),
            None => prop_assert!(exchange.holes.request_head),
        }
        if let Some(status) = int(exchange, "http.response.status_code") {
            prop_assert_eq!(status, FIRST + n as i64);
        } else {
            prop_assert!(exchange.holes.no_response || exchange.holes.response_head);
        }
        if let Some(said) = known_text(exchange, "rpc.response.status_code") {
            let code = n % 17;
            prop_assert!(
                pair.trailers && (code != 0 || said == "OK") && (code != 5 || said == "NOT_FOUND"),
                "{said} for {code}"
            );
        }
        for (request, key) in [(true, "http.request.body.size"), (false, "http.response.body.size")] {
            if let Some(size) = int(exchange, key) {
                prop_assert_eq!(size, pair.size(request), "{} of {}", key, n);
            }
        }
        for (request, key) in
            [(&pair.request, "geophone.grpc.request.messages"), (&pair.response, "geophone.grpc.response.messages")]
        {
            if let Some(count) = int(exchange, key).filter(|_| pair.grpc) {
                prop_assert_eq!(count, request.len() as i64, "{} of {}", key, n);
            }
        }
        prop_assert!(exchange.start <= exchange.end);
        prop_assert!(exchange.first_byte.is_none_or(|first| exchange.start <= first && first <= exchange.end));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_captured_everything_right(plan in plan()) {
        let script = plan.script();
        let mut wire = Wire::new();
        play(&mut wire, &script, plan.server, usize::MAX, &|_| false);
        check(&plan, &wire.out)?;
        prop_assert_eq!(wire.out.len(), plan.pairs.len());
        for exchange in &wire.out {
            let pair = &plan.pairs[(exchange.id.place as usize - 1) / 2];
            prop_assert_eq!(exchange.holes, Holes::default());
            if pair.grpc {
                prop_assert_eq!(int(exchange, "geophone.grpc.request.messages"), Some(pair.request.len() as i64));
                prop_assert_eq!(int(exchange, "geophone.grpc.response.messages"), Some(pair.response.len() as i64));
                prop_assert_eq!(known_text(exchange, "rpc.response.status_code").is_some(), pair.trailers);
            } else {
                prop_assert_eq!(int(exchange, "http.request.body.size"), Some(pair.size(true)));
                prop_assert_eq!(int(exchange, "http.response.body.size"), Some(pair.size(false)));
            }
        }
    }

    #[test]
    fn any_capture_limit(plan in plan(), limit in 0..1500_usize) {
        let mut wire = Wire::new();
        play(&mut wire, &plan.script(), plan.server, limit, &|_| false);
        check(&plan, &wire.out)?;
    }

    #[test]
    fn any_call_lost(
        plan in plan(),
        limit in prop_oneof![Just(usize::MAX), 0..1500_usize],
        lost in prop::collection::vec(prop::bool::weighted(0.2), 40),
    ) {
        let mut wire = Wire::new();
        play(&mut wire, &plan.script(), plan.server, limit, &|i| lost[i % lost.len()]);
        check(&plan, &wire.out)?;
    }

    #[test]
    fn joined_anywhere(plan in plan(), from in 0..60_usize) {
        let mut script = plan.script();
        let from = from.min(script.len());
        let before = |request: bool| script[..from].iter().filter(|c| c.request == request).map(|c| c.bytes.len() as u64).sum::<u64>();
        let (asked, answered) = (before(true), before(false));
        let (sent, received) = if plan.server { (answered, asked) } else { (asked, answered) };
        for call in &mut script[..from] {
            call.bytes.clear();
        }
        let mut wire = Wire::new().joined_at(sent, received);
        play(&mut wire, &script, plan.server, usize::MAX, &|i| i < from);
        check(&plan, &wire.out)?;
    }

    /// Of a connection whose fields were all said before it was joined: calls are told to be calls, and nothing else is.
    #[test]
    fn joined_where_everything_was_said(plan in calls(), server in any::<bool>()) {
        let direction = |request: bool| if request == server { Direction::Receive } else { Direction::Send };
        let mut wire = Wire::new().joined_at(5_000, 7_000);
        for (n, (body, answer, trailers)) in plan.iter().enumerate() {
            let id = 101 + 2 * n as u32;
            // A method and a status by themselves; everything else is referred to.
            let (head, end) = ([0x83, 0xbe, 0xbf], if *trailers { 0 } else { END_STREAM });
            wire.put(direction(true), Content::Bytes(&frame(HEADERS, END_HEADERS, id, &head)));
            for (i, part) in body.iter().enumerate() {
                let end = if i + 1 == body.len() { END_STREAM } else { 0 };
                wire.put(direction(true), Content::Bytes(&frame(DATA, end, id, &part.1)));
            }
            wire.put(direction(false), Content::Bytes(&frame(HEADERS, END_HEADERS, id, &[0x88, 0xbe])));
            for (i, part) in answer.iter().enumerate() {
                let end = if i + 1 == answer.len() { end } else { 0 };
                wire.put(direction(false), Content::Bytes(&frame(DATA, end, id, &part.1)));
            }
            if *trailers {
                wire.put(direction(false), Content::Bytes(&frame(HEADERS, END_HEADERS | END_STREAM, id, &[0xbf])));
            }
        }
        wire.tick(300_000_000).close();
        prop_assert_eq!(wire.out.len(), plan.len());
        for exchange in &wire.out {
            let (body, answer, trailers) = &plan[(exchange.id.place as usize - 101) / 2];
            let whole = |parts: &[(bool, Vec<u8>)]| parts.iter().all(|(message, _)| *message);
            prop_assert_eq!(is_grpc_call(exchange), *trailers && whole(body) && whole(answer), "{:?}", exchange);
        }
    }

    #[test]
    fn any_bytes(parts in prop::collection::vec((any::<bool>(), prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        Just(PREFACE.to_vec()),
        (0..10_u8, any::<u8>(), 0..6_u32, prop::collection::vec(any::<u8>(), 0..30)).prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload)),
        Just(frame(HEADERS, END_HEADERS, 1, &[0x82, 0x84])),
        Just(frame(HEADERS, END_HEADERS, 1, &[0x88])),
        Just(frame(HEADERS, END_HEADERS, 1, &[0x3f])),
        Just(frame(GOAWAY, 0, 0, &[0xff; 8])),
    ], prop::option::of((any::<u64>(), any::<bool>()))), 0..40)) {
        let mut wire = Wire::new();
        wire.receive(PREFACE);
        for (receive, bytes, hole) in parts {
            let direction = if receive { Direction::Receive } else { Direction::Send };
            wire.put(direction, Content::Bytes(&bytes));
            let _ = wire.interest(direction);
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
