//! A connection's packets, one after the other.

use std::{collections::VecDeque, sync::Arc};

use compact_str::{CompactString, ToCompactString, format_compact};
use hashbrown::HashMap;

use super::{
    answer::{Agreed, Answer, Expect, Then},
    detect,
    packet::{self, HEADER, MAX_PAYLOAD, capability},
};
use crate::{
    conn::Gap,
    event::Nanos,
    protocol::{
        Over,
        cursor::Cursor,
        db::{Operation, describe, named, sql},
        framed::{Call, Calls, Context, Found, Frame, Framing, Head, Origin, Queue, Role, Tail, Taken, Talk, Unit},
        http::NoResponse,
    },
};

/// `network.protocol.name`.
const PROTOCOL: &str = "mysql";
/// Prepared statements that are kept.
const MAX_STATEMENTS: usize = 512;
/// The id that MariaDB's clients use for the statement that they have prepared last.
const LAST: u32 = u32::MAX;

/// What is remembered of a command.
#[derive(Debug)]
pub(super) struct Waiting {
    answer: Answer,
    /// What is being prepared.
    prepares: Option<Arc<Operation>>,
    /// The database that it changes to, and the one before.
    selects: Option<(CompactString, Option<CompactString>)>,
    lossy: bool,
}

/// What waits for an answer.
#[derive(Debug)]
pub(super) struct Command(Call<Waiting>);

impl Unit for Command {
    fn has_begun(&self) -> bool {
        self.0.has_begun()
    }

    fn doubt(&mut self) {
        self.0.doubt();
    }

    fn lose(&mut self) {
        self.0.lose();
        self.0.data.lossy = true;
        self.0.data.answer.lose();
    }

    fn goes_on(&mut self, origin: Origin, cx: &mut Context<'_>) {
        self.0.goes_on(origin, cx);
    }

    fn give_up(self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        self.0.give_up(why, now, cx);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Commands, or joined.
    #[default]
    Commands,
    /// The server has greeted.
    Login,
}

/// A connection's state.
#[derive(Debug, Default)]
pub(super) struct MySql {
    queue: Queue<Command>,
    stage: Stage,
    /// `db.system.name`, as the server's greeting says.
    system: Option<&'static str>,
    offered: (u32, u32),
    capabilities: u32,
    agreed: Agreed,
    database: Option<CompactString>,
    statements: HashMap<u32, Arc<Operation>, foldhash::fast::RandomState>,
    order: VecDeque<u32>,
    last: Option<Arc<Operation>>,
    /// The packet at hand is the rest of one that is too long, by direction.
    continues: [bool; 2],
    /// What the packet at hand means.
    then: Option<Then>,
}

impl Framing for MySql {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        packet::frame(role, bytes)
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        detect::find(role, bytes)
    }
}

