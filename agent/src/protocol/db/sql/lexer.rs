//! SQL's tokens, in one pass, with the quoting of the dialects. Right on text that ends anywhere: what is cut off is still of the kind that
//! it began as.

/// Whose rules of quoting hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL: `$tag$text$tag$`, `E'\n'`, nested comments, `"name"`.
    Postgres,
    /// MySQL and MariaDB: `` `name` ``, `"text"`, `\'`, `# comment`.
    MySql,
    /// Cassandra's CQL: `$$text$$`, `// comment`, `"name"`, and UUIDs and durations without quotes.
    Cql,
    /// SQL Server's: `[name]`, `#table`, `$1.50`, nested comments.
    TSql,
    /// ClickHouse's: `\'` in strings and in names, `$tag$text$tag$`, `# comment`.
    ClickHouse,
}

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Blanks and line ends.
    Space,
    /// A comment.
    Comment,
    /// A keyword or a name.
    Word,
    /// A name in quotes.
    Quoted,
    /// A string, of any notation.
    Text,
    /// A number.
    Number,
    /// `?`, `$1`, `:name`, `@name`.
    Parameter,
    /// Anything else: one character.
    Sign,
}

/// Splits SQL into tokens.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    rest: &'a [u8],
    dialect: Dialect,
    /// The last token was a name, a number or a closing bracket: what follows is no prefix of one.
    after_value: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(sql: &'a [u8], dialect: Dialect) -> Self {
        Self { rest: sql, dialect, after_value: false }
    }

    /// Whether everything has been split.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn byte(&self, at: usize) -> u8 {
        self.rest.get(at).copied().unwrap_or(0)
    }

    fn count(&self, from: usize, which: impl Fn(u8) -> bool) -> usize {
        self.rest.iter().skip(from).take_while(|b| which(**b)).count()
    }

    /// Length of the token at hand, and its kind.
    fn token(&self) -> (Kind, usize) {
        let first = self.byte(0);
        match (first, self.byte(1)) {
            (b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c, _) => {
                (Kind::Space, self.count(0, |b| b.is_ascii_whitespace() || b == 0x0b))
            }
            (b'-', b'-') => (Kind::Comment, self.count(0, |b| b != b'\n')),
            (b'#', _) if matches!(self.dialect, Dialect::MySql | Dialect::ClickHouse) => {
                (Kind::Comment, self.count(0, |b| b != b'\n'))
            }
            (b'/', b'/') if self.dialect == Dialect::Cql => (Kind::Comment, self.count(0, |b| b != b'\n')),
            (b'/', b'*') => (Kind::Comment, self.block_comment()),
            (b'\'', _) => (Kind::Text, self.quoted(0, b'\'', self.escapes())),
            (b'"', _) if self.dialect == Dialect::MySql => (Kind::Text, self.quoted(0, b'"', true)),
            (b'[', _) if self.dialect == Dialect::TSql => (Kind::Quoted, self.quoted(0, b']', false)),
            (b'#', _) if self.dialect == Dialect::TSql => (Kind::Word, self.count(0, |b| is_name(b) || b == b'#')),
            (b'"' | b'`', _) => (Kind::Quoted, self.quoted(0, first, self.dialect == Dialect::ClickHouse)),
            (b'e' | b'E', b'\'') => (Kind::Text, self.quoted(1, b'\'', true)),
            (b'b' | b'B' | b'x' | b'X' | b'n' | b'N', b'\'') => (Kind::Text, self.quoted(1, b'\'', self.escapes())),
            (b'u' | b'U', b'&') if matches!(self.byte(2), b'\'' | b'"') => {
                let kind = if self.byte(2) == b'"' { Kind::Quoted } else { Kind::Text };
                (kind, self.quoted(2, self.byte(2), false))
            }
            (b'$', b'0'..=b'9' | b'.') if self.dialect == Dialect::TSql => {
                (Kind::Number, 1 + self.count(1, |b| b.is_ascii_digit() || b == b'.'))
            }
            (b'$', b'0'..=b'9') => (Kind::Parameter, 1 + self.count(1, |b| b.is_ascii_digit())),
            (b'$', _) if matches!(self.dialect, Dialect::Postgres | Dialect::ClickHouse) => self.dollar(),
            (b'$', b'$') if self.dialect == Dialect::Cql => self.dollar(),
            (b'?', _) => (Kind::Parameter, 1),
            (b':', b':') => (Kind::Sign, 2),
            (b':' | b'@', second) if is_name(second) => (Kind::Parameter, 1 + self.count(1, is_name)),
            _ if self.dialect == Dialect::Cql && self.constant() > 0 => (Kind::Number, self.constant()),
            (b'0'..=b'9', _) => (Kind::Number, self.number()),
            (b'.', b'0'..=b'9') if !self.after_value => (Kind::Number, self.number()),
            _ if is_name(first) => (Kind::Word, self.count(0, |b| is_name(b) || b == b'$')),
            _ => (Kind::Sign, 1),
        }
    }

    /// Whether `\'` does not end a string.
    fn escapes(&self) -> bool {
        matches!(self.dialect, Dialect::MySql | Dialect::ClickHouse)
    }

    fn quoted(&self, prefix: usize, quote: u8, backslash: bool) -> usize {
        let mut at = prefix + 1;
        while at < self.rest.len() {
            match self.byte(at) {
                b'\\' if backslash => at += 2,
                b if b == quote && self.byte(at + 1) == quote => at += 2,
                b if b == quote => return at + 1,
                _ => at += 1,
            }
        }
        self.rest.len()
    }

    fn block_comment(&self) -> usize {
        let nests = matches!(self.dialect, Dialect::Postgres | Dialect::TSql);
        let (mut at, mut depth) = (2, 1_u32);
        while at < self.rest.len() {
            match (self.byte(at), self.byte(at + 1)) {
                (b'*', b'/') => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        return at;
                    }
                }
                (b'/', b'*') if nests => {
                    depth += 1;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        self.rest.len()
    }

    /// `$tag$ ... $tag$`.
    fn dollar(&self) -> (Kind, usize) {
        let tag = 1 + self.count(1, is_name);
        if tag >= self.rest.len() {
            // Cut off within the tag: what else could it be?
            return (Kind::Text, self.rest.len());
        }
        if self.byte(tag) != b'$' {
            return (Kind::Sign, 1);
        }
        let mark = self.rest.get(..=tag).unwrap_or_default();
        let body = self.rest.get(tag + 1..).unwrap_or_default();
        let end = body.windows(mark.len()).position(|window| window == mark);
        (Kind::Text, end.map_or(self.rest.len(), |end| tag + 1 + end + mark.len()))
    }

    /// Length of a UUID, or the beginning of one at the end, or a duration as ISO 8601 writes it; 0: there is none.
    fn constant(&self) -> usize {
        /// Characters of a UUID's parts.
        const PARTS: [usize; 5] = [8, 4, 4, 4, 12];
        let mut at = 0;
        for (i, part) in PARTS.into_iter().enumerate() {
            if i > 0 {
                match self.byte(at) {
                    b'-' => at += 1,
                    _ => return if i > 1 && at == self.rest.len() { at } else { self.duration() },
                }
            }
            let digits = self.count(at, |b| b.is_ascii_hexdigit()).min(part);
            at += digits;
            if digits < part {
                return if i > 0 && at == self.rest.len() { at } else { self.duration() };
            }
        }
        if is_name(self.byte(at)) { 0 } else { at }
    }

    /// `P1Y2M3DT4H`.
    fn duration(&self) -> usize {
        let length = self.count(0, is_name);
        let word = self.rest.get(..length).unwrap_or_default();
        let unit = |b: &u8| matches!(b.to_ascii_uppercase(), b'Y' | b'M' | b'W' | b'D' | b'H' | b'S' | b'T');
        let is_one = matches!(word, [b'P' | b'p', rest @ ..] if rest.iter().all(|b| b.is_ascii_digit() || unit(b)))
            && word.iter().any(u8::is_ascii_digit)
            && word.last().is_some_and(unit);
        if is_one { length } else { 0 }
    }

    /// Decimal, with fraction and exponent, hexadecimal, octal, binary, with underscores.
    fn number(&self) -> usize {
        let digits = self.count(0, |b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_');
        let last = self.byte(digits.saturating_sub(1));
        let hexadecimal = matches!(self.byte(1), b'x' | b'X');
        let signed = matches!(last, b'e' | b'E') && matches!(self.byte(digits), b'+' | b'-') && !hexadecimal;
        if signed { digits + 1 + self.count(digits + 1, |b| b.is_ascii_digit()) } else { digits }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = (Kind, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (kind, length) = self.token();
        let (token, rest) = self.rest.split_at_checked(length.max(1)).unwrap_or((self.rest, &[]));
        self.rest = rest;
        self.after_value = match kind {
            Kind::Word | Kind::Quoted | Kind::Number | Kind::Text | Kind::Parameter => true,
            Kind::Sign => matches!(token, b")" | b"]"),
            Kind::Space | Kind::Comment => false,
        };
        Some((kind, token))
    }
}

/// Whether a byte can be in a name: letters, digits, underscores, and whatever is not ASCII.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}
