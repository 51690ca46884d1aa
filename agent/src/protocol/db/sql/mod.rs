//! What a span says of a query: its text without anything that may be personal, and what it does to what, by OpenTelemetry's rules for
//! `db.query.summary`. One pass over the text, which may end anywhere.
//! <https://opentelemetry.io/docs/specs/semconv/database/database-spans/#generating-a-summary-of-the-query>

mod lexer;
mod summary;
#[cfg(test)]
mod tests;

use compact_str::CompactString;

pub use lexer::Dialect;
use lexer::{Kind, Lexer};
use summary::Summary;

/// Longest sanitised text, in bytes.
const MAX_TEXT: usize = 2048;

/// What is said of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Its text, without comments, with `?` for each literal; ends with `...` if that is not all.
    pub text: CompactString,
    /// Operations and their targets, in order, as they are written: `INSERT shipping_details SELECT orders`. At most 255 characters.
    pub summary: CompactString,
    /// The operation, if there is only one.
    pub operation: Option<CompactString>,
    /// The table, if there is only one.
    pub collection: Option<CompactString>,
    /// The `traceparent` in a comment, as sqlcommenter writes it.
    pub traceparent: Option<CompactString>,
}

/// Reads a query. `whole`: the text does not end too early.
#[must_use]
pub fn read(sql: &[u8], dialect: Dialect, whole: bool) -> Query {
    let mut lexer = Lexer::new(sql, dialect);
    let mut text = Text::default();
    let mut summary = Summary::default();
    let mut traceparent = None;
    while let Some((kind, token)) = lexer.next() {
        if kind == Kind::Comment {
            traceparent = traceparent.or_else(|| carried(token));
        }
        // A name that is cut off is none.
        let cut = !whole && lexer.is_at_end();
        let is_target = !cut && summary.token(kind, token);
        text.token(kind, token, is_target);
    }
    let (summary, operation, collection) = summary.finish(whole);
    Query { text: text.finish(whole), summary, operation, collection, traceparent }
}

/// The value of `traceparent` in a comment.
fn carried(comment: &[u8]) -> Option<CompactString> {
    const KEY: &[u8] = b"traceparent='";
    /// Length of version 00.
    const LENGTH: usize = 55;
    let at = comment.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let value = comment.get(at..at + LENGTH)?;
    CompactString::from_utf8(value).ok().filter(|_| comment.get(at + LENGTH) == Some(&b'\''))
}

/// The sanitised text.
#[derive(Default)]
struct Text {
    out: Vec<u8>,
    /// A blank goes before the next token.
    blank: bool,
    full: bool,
    list: List,
}

/// Whether an `IN (...)` is at hand that consists of values only.
#[derive(Clone, Copy, Default)]
enum List {
    #[default]
    None,
    /// `IN` was last.
    In,
    /// Its bracket opened where the output had this length.
    Open(usize),
}

impl Text {
    /// Takes a token. `is_target`: it names what the query works on, however it is written.
    fn token(&mut self, kind: Kind, token: &[u8], is_target: bool) {
        match kind {
            Kind::Space | Kind::Comment => {
                self.blank = !self.out.is_empty();
                return;
            }
            _ if self.full => return,
            _ => {}
        }
        let literal = match kind {
            Kind::Text => !is_target,
            Kind::Number => true,
            Kind::Word => token.eq_ignore_ascii_case(b"true") || token.eq_ignore_ascii_case(b"false"),
            _ => false,
        };
        self.list = match (self.list, kind, token) {
            (_, Kind::Word, word) if word.eq_ignore_ascii_case(b"in") => List::In,
            (List::In, Kind::Sign, b"(") => List::Open(self.out.len() + usize::from(self.blank) + 1),
            (List::Open(at), Kind::Sign, b")") => {
                if self.out.len() > at {
                    self.out.truncate(at);
                    self.out.push(b'?');
                    self.blank = false;
                }
                List::None
            }
            (List::Open(at), Kind::Sign, b"," | b"-" | b"+") => List::Open(at),
            (List::Open(at), Kind::Parameter, _) => List::Open(at),
            (List::Open(at), ..) if literal => List::Open(at),
            _ => List::None,
        };
        if std::mem::take(&mut self.blank) {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(if literal { b"?" } else { token });
        if self.out.len() > MAX_TEXT && !matches!(self.list, List::Open(_)) {
            self.full = true;
        }
    }

    fn finish(mut self, whole: bool) -> CompactString {
        let mut cut = self.full || !whole;
        if self.out.len() > MAX_TEXT {
            self.out.truncate(MAX_TEXT);
            while self.out.last().is_some_and(|byte| *byte & 0xc0 == 0x80) {
                self.out.pop();
            }
            cut = true;
        }
        let mut text = CompactString::from_utf8_lossy(&self.out);
        if cut {
            text.push_str("...");
        }
        text
    }
}
