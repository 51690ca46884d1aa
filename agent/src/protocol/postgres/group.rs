//! What the server answers in one go: a simple query, or all that is asked up to a Sync. It ends with one ReadyForQuery.

use std::collections::VecDeque;

use super::message;
use crate::{
    event::Nanos,
    protocol::{
        framed::{Call, Context, Origin, Unit},
        http::NoResponse,
    },
};

/// Statements of one pipeline that are kept.
const MAX_STATEMENTS: usize = 1024;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A simple query: lasts until the server is ready again.
    Simple,
    /// A statement is only prepared. `described`: what it gives is asked for, too.
    Prepare { described: bool },
    /// A portal is executed. `unseen`: the statement's text was never seen.
    Execute { unseen: bool },
}

/// A statement that waits for its answer.
pub(super) type Statement = Call<What>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Numbers the groups of a connection.
    pub(super) serial: u64,
    statements: VecDeque<Statement>,
    failed: bool,
    begun: bool,
    doubted: bool,
    lossy: bool,
}

impl Group {
    pub(super) fn new(serial: u64) -> Self {
        Self { serial, ..Self::default() }
    }

    pub(super) fn add(&mut self, mut statement: Statement, cx: &mut Context<'_>) {
        statement.exchange.holes.pairing |= self.doubted;
        if self.statements.len() >= MAX_STATEMENTS {
            return statement.give_up(NoResponse::Unseen, 0, cx);
        }
        self.statements.push_back(statement);
    }

    /// What was added last.
    pub(super) fn last_mut(&mut self) -> Option<&mut Statement> {
        self.statements.back_mut()
    }

    /// A message of its answer has begun.
    pub(super) fn answered(&mut self, first: Origin, cx: &mut Context<'_>) {
        self.begun = true;
        if !self.failed
            && let Some(statement) = self.statements.front_mut()
        {
            statement.answered(first, cx);
        }
    }

    /// The statement at hand has this outcome.
    pub(super) fn command(&mut self, body: &[u8]) {
        let Some(statement) = self.statements.front_mut() else {
            return;
        };
        let Some((command, rows)) = message::tag(body) else {
            return;
        };
        let attributes = &mut statement.exchange.attributes;
        if statement.data == (What::Execute { unseen: true }) && attributes.get("db.operation.name").is_none() {
            attributes.push("db.operation.name", command);
            statement.exchange.name = command.into();
        }
        // The last one of several.
        if let (Some(rows), "SELECT" | "FETCH") = (rows, command) {
            attributes.0.retain(|(key, _)| key != "db.response.returned_rows");
            attributes.push("db.response.returned_rows", rows);
        }
    }

    /// The statement at hand has failed: what follows is passed over, up to the Sync.
    pub(super) fn error(&mut self, state: Option<&str>) {
        if self.failed {
            return;
        }
        if let Some(statement) = self.statements.front_mut() {
            if let Some(state) = state {
                statement.exchange.attributes.push("db.response.status_code", state);
            }
            statement.fail(state.unwrap_or("_OTHER"), "");
        }
    }

    /// A message of this type is complete.
    pub(super) fn complete(&mut self, kind: u8, last: Origin, cx: &mut Context<'_>) {
        let Some(statement) = self.statements.front() else {
            self.failed |= kind == b'E';
            return;
        };
        let done = match (statement.data, kind) {
            (What::Simple, _) => false,
            (_, b'E') => !std::mem::replace(&mut self.failed, true),
            _ if self.failed => false,
            (What::Execute { .. }, b'C' | b'I' | b's') => true,
            (What::Prepare { described: false }, b'1') | (What::Prepare { described: true }, b'T' | b'n') => true,
            _ => false,
        };
        if done && let Some(statement) = self.statements.pop_front() {
            self.finish(statement, last, cx);
        }
    }

    /// The server is ready for what comes next.
    pub(super) fn ready(mut self, last: Origin, cx: &mut Context<'_>) {
        while let Some(mut statement) = self.statements.pop_front() {
            if self.failed && !statement.has_begun() {
                // The server has passed over it.
                statement.fail("pipeline_aborted", "");
                statement.done_unanswered(last.time, cx);
            } else {
                self.finish(statement, last, cx);
            }
        }
    }

    fn finish(&self, mut statement: Statement, last: Origin, cx: &mut Context<'_>) {
        statement.exchange.holes.length |= self.lossy;
        statement.done(last, cx);
    }
}

impl Unit for Group {
    fn has_begun(&self) -> bool {
        self.begun
    }

    fn doubt(&mut self) {
        self.doubted = true;
        self.statements.iter_mut().for_each(Unit::doubt);
    }

    fn lose(&mut self) {
        self.lossy = true;
        // Whose outcome was in it cannot be told.
        if self.statements.len() > 1 {
            self.doubt();
        }
    }

    fn goes_on(&mut self, origin: Origin, cx: &mut Context<'_>) {
        self.answered(origin, cx);
    }

    fn give_up(self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        for statement in self.statements {
            statement.give_up(why, now, cx);
        }
    }
}
