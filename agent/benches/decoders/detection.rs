//! How often bytes are taken for a protocol that they are not: each protocol's traffic, from the beginning of each call and from any
//! byte of it, on a connection that is older than the agent; and bytes that are nobody's.

use std::{collections::BTreeMap, sync::Arc};

use geophone::{
    conn::{Content, Update},
    event::Direction,
    protocol::{PROTOCOLS, Shared, Understanding},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::corpus::{Conversation, What, connection, piece, session};

/// How many bytes are seen of a piece.
const LENGTHS: [usize; 5] = [8, 16, 32, 64, 1024];
/// Samples of bytes that are nobody's, of each kind and length.
const RANDOM: u32 = 200_000;

/// What pieces were taken for.
#[derive(Default)]
struct Taken {
    pieces: u64,
    right: u64,
    wrong: BTreeMap<&'static str, u64>,
}

impl Taken {
    fn add(&mut self, shared: &Arc<Shared>, bytes: &[u8], own: &str) {
        self.pieces += 1;
        match judge(shared, bytes) {
            Some(name) if name == own => self.right += 1,
            Some(name) => *self.wrong.entry(name).or_default() += 1,
            None => {}
        }
    }

    fn wrong(&self) -> String {
        let all: u64 = self.wrong.values().sum();
        let names: Vec<_> = self.wrong.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let share = 1e6 * all as f64 / self.pieces.max(1) as f64;
        if all == 0 { "0".to_owned() } else { format!("{all} ({}; {share:.0} in a million)", names.join(", ")) }
    }
}

/// What a connection is taken for of which these bytes are the first that are seen.
fn judge(shared: &Arc<Shared>, bytes: &[u8]) -> Option<&'static str> {
    let mut session = session(shared);
    let piece = piece(Content::Bytes(bytes), 1 << 20, true, 1);
    session.update(&connection(), &Update::Piece(Direction::Receive, piece), &mut Vec::new());
    match session.understanding() {
        Understanding::Understood(name) | Understanding::Switched(name) => Some(name),
        _ => None,
    }
}

/// Prints both tables.
pub fn run(all: &[Conversation]) {
    let shared = Arc::new(Shared::default());
    println!(
        "| traffic | calls' beginnings | recognised | taken for another | any place | recognised | taken for another |"
    );
    println!("| --- | ---: | ---: | --- | ---: | ---: | --- |");
    for protocol in PROTOCOLS {
        let (mut begin, mut anywhere) = (Taken::default(), Taken::default());
        for conversation in all.iter().filter(|conversation| conversation.protocol == protocol.name) {
            for call in &conversation.calls {
                let What::Bytes(bytes) = &call.what else { continue };
                for place in 0..bytes.len() {
                    let rest = bytes.get(place..).unwrap_or_default();
                    for length in LENGTHS {
                        let seen = rest.get(..length).unwrap_or(rest);
                        let taken = if place == 0 { &mut begin } else { &mut anywhere };
                        taken.add(&shared, seen, protocol.name);
                        if seen.len() == rest.len() {
                            break;
                        }
                    }
                }
            }
        }
        let percent = |taken: &Taken| 100.0 * taken.right as f64 / taken.pieces.max(1) as f64;
        println!(
            "| {} | {} | {:.0} % | {} | {} | {:.1} % | {} |",
            protocol.name,
            begin.pieces,
            percent(&begin),
            begin.wrong(),
            anywhere.pieces,
            percent(&anywhere),
            anywhere.wrong()
        );
    }
    println!("\n| bytes that are nobody's | pieces | taken for something |");
    println!("| --- | ---: | --- |");
    let mut random = StdRng::seed_from_u64(1);
    for (name, make) in MAKERS {
        let mut taken = Taken::default();
        for length in LENGTHS {
            for _ in 0..RANDOM {
                let bytes: Vec<u8> = (0..length).map(|_| make(&mut random)).collect();
                taken.add(&shared, &bytes, "");
            }
        }
        println!("| {name} | {} | {} |", taken.pieces, taken.wrong());
    }
}

type Maker = fn(&mut StdRng) -> u8;

/// Kinds of bytes.
const MAKERS: [(&str, Maker); 4] =
    [
        ("any", |random| random.random()),
        ("text", |random| random.random_range(b' '..=b'~')),
        ("small numbers: zeros mostly, or below 16", |random| {
            if random.random_bool(0.7) { 0 } else { random.random_range(0..16) }
        }),
        ("numbers and names: zeros, small ones, or letters", |random| match random.random_range(0..4) {
            0 | 1 => 0,
            2 => random.random_range(0..32),
            _ => random.random_range(b'a'..=b'z'),
        }),
    ];
