//! A connection's packets, one after the other.

use std::sync::Arc;

use compact_str::{CompactString, ToCompactString};

use super::{
    detect,
    handles::Handles,
    packet::{self, Encryption, HEADER, Header, Kind, status},
    request::{self, Asked},
    tokens::Tokens,
    waiting::Waiting,
};
use crate::protocol::{
    Over,
    db::{Operation, describe, named},
    framed::{Call, Calls, Context, Found, Frame, Framing, Head, Origin, Queue, Role, Tail, Taken, Talk, Unit},
};

/// `network.protocol.name`.
const PROTOCOL: &str = "tds";
/// `db.system.name`.
const SYSTEM: &str = "microsoft.sql_server";

/// How far a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Requests; or joined.
    #[default]
    Requests,
    /// The client has said what it can do.
    PreLogin,
    /// The login is encrypted, or may be: handshake and login come as records.
    Encrypting,
}

/// A connection's state.
#[derive(Debug, Default)]
pub(super) struct Mssql {
    queue: Queue<Waiting>,
    stage: Stage,
    /// The client has offered several sessions on one connection.
    wants_mars: bool,
    /// The version is older than 7.2.
    old: bool,
    database: Option<CompactString>,
    statements: Handles,
    /// What is being answered may change the database.
    selecting: bool,
    /// Requests to stop that have not been answered, as far as is known.
    attentions: u32,
    /// A message of the client goes on.
    asking: bool,
    /// What the packet of the answer at hand is.
    now: Option<Header>,
    /// A message of the server goes on that nobody waits for.
    stray: bool,
}

impl Framing for Mssql {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        packet::frame(role, bytes, self.stage == Stage::Encrypting)
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        detect::find(role, bytes)
    }
}

impl Talk for Mssql {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        let Some(header) = packet::header(Role::Request, &head.bytes) else {
            if self.stage == Stage::Encrypting && packet::is_record(&head.bytes) {
                // The login is in one record of its own, or in several; none of a handshake is outside of packets.
                if self.queue.is_empty() && head.bytes.first() == Some(&23) {
                    self.push(None, None, head.first, cx);
                }
                return;
            }
            return self.queue.impatient(cx);
        };
        let goes_on = std::mem::replace(&mut self.asking, header.status & status::END == 0);
        if header.status & status::IGNORE != 0 {
            // What the server makes of that cannot be told.
            self.asking = false;
            return self.queue.impatient(cx);
        }
        let payload = head.bytes.get(HEADER..).unwrap_or_default();
        match header.kind {
            Kind::PreLogin => return self.prelogin(head, payload, cx),
            Kind::Attention => {
                self.attentions = self.attentions.saturating_add(1);
                self.asking = false;
                return;
            }
            Kind::Login(kind) => {
                if kind == 0x10
                    && let Some(login) = packet::login(payload)
                {
                    self.old = login.old;
                    self.database = login.database;
                }
                self.stage = Stage::Requests;
                if !goes_on {
                    self.push(None, None, head.first, cx);
                }
                return;
            }
            Kind::Batch | Kind::Rpc | Kind::Transaction | Kind::Bulk | Kind::Result if goes_on => return,
            Kind::Batch | Kind::Rpc | Kind::Transaction | Kind::Bulk | Kind::Result => {}
        }
        // After an encrypted login, all is plain.
        self.stage = Stage::Requests;
        let all = !head.cut && header.status & status::END != 0 && head.bytes.len() == usize::from(header.length);
        let asked = self.read(header.kind, payload, all);
        self.ask(head, asked, cx);
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        let header = packet::header(Role::Response, &head.bytes);
        if header.is_none_or(|header| header.kind != Kind::Result) {
            // The handshake of TLS.
            self.now = None;
            return Taken::Yes;
        }
        self.now = header;
        if self.stray {
            return Taken::Yes;
        }
        if self.queue.is_empty() && self.attentions == 0 && self.queue.must_wait() {
            return Taken::Later;
        }
        let payload = head.bytes.get(HEADER..).unwrap_or_default();
        let last = header.is_some_and(|header| header.status & status::END != 0);
        if self.stage == Stage::PreLogin {
            let said = packet::prelogin(payload);
            if said.is_some_and(|said| said.mars) && self.wants_mars {
                // After the login, everything comes in packets of sessions.
                cx.give_up(Over::Switched);
            }
            self.stage = match said.map(|said| said.encryption) {
                Some(Encryption::On) => {
                    cx.give_up(Over::Switched);
                    Stage::Requests
                }
                Some(Encryption::NotSupported) | None => Stage::Requests,
                Some(Encryption::Off | Encryption::Unknown) => Stage::Encrypting,
            };
        }
        match self.queue.front() {
            Some(waiting) => {
                waiting.begun = true;
                let cut = head.cut || (head.bytes.len() as u64) < head.length;
                waiting.tokens.packet(payload, last, cut, self.old);
                if let Some(call) = &mut waiting.call {
                    call.answered(head.first, cx);
                }
            }
            None if self.attentions > 0 => {
                // What was to be stopped had ended already.
                self.attentions = if last { self.attentions - 1 } else { self.attentions };
                self.stray = !last;
                self.now = None;
            }
            None => {
                self.queue.orphan(cx);
                self.stray = !last;
                self.now = None;
            }
        }
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        if role == Role::Request {
            let last = self.queue.back().and_then(|waiting| waiting.call.as_mut());
            if let Some(call) = last.filter(|call| call.exchange.id.place <= tail.first.offset && !call.has_begun()) {
                call.asked_on(tail.last, cx);
            }
            return;
        }
        let Some(header) = self.now.take().filter(|header| header.status & status::END != 0) else {
            return;
        };
        if std::mem::take(&mut self.stray) || header.kind != Kind::Result {
            return;
        }
        if let Some(waiting) = self.queue.pop(cx) {
            self.finish(waiting, tail, cx);
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.queue
    }

