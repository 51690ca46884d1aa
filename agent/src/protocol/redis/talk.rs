//! A connection's elements, one after the other.

use compact_str::CompactString;

use super::{
    command::{self, Answers},
    detect,
    element::{self, Element, Nesting, Parsed},
};
use crate::protocol::{
    Over,
    db::{describe, named},
    framed::{Call, Calls, Context, Found, Frame, Framing, Head, Origin, Queue, Role, Tail, Taken, Talk},
};

/// `db.system.name` and `network.protocol.name`.
const SYSTEM: &str = "redis";

/// What is remembered of a command.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Answers that are due.
    answers: u64,
    subscription: bool,
    /// What the connection is after it.
    stream: bool,
    /// The database that it changes to, and the one before.
    selects: Option<(CompactString, Option<CompactString>)>,
    failed: bool,
}

/// A command whose elements are coming.
#[derive(Debug)]
struct Asking {
    first: Origin,
    count: u64,
    arguments: Vec<Vec<u8>>,
    cut: bool,
}

/// What the value at hand is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Value {
    /// The answer to a command.
    #[default]
    Answer,
    /// Its first element says whether it is an answer.
    Open,
    /// What was subscribed to.
    Message,
    /// Attributes of the value that follows.
    Attribute,
    /// Nobody's answer.
    Orphan,
}

/// A connection's state.
#[derive(Debug)]
pub(super) struct Redis {
    queue: Queue<Call<Waiting>>,
    asking: Option<Asking>,
    asked: Nesting,
    /// The element at hand, by direction.
    request: Option<Element>,
    response: Option<Element>,
    answered: Nesting,
    value: Value,
    /// Where the value at hand begins, and how many elements it has.
    first: Origin,
    count: u64,
    /// Messages may come among the answers.
    subscribed: bool,
    database: Option<CompactString>,
}

impl Redis {
    /// A connection; `fresh`: seen from its beginning.
    pub(super) fn new(fresh: bool) -> Self {
        Self {
            queue: Queue::default(),
            asking: None,
            asked: Nesting::default(),
            request: None,
            response: None,
            answered: Nesting::default(),
            value: Value::Answer,
            first: Origin::default(),
            count: 0,
            subscribed: false,
            database: fresh.then(|| CompactString::const_new("0")),
        }
    }
}

impl Framing for Redis {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        match role {
            Role::Request if self.asking.is_none() && bytes.first() != Some(&b'*') => element::inline(bytes),
            Role::Request => {
                let kept = self.asking.as_ref().is_some_and(|asking| asking.arguments.len() < command::KEPT);
                element::frame(bytes, if kept { command::LENGTH } else { 0 })
            }
            Role::Response => {
                // A word that says what comes, or an error.
                let wanted = self.value == Value::Open || bytes.first() == Some(&b'!');
                element::frame(bytes, if wanted { command::LENGTH } else { 0 })
            }
        }
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        detect::find(role, bytes)
    }
}

