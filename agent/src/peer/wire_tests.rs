use proptest::prelude::*;

use super::*;

fn context(state: &str) -> SpanContext {
    let state = if state.is_empty() { TraceState::NONE } else { parse_tracestate(state).unwrap() };
    SpanContext::new(TraceId::from(7u128 << 90), SpanId::from(9), TraceFlags::SAMPLED, true, state)
}

fn told(place: u32, state: &str) -> Told {
    Told { name: Name { answers: u32::MAX, request: place }, context: context(state) }
}

fn written(told: &Told) -> Vec<u8> {
    let mut bytes = Vec::new();
    Item::write_told(told, false, &mut bytes);
    bytes
}

#[test]
fn a_request_takes_less_than_forty_bytes() {
    assert_eq!(written(&told(100, "")).len(), 34);
}

#[test]
fn trace_states_are_told_as_they_came_if_they_are_short() {
    let mut bytes = Vec::new();
    Opening::default().write(&mut bytes);
    assert!(!Item::write_told(&told(5, "rojo=1,congo=t61"), true, &mut bytes));
    let (_, items) = read_batch(&bytes).unwrap();
    assert_eq!(items, [Item::Told { told: told(5, "rojo=1,congo=t61"), to_several: true }]);

    let mut bytes = Vec::new();
    Opening::default().write(&mut bytes);
    assert!(Item::write_told(&told(5, &format!("a={},b={}", "x".repeat(200), "y".repeat(200))), false, &mut bytes));
    let (_, items) = read_batch(&bytes).unwrap();
    assert_eq!(items, [Item::Told { told: told(5, ""), to_several: false }]);
}

#[test]
fn contexts_that_are_none_are_refused() {
    let mut bytes = Vec::new();
    Opening::default().write(&mut bytes);
    let start = bytes.len();
    bytes.extend(written(&told(5, "")));
    assert!(read_batch(&bytes).is_some());
    // Kind and name come before the trace id.
    let (trace, span) = (start + 1 + 8, start + 1 + 8 + 16);
    for zeroes in [trace..span, span..span + 8] {
        let mut zeroed = bytes.clone();
        zeroed[zeroes].fill(0);
        assert_eq!(read_batch(&zeroed), None);
    }
    for end in start + 1..bytes.len() {
        assert_eq!(read_batch(&bytes[..end]), None, "cut at {end}");
    }
}

#[test]
fn a_head_names_two_different_agents() {
    let head = |kind, from, to| {
        let mut bytes = Vec::new();
        Head { kind, from, to, number: 3 }.write(&mut bytes);
        assert_eq!(bytes.len(), HEAD);
        Head::read(&bytes)
    };
    assert!(head(Kind::Hello, 1, 0).is_ok());
    assert!(head(Kind::Batch, 1, 2).is_ok());
    for (kind, from, to) in [(Kind::Hello, 0, 1), (Kind::Hello, 1, 1), (Kind::Batch, 1, 0)] {
        assert_eq!(head(kind, from, to), Err(Refused::Malformed));
    }
    assert_eq!(Head::read(&[2; 40]), Err(Refused::Version));
    assert_eq!(Head::read(&[]), Err(Refused::Malformed));
}

fn any_item() -> impl Strategy<Value = Item> {
    let name = any::<(u32, u32)>().prop_map(|(answers, request)| Name { answers, request });
    let state = prop_oneof![Just(""), Just("a=b"), Just("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")];
    let parts = (name, 1..u128::MAX, 1..u64::MAX, any::<u8>(), state, any::<bool>());
    let told = parts.prop_map(|(name, trace, span, flags, state, to_several)| {
        let state = if state.is_empty() { TraceState::NONE } else { parse_tracestate(state).unwrap() };
        let ids = (TraceId::from(trace), SpanId::from(span));
        let context = SpanContext::new(ids.0, ids.1, TraceFlags::new(flags), true, state);
        Item::Told { told: Told { name, context }, to_several }
    });
    prop_oneof![10 => told, 1 => any::<u32>().prop_map(Item::Mine), 1 => Just(Item::Bye)]
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(
        since in any::<u64>(), latest in any::<u64>(), recent in any::<u128>(),
        items in proptest::collection::vec(any_item(), 0..30),
    ) {
        let opening = Opening { since, latest, recent: if latest == 0 { 0 } else { recent } };
        let mut bytes = Vec::new();
        opening.write(&mut bytes);
        for item in &items {
            match item {
                Item::Told { told, to_several } => { Item::write_told(told, *to_several, &mut bytes); }
                Item::Mine(answers) => Item::write_mine(*answers, &mut bytes),
                Item::Bye => Item::write_bye(&mut bytes),
            }
        }
        prop_assert_eq!(read_batch(&bytes), Some((opening, items)));
    }

    #[test]
    fn a_hello_is_what_was_written(
        echo in any::<u64>(), after in any::<u64>(), answer in any::<bool>(), version in "[!-~]{0,32}",
        addresses in proptest::collection::vec(any::<IpAddr>(), 0..=ADDRESSES),
    ) {
        let hello = Hello { echo, after, answer, version, addresses };
        let mut bytes = Vec::new();
        hello.write(&mut bytes);
        prop_assert!(bytes.len() <= ROOM, "{}", bytes.len());
        prop_assert_eq!(Hello::read(&bytes), Some(hello));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Head::read(&bytes);
        let _ = Hello::read(&bytes);
        if let Some((_, items)) = read_batch(&bytes) {
            prop_assert!(items.len() <= bytes.len());
        }
    }
}
