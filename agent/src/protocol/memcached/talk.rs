//! A connection's commands and their answers, in order.

use compact_str::{CompactString, format_compact};

use super::{
    binary::{self, HEADER},
    detect,
    text::{self, Answer, Read, Shape},
};
use crate::{
    event::Nanos,
    protocol::{
        Over,
        db::{Operation, describe, named},
        framed::{Call, Calls, Context, Found, Frame, Framing, Head, Origin, Queue, Role, Tail, Taken, Talk, Unit},
        http::NoResponse,
    },
};

/// `db.system.name` and `network.protocol.name`.
const SYSTEM: &str = "memcached";
/// Keys that are shown, as `?`.
const SHOWN: u64 = 16;
/// Quiet commands that wait at most: of those before, nothing more is said.
const MAX_QUIET: usize = 512;

/// By what an answer is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    Text(Shape),
    Binary { opcode: u8 },
}

/// What is remembered of a command.
#[derive(Debug)]
struct Asked {
    mark: Mark,
    /// What the answer repeats.
    opaque: Option<Box<[u8]>>,
    key: Option<Box<[u8]>>,
    /// Perhaps not answered.
    quiet: bool,
    /// Values are what it asks for.
    gets: bool,
    values: u64,
}

/// What is known of an answer's beginning.
struct Said<'a> {
    line: Option<Answer<'a>>,
    opcode: u8,
    opaque: Option<&'a [u8]>,
    key: Option<&'a [u8]>,
}

impl Asked {
    /// Whether this may be its answer.
    fn fits(&self, said: &Said<'_>) -> bool {
        // What is not repeated in an answer that would repeat it is somebody else's.
        let same = |asked: &Option<Box<[u8]>>, said: Option<&[u8]>, always: bool| match (asked, said) {
            (Some(asked), Some(said)) => **asked == *said,
            (Some(_), None) => !always,
            (None, _) => !matches!(self.mark, Mark::Text(_)) || said.is_none(),
        };
        match (&self.mark, &said.line) {
            (Mark::Text(shape), Some(answer)) => {
                // A miss and an error repeat nothing in some versions.
                let always = matches!(answer, Answer::Meta(meta) if !matches!(meta.code, b"EN" | b"NF"));
                text::fits(*shape, answer)
                    && same(&self.opaque, said.opaque, always)
                    && same(&self.key, said.key, always)
            }
            (Mark::Binary { opcode }, None) => {
                *opcode == said.opcode && same(&self.opaque, said.opaque, true) && same(&self.key, said.key, false)
            }
            _ => false,
        }
    }
}

/// A command that waits.
#[derive(Debug)]
struct Waiting(Call<Asked>);

impl Unit for Waiting {
    fn has_begun(&self) -> bool {
        self.0.has_begun()
    }

    fn doubt(&mut self) {
        self.0.doubt();
    }

    fn lose(&mut self) {
        self.0.lose();
    }

    fn goes_on(&mut self, origin: Origin, cx: &mut Context<'_>) {
        self.0.goes_on(origin, cx);
    }

    fn give_up(self, why: NoResponse, now: Nanos, cx: &mut Context<'_>) {
        if self.0.data.quiet && !self.0.has_begun() && why != NoResponse::Unseen {
            let end = self.0.exchange.request_end;
            return self.0.done_unanswered(end, cx);
        }
        self.0.give_up(why, now, cx);
    }
}

/// A command whose end has not come.
#[derive(Debug)]
struct Asking {
    first: Origin,
    operation: Operation,
    /// `None`: nothing will answer it.
    asked: Option<Asked>,
    cut: bool,
}

/// What becomes of the answer with the message at hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answering {
    /// It is nobody's.
    #[default]
    Nobody,
    /// It goes on.
    Part,
    /// It ends.
    Whole,
}

/// A connection's state.
#[derive(Debug, Default)]
pub(super) struct Memcached {
    queue: Queue<Waiting>,
    asking: Option<Asking>,
    answering: Answering,
}

