//! A connection's messages, one after the other.

use std::sync::Arc;

use compact_str::CompactString;

use super::{
    detect,
    group::{Group, Statement, What},
    message::{self, Startup},
    names::Names,
};
use crate::protocol::{
    Over,
    cursor::Cursor,
    db::{Operation, describe, named, sql},
    framed::{Call, Calls, Context, Found, Frame, Framing, Head, Origin, Queue, Role, Tail, Taken, Talk, Unit},
    http::NoResponse,
};

/// `db.system.name` and `network.protocol.name`.
const SYSTEM: &str = "postgresql";

/// A connection's state.
#[derive(Debug, Default)]
pub(super) struct Postgres {
    queue: Queue<Group>,
    groups: u64,
    /// The group to which what is asked next belongs.
    open: Option<u64>,
    /// Parse, Bind and so on that no Execute has followed yet.
    pending: Option<Pending>,
    statements: Names,
    portals: Names,
    database: Option<CompactString>,
    /// The answer to a request for encryption is due.
    encrypting: bool,
    /// Type of the response message at hand.
    kind: u8,
}

/// What precedes an Execute.
#[derive(Clone, Debug)]
struct Pending {
    first: Origin,
    now: Origin,
    parsed: Option<Arc<Operation>>,
    described: bool,
    cut: bool,
}

impl Framing for Postgres {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        message::frame(role, bytes, self.encrypting)
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        detect::find(role, bytes)
    }
}

impl Talk for Postgres {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        let mut c = Cursor::new(&head.bytes);
        let kind = c.u8().unwrap_or_default();
        if kind == 0 {
            return self.startup(head, cx);
        }
        let _ = c.skip(4);
        match kind {
            b'Q' => {
                let (text, whole) = c.c_string_up_to();
                let operation = sql::read(text, sql::Dialect::Postgres, whole).into();
                self.close_prepare(head.now, cx);
                let first = self.pending.take().map_or(head.first, |pending| pending.first);
                let statement = self.ask(first, head.now, &operation, What::Simple, !whole, cx);
                self.add(statement, head.first, cx);
                self.open = None;
            }
            b'P' => {
                let Some(name) = c.c_string() else {
                    self.statements.remove(b"");
                    self.pending(head, cx);
                    return;
                };
                let (text, whole) = c.c_string_up_to();
                let operation: Arc<Operation> = Arc::new(sql::read(text, sql::Dialect::Postgres, whole).into());
                // One that was prepared before, and not executed since.
                self.close_prepare(head.first, cx);
                self.statements.set(name, operation.clone());
                let pending = self.pending(head, cx);
                pending.parsed = Some(operation);
                pending.cut = !whole;
            }
            b'B' => {
                match (c.c_string(), c.c_string()) {
                    (Some(portal), Some(name)) => match self.statements.get(name) {
                        Some(operation) => self.portals.set(portal, operation),
                        None => self.portals.remove(portal),
                    },
                    // Which portal it was is not known.
                    _ => self.portals.clear(),
                }
                self.pending(head, cx);
            }
            b'D' => self.pending(head, cx).described |= c.u8() == Some(b'S'),
            b'E' => {
                let operation = c.c_string().and_then(|portal| self.portals.get(portal));
                let pending = self.pending(head, cx).clone();
                self.pending = None;
                let unseen_text = operation.is_none();
                let operation = operation.unwrap_or_default();
                let what = What::Execute { unseen: unseen_text };
                let statement = self.ask(pending.first, head.now, &operation, what, pending.cut || unseen_text, cx);
                self.add(statement, head.first, cx);
            }
            b'C' => {
                if let (Some(kind), Some(name)) = (c.u8(), c.c_string()) {
                    if kind == b'S' { self.statements.remove(name) } else { self.portals.remove(name) }
                }
                self.group(head.first, cx);
            }
            b'F' => {
                let statement =
                    self.ask(head.first, head.now, &Operation::of("FUNCTION CALL"), What::Simple, false, cx);
                self.add(statement, head.first, cx);
                self.open = None;
            }
            b'H' => {
                self.group(head.first, cx);
                self.close_prepare(head.now, cx);
                self.pending = None;
            }
            b'S' => {
                self.group(head.first, cx);
                self.close_prepare(head.now, cx);
                self.pending = None;
                self.open = None;
            }
            // Data of a COPY, passwords, the end.
            _ => {}
        }
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        let kind = head.bytes.first().copied().unwrap_or_default();
        if self.encrypting && head.length == 1 {
            self.encrypting = false;
            self.kind = 0;
            match kind {
                b'S' => cx.give_up(Over::Encrypted),
                // GSSAPI's own encryption.
                b'G' => cx.give_up(Over::Switched),
                _ => {}
            }
            return Taken::Yes;
        }
        self.kind = kind;
        if matches!(kind, b'N' | b'A' | b'S' | b'R' | b'K' | b'v') {
            // Told at any time, or before the first query.
            return Taken::Yes;
        }
        if self.queue.is_empty() && self.queue.must_wait() {
            return Taken::Later;
        }
        let sure = self.queue.is_certain();
        let Some(group) = self.queue.front() else {
            if kind == b'Z' {
                self.queue.orphan(cx);
            }
            return Taken::Yes;
        };
        if kind == b'Z' && sure && self.open == Some(group.serial) {
            // The Sync has not been seen yet.
            return Taken::Later;
        }
        let body = head.bytes.get(5..).unwrap_or_default();
        group.answered(head.first, cx);
        match kind {
            b'C' => group.command(body),
            b'E' => group.error(message::sql_state(body)),
            // Replication: both sides send as they like from here on.
            b'W' => cx.give_up(Over::Switched),
            _ => {}
        }
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        if role == Role::Request {
            let group = self.queue.back().and_then(Group::last_mut);
            if let Some(statement) =
                group.filter(|statement| tail.first.offset >= statement.exchange.id.place && !statement.has_begun())
            {
                statement.asked_on(tail.last, cx);
            }
            return;
        }
        match std::mem::take(&mut self.kind) {
            0 | b'N' | b'A' | b'S' | b'R' | b'K' | b'v' => {}
            b'Z' => {
                if let Some(group) = self.queue.pop(cx) {
                    if self.open == Some(group.serial) {
                        self.open = None;
                    }
                    group.ready(tail.last, cx);
                }
            }
            kind => {
                if let Some(group) = self.queue.front() {
                    group.complete(kind, tail.last, cx);
                }
            }
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.queue
    }

