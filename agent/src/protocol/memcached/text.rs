//! The text protocol's lines.

use super::binary::MAX_KEY;

/// The longest line that is waited for.
const MAX_LINE: usize = (16 << 10) - 1;
/// Longest block of data: an item of the largest size that the server can be told to take.
const MAX_DATA: u64 = 1 << 30;
/// Longest opaque token.
const MAX_OPAQUE: usize = 32;

/// How a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Values, and `END`.
    Values,
    /// Whether it was stored.
    Stored,
    /// Whether there was anything to delete.
    Deleted,
    /// A number.
    Number,
    /// Whether there was anything to touch.
    Touched,
    /// `VERSION`.
    Version,
    /// Lines, and `END`; or one word.
    List,
    /// One word.
    Word,
    /// Two letters, of these, and what belongs to them.
    Meta(&'static [&'static str]),
    /// Not at all.
    Nothing,
    /// By lines without an end.
    Stream,
}

/// The commands.
const COMMANDS: &[(&str, Shape)] = &[
    ("get", Shape::Values),
    ("gets", Shape::Values),
    ("gat", Shape::Values),
    ("gats", Shape::Values),
    ("set", Shape::Stored),
    ("add", Shape::Stored),
    ("replace", Shape::Stored),
    ("append", Shape::Stored),
    ("prepend", Shape::Stored),
    ("cas", Shape::Stored),
    ("delete", Shape::Deleted),
    ("incr", Shape::Number),
    ("decr", Shape::Number),
    ("touch", Shape::Touched),
    ("version", Shape::Version),
    ("stats", Shape::List),
    ("lru_crawler", Shape::List),
    ("config", Shape::Values),
    ("mg", Shape::Meta(&["VA", "HD", "EN"])),
    ("ms", Shape::Meta(&["HD", "NS", "EX", "NF"])),
    ("md", Shape::Meta(&["HD", "NF", "EX"])),
    ("ma", Shape::Meta(&["VA", "HD", "NF", "NS", "EX"])),
    ("mn", Shape::Meta(&["MN"])),
    ("me", Shape::Meta(&["ME", "EN"])),
    ("flush_all", Shape::Word),
    ("verbosity", Shape::Word),
    ("cache_memlimit", Shape::Word),
    ("slabs", Shape::Word),
    ("lru", Shape::Word),
    ("quit", Shape::Nothing),
    ("shutdown", Shape::Nothing),
    ("watch", Shape::Stream),
];

/// What a line asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command<'a> {
    /// Its name, if it is a known one.
    pub(super) name: Option<&'static str>,
    pub(super) shape: Shape,
    /// Length of the block of data that follows, without its line's end.
    pub(super) data: Option<u64>,
    pub(super) keys: u64,
    /// `noreply`.
    pub(super) silent: bool,
    /// The flag `q`.
    pub(super) quiet: bool,
    /// What an answer repeats: the flag `O`.
    pub(super) opaque: Option<&'a [u8]>,
    /// The key, if an answer repeats it: the flag `k`.
    pub(super) key: Option<&'a [u8]>,
    /// No other protocol has lines like this.
    pub(super) sure: bool,
}

/// What a line answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// `VALUE`: data of this length follows.
    Value(u64),
    /// An element of a list.
    Item,
    /// `END`.
    End,
    /// A word.
    Word(&'a [u8]),
    /// `ERROR`, `CLIENT_ERROR`, `SERVER_ERROR`: the word, not the message.
    Error(&'static str),
    /// Of a meta command.
    Meta(Meta<'a>),
}

/// The answer to a meta command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta<'a> {
    pub(super) code: &'a [u8],
    /// Length of the data that follows.
    pub(super) data: Option<u64>,
    pub(super) opaque: Option<&'a [u8]>,
    pub(super) key: Option<&'a [u8]>,
    /// All that follows the letters are flags that an answer may have.
    pub(super) plain: bool,
}

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read<T> {
    /// A line of this length, with its end.
    Line(T, usize),
    /// It has not ended.
    More,
    /// No line.
    Invalid,
}

/// The line that bytes begin with, without its end.
fn line(bytes: &[u8]) -> Read<&[u8]> {
    let plain = |line: &[u8]| line.iter().all(|b| *b >= b' ' && *b != 0x7f);
    match bytes.iter().take(MAX_LINE).position(|b| *b == b'\n') {
        Some(end) => {
            let line = bytes.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if plain(line) && !line.is_empty() { Read::Line(line, end + 1) } else { Read::Invalid }
        }
        None if bytes.len() < MAX_LINE && plain(bytes.strip_suffix(b"\r").unwrap_or(bytes)) => Read::More,
        None => Read::Invalid,
    }
}

/// Reads the command that bytes begin with. Whatever its name, it is one: the server answers `ERROR`.
pub(super) fn command(bytes: &[u8]) -> Read<Command<'_>> {
    match line(bytes) {
        Read::Line(line, length) => Read::Line(parse(line), length),
        Read::More => Read::More,
        Read::Invalid => Read::Invalid,
    }
}

