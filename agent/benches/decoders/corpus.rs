//! Conversations that real clients and servers have had, as they are in the repository: captured bytes beside the decoders
//! (`agent/src/protocol/*/*.txt`), and recordings (`tests/recordings/*.rec`).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, ensure};
use geophone::{
    bpf::decode,
    conn::{self, Connection, Content, Gap, Update},
    event::{Direction, Endpoints, Role, SocketId, Thread},
    protocol::{Note, PROTOCOLS, Session, Shared, Side, Understanding},
    recording::{Frame, Reader},
};

/// A conversation, call by call.
pub struct Conversation {
    /// The protocol's name in the agent's list.
    pub protocol: &'static str,
    pub calls: Vec<Call>,
}

/// Bytes of one call, or so many that were not captured.
pub struct Call {
    /// Whether it goes to the server.
    pub request: bool,
    pub what: What,
}

pub enum What {
    Bytes(Vec<u8>),
    Hole(u64, Gap),
}

impl Call {
    pub fn content(&self) -> Content<'_> {
        match &self.what {
            What::Bytes(bytes) => Content::Bytes(bytes),
            What::Hole(length, gap) => Content::Hole(*length, *gap),
        }
    }
}

/// All of them, by protocol in the order of the agent's list.
pub fn all() -> anyhow::Result<Vec<Conversation>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for protocol in PROTOCOLS {
        let folder = root.join("src/protocol").join(protocol.name);
        for file in files(&folder, "txt") {
            let text = std::fs::read_to_string(&file)?;
            let calls = captured(&text).with_context(|| file.display().to_string())?;
            all.push(Conversation { protocol: protocol.name, calls });
        }
    }
    for file in files(&root.join("../tests/recordings"), "rec") {
        let bytes = std::fs::read(&file)?;
        all.extend(recorded(&bytes).with_context(|| file.display().to_string())?);
    }
    ensure!(!all.is_empty(), "there are no conversations");
    let place = |c: &Conversation| PROTOCOLS.iter().position(|protocol| protocol.name == c.protocol);
    all.sort_by_key(place);
    Ok(all)
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

/// Lines of `>` (to the server) or `<`, and hexadecimal digits.
fn captured(text: &str) -> anyhow::Result<Vec<Call>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (mark, digits) = line.split_once(' ').context("no mark")?;
            let (pairs, _) = digits.trim().as_bytes().as_chunks::<2>();
            let bytes = pairs.iter().map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
            Ok(Call { request: mark == ">", what: What::Bytes(bytes.collect::<anyhow::Result<_>>()?) })
        })
        .collect()
}

/// One side of a connection of a recording.
struct Heard {
    session: Session,
    calls: Vec<(Direction, What)>,
    notes: Vec<Note>,
    whole: bool,
}

/// What each side of each connection has said and heard, where its protocol was understood from the beginning.
fn recorded(file: &[u8]) -> anyhow::Result<Vec<Conversation>> {
    let mut reader = Reader::new(file)?;
    let mut table = conn::Table::<()>::new(conn::Limits::default());
    let mut heard = HashMap::<SocketId, Heard>::new();
    let mut order = Vec::new();
    while let Some(frame) = reader.next()? {
        let Frame::Record(record) = frame else { continue };
        let event = decode::event(record)?;
        table.event(&event, &mut |connection: &Connection, (): &mut (), update: &Update<'_>| {
            let one = heard.entry(connection.socket).or_insert_with(|| {
                order.push(connection.socket);
                Heard { session: Session::default(), calls: Vec::new(), notes: Vec::new(), whole: true }
            });
            one.session.update(connection, update, &mut one.notes);
            if let Update::Piece(direction, piece) = update {
                one.whole &= !piece.joined && (piece.offset > 0) == one.calls.iter().any(|(d, _)| d == direction);
                let what = match piece.content {
                    Content::Bytes(bytes) => What::Bytes(bytes.to_vec()),
                    Content::Hole(length, gap) => What::Hole(length, gap),
                };
                one.calls.push((*direction, what));
            }
        });
    }
    let understood = order.iter().filter_map(|socket| heard.remove(socket)).filter(|one| one.whole);
    Ok(understood.filter_map(Heard::conversation).collect())
}

impl Heard {
    fn conversation(self) -> Option<Conversation> {
        let (Understanding::Understood(protocol) | Understanding::Switched(protocol)) = self.session.understanding()
        else {
            return None;
        };
        let side = self.notes.iter().find_map(|note| match note {
            Note::Asked(asked) => Some(asked.side),
            _ => None,
        })?;
        let asks = if side == Side::Server { Direction::Receive } else { Direction::Send };
        let calls = self.calls.into_iter().map(|(direction, what)| Call { request: direction == asks, what });
        Some(Conversation { protocol, calls: calls.collect() })
    }
}

/// A connection of the one who is asked.
pub fn connection() -> Connection {
    Connection {
        socket: SocketId { sock: 1, born: 1 },
        endpoints: Some(Endpoints::Inet {
            local: ([10, 0, 0, 1], 8080).into(),
            remote: ([10, 0, 0, 2], 40_000).into(),
        }),
        role: Role::Unknown,
        netns: 1,
        sequences: None,
        since: 0,
        decrypted: false,
        wire: None,
    }
}

/// A session, and what all of them share.
pub fn session(shared: &Arc<Shared>) -> Session {
    Session::new(Arc::clone(shared))
}

/// A piece of a stream.
pub fn piece(content: Content<'_>, offset: u64, joined: bool, time: u64) -> conn::Piece<'_> {
    conn::Piece { offset, joined, time, thread: Thread::default(), content }
}