impl Framing for Memcached {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        if matches!((role, bytes.first()), (Role::Request, Some(&binary::REQUEST)) | (_, Some(&binary::RESPONSE))) {
            return match binary::header(role, bytes) {
                Some(header) => {
                    let key = if binary::returns_key(header.opcode) { header.extras + header.key } else { 0 };
                    Frame::Message { length: HEADER as u64 + u64::from(header.body), want: HEADER + key }
                }
                None if bytes.len() < HEADER => Frame::More,
                None => Frame::Malformed,
            };
        }
        let (data, line) = match role {
            Role::Request => match text::command(bytes) {
                Read::Line(command, line) => (command.data, line),
                Read::More => return Frame::More,
                Read::Invalid => return Frame::Malformed,
            },
            Role::Response => match text::answer(bytes) {
                Read::Line(Answer::Value(data), line) => (Some(data), line),
                Read::Line(Answer::Meta(meta), line) => (meta.data, line),
                Read::Line(_, line) => (None, line),
                Read::More => return Frame::More,
                Read::Invalid => return Frame::Malformed,
            },
        };
        Frame::Message { length: line as u64 + data.map_or(0, |data| data + 2), want: line }
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        detect::find(role, bytes)
    }
}

/// What is said of a command.
fn operation(name: Option<&'static str>, keys: u64) -> Operation {
    let Some(name) = name else {
        return Operation::default();
    };
    let mut text = CompactString::const_new(name);
    for _ in 0..keys.min(SHOWN) {
        text.push_str(" ?");
    }
    if keys > SHOWN {
        text.push_str(" ...");
    }
    Operation { name: Some(CompactString::const_new(name)), text, ..Operation::default() }
}

impl Asking {
    fn binary(head: &Head<'_>) -> Option<Self> {
        let header = binary::header(Role::Request, &head.bytes)?;
        let known = binary::opcode(header.opcode);
        let key = binary::returns_key(header.opcode).then(|| binary::key(&header, &head.bytes)).flatten();
        let asked = Asked {
            mark: Mark::Binary { opcode: header.opcode },
            opaque: Some(header.opaque.to_be_bytes().into()),
            key: key.map(Into::into),
            quiet: known.is_some_and(|(_, quiet)| quiet),
            gets: binary::gets(header.opcode),
            values: 0,
        };
        Some(Self {
            first: head.first,
            operation: operation(known.map(|(name, _)| name), u64::from(header.key > 0)),
            asked: (header.opcode != binary::QUIT_QUIETLY).then_some(asked),
            cut: false,
        })
    }

    fn text(head: &Head<'_>) -> Option<Self> {
        let Read::Line(command, _) = text::command(&head.bytes) else {
            return None;
        };
        let asked = Asked {
            mark: Mark::Text(command.shape),
            opaque: command.opaque.map(Into::into),
            key: command.key.map(Into::into),
            quiet: command.quiet,
            gets: command.shape == Shape::Values || command.name == Some("mg"),
            values: 0,
        };
        let silent = command.silent || command.shape == Shape::Nothing;
        Some(Self {
            first: head.first,
            operation: operation(command.name, command.keys),
            asked: (!silent).then_some(asked),
            cut: head.cut,
        })
    }
}

impl Talk for Memcached {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        let binary = head.bytes.first() == Some(&binary::REQUEST);
        self.asking = if binary { Asking::binary(head) } else { Asking::text(head) };
        if self.asking.is_none() {
            // The end of the line was missed.
            self.queue.impatient(cx);
        }
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        let header = binary::header(Role::Response, &head.bytes);
        let opaque = header.map(|header| header.opaque.to_be_bytes());
        let said = match (header, text::answer(&head.bytes)) {
            (Some(header), _) => Said {
                line: None,
                opcode: header.opcode,
                opaque: opaque.as_ref().map(<[u8; 4]>::as_slice),
                key: binary::key(&header, &head.bytes).filter(|_| binary::returns_key(header.opcode)),
            },
            (None, Read::Line(answer, _)) => {
                let (opaque, key) = match answer {
                    Answer::Meta(meta) => (meta.opaque, meta.key),
                    _ => (None, None),
                };
                Said { line: Some(answer), opcode: 0, opaque, key }
            }
            _ => return Taken::Yes,
        };
        match self.place(&said) {
            Place::Unknown if self.queue.is_certain() => return Taken::Later,
            Place::Unknown => {
                self.answering = Answering::Nobody;
                self.queue.orphan(cx);
                return Taken::Yes;
            }
            Place::Wrong => {
                // Something was missed that nothing has told of.
                self.answering = Answering::Nobody;
                self.queue.flush(NoResponse::Unseen, cx);
                self.queue.orphan(cx);
                return Taken::Yes;
            }
            Place::At { silent, alone } => {
                for _ in 0..silent {
                    if let Some(Waiting(call)) = self.queue.pop(cx) {
                        let end = call.exchange.request_end;
                        call.done_unanswered(end, cx);
                    }
                }
                if !alone && let Some(call) = self.queue.front() {
                    call.doubt();
                }
            }
        }
        if let Some(Waiting(call)) = self.queue.front() {
            call.answered(head.first, cx);
            self.answering = match header {
                Some(header) => binary_answer(call, &header),
                None => said.line.map_or(Answering::Whole, |answer| text_answer(call, &answer)),
            };
        }
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        match role {
            Role::Request => {
                if let Some(asking) = self.asking.take() {
                    self.command(asking, tail.last, cx);
                }
            }
            Role::Response => {
                if std::mem::take(&mut self.answering) != Answering::Whole {
                    return;
                }
                let Some(Waiting(mut call)) = self.queue.pop(cx) else {
                    return;
                };
                call.exchange.holes.length |= tail.lost;
                let failed = call.exchange.attributes.get("error.type").is_some();
                if call.data.gets && !failed && !call.exchange.holes.length {
                    call.exchange.attributes.push("db.response.returned_rows", call.data.values.cast_signed());
                }
                let stream = call.data.mark == Mark::Text(Shape::Stream) && !failed;
                call.done(tail.last, cx);
                if stream {
                    cx.give_up(Over::Switched);
                }
            }
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.queue
    }

    fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    fn lost(&mut self, role: Role) {
        match role {
            Role::Request => self.asking = None,
            Role::Response => self.answering = Answering::Nobody,
        }
    }
}

/// Which command an answer belongs to.
enum Place {
    /// It comes after so many that are not answered. `alone`: nothing else is possible.
    At { silent: usize, alone: bool },
    /// None that is known.
    Unknown,
    /// None, although one before is not answered.
    Wrong,
}

impl Memcached {
    /// A command is complete.
    fn command(&mut self, asking: Asking, last: Origin, cx: &mut Context<'_>) {
        let Asking { first, operation, asked, cut } = asking;
        let attributes = describe(SYSTEM, None, &operation, cx);
        let name = (SYSTEM, named(SYSTEM, &operation, cx));
        let Some(asked) = asked else {
            let call = Call::ask(first, last, name, attributes, (), cx);
            return call.done_unanswered(last.time, cx);
        };
        let mut call = Call::ask(first, last, name, attributes, asked, cx);
        call.exchange.holes.request_head = cut;
        if self.queue.len() >= MAX_QUIET
            && self.queue.is_certain()
            && self.queue.front().is_some_and(|Waiting(call)| call.data.quiet && !call.has_begun())
            && let Some(Waiting(call)) = self.queue.pop(cx)
        {
            let end = call.exchange.request_end;
            call.done_unanswered(end, cx);
        }
        self.queue.push(Waiting(call), first, cx);
    }

    fn place(&mut self, said: &Said<'_>) -> Place {
        let mut at = None;
        for (i, Waiting(call)) in self.queue.iter_mut().enumerate() {
            if call.data.fits(said) {
                if at.is_some() {
                    return Place::At { silent: at.unwrap_or_default(), alone: false };
                }
                at = Some(i);
            }
            // What has begun goes on until it ends.
            if !call.data.quiet || call.has_begun() {
                return at.map_or(Place::Wrong, |silent| Place::At { silent, alone: true });
            }
        }
        at.map_or(Place::Unknown, |silent| Place::At { silent, alone: true })
    }
}

fn binary_answer(call: &mut Call<Asked>, header: &binary::Header) -> Answering {
    if binary::is_error(header.status) {
        let status = format_compact!("{}", header.status);
        call.exchange.attributes.push("db.response.status_code", status.clone());
        call.fail(status, "");
    } else if header.opcode == binary::STAT && header.status == 0 && header.key > 0 {
        return Answering::Part;
    }
    call.data.values += u64::from(header.status == 0);
    Answering::Whole
}

fn text_answer(call: &mut Call<Asked>, answer: &Answer<'_>) -> Answering {
    match answer {
        Answer::Value(_) => {
            call.data.values += 1;
            Answering::Part
        }
        Answer::Item => Answering::Part,
        Answer::Error(kind) => {
            if call.exchange.attributes.get("db.response.status_code").is_none() {
                call.exchange.attributes.push("db.response.status_code", *kind);
            }
            call.fail(*kind, "");
            Answering::Whole
        }
        Answer::Meta(meta) => {
            call.data.values += u64::from(matches!(meta.code, b"VA" | b"HD"));
            Answering::Whole
        }
        Answer::End | Answer::Word(_) => Answering::Whole,
    }
}