    fn lost(&mut self, role: Role) {
        // Requests to stop may have been missed, or their answers.
        self.attentions = 0;
        self.stage = Stage::Requests;
        match role {
            Role::Request => {
                self.asking = false;
                self.database = None;
            }
            Role::Response => {
                (self.now, self.stray) = (None, false);
                if std::mem::take(&mut self.selecting) {
                    self.database = None;
                }
            }
        }
    }
}

impl Mssql {
    fn prelogin(&mut self, head: &Head<'_>, payload: &[u8], cx: &mut Context<'_>) {
        if self.stage != Stage::Requests {
            return;
        }
        let said = packet::prelogin(payload);
        if said.is_some() || head.cut && head.first.offset == 0 {
            self.stage = Stage::PreLogin;
            self.wants_mars = said.is_some_and(|said| said.mars);
            self.push(None, None, head.first, cx);
        } else if head.cut {
            // This, or the handshake of TLS, which the server answers with as many packets as it likes.
            self.queue.impatient(cx);
        }
    }

    fn push(&mut self, call: Option<Call<()>>, prepares: Option<Arc<Operation>>, first: Origin, cx: &mut Context<'_>) {
        self.queue.push(Waiting { call, tokens: Tokens::default(), prepares, begun: false }, first, cx);
    }

    /// What a request says. `all`: it is all there.
    fn read(&mut self, kind: Kind, payload: &[u8], all: bool) -> Asked {
        let Some(body) = request::enter(payload, self.old, all) else {
            return Asked { partly: true, ..Asked::default() };
        };
        let mut asked = match kind {
            Kind::Batch => request::batch(body, all),
            Kind::Rpc => request::call(body),
            Kind::Transaction => request::transaction(body),
            _ => Asked { operation: Operation::of("INSERT BULK"), ..Asked::default() },
        };
        if let Some(handle) = asked.unprepares {
            self.statements.remove(handle);
        }
        if let Some(known) = asked.executes.and_then(|handle| self.statements.get(handle)) {
            (asked.operation, asked.partly) = (Operation::clone(&known), false);
        }
        asked
    }

    fn ask(&mut self, head: &Head<'_>, asked: Asked, cx: &mut Context<'_>) {
        self.selecting |= asked.partly || selects(&asked.operation);
        let mut attributes = describe(SYSTEM, self.database.as_deref(), &asked.operation, cx);
        if let Some(procedure) = asked.procedure {
            attributes.push("db.stored_procedure.name", procedure);
        }
        let name = (PROTOCOL, named(SYSTEM, &asked.operation, cx));
        let carried = asked.operation.carried();
        let mut call = Call::ask_carrying(head.first, head.now, name, attributes, carried, (), cx);
        call.exchange.holes.request_head = asked.partly;
        self.push(Some(call), asked.prepares, head.first, cx);
    }

    /// An answer is complete.
    fn finish(&mut self, waiting: Waiting, tail: &Tail, cx: &mut Context<'_>) {
        let Waiting { call, tokens, prepares, .. } = waiting;
        let (said, lost) = (tokens.said, tokens.lost);
        if lost && self.attentions > 0 && !said.attention {
            // Whether it was stopped, or something follows that says so, was missed.
            self.attentions = 0;
            self.queue.impatient(cx);
        }
        if said.attention {
            self.attentions = self.attentions.saturating_sub(1);
        }
        let selecting = std::mem::take(&mut self.selecting);
        self.database = said.database.or_else(|| self.database.take().filter(|_| !lost || !selecting));
        let Some(mut call) = call else { return };
        if let (Some(operation), Some(handle), false) = (prepares, said.handle, said.failed) {
            self.statements.set(handle, operation);
        }
        let exchange = &mut call.exchange;
        exchange.holes.response_head = lost;
        exchange.holes.length |= tail.lost;
        if let Some(rows) = said.rows.filter(|_| !lost) {
            exchange.attributes.push("db.response.returned_rows", rows);
        }
        let code = said.error.map(|number| number.to_compact_string());
        if let Some(code) = &code {
            exchange.attributes.push("db.response.status_code", code.clone());
        }
        if said.attention {
            call.fail("canceled", "");
        } else if said.failed || code.is_some() {
            call.fail(code.unwrap_or(CompactString::const_new("_OTHER")), "");
        }
        call.done(tail.last, cx);
    }
}

/// Whether a text may change the database: it has `USE` in it, or was cut.
fn selects(operation: &Operation) -> bool {
    let mut words = operation.text.split(|c: char| !c.is_ascii_alphanumeric());
    operation.text.ends_with("...") || words.any(|word| word.eq_ignore_ascii_case("use"))
}