impl Talk for MySql {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        let Some((number, payload)) = packet::split(&head.bytes) else {
            return;
        };
        let length = head.length.saturating_sub(HEADER as u64);
        let continues = std::mem::replace(&mut self.continues[0], length == MAX_PAYLOAD);
        if self.stage == Stage::Login {
            if number > 0 {
                if self.capabilities == 0 {
                    self.login(payload, length, cx);
                }
                return;
            }
            // A command: the login was not seen.
            self.stage = Stage::Commands;
        }
        // Other numbers: a local file, or the rest of a long command.
        if number == 0 && !continues {
            self.command(head, payload, length, cx);
        }
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        self.then = None;
        let Some((number, payload)) = packet::split(&head.bytes) else {
            return Taken::Yes;
        };
        let length = head.length.saturating_sub(HEADER as u64);
        if self.continues[1] {
            self.continues[1] = length == MAX_PAYLOAD;
            return Taken::Yes;
        }
        if number == 0
            && self.queue.is_empty()
            && let Some(greeting) = packet::greeting(payload)
        {
            self.stage = Stage::Login;
            self.system = Some(if greeting.mariadb { "mariadb" } else { "mysql" });
            self.offered = (greeting.capabilities, greeting.extended);
            return Taken::Yes;
        }
        if self.stage == Stage::Login {
            return self.logged_in(payload, cx);
        }
        if self.queue.is_empty() && self.queue.must_wait() {
            return Taken::Later;
        }
        self.continues[1] = length == MAX_PAYLOAD;
        let Some(Command(call)) = self.queue.front() else {
            if number == 1 {
                self.queue.orphan(cx);
            }
            return Taken::Yes;
        };
        call.answered(head.first, cx);
        let then = call.data.answer.packet(payload, length, number == 1, &mut self.agreed);
        if then == Then::Unseen {
            self.queue.lost(Role::Response, Gap::Lost, true, cx);
        } else {
            self.then = Some(then);
        }
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        if role == Role::Request {
            let last = self.queue.back().map(|Command(call)| call);
            if let Some(call) = last.filter(|call| call.exchange.id.place <= tail.first.offset && !call.has_begun()) {
                call.asked_on(tail.last, cx);
            }
            return;
        }
        let then = self.then.take();
        if matches!(then, None | Some(Then::More)) {
            return;
        }
        let Some(Command(mut call)) = self.queue.pop(cx) else {
            return;
        };
        if let Some(Then::Failed(code)) = then {
            let code = code.map(|code| code.to_compact_string());
            if let Some(code) = &code {
                call.exchange.attributes.push("db.response.status_code", code.clone());
            }
            call.fail(code.unwrap_or(CompactString::const_new("_OTHER")), "");
            if let Some((_, before)) = call.data.selects.take() {
                self.database = before;
            }
        } else {
            let Waiting { answer, prepares, selects, lossy } = &mut call.data;
            if answer.has_rows && !*lossy {
                call.exchange.attributes.push("db.response.returned_rows", answer.rows);
            }
            if let (Some(operation), Some(id)) = (prepares.take(), answer.statement) {
                self.prepared(id, operation);
            }
            if let Some((database, _)) = selects.take() {
                self.database = Some(database);
            }
        }
        call.exchange.holes.length |= tail.lost;
        call.done(tail.last, cx);
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.queue
    }

    fn lost(&mut self, role: Role) {
        let [requests, responses] = &mut self.continues;
        *(if role == Role::Request { requests } else { responses }) = false;
        if role == Role::Response {
            self.then = None;
        }
        if self.stage == Stage::Login && role == Role::Response {
            self.stage = Stage::Commands;
        }
    }

    /// The login, after a greeting that was not encrypted.
    fn within(&self) -> Option<Self> {
        let &Self { stage, system, offered, .. } = self;
        (stage == Stage::Login).then(|| Self { stage, system, offered, ..Self::default() })
    }
}

impl MySql {
    /// The client has answered the greeting.
    fn login(&mut self, payload: &[u8], length: u64, cx: &mut Context<'_>) {
        let Some(login) = packet::login(payload, length) else {
            return cx.give_up(Over::Malformed);
        };
        if login.encrypts {
            return cx.give_up(Over::Encrypted);
        }
        self.capabilities = login.capabilities & self.offered.0;
        self.agreed.no_ends = Some(self.capabilities & capability::DEPRECATE_EOF != 0);
        self.agreed.caches = login.extended & self.offered.1 & capability::CACHE_METADATA != 0;
        self.database = login.database;
    }

    /// A packet of the server before the first command.
    fn logged_in(&mut self, payload: &[u8], cx: &mut Context<'_>) -> Taken {
        if self.capabilities == 0 && payload.first() == Some(&0) {
            // The client's answer has not been seen: what both agreed on is not known.
            self.agreed = Agreed::default();
        }
        if payload.first() == Some(&0) {
            self.stage = Stage::Commands;
            if self.capabilities & (capability::COMPRESS | capability::ZSTD) != 0 {
                cx.give_up(Over::Switched);
            }
        }
        Taken::Yes
    }