    fn lost(&mut self, role: Role) {
        match role {
            Role::Request => {
                self.open = None;
                self.pending = None;
                self.portals.clear();
                self.statements.remove(b"");
            }
            Role::Response => self.kind = 0,
        }
    }
}

impl Postgres {
    fn startup(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        match message::startup(&head.bytes) {
            Some(Startup::Session(parameters)) => {
                self.database = message::database(parameters).map(CompactString::from_utf8_lossy);
                self.group(head.first, cx);
                self.open = None;
            }
            Some(Startup::Encryption) => self.encrypting = true,
            // Nothing answers.
            Some(Startup::Cancel) | None => {}
        }
    }

    fn ask(
        &self,
        first: Origin,
        now: Origin,
        operation: &Operation,
        what: What,
        cut: bool,
        cx: &mut Context<'_>,
    ) -> Statement {
        let database = self.database.as_deref();
        let attributes = describe(SYSTEM, database, operation, cx);
        let name = (SYSTEM, named(SYSTEM, operation, cx));
        let mut call = Call::ask_carrying(first, now, name, attributes, operation.carried(), what, cx);
        call.exchange.holes.request_head = cut;
        call
    }

    /// The group that is open, or a new one that begins here.
    fn group(&mut self, first: Origin, cx: &mut Context<'_>) -> Option<&mut Group> {
        if self.open.is_none() {
            self.groups += 1;
            self.open = Some(self.groups);
            self.queue.push(Group::new(self.groups), first, cx);
        }
        let open = self.open;
        self.queue.back().filter(|group| Some(group.serial) == open)
    }

    fn add(&mut self, statement: Statement, first: Origin, cx: &mut Context<'_>) {
        match self.group(first, cx) {
            Some(group) => group.add(statement, cx),
            // Whose answer is whose is not known.
            None => statement.give_up(NoResponse::Unseen, first.time, cx),
        }
    }

    fn pending(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> &mut Pending {
        self.group(head.first, cx);
        let new = Pending { first: head.first, now: head.now, parsed: None, described: false, cut: false };
        let pending = self.pending.get_or_insert(new);
        pending.now = head.now;
        pending
    }

    /// What was parsed and not executed was only to be prepared.
    fn close_prepare(&mut self, now: Origin, cx: &mut Context<'_>) {
        let Some(Pending { first, parsed: Some(operation), described, cut, .. }) = &self.pending else {
            return;
        };
        let mut summary = CompactString::const_new("PREPARE");
        if !operation.summary.is_empty() {
            summary.push(' ');
            summary.push_str(&operation.summary);
        }
        let prepare =
            Operation { name: Some(CompactString::const_new("PREPARE")), summary, ..Operation::clone(operation) };
        let (first, what, cut) = (*first, What::Prepare { described: *described }, *cut);
        self.pending = None;
        let statement = self.ask(first, now, &prepare, what, cut, cx);
        self.add(statement, first, cx);
    }
}
