//! What every decoder promises, tried with conversations that real programs have had: however they are cut into calls, whatever of
//! them is not captured or lost, wherever they are joined, what is said is true, or says what is not certain.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{
    CallId, Exchange, Holes, PROTOCOLS, Sample, Side, Understanding, Verdict,
    given::{limits, losses},
    testing::{Part, Wire, cut, play},
};
use crate::{
    conn::{Content, Gap},
    event::Direction::{Receive, Send},
};

/// A conversation as it was captured: lines of `>` (to the server) or `<`, and hexadecimal digits.
pub(crate) fn captured(text: &str) -> Vec<Part> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (mark, digits) = line.split_once(' ').unwrap();
            let digits = digits.trim().as_bytes();
            let bytes =
                digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect();
            Part { request: mark == ">", bytes }
        })
        .collect()
}

/// All of a conversation, seen by one side.
pub(crate) fn heard(parts: &[Part], server: bool) -> Wire {
    let mut wire = Wire::new();
    play(&mut wire, parts, server, usize::MAX, &|_| false);
    wire
}

type Truth = HashMap<(CallId, bool), Exchange>;

fn truth(parts: &[Part], server: bool) -> Truth {
    heard(parts, server).out.into_iter().map(|e| ((e.id, e.side == Side::Server), e)).collect()
}

/// Attributes that follow from times.
fn timeless(exchange: &Exchange) -> Vec<(String, String)> {
    let all = exchange.attributes.0.iter().filter(|(key, _)| !key.contains("time_to"));
    let mut all: Vec<_> = all.map(|(key, value)| (key.to_string(), format!("{value:?}"))).collect();
    all.sort();
    all
}

fn check(name: &str, wire: &Wire, truth: &Truth, everything: bool) -> Result<(), TestCaseError> {
    let mut seen = std::collections::HashSet::new();
    for exchange in &wire.out {
        let at = (exchange.id, exchange.side == Side::Server);
        prop_assert!(seen.insert(at), "{name}: twice {exchange:?}");
        prop_assert!(exchange.start <= exchange.end && exchange.start <= exchange.request_end, "{exchange:?}");
        prop_assert!(exchange.first_byte.is_none_or(|first| exchange.start <= first && first <= exchange.end));
        let mut keys: Vec<_> = exchange.attributes.0.iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        prop_assert!(keys.is_sorted_by(|a, b| a < b), "an attribute twice: {:?}", exchange.attributes);
        let Some(real) = truth.get(&at) else {
            return Err(TestCaseError::fail(format!("{name}: nothing was asked there: {exchange:?}")));
        };
        if exchange.holes == real.holes {
            // What follows from earlier messages may not be known.
            let learnt = [
                "messaging.client.id",
                "messaging.destination.name",
                "messaging.destination.partition.id",
                "geophone.kafka.topic_id",
            ];
            let target = |e: &Exchange| match e.attributes.get("messaging.destination.name") {
                Some(super::Value::Text(text)) => text.clone(),
                _ => "".into(),
            };
            let known = target(exchange) == target(real);
            prop_assert!(known || !everything && target(real).starts_with(&*target(exchange)), "{exchange:?}");
            // Whether it would have been answered is known only where nothing of the answers was missed.
            let fate = |key: &str| !everything && real.holes.no_response && key == "error.type";
            // Nor which keyspace or database a connection has that is older than the agent.
            let keyspace = |key: &str| {
                !everything && matches!(name, "cassandra" | "clickhouse" | "mssql") && key == "db.namespace"
            };
            // Nor how many messages there were, where what is before one of them was not captured: then nothing is said of them.
            let counted =
                |key: &str| !everything && key.ends_with(".messages") && exchange.attributes.get(key).is_none();
            let plain = |exchange| {
                timeless(exchange)
                    .into_iter()
                    .filter(|(key, _)| {
                        !fate(key)
                            && !keyspace(key)
                            && !counted(key)
                            && (everything || !(learnt.contains(&&**key) && (!known || key.ends_with("id"))))
                    })
                    .collect::<Vec<_>>()
            };
            prop_assert!(!known || exchange.name == real.name, "{} is {}", exchange.name, real.name);
            prop_assert_eq!(plain(exchange), plain(real));
        }
    }
    let places =
        |side: bool| wire.asked.iter().filter(|a| (a.side == Side::Server) == side).map(|a| a.id).collect::<Vec<_>>();
    for side in [false, true] {
        let done = wire.out.iter().filter(|e| (e.side == Side::Server) == side).map(|e| e.id);
        let (mut asked, mut done) = (places(side), done.collect::<Vec<_>>());
        asked.sort_by_key(|id| id.place);
        done.sort_by_key(|id| id.place);
        prop_assert_eq!(asked, done, "all that was announced is told of, once");
    }
    if everything {
        prop_assert_eq!(wire.out.len(), truth.len());
        for exchange in &wire.out {
            prop_assert_eq!(exchange.holes, truth[&(exchange.id, exchange.side == Side::Server)].holes);
        }
    }
    Ok(())
}