    fn command(&mut self, head: &Head<'_>, payload: &[u8], length: u64, cx: &mut Context<'_>) {
        let whole = payload.len() as u64 == length;
        let Some((command, body)) = payload.split_first() else {
            // What it was, and whether anything answers it, was missed.
            return self.queue.impatient(cx);
        };
        let id = Cursor::new(body).u32_le();
        let mut prepares = None;
        let mut selects = None;
        let mut unseen = !whole;
        let (operation, expect) = match command {
            // The end, the end of a statement, and data for one: nothing answers.
            0x01 | 0x18 => return,
            0x19 => {
                if let Some(id) = id {
                    self.statements.remove(&id);
                    self.order.retain(|other| *other != id);
                }
                return;
            }
            0x02 => {
                selects = Some(CompactString::from_utf8_lossy(body)).filter(|name| whole && name.len() <= 192);
                let mut operation = Operation::of("USE");
                if let Some(database) = &selects {
                    operation.summary = format_compact!("USE {database}");
                }
                (operation, Expect::One)
            }
            0x03 => {
                let text = self.text(body);
                unseen |= text.is_none();
                (sql::read(text.unwrap_or_default(), sql::Dialect::MySql, whole).into(), Expect::Results)
            }
            0x16 => {
                let query: Operation = sql::read(body, sql::Dialect::MySql, whole).into();
                let mut prepare = Operation { name: Some(CompactString::const_new("PREPARE")), ..query.clone() };
                prepare.summary = CompactString::const_new("PREPARE");
                if !query.summary.is_empty() {
                    prepare.summary.push(' ');
                    prepare.summary.push_str(&query.summary);
                }
                let query = Arc::new(query);
                self.last = Some(query.clone());
                prepares = Some(query);
                (prepare, Expect::Prepared)
            }
            0x17 | 0xfa => {
                let known = match id {
                    Some(LAST) => self.last.clone(),
                    Some(id) => self.statements.get(&id).cloned(),
                    None => None,
                };
                unseen |= known.is_none();
                // Its arguments may be long; nothing is said of them.
                unseen &= known.is_none();
                (known.map_or_else(|| Operation::of("EXECUTE"), |known| Operation::clone(&known)), Expect::Results)
            }
            0x1c => (Operation::of("FETCH"), Expect::Rows),
            0x04 => (Operation::of("FIELD LIST"), Expect::Rows),
            0x09 => (Operation::of("STATISTICS"), Expect::One),
            0x0e => (Operation::of("PING"), Expect::One),
            0x0c => (Operation::of("KILL"), Expect::One),
            0x0d => (Operation::of("DEBUG"), Expect::One),
            0x1a => (Operation::of("RESET STATEMENT"), Expect::One),
            0x1b => (Operation::of("SET OPTION"), Expect::One),
            0x1f => (Operation::of("RESET CONNECTION"), Expect::One),
            // Another login, replication, and what is not known: the answer is not one that could be followed.
            _ => return cx.give_up(Over::Switched),
        };
        // The conventions' name for what is not known: the server has not been seen to greet.
        let system = self.system.unwrap_or("other_sql");
        let attributes = describe(system, self.database.as_deref(), &operation, cx);
        let name = (PROTOCOL, named(system, &operation, cx));
        if selects.is_none() {
            selects = used(&operation);
        }
        // Until the answer has come, it is not known.
        let selects = selects.map(|database| (database, self.database.take()));
        let waiting = Waiting { answer: Answer::new(expect), prepares, selects, lossy: false };
        let mut call = Call::ask_carrying(head.first, head.now, name, attributes, operation.carried(), waiting, cx);
        call.exchange.holes.request_head = unseen;
        self.queue.push(Command(call), head.first, cx);
    }

    /// A query's text, without the attributes that may come before it.
    fn text<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        let mut c = Cursor::new(body);
        let known = self.capabilities != 0;
        let attributes = self.capabilities & capability::QUERY_ATTRIBUTES != 0;
        if known && !attributes || !known && body.first().is_none_or(|b| *b > 1) {
            return Some(body);
        }
        let count = packet::length_encoded(&mut c)?;
        packet::length_encoded(&mut c)?;
        (count == 0).then(|| c.rest())
    }

    fn prepared(&mut self, id: u32, operation: Arc<Operation>) {
        if self.statements.insert(id, operation).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > MAX_STATEMENTS {
            if let Some(oldest) = self.order.pop_front() {
                self.statements.remove(&oldest);
            }
        }
    }
}

/// The database that a query changes to.
fn used(operation: &Operation) -> Option<CompactString> {
    let is_use = operation.name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case("use"));
    let (_, database) = operation.summary.split_once(' ').filter(|_| is_use)?;
    Some(database.trim_matches('`').into())
}
