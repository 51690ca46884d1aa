//! What it costs to tell another agent of a request: bytes on the wire and processor time, in the thread that makes traces and in the one
//! that talks. `cargo bench -p geophone --bench peers`.
//!
//! Two agents in one program, without a network: leaves out what the kernel does to send and to receive a datagram.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use geophone::peer::{Config, Core, Incoming, Key, Link, Name, Notice, Order, Peers, Settings};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// What it costs to tell another agent of a request
#[derive(Parser)]
struct Args {
    /// Requests for each size of a batch
    #[arg(long, default_value_t = 200_000)]
    requests: u32,
    /// Every size so many times; the quickest counts
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

const MILLI: u64 = 1_000_000;
/// What UDP, IPv4 and Ethernet add to a datagram.
const FRAMING: f64 = 8.0 + 20.0 + 14.0;

/// An agent: the thread that talks, and what the thread that makes traces has of it.
struct Agent {
    core: Core,
    peers: Peers,
    link: Link,
    address: SocketAddr,
}

/// Processor time by what it was spent on.
#[derive(Clone, Copy, Default)]
struct Times {
    outgoing: Duration,
    send: Duration,
    receive: Duration,
    incoming: Duration,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    println!(
        "| requests at a time | bytes a request, sealed | with UDP, IP, Ethernet | asking: capture thread, ns | asking: peers thread | serving: peers thread | serving: capture thread |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for batch in [1, 5, 25, 100, 500] {
        let mut best: Option<(Times, f64, f64)> = None;
        for _ in 0..args.rounds {
            let (times, bytes, framed) = run(args.requests, batch)?;
            let (before, ..) = best.unwrap_or((times, bytes, framed));
            let least = Times {
                outgoing: before.outgoing.min(times.outgoing),
                send: before.send.min(times.send),
                receive: before.receive.min(times.receive),
                incoming: before.incoming.min(times.incoming),
            };
            best = Some((least, bytes, framed));
        }
        let (times, bytes, framed) = best.context("no rounds")?;
        let each = |time: Duration| time.as_nanos() as f64 / f64::from(args.requests);
        println!(
            "| {batch} | {bytes:.1} | {framed:.1} | {:.0} | {:.0} | {:.0} | {:.0} |",
            each(times.outgoing),
            each(times.send),
            each(times.receive),
            each(times.incoming)
        );
    }
    Ok(())
}

fn agent(number: u8) -> anyhow::Result<Agent> {
    let key = Key::new(b"0123456789abcdef0123456789abcdef")?;
    let (peers, link) = Peers::new(Settings::default(), Arc::default(), Box::new(|| {}));
    let core = Core::new(Config::default(), key, u64::from(number) + 1, Arc::clone(peers.stats()));
    Ok(Agent { core, peers, link, address: SocketAddr::from(([10, 0, 0, number], 4419)) })
}

/// Tells of all requests, `batch` at a time, one time every 10 ms.
fn run(requests: u32, batch: u32) -> anyhow::Result<(Times, f64, f64)> {
    let (mut one, mut two) = (agent(1)?, agent(2)?);
    let mut now = 1_000_000 * MILLI;
    one.core.order(now, Order::Listed(vec![two.address]));
    for _ in 0..10 {
        now += MILLI;
        exchange(&mut one, &mut two, now, &mut Times::default());
    }
    ensure!(one.core.alive().peers.len() == 1 && two.core.alive().peers.len() == 1, "they have not found each other");
    two.link.notices.send(Notice::Alive(Arc::clone(two.core.alive())))?;

    let (mut times, mut sent, mut datagrams, mut applied) = (Times::default(), 0, 0, 0);
    let mut next = 0;
    while next < requests {
        now += 10 * MILLI;
        let some: Vec<Name> = (next..requests.min(next + batch)).map(|request| Name { answers: 7, request }).collect();
        next += batch;
        let began = Instant::now();
        for name in &some {
            one.peers.outgoing(now, two.address.ip(), *name, &context(name.request));
        }
        one.peers.flush();
        times.outgoing += began.elapsed();
        let (bytes, count) = exchange(&mut one, &mut two, now, &mut times);
        (sent, datagrams) = (sent + bytes, datagrams + count);
        let began = Instant::now();
        two.peers.receive(now);
        for name in &some {
            if let Incoming::Heard(heard) = two.peers.incoming(now, one.address.ip(), *name) {
                applied += u32::from(heard.span_id() == context(name.request).span_id());
            }
        }
        times.incoming += began.elapsed();
    }
    ensure!(applied == requests, "{applied} of {requests} have arrived");
    let each = |count: f64| count / f64::from(requests);
    Ok((times, each(sent as f64), each(sent as f64 + FRAMING * f64::from(datagrams))))
}

/// Both threads that talk do what there is to do; all datagrams arrive at once. Returns the bytes of both ways, and the datagrams.
fn exchange(one: &mut Agent, two: &mut Agent, now: u64, times: &mut Times) -> (usize, u32) {
    let (mut bytes, mut datagrams) = (0, 0);
    let began = Instant::now();
    while let Ok(orders) = one.link.orders.try_recv() {
        orders.into_iter().for_each(|order| one.core.order(now, order));
    }
    one.core.tick(now);
    let there: Vec<_> = std::iter::from_fn(|| one.core.poll_transmit()).collect();
    times.send += began.elapsed();
    let began = Instant::now();
    for mut datagram in there {
        (bytes, datagrams) = (bytes + datagram.bytes.len(), datagrams + 1);
        two.core.datagram(now, one.address, &mut datagram.bytes);
    }
    two.core.tick(now);
    let heard = two.core.take_heard();
    if !heard.is_empty() {
        // There is room: the other side takes it at once.
        let _ = two.link.notices.try_send(Notice::Heard(heard));
    }
    let back: Vec<_> = std::iter::from_fn(|| two.core.poll_transmit()).collect();
    times.receive += began.elapsed();
    let began = Instant::now();
    for mut datagram in back {
        (bytes, datagrams) = (bytes + datagram.bytes.len(), datagrams + 1);
        one.core.datagram(now, two.address, &mut datagram.bytes);
    }
    times.send += began.elapsed();
    (bytes, datagrams)
}

fn context(request: u32) -> SpanContext {
    let ids = (TraceId::from(u128::from(request) << 64 | 1), SpanId::from(u64::from(request) + 1));
    SpanContext::new(ids.0, ids.1, TraceFlags::SAMPLED, true, TraceState::NONE)
}
