//! Where in its answer a command is: results of columns and rows, one after the other, or a single packet.

use super::packet::{self, Kind, length_encoded, status};
use crate::protocol::cursor::Cursor;

/// What answers a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// One packet.
    One,
    /// Results.
    Results,
    /// Rows only, up to an end.
    Rows,
    /// The description of a prepared statement.
    Prepared,
}

/// The state of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    expect: Expect,
    phase: Phase,
    /// Rows of all results.
    pub(super) rows: u64,
    /// There were results with rows.
    pub(super) has_rows: bool,
    /// The statement that was prepared.
    pub(super) statement: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    First,
    /// So many columns are to come; `then`: and so many others, after an end.
    Columns {
        left: u64,
        then: u64,
    },
    /// An end is to come between columns and what follows, unless the newer protocol leaves it out.
    Between {
        then: u64,
    },
    Rows,
    /// A part is missing.
    Unknown,
}

/// What both sides have agreed on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Agreed {
    /// Ends between columns and rows are left out; `None`: not known yet.
    pub(super) no_ends: Option<bool>,
    /// Columns that the client knows may be left out.
    pub(super) caches: bool,
}

/// What a packet means for its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// More packets follow.
    More,
    /// It was the last.
    Done,
    /// It was not captured: what it was, nobody knows.
    Unseen,
    /// It failed with this code, where it was captured.
    Failed(Option<u16>),
}

impl Answer {
    pub(super) fn new(expect: Expect) -> Self {
        let phase = if expect == Expect::Rows { Phase::Rows } else { Phase::First };
        Self { expect, phase, rows: 0, has_rows: false, statement: None }
    }

    /// A part of it is missing.
    pub(super) fn lose(&mut self) {
        self.phase = Phase::Unknown;
    }

    /// Takes the next packet. `length`: of its payload; `first`: it may be the answer's first, by its number.
    pub(super) fn packet(&mut self, payload: &[u8], length: u64, first: bool, agreed: &mut Agreed) -> Then {
        if payload.is_empty() && length > 0 {
            return Then::Unseen;
        }
        match self.phase {
            Phase::Unknown if first && self.expect != Expect::Rows => self.first(payload, length, *agreed),
            Phase::Unknown => match packet::end(payload, length) {
                Kind::Ok(flags) | Kind::Eof(flags) => self.ended(flags),
                Kind::Error(code) => Then::Failed(code),
                Kind::Data => Then::More,
            },
            Phase::First => self.first(payload, length, *agreed),
            Phase::Columns { left: 1, then } => {
                self.phase = Phase::Between { then };
                self.columns_over(then, *agreed)
            }
            Phase::Columns { left, then } => {
                self.phase = Phase::Columns { left: left - 1, then };
                Then::More
            }
            Phase::Between { then } => {
                let kind = packet::end(payload, length);
                if agreed.no_ends.is_none() {
                    agreed.no_ends = Some(!matches!(kind, Kind::Eof(_)));
                }
                match (kind, self.expect) {
                    (Kind::Eof(flags), Expect::Results) if agreed.no_ends == Some(false) => {
                        self.phase = Phase::Rows;
                        if flags & status::CURSOR != 0 { Then::Done } else { Then::More }
                    }
                    (Kind::Eof(_), _) if agreed.no_ends == Some(false) => self.rest(then),
                    (Kind::Error(code), _) => Then::Failed(code),
                    // Nothing is between them.
                    (_, Expect::Results) => {
                        self.phase = Phase::Rows;
                        self.row(payload, length)
                    }
                    _ => {
                        self.rest(then);
                        self.packet(payload, length, false, agreed)
                    }
                }
            }
            Phase::Rows => self.row(payload, length),
        }
    }

    fn first(&mut self, payload: &[u8], length: u64, agreed: Agreed) -> Then {
        let kind = packet::outcome(payload, length);
        match (self.expect, kind) {
            (_, Kind::Error(code)) => Then::Failed(code),
            (Expect::One, _) => Then::Done,
            (Expect::Prepared, _) => {
                let mut c = Cursor::new(payload);
                let described = c.skip(1).and_then(|()| {
                    self.statement = c.u32_le();
                    Some((c.u16_le()?, c.u16_le()?))
                });
                match described {
                    Some((0, 0)) => Then::Done,
                    Some((columns, 0)) => self.columns(columns.into(), 0),
                    Some((columns, parameters)) => self.columns(parameters.into(), columns.into()),
                    None => Then::Unseen,
                }
            }
            (_, Kind::Ok(flags) | Kind::Eof(flags)) => {
                if flags & status::MORE_RESULTS != 0 {
                    Then::More
                } else {
                    Then::Done
                }
            }
            // A local file is asked for; an outcome follows.
            (_, Kind::Data) if payload.first() == Some(&0xfb) => Then::More,
            (_, Kind::Data) => {
                let mut c = Cursor::new(payload);
                let Some(count) = length_encoded(&mut c) else {
                    return Then::Unseen;
                };
                self.has_rows = true;
                let known = agreed.caches && c.u8() == Some(0);
                if count == 0 || known { self.columns_known(agreed) } else { self.columns(count, 0) }
            }
        }
    }

    fn columns(&mut self, left: u64, then: u64) -> Then {
        self.phase = Phase::Columns { left, then };
        Then::More
    }

    fn columns_known(&mut self, agreed: Agreed) -> Then {
        self.phase = if agreed.no_ends == Some(true) { Phase::Rows } else { Phase::Between { then: 0 } };
        Then::More
    }

    /// The last column has come: an end follows, or what comes next, or nothing.
    fn columns_over(&mut self, then: u64, agreed: Agreed) -> Then {
        match (self.expect, agreed.no_ends, then) {
            (Expect::Prepared, Some(true), 0) => Then::Done,
            (Expect::Prepared, Some(true), then) => self.columns(then, 0),
            (_, Some(true), _) => {
                self.phase = Phase::Rows;
                Then::More
            }
            // Of a statement without rows, nothing follows if there are no ends; whether there are shows later.
            _ => Then::More,
        }
    }

    fn rest(&mut self, then: u64) -> Then {
        if then > 0 { self.columns(then, 0) } else { Then::Done }
    }

    fn row(&mut self, payload: &[u8], length: u64) -> Then {
        match packet::end(payload, length) {
            Kind::Data => {
                self.rows += 1;
                Then::More
            }
            Kind::Error(code) => Then::Failed(code),
            Kind::Ok(flags) | Kind::Eof(flags) => self.ended(flags),
        }
    }

    fn ended(&mut self, flags: u16) -> Then {
        if flags & status::MORE_RESULTS == 0 {
            return Then::Done;
        }
        self.phase = if self.expect == Expect::Rows { Phase::Rows } else { Phase::First };
        Then::More
    }
}
