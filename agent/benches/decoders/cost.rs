//! What an exchange costs each decoder, and what a connection keeps.

use std::{hint::black_box, sync::Arc};

use anyhow::ensure;
use geophone::{
    conn::{Connection, Update},
    event::Direction,
    protocol::{Note, PROTOCOLS, Session, Shared},
};

use crate::{
    alloc,
    corpus::{self, Conversation, connection, piece},
};

/// How long a protocol's conversations are played in one round, in nanoseconds of the processor.
const ROUND: u64 = 30_000_000;

/// What was measured of a protocol.
struct Cost {
    protocol: &'static str,
    exchanges: u64,
    /// Nanoseconds for an exchange, in each round.
    each: Vec<f64>,
    allocations: f64,
    /// The most that one connection kept at its end, and while it was talking, in bytes.
    kept: i64,
    most: i64,
}

/// Measures all, in turns, and prints a table. `only`: just this one, for a profiler.
pub fn run(all: &[Conversation], rounds: u32, only: Option<&str>) -> anyhow::Result<()> {
    let shared = Arc::new(Shared::default());
    let mut costs = Vec::new();
    for protocol in PROTOCOLS.iter().filter(|protocol| only.is_none_or(|only| only == protocol.name)) {
        let mine: Vec<_> = all.iter().filter(|c| c.protocol == protocol.name).collect();
        if !mine.is_empty() {
            costs.push((remembers(&mine, &shared)?, mine));
        }
    }
    for _ in 0..rounds {
        for (cost, mine) in &mut costs {
            cost.each.push(round(mine, &shared, cost.exchanges));
        }
    }
    let quickest = |cost: &Cost| cost.each.iter().copied().fold(f64::INFINITY, f64::min);
    let http1 = costs.iter().find(|(cost, _)| cost.protocol == "http").map(|(cost, _)| quickest(cost));
    println!(
        "| protocol | conversations | exchanges | ns per exchange | exchanges/s on one core | next to HTTP/1 | allocations per exchange | bytes kept, idle | at most, while talking |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (cost, mine) in &costs {
        let each = quickest(cost);
        let ratio = http1.map_or_else(String::new, |http1| format!("{:.2}", each / http1));
        println!(
            "| {} | {} | {} | **{each:.0}** | {:.0} | {ratio} | {:.1} | {} | {} |",
            cost.protocol,
            mine.len(),
            cost.exchanges,
            1e9 / each,
            cost.allocations,
            cost.kept,
            cost.most
        );
    }
    Ok(())
}

/// Plays each once, and looks at what is allocated.
fn remembers(mine: &[&Conversation], shared: &Arc<Shared>) -> anyhow::Result<Cost> {
    let protocol = mine.first().map_or("", |conversation| conversation.protocol);
    let mut cost = Cost { protocol, exchanges: 0, each: Vec::new(), allocations: 0.0, kept: 0, most: 0 };
    let connection = connection();
    let (mut out, mut allocations) = (Vec::with_capacity(4096), 0);
    for conversation in mine {
        let before = (alloc::allocations(), alloc::live());
        let mut session = corpus::session(shared);
        play(&mut session, &connection, conversation, &mut out, |out| {
            cost.exchanges += out.iter().filter(|note| matches!(note, Note::Done(_))).count() as u64;
            out.clear();
            cost.most = cost.most.max(alloc::live() - before.1);
        });
        cost.kept = cost.kept.max(alloc::live() - before.1);
        drop(session);
        allocations += alloc::allocations() - before.0;
    }
    ensure!(cost.exchanges > 0, "{protocol} has no exchanges");
    let state = size_of::<Session>() as i64;
    (cost.kept, cost.most) = (cost.kept + state, cost.most + state);
    cost.allocations = allocations as f64 / cost.exchanges as f64;
    Ok(cost)
}

/// Plays all of them again and again, each on a connection of its own. Returns nanoseconds for an exchange.
fn round(mine: &[&Conversation], shared: &Arc<Shared>, exchanges: u64) -> f64 {
    let connection = connection();
    let mut out = Vec::with_capacity(4096);
    let (began, mut times) = (on_cpu(), 0_u64);
    loop {
        for conversation in mine {
            let mut session = corpus::session(shared);
            play(&mut session, &connection, conversation, &mut out, |_| {});
            black_box(&mut out).clear();
        }
        times += 1;
        let took = on_cpu() - began;
        if took >= ROUND {
            return took as f64 / (times * exchanges) as f64;
        }
    }
}

/// As the one hears it who is asked.
fn play(
    session: &mut Session,
    connection: &Connection,
    conversation: &Conversation,
    out: &mut Vec<Note>,
    mut each: impl FnMut(&mut Vec<Note>),
) {
    let mut offsets = [0_u64; 2];
    for (time, call) in (1_000_u64..).step_by(1_000).zip(&conversation.calls) {
        let direction = if call.request { Direction::Receive } else { Direction::Send };
        let [sent, received] = &mut offsets;
        let offset = if call.request { received } else { sent };
        let content = call.content();
        session.update(connection, &Update::Piece(direction, piece(content, *offset, false, time)), out);
        *offset += content.len();
        each(out);
    }
}

/// Nanoseconds that this thread has spent on a processor: what others do meanwhile does not count.
fn on_cpu() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
