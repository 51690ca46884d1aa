//! What a query does to what: operations and targets, found by the words that precede them.

use compact_str::CompactString;

use super::lexer::Kind;

/// Longest summary: the convention's.
const MAX_SUMMARY: usize = 255;
/// Brackets in brackets that are followed.
const MAX_DEPTH: usize = 64;
/// Names of common table expressions that are known.
const MAX_NAMES: usize = 16;

/// Words that may stand between the name of a kind of thing and the thing's name, or before the kind.
const FILLERS: &[&str] = &[
    "or",
    "replace",
    "temp",
    "temporary",
    "global",
    "local",
    "unlogged",
    "unique",
    "if",
    "not",
    "exists",
    "only",
    "concurrently",
    "materialized",
    "recursive",
    "definer",
    "ignore",
    "low_priority",
    "high_priority",
    "delayed",
    "quick",
];
/// Kinds of things that are made, changed and dropped.
const KINDS: &[&str] = &[
    "table",
    "index",
    "view",
    "database",
    "keyspace",
    "schema",
    "sequence",
    "function",
    "procedure",
    "trigger",
    "user",
    "role",
    "type",
    "extension",
    "domain",
    "event",
    "tablespace",
    "policy",
    "publication",
    "subscription",
];
/// Words that end a list of tables.
const CLAUSES: &[&str] = &[
    "where",
    "group",
    "order",
    "having",
    "limit",
    "offset",
    "union",
    "except",
    "intersect",
    "on",
    "set",
    "returning",
    "values",
    "window",
    "for",
    "fetch",
    "when",
    "using",
    "natural",
    "left",
    "right",
    "inner",
    "outer",
    "cross",
    "full",
    "straight_join",
];

/// What the words so far let expect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expect {
    /// The beginning of a statement.
    #[default]
    Statement,
    /// The kind of thing, after `CREATE` and the like.
    Thing,
    /// A target.
    Target,
    /// The rest of a target, after a dot.
    Rest,
    /// A target may have ended: `.`, an alias, or a comma and the next one.
    After,
    /// The name of a common table expression.
    Name,
    /// Nothing in particular.
    Nothing,
}

/// What is known within one pair of brackets.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// A `SELECT` or `DELETE` has begun: `FROM` names tables.
    reads: bool,
    /// In a list of tables.
    list: bool,
    /// Common table expressions are being named.
    names: bool,
}

/// Collects the summary.
#[derive(Debug, Default)]
pub(super) struct Summary {
    out: Vec<u8>,
    full: bool,
    expect: Expect,
    levels: Vec<Level>,
    level: Level,
    /// Brackets beyond those that are followed.
    deeper: usize,
    /// The last word, in lower case, if it is short.
    last: CompactString,
    opened: bool,
    operations: u32,
    targets: u32,
    operation: Option<CompactString>,
    collection: Option<CompactString>,
    /// Where the target at hand begins in `out`.
    target: usize,
    is_table: bool,
    names: Vec<Vec<u8>>,
}

impl Summary {
    /// Takes the next token. Returns whether it names what the query works on.
    pub(super) fn token(&mut self, kind: Kind, token: &[u8]) -> bool {
        match kind {
            Kind::Space | Kind::Comment => false,
            Kind::Word => self.word(token),
            Kind::Quoted => self.name(token),
            Kind::Text if self.expect == Expect::Target && self.level.list => self.name(token),
            Kind::Sign => {
                self.sign(token);
                false
            }
            Kind::Text | Kind::Number | Kind::Parameter => {
                self.expect = Expect::Nothing;
                self.opened = false;
                self.last = CompactString::const_new("");
                false
            }
        }
    }

    /// Summary, operation and collection. `whole`: nothing of the query is missing.
    pub(super) fn finish(mut self, whole: bool) -> (CompactString, Option<CompactString>, Option<CompactString>) {
        self.end_target();
        let single = whole && self.operations == 1;
        let summary = CompactString::from_utf8_lossy(&self.out);
        // What does not begin with its operation is no whole query, whatever it says of itself.
        let operation = self.operation.filter(|operation| single && summary.starts_with(operation.as_str()));
        let collection = self.collection.filter(|_| single && self.targets == 1);
        (summary, operation, collection)
    }