fn parse(line: &[u8]) -> Command<'_> {
    let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let verb = words.next().unwrap_or_default();
    let known = COMMANDS.iter().find(|(name, _)| name.as_bytes() == verb);
    let mut command = Command {
        name: known.map(|(name, _)| *name),
        shape: known.map_or(Shape::Word, |(_, shape)| *shape),
        data: None,
        keys: 0,
        silent: false,
        quiet: false,
        opaque: None,
        key: None,
        sure: false,
    };
    let is_key = |word: &&[u8]| word.len() <= MAX_KEY;
    let mut rest = words.clone();
    // After these, everything has been read.
    command.silent =
        matches!(command.shape, Shape::Stored | Shape::Deleted | Shape::Number | Shape::Touched | Shape::Word)
            && words.clone().next_back() == Some(b"noreply");
    let count = words.clone().count() - usize::from(command.silent);
    match command.shape {
        Shape::Values => {
            let times = verb.starts_with(b"gat");
            let time = !times || rest.next().and_then(signed).is_some();
            command.keys = (count as u64).saturating_sub(u64::from(times));
            let keys = rest.all(|key| key.len() <= MAX_KEY);
            command.sure = time && keys && command.keys > 0 && verb != b"get" && verb != b"config";
        }
        Shape::Stored => {
            let (key, flags) = (rest.next().filter(is_key), rest.next().and_then(number));
            let (time, data) = (rest.next().and_then(signed), rest.next().and_then(number));
            let unique = verb != b"cas" || rest.next().and_then(number).is_some();
            let fits = key.is_some() && flags.is_some() && time.is_some() && unique;
            let whole = count == if verb == b"cas" { 5 } else { 4 };
            command.keys = 1;
            command.data = data.filter(|data| fits && whole && *data <= MAX_DATA);
            command.sure = command.data.is_some();
        }
        Shape::Deleted => {
            command.keys = 1;
            command.sure = count == 1 && command.silent;
        }
        Shape::Number | Shape::Touched => {
            command.keys = 1;
            command.sure = count == 2 && rest.next().filter(is_key).is_some() && rest.next().and_then(number).is_some();
        }
        Shape::Meta(_) => meta(&mut command, verb, rest),
        _ => {}
    }
    command
}

/// A meta command: key, for `ms` the length of its data, and flags.
fn meta<'a>(command: &mut Command<'a>, verb: &[u8], mut words: impl Iterator<Item = &'a [u8]>) {
    let Some(key) = words.next().filter(|key| key.len() <= MAX_KEY) else {
        return;
    };
    command.keys = 1;
    if verb == b"ms" {
        command.data = words.next().and_then(number).filter(|data| *data <= MAX_DATA);
        if command.data.is_none() {
            return;
        }
    }
    let mut flags = 0;
    for flag in words {
        match flag.split_first() {
            Some((b'q', [])) => command.quiet = true,
            Some((b'k', [])) => command.key = Some(key),
            Some((b'O', token)) if token.len() <= MAX_OPAQUE => command.opaque = Some(token),
            Some((letter, _)) if letter.is_ascii_alphabetic() => {}
            _ => return,
        }
        flags += 1;
    }
    command.sure = command.data.is_some() || flags > 0;
}

/// Reads the answer that bytes begin with.
pub(super) fn answer(bytes: &[u8]) -> Read<Answer<'_>> {
    match line(bytes) {
        Read::Line(line, length) => said(line).map_or(Read::Invalid, |answer| Read::Line(answer, length)),
        Read::More => Read::More,
        Read::Invalid => Read::Invalid,
    }
}