/// Tries all of it.
pub(crate) fn keep(name: &'static str, parts: &[Part]) {
    recognised(name, parts);
    let lengths = || prop::collection::vec(prop_oneof![1 => 1..12_usize, 3 => 1..200_usize, 3 => 1..3000_usize], 1..8);
    let limit = limits();
    let lost = prop_oneof![Just(Vec::new()), losses()];
    let join = prop_oneof![3 => Just(0), 1 => 0..40_usize];
    let usual = ProptestConfig::default();
    // Each is long: fewer, unless they were asked for.
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { usual.cases } else { 100 };
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..usual });
    let truths = [truth(parts, false), truth(parts, true)];
    assert!(truths.iter().all(|truth| !truth.is_empty()));
    for truth in &truths {
        assert!(truth.values().all(|e| !e.holes.pairing && !e.holes.request_head), "{truth:?}");
    }
    let strategy = (lengths(), any::<bool>(), limit, lost, join, any::<u64>());
    let result = runner.run(&strategy, |(lengths, server, limit, lost, join, noise)| {
        let truth = &truths[usize::from(server)];
        let all = cut(parts, &lengths);
        let mut wire = Wire::new();
        play(&mut wire, &all, server, usize::MAX, &|_| false);
        check(name, &wire, truth, true)?;
        let lossy = lossy(&all, server, limit, &|i| !lost.is_empty() && lost[i % lost.len()], join);
        check(name, &lossy, truth, false)?;
        noisy(&all, server, noise);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// A conversation that is joined after so many calls, and of which some are lost.
fn lossy(all: &[Part], server: bool, limit: usize, lost: &dyn Fn(usize) -> bool, join: usize) -> Wire {
    let (before, rest) = all.split_at(join.min(all.len()));
    let length = |request| before.iter().filter(|p| p.request == request).map(|p| p.bytes.len() as u64).sum();
    let (sent, received) = if server { (length(false), length(true)) } else { (length(true), length(false)) };
    let mut wire = Wire::new().joined_at(sent, received);
    play(&mut wire, rest, server, limit, lost);
    wire
}

/// Tries one case, in which the calls of these numbers are lost.
pub(crate) fn keep_one(
    name: &'static str,
    parts: &[Part],
    lengths: &[usize],
    server: bool,
    lost: &dyn Fn(usize) -> bool,
) {
    let wire = lossy(&cut(parts, lengths), server, usize::MAX, lost, 0);
    check(name, &wire, &truth(parts, server), false).unwrap_or_else(|error| panic!("{error}"));
}

/// Bytes changed, left out and made up: no panic, and times in order.
fn noisy(parts: &[Part], server: bool, mut noise: u64) {
    let mut next = |below: u64| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 33) % below
    };
    let mut wire = Wire::new();
    for (i, part) in parts.iter().enumerate() {
        let mut bytes = part.bytes.clone();
        let direction = if part.request == server { Receive } else { Send };
        if i > 0 {
            for _ in 0..next(4) {
                let at = usize::try_from(next(bytes.len() as u64)).unwrap();
                bytes[at] = u8::try_from(next(256)).unwrap();
            }
        }
        wire.put(direction, Content::Bytes(&bytes));
        match next(12) {
            0 => drop(wire.put(direction, Content::Hole(next(100) + 1, Gap::Lost))),
            1 => drop(wire.put(direction, Content::Hole(next(1 << 30) + 1, Gap::NotCaptured))),
            _ => {}
        }
    }
    wire.tick(10_000_000_000).close();
    assert!(wire.out.iter().all(|exchange| exchange.start <= exchange.end));
}

/// The conversation is taken for what it is, from both ends, and at no place for anything else.
fn recognised(name: &'static str, parts: &[Part]) {
    for server in [false, true] {
        let mut wire = Wire::new();
        for part in parts {
            wire.put(if part.request == server { Receive } else { Send }, Content::Bytes(&part.bytes));
        }
        assert_eq!(wire.understanding(), Understanding::Understood(name));
        assert_eq!(wire.count("redetected"), 0);
    }
    for (i, part) in parts.iter().enumerate() {
        for sender in [None, Some(if part.request { Side::Client } else { Side::Server })] {
            for first in [false, true] {
                let sample = Sample { bytes: &part.bytes, direction: Send, sender, first };
                // The answers of uwsgi are HTTP.
                let others = PROTOCOLS.iter().filter(|other| other.name != name && (name != "uwsgi" || part.request));
                for other in others {
                    assert_ne!((other.detect)(&sample), Verdict::Yes, "call {i} is taken for {}", other.name);
                }
            }
        }
    }
}

/// What is known of each exchange: its name, and these attributes.
pub(crate) fn told(wire: &Wire, keys: &[&str]) -> Vec<String> {
    let text = |exchange: &Exchange| {
        let mut text = exchange.name.to_string();
        for key in keys {
            let value = match exchange.attributes.get(key) {
                Some(super::Value::Text(text)) => text.to_string(),
                Some(super::Value::Int(int)) => int.to_string(),
                Some(other) => format!("{other:?}"),
                None => "-".into(),
            };
            text.push_str(" | ");
            text.push_str(&value);
        }
        if exchange.holes != Holes::default() {
            text.push_str(&format!(" {:?}", exchange.holes));
        }
        text
    };
    wire.out.iter().map(text).collect()
}