    fn word(&mut self, token: &[u8]) -> bool {
        let lower: CompactString = match token.len() {
            ..=24 => CompactString::from_utf8_lossy(&token.to_ascii_lowercase()),
            _ => CompactString::const_new(""),
        };
        let previous = std::mem::replace(&mut self.last, lower.clone());
        let opened = std::mem::take(&mut self.opened);
        let word = lower.as_str();
        let starts = self.expect == Expect::Statement;
        if self.expect == Expect::Thing {
            if KINDS.contains(&word) {
                self.extend_operation(token);
                self.expect = Expect::Target;
                self.is_table = word == "table";
                return false;
            }
            if FILLERS.contains(&word) {
                return false;
            }
            self.expect = if previous == "truncate" { Expect::Target } else { Expect::Nothing };
        }
        if matches!(self.expect, Expect::Target | Expect::Rest)
            && !(word == "select" || word == "values" && self.level.reads)
        {
            if self.expect == Expect::Target
                && (FILLERS.contains(&word) || word == "lateral" || word == "table" || word == "into")
            {
                return false;
            }
            return self.name(token);
        }
        if self.expect == Expect::Name && word != "recursive" {
            if self.names.len() < MAX_NAMES {
                self.names.push(token.to_vec());
            }
            self.expect = Expect::Nothing;
            return false;
        }
        if self.expect == Expect::After {
            self.end_target();
            self.expect = Expect::Nothing;
        }
        match word {
            "select" => self.operation(token, Level { reads: true, ..Level::default() }),
            "insert" | "replace" | "merge"
                if starts || opened || previous == ")" || previous == "explain" || previous == "analyze" =>
            {
                self.operation(token, Level::default());
            }
            "delete" if starts || opened || previous == ")" || previous == "explain" || previous == "analyze" => {
                self.operation(token, Level { reads: true, ..Level::default() });
            }
            "update" if starts || opened || previous == ")" || previous == "explain" || previous == "analyze" => {
                self.operation(token, Level { reads: true, ..Level::default() });
                self.expect_table();
            }
            "with" if starts || opened => {
                self.level.names = true;
                self.expect = Expect::Name;
            }
            "create" | "drop" | "alter" | "truncate" if starts => {
                self.operation(token, Level::default());
                self.expect = Expect::Thing;
                self.is_table = word == "truncate";
            }
            "call" | "exec" | "execute" if starts => {
                self.operation(token, Level::default());
                self.expect = Expect::Target;
                self.is_table = false;
            }
            "use" if starts => {
                self.operation(token, Level::default());
                self.expect = Expect::Target;
                self.is_table = false;
            }
            "copy" | "lock" | "vacuum" | "analyze" | "refresh" if starts => {
                self.operation(token, Level::default());
                self.expect = if word == "copy" { Expect::Target } else { Expect::Nothing };
                self.is_table = true;
            }
            "from" if self.level.reads && previous != "distinct" => {
                self.level.list = true;
                self.expect_table();
            }
            "into" if self.operations > 0 && !self.level.reads => self.expect_table(),
            "join" | "straight_join" => {
                self.level.list = true;
                self.expect_table();
            }
            _ if starts && !word.is_empty() => self.operation(token, Level::default()),
            _ if CLAUSES.contains(&word) => self.level.list = false,
            _ => {}
        }
        if starts && self.expect == Expect::Statement {
            self.expect = Expect::Nothing;
        }
        false
    }

    fn expect_table(&mut self) {
        self.expect = Expect::Target;
        self.is_table = true;
    }

    fn sign(&mut self, token: &[u8]) {
        let after = std::mem::replace(&mut self.expect, Expect::Nothing);
        if after == Expect::After && token != b"." {
            if token == b"(" && self.level.list {
                // A function that gives rows.
                self.is_table = false;
            }
            self.end_target();
        }
        self.opened = false;
        let previous = std::mem::replace(&mut self.last, CompactString::from_utf8_lossy(token));
        match token {
            b"." if after == Expect::After => self.expect = Expect::Rest,
            b"(" => {
                if after == Expect::Statement {
                    self.expect = Expect::Statement;
                }
                self.opened = true;
                if self.levels.len() < MAX_DEPTH {
                    self.levels.push(self.level);
                    // Brackets around tables: `FROM (a JOIN b)`.
                    let joins = self.level.list && after == Expect::Target;
                    self.level = Level { reads: joins, list: joins, names: false };
                    if joins {
                        self.expect = Expect::Target;
                    }
                } else {
                    self.deeper += 1;
                }
            }
            b")" => {
                if self.deeper > 0 {
                    self.deeper -= 1;
                } else if let Some(level) = self.levels.pop() {
                    self.level = level;
                }
            }
            b"," if self.level.names => self.expect = Expect::Name,
            b"," if self.level.list => self.expect_table(),
            b";" => {
                self.levels.clear();
                self.deeper = 0;
                self.level = Level::default();
                self.expect = Expect::Statement;
            }
            b"{" if after == Expect::Statement => self.expect = Expect::Statement,
            b"*" if after == Expect::Target && previous == "from" => {}
            _ => {}
        }
    }

    /// A name where one is expected.
    fn name(&mut self, token: &[u8]) -> bool {
        self.opened = false;
        match self.expect {
            Expect::Target => {
                self.target = self.out.len();
                self.push(token, true);
            }
            Expect::Rest => self.push(&[b".", token].concat(), false),
            Expect::Name => {
                if self.names.len() < MAX_NAMES {
                    self.names.push(token.to_vec());
                }
                self.expect = Expect::Nothing;
                return false;
            }
            _ => {
                if self.expect == Expect::After {
                    self.end_target();
                }
                self.expect = Expect::Nothing;
                return false;
            }
        }
        self.expect = Expect::After;
        true
    }

    /// The target at hand is complete.
    fn end_target(&mut self) {
        if self.expect == Expect::After || self.target < self.out.len() && self.target > 0 {
            let name = self.out.get(self.target..).unwrap_or_default().trim_ascii().to_vec();
            if self.names.contains(&name) {
                self.out.truncate(self.target);
            } else if !name.is_empty() {
                self.targets += 1;
                self.collection = self.is_table.then(|| CompactString::from_utf8_lossy(&name));
            }
        }
        self.target = self.out.len();
    }

    fn operation(&mut self, token: &[u8], level: Level) {
        self.level = level;
        self.push(token, true);
        self.target = self.out.len();
        self.operations += 1;
        self.operation = Some(CompactString::from_utf8_lossy(token));
        self.expect = Expect::Nothing;
    }

    /// `CREATE` becomes `CREATE TABLE`.
    fn extend_operation(&mut self, token: &[u8]) {
        self.push(token, true);
        self.target = self.out.len();
        if let Some(operation) = &mut self.operation {
            operation.push(' ');
            operation.push_str(&String::from_utf8_lossy(token));
        }
    }

    fn push(&mut self, token: &[u8], apart: bool) {
        let blank = apart && !self.out.is_empty();
        if self.full || self.out.len() + usize::from(blank) + token.len() > MAX_SUMMARY {
            if !self.full && !apart {
                // Not within a name.
                self.out.truncate(self.target);
            }
            self.full = true;
            return;
        }
        if blank {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(token);
    }
}
