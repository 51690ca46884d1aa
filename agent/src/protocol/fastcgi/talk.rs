//! FastCGI's records as requests and responses.

use super::{
    record::{self, Header},
    requests::{Request, Requests},
};
use crate::{
    conn::{Connection, Update},
    event::Direction,
    protocol::{
        Decoder, Interest, Note, Over, Shared, Verdict,
        framed::{Calls, Context, Found, Frame, Framed, Framing, Head, Role, Tail, Taken, Talk},
    },
};

/// The most that is wanted of a record with a part of a response.
const MAX_STDOUT: usize = 4 << 10;
/// Bytes of each call that are wanted: an application writes a response's beginning and end in one.
const CAPTURE: u32 = 16 << 10;

/// Decodes one connection.
pub(super) struct FastCgi(Framed<Records>);

impl FastCgi {
    /// A decoder for a connection on which requests go this way.
    pub(super) fn new(asks: Direction) -> Self {
        Self(Framed::new(asks, Records::default()))
    }
}

impl Decoder for FastCgi {
    fn update(&mut self, shared: &Shared, connection: &Connection, update: &Update<'_>, out: &mut Vec<Note>) {
        self.0.update(shared, connection, update, out);
    }

    fn interest(&self, shared: &Shared, direction: Direction) -> Interest {
        let interest = self.0.interest(shared, direction);
        Interest { bytes: interest.bytes.max(CAPTURE), ..interest }
    }

    fn over(&self) -> Option<Over> {
        self.0.over()
    }
}

#[derive(Default)]
struct Records {
    requests: Requests,
    /// Type and request of the record at hand, in each direction.
    asking: Option<(u8, u16)>,
    answering: Option<(u8, u16)>,
}

impl Framing for Records {
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        let kinds: &[u8] = match role {
            Role::Request => &[
                record::BEGIN_REQUEST,
                record::ABORT_REQUEST,
                record::PARAMS,
                record::STDIN,
                record::DATA,
                record::GET_VALUES,
            ],
            Role::Response => {
                &[record::END_REQUEST, record::STDOUT, record::STDERR, record::GET_VALUES_RESULT, record::UNKNOWN_TYPE]
            }
        };
        if bytes.first() != Some(&1) || bytes.get(1).is_some_and(|kind| !kinds.contains(kind)) {
            return Frame::Malformed;
        }
        let Some(header) = Header::read(bytes) else {
            return Frame::More;
        };
        let content = usize::from(header.content);
        let want = match header.kind {
            record::BEGIN_REQUEST | record::END_REQUEST if content != record::FIXED => return Frame::Malformed,
            record::BEGIN_REQUEST | record::END_REQUEST | record::PARAMS => content,
            record::STDOUT => content.min(MAX_STDOUT),
            _ => 0,
        };
        Frame::Message { length: header.length(), want: record::HEADER + want }
    }

    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        let verdict = match role {
            Role::Request => record::is_begin(bytes),
            Role::Response => record::is_answer(bytes),
        };
        match verdict {
            Verdict::Yes => Found::At(0),
            Verdict::More => Found::More,
            Verdict::No => Found::No,
        }
    }
}

impl Talk for Records {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        self.asking = None;
        let Some(header) = Header::read(&head.bytes) else {
            return;
        };
        self.asking = Some((header.kind, header.id));
        if header.kind == record::BEGIN_REQUEST {
            let follows = self.requests.table.get(header.id).is_some();
            let request = Request::new(head.first, head.now, self.requests.losses, follows);
            return self.requests.table.insert(header.id, request, cx);
        }
        let Some(request) = self.requests.table.get(header.id) else {
            return;
        };
        match header.kind {
            record::PARAMS if header.content == 0 => request.asked(head.now, cx),
            record::PARAMS => {
                request.params(record::content(&header, &head.bytes), head.cut, head.now);
                if head.cut {
                    request.ask(false, cx);
                }
            }
            record::STDIN => {
                request.ask(false, cx);
            }
            record::ABORT_REQUEST => request.abort(cx),
            _ => {}
        }
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        self.answering = None;
        let Some(header) = Header::read(&head.bytes) else {
            return Taken::Yes;
        };
        let kind = header.kind;
        if kind != record::END_REQUEST && kind != record::STDOUT || kind == record::STDOUT && header.content == 0 {
            return Taken::Yes;
        }
        let must_wait = self.requests.must_wait();
        let losses = self.requests.losses;
        let Some(request) = self.requests.table.get(header.id) else {
            if must_wait {
                return Taken::Later;
            }
            if kind == record::END_REQUEST {
                self.requests.table.orphan(cx);
            }
            return Taken::Yes;
        };
        if request.is_before(head.first, !must_wait) {
            return Taken::Yes;
        }
        self.answering = Some((kind, header.id));
        request.miss(losses, kind == record::STDOUT && record::is_answer(&head.bytes) == Verdict::Yes, cx);
        let content = record::content(&header, &head.bytes);
        if kind == record::STDOUT {
            let cut = head.cut || content.len() < usize::from(header.content);
            request.answered(content, cut, head.first, cx);
        } else {
            request.end(content.get(4).copied(), head.first, cx);
        }
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        if role == Role::Request {
            if let Some((record::PARAMS | record::STDIN | record::DATA, id)) = self.asking.take()
                && let Some(request) = self.requests.table.get(id)
            {
                request.asked_on(tail.last, cx);
            }
        } else if let Some((record::END_REQUEST, id)) = self.answering.take()
            && let Some(request) = self.requests.table.remove(id)
        {
            request.done(tail.last, cx);
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.requests
    }

    fn lost(&mut self, role: Role) {
        match role {
            Role::Request => self.asking = None,
            Role::Response => self.answering = None,
        }
    }
}