impl Talk for Redis {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        self.request = None;
        if self.asking.is_none() && head.bytes.first() != Some(&b'*') {
            let words: Vec<Vec<u8>> =
                head.bytes.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).map(<[u8]>::to_vec).collect();
            if !words.is_empty() {
                let count = words.len() as u64;
                self.command(&Asking { first: head.first, count, arguments: words, cut: head.cut }, head.now, cx);
            }
            return;
        }
        let Parsed::Element(element, _) = element::parse(&head.bytes) else {
            return;
        };
        self.request = Some(element);
        match (&mut self.asking, element) {
            (None, Element::Collection(count @ 1..)) => {
                self.asking = Some(Asking { first: head.first, count, arguments: Vec::new(), cut: false });
            }
            (Some(asking), Element::Text { head: at, length }) if asking.arguments.len() < command::KEPT => {
                if head.cut && asking.arguments.is_empty() {
                    // How many answers there will be follows from the name.
                    self.queue.impatient(cx);
                }
                asking.cut |= head.cut;
                let text = if head.cut { &[] } else { element::text(&head.bytes, at, length) };
                asking.arguments.push(text.to_vec());
            }
            (Some(_), Element::Text { .. }) | (None, _) => {}
            // Requests are collections of strings, and nothing else.
            (Some(_), _) => cx.give_up(Over::Malformed),
        }
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        let Parsed::Element(element, _) = element::parse(&head.bytes) else {
            return Taken::Yes;
        };
        let kind = head.bytes.first().copied().unwrap_or_default();
        let mut value = self.value;
        if self.answered.is_outside() {
            let many = matches!(element, Element::Collection(1..));
            value = match kind {
                b'|' => Value::Attribute,
                b'>' if many => Value::Open,
                b'*' if many && self.subscribed => Value::Open,
                _ => Value::Answer,
            };
            self.first = head.first;
        } else if value == Value::Open && self.answered.is_first_of(self.count) {
            let word = match element {
                Element::Text { head: at, length } => element::text(&head.bytes, at, length),
                _ => &[],
            };
            let subscribes = word.ends_with(b"subscribe");
            let early = subscribes && self.queue.must_wait();
            let waits = self.queue.front().map_or(early, |call| call.data.subscription);
            value = match word {
                b"message" | b"pmessage" | b"smessage" | b"invalidate" => Value::Message,
                _ if subscribes && !waits => Value::Message,
                _ => Value::Answer,
            };
        } else {
            self.response = Some(element);
            return Taken::Yes;
        }
        if value == Value::Answer {
            if self.queue.is_empty() && self.queue.must_wait() {
                return Taken::Later;
            }
            match self.queue.front() {
                Some(call) => {
                    call.answered(self.first, cx);
                    if matches!(kind, b'-' | b'!') && self.answered.is_outside() {
                        fail(call, &head.bytes, element);
                    }
                }
                None => {
                    self.queue.orphan(cx);
                    value = Value::Orphan;
                }
            }
        }
        if let (true, Element::Collection(count)) = (self.answered.is_outside(), element) {
            self.count = count;
        }
        self.value = value;
        self.response = Some(element);
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        match role {
            Role::Request => {
                let Some(element) = self.request.take() else {
                    return;
                };
                match self.asked.complete(element) {
                    None => cx.give_up(Over::Malformed),
                    Some(false) => {}
                    Some(true) => {
                        if let Some(asking) = self.asking.take() {
                            self.command(&asking, tail.last, cx);
                        }
                    }
                }
            }
            Role::Response => {
                let Some(element) = self.response.take() else {
                    return;
                };
                match self.answered.complete(element) {
                    None => cx.give_up(Over::Malformed),
                    Some(false) => {}
                    Some(true) => self.finish(tail, cx),
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
            Role::Request => {
                self.asking = None;
                self.request = None;
                self.asked.clear();
                self.database = None;
            }
            Role::Response => {
                self.response = None;
                self.answered.clear();
                self.value = Value::Answer;
            }
        }
    }
}

impl Redis {
    /// A command is complete.
    fn command(&mut self, asking: &Asking, last: Origin, cx: &mut Context<'_>) {
        let (operation, answers) = command::read(&asking.arguments, asking.count);
        let database = self.database.as_deref();
        let attributes = describe(SYSTEM, database, &operation, cx);
        let name = (SYSTEM, named(SYSTEM, &operation, cx));
        let waiting = Waiting {
            answers: if let Answers::Subscription(count) = answers { count } else { 1 },
            subscription: matches!(answers, Answers::Subscription(_)),
            stream: answers == Answers::Stream,
            selects: command::selected(&asking.arguments).map(|database| (database, self.database.clone())),
            failed: false,
        };
        self.subscribed |= waiting.subscription;
        if waiting.selects.is_some() {
            // Until the answer has come.
            self.database = None;
        }
        let mut call = Call::ask(asking.first, last, name, attributes, waiting, cx);
        call.exchange.holes.request_head = asking.cut && call.exchange.attributes.get("db.operation.name").is_none();
        if answers == Answers::None {
            call.done_unanswered(last.time, cx);
            return cx.give_up(Over::Switched);
        }
        self.queue.push(call, asking.first, cx);
    }

    /// A value is complete.
    fn finish(&mut self, tail: &Tail, cx: &mut Context<'_>) {
        if std::mem::take(&mut self.value) != Value::Answer {
            return;
        }
        let Some(call) = self.queue.front() else {
            return;
        };
        call.data.answers = call.data.answers.saturating_sub(1);
        if call.data.answers > 0 && !call.data.failed {
            return;
        }
        let Some(mut call) = self.queue.pop(cx) else {
            return;
        };
        call.exchange.holes.length |= tail.lost;
        if let Some((database, before)) = call.data.selects.take() {
            self.database = if call.data.failed { before } else { Some(database) };
        }
        let stream = call.data.stream && !call.data.failed;
        call.done(tail.last, cx);
        if stream {
            cx.give_up(Over::Switched);
        }
    }
}

/// Notes an error: its first word is its kind. The rest may be anything.
fn fail(call: &mut Call<Waiting>, bytes: &[u8], element: Element) {
    let text = match element {
        Element::Text { head, length } => element::text(bytes, head, length),
        _ => bytes.get(1..).unwrap_or_default(),
    };
    let word = text.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let kind = (!word.is_empty() && word.len() <= 32 && word.iter().all(u8::is_ascii_uppercase))
        .then(|| CompactString::from_utf8_lossy(word));
    call.data.failed = true;
    if let Some(kind) = &kind {
        call.exchange.attributes.push("db.response.status_code", kind.clone());
    }
    call.fail(kind.unwrap_or(CompactString::const_new("_OTHER")), "");
}