fn said(line: &[u8]) -> Option<Answer<'_>> {
    let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let first = words.next()?;
    Some(match first {
        b"VALUE" | b"CONFIG" => {
            let (_key, flags, length) = (words.next()?, words.next()?, words.next()?);
            let unique = words.next().is_none_or(|unique| number(unique).is_some());
            let fits = number(flags).is_some() && unique && words.next().is_none();
            Answer::Value(number(length).filter(|length| fits && *length <= MAX_DATA)?)
        }
        b"STAT" | b"ITEM" | b"PREFIX" | b"mg" => words.next().map(|_| Answer::Item)?,
        b"END" if line == b"END" => Answer::End,
        b"ERROR" => Answer::Error("ERROR"),
        b"CLIENT_ERROR" => Answer::Error("CLIENT_ERROR"),
        b"SERVER_ERROR" => Answer::Error("SERVER_ERROR"),
        b"HD" | b"EN" | b"NF" | b"NS" | b"EX" | b"MN" | b"ME" | b"VA" => {
            let data = if first == b"VA" { Some(number(words.next()?).filter(|n| *n <= MAX_DATA)?) } else { None };
            let mut meta = Meta { code: first, data, opaque: None, key: None, plain: true };
            for flag in words.filter(|_| first != b"ME") {
                match flag.split_first() {
                    Some((b'O', token)) => meta.opaque = Some(token),
                    Some((b'k', key)) => meta.key = Some(key),
                    Some((b'W' | b'X' | b'Z' | b'b', [])) => {}
                    Some((b'c' | b'f' | b'h' | b'l' | b's' | b't', value)) => meta.plain &= signed(value).is_some(),
                    _ => meta.plain = false,
                }
            }
            Answer::Meta(meta)
        }
        b"STORED" | b"NOT_STORED" | b"EXISTS" | b"NOT_FOUND" | b"DELETED" | b"TOUCHED" | b"OK" | b"RESET"
        | b"NOSPARE" | b"NOTFULL" | b"SAME" | b"UNSAFE" | b"VERSION" | b"BUSY" | b"BADCLASS" => Answer::Word(first),
        _ if first.starts_with(b"key=") => Answer::Item,
        _ if number(first).is_some() && words.next().is_none() => Answer::Word(first),
        _ => return None,
    })
}

/// Whether a line may answer such a command.
pub(super) fn fits(shape: Shape, answer: &Answer<'_>) -> bool {
    match (shape, answer) {
        (Shape::Nothing, _) => false,
        (_, Answer::Error(_)) => true,
        (Shape::Values, Answer::Value(_) | Answer::End) | (Shape::List, Answer::Item | Answer::End) => true,
        (Shape::List, Answer::Meta(meta)) => meta.code == b"EN",
        (Shape::Meta(codes), Answer::Meta(meta)) => codes.iter().any(|code| code.as_bytes() == meta.code),
        (Shape::Stored, Answer::Word(word)) => {
            matches!(*word, b"STORED" | b"NOT_STORED" | b"EXISTS" | b"NOT_FOUND")
        }
        (Shape::Deleted, Answer::Word(word)) => matches!(*word, b"DELETED" | b"NOT_FOUND"),
        (Shape::Touched, Answer::Word(word)) => matches!(*word, b"TOUCHED" | b"NOT_FOUND"),
        (Shape::Number, Answer::Word(word)) => *word == b"NOT_FOUND" || number(word).is_some(),
        (Shape::Version, Answer::Word(word)) => *word == b"VERSION",
        (Shape::List, Answer::Word(word)) => matches!(*word, b"OK" | b"RESET" | b"BUSY" | b"BADCLASS"),
        (Shape::Word | Shape::Stream, Answer::Word(word)) => {
            !matches!(*word, b"STORED" | b"DELETED" | b"TOUCHED" | b"VERSION")
        }
        _ => false,
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// A time, which may be negative: it has passed already.
fn signed(digits: &[u8]) -> Option<u64> {
    number(digits.strip_prefix(b"-").unwrap_or(digits))
}

/// Whether the line that has not ended may become a command that is known.
pub(super) fn may_be_command(bytes: &[u8]) -> bool {
    let verb = bytes.split(|b| matches!(b, b' ' | b'\r')).next().unwrap_or_default();
    let ended = verb.len() < bytes.len();
    COMMANDS.iter().any(|(name, _)| if ended { name.as_bytes() == verb } else { name.as_bytes().starts_with(verb) })
}

/// Whether the line that has not ended may become an answer by which the protocol is known.
pub(super) fn may_be_answer(bytes: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 18] = [
        b"VALUE ",
        b"STAT ",
        b"END\r",
        b"STORED\r",
        b"NOT_STORED\r",
        b"DELETED\r",
        b"TOUCHED\r",
        b"EXISTS\r",
        b"NOT_FOUND\r",
        b"VERSION ",
        b"VA ",
        b"HD",
        b"EN",
        b"NF",
        b"NS",
        b"EX",
        b"MN",
        b"ME ",
    ];
    BEGINNINGS.iter().any(|known| known.starts_with(bytes) || bytes.starts_with(known))
}
