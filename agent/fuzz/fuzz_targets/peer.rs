//! Any bytes from another agent: as a TCP option, as a datagram, as the bodies that lie behind its seal, and as a conversation on a network that loses,
//! repeats, reorders and changes what two agents say.

#![no_main]

use std::{net::SocketAddr, sync::Arc};

use geophone::peer::{Config, Core, Head, Hello, Item, Key, Met, Name, Order, Said, Told, read_batch};
use libfuzzer_sys::fuzz_target;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

fn told(place: u32) -> Told {
    let ids = (TraceId::from(u128::from(place) + 1), SpanId::from(u64::from(place) + 1));
    let context = SpanContext::new(ids.0, ids.1, TraceFlags::SAMPLED, true, TraceState::NONE);
    Told { name: Name { answers: 8, request: place }, context }
}

fuzz_target!(|data: &[u8]| {
    let _ = Head::read(data);
    let _ = Hello::read(data);
    let said = Said::read(data);
    if let Some(said) = said {
        let greeting = said.greeting(false, data.len().is_multiple_of(2));
        assert_eq!(Said::read(&greeting.option[..greeting.len as usize]), Some(said), "it is not what was read");
    }
    if let Some((_, items)) = read_batch(data) {
        for item in items {
            if let Item::Told { told, .. } = item {
                assert!(told.context.is_valid(), "a context that is none was believed");
            }
        }
    }

    let Ok(key) = Key::new(b"0123456789abcdef0123456789abcdef") else { return };
    let at = |number: u8| SocketAddr::from(([10, 0, 0, number], 4419));
    let mut now = 1_000_000_000_000;
    let mut cores = [1, 2].map(|me| Core::new(Config::default(), key.clone(), me, Arc::default()));
    let mut wire: Vec<(usize, Vec<u8>)> = Vec::new();
    let [one, two] = &mut cores;
    one.datagram(now, at(9), &mut data.to_vec());
    one.order(now, Order::Listed(vec![at(2)]));
    two.order(now, Order::Listed(vec![at(1)]));
    if let Some(said) = said {
        let remote = at(2).ip();
        let to = SocketAddr::new(said.address.map_or(remote, Into::into), said.port);
        one.order(now, Order::Met(Met { remote, answers: said.first, agent: said.agent, at: to }));
    }
    let mut told_of = 0;
    let mut heard = std::collections::HashSet::new();
    for &step in data.iter().take(200) {
        let pick = usize::from(step >> 3);
        match step & 7 {
            0 | 1 if !wire.is_empty() => {
                // One arrives, out of turn perhaps; on the second way it stays on the wire, to come again.
                let at_place = pick % wire.len();
                let (to, mut bytes) = if step & 1 == 0 { wire.swap_remove(at_place) } else { wire[at_place].clone() };
                cores[to].datagram(now, at(2 - to as u8), &mut bytes);
            }
            2 if !wire.is_empty() => drop(wire.swap_remove(pick % wire.len())),
            3 if !wire.is_empty() => {
                let at_place = pick % wire.len();
                let (to, mut bytes) = wire[at_place].clone();
                if let Some(byte) = bytes.get_mut(usize::from(step).wrapping_mul(7) % 1200) {
                    *byte ^= 0x10;
                    cores[to].datagram(now, at(2 - to as u8), &mut bytes);
                }
            }
            4 => {
                cores[0].order(now, Order::Tell { remote: at(2).ip(), told: told(told_of) });
                told_of += 1;
            }
            5 => now += 1_000_000 << (pick % 16),
            _ => {
                let [one, two] = &mut cores;
                for (to, core) in [(1, one), (0, two)] {
                    core.tick(now);
                    while let Some(datagram) = core.poll_transmit() {
                        assert!(datagram.bytes.len() <= geophone::peer::LONGEST);
                        if wire.len() < 64 {
                            wire.push((to, datagram.bytes));
                        }
                    }
                }
            }
        }
        for context in cores[1].take_heard() {
            assert_eq!(context.told, told(context.told.name.request), "a wrong context");
            assert!(context.told.name.request < told_of, "what nobody has told");
            assert!(heard.insert(context.told.name.request), "heard twice");
        }
    }
});
