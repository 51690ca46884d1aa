//! The worked example of `docs/protocols.md`, which has to compile and to run.
//!
//! Ping: `P` or `R`, a length in two bytes, an id in four, and a payload.

use super::{Call, Calls, Context, Found, Frame, Framed, Framing, Head, Role, Table, Tail, Taken, Talk};
use crate::protocol::{Attributes, Protocol, Sample, Side, Verdict, cursor::Cursor, testing::Wire};

const PROTOCOL: Protocol = Protocol {
    name: "ping",
    // Sure of itself, or `More`, or `No`: every other protocol's bytes come here, too.
    detect: |sample| match Ping::default().find(Role::Request, sample.bytes) {
        Found::At(0) if sample.sender != Some(Side::Server) => Verdict::Yes,
        Found::More => Verdict::More,
        _ => Verdict::No,
    },
    decoder: |sample| Box::new(Framed::new(sample.asks(Side::Client), Ping::default())),
};

#[derive(Default)]
struct Ping {
    /// What waits for an answer, by id. A protocol that answers in order has a `Queue`.
    calls: Table<u32, Call<()>>,
    answering: u32,
}

impl Framing for Ping {
    /// How long the message is that begins with these bytes; called again with more as long as that does not show.
    fn frame(&self, role: Role, bytes: &[u8]) -> Frame {
        let mut c = Cursor::new(bytes);
        match (c.u8(), c.u16_be()) {
            (Some(kind), _) if kind != if role == Role::Request { b'P' } else { b'R' } => Frame::Malformed,
            // 4096 is beyond sanity: this is something else. Of what it is, the first seven bytes suffice.
            (_, Some(length @ 7..=4096)) => Frame::Message { length: length.into(), want: 7 },
            (_, Some(_)) => Frame::Malformed,
            (_, None) => Frame::More,
        }
    }

    /// Where a message begins in what comes after a loss: only if it is certain.
    fn find(&self, role: Role, bytes: &[u8]) -> Found {
        match self.frame(role, bytes) {
            Frame::Message { length, .. } if length == bytes.len() as u64 => Found::At(0),
            Frame::More => Found::More,
            _ => Found::No,
        }
    }
}

fn id(head: &Head<'_>) -> Option<u32> {
    let mut c = Cursor::new(&head.bytes);
    c.skip(3)?;
    c.u32_be()
}

impl Talk for Ping {
    fn request(&mut self, head: &Head<'_>, cx: &mut Context<'_>) {
        // A head is `cut` where bytes of it were missed.
        let Some(id) = id(head) else { return };
        let call = Call::ask_head(head, ("ping", "PING".into()), Attributes::default(), (), cx);
        self.calls.insert(id, call, cx);
    }

    fn response(&mut self, head: &Head<'_>, cx: &mut Context<'_>) -> Taken {
        let Some(id) = id(head) else { return Taken::Yes };
        let early = self.calls.must_wait();
        match self.calls.get(id) {
            Some(call) => call.answered(head.first, cx),
            // A send is seen when it returns: its request may come in a moment.
            None if early => return Taken::Later,
            None => self.calls.orphan(cx),
        }
        self.answering = id;
        Taken::Yes
    }

    fn complete(&mut self, role: Role, tail: &Tail, cx: &mut Context<'_>) {
        if role == Role::Response
            && let Some(mut call) = self.calls.remove(self.answering)
        {
            call.exchange.holes.length |= tail.lost;
            call.done(tail.last, cx);
        }
    }

    fn calls(&mut self) -> &mut dyn Calls {
        &mut self.calls
    }
}

fn message(kind: u8, id: u32) -> Vec<u8> {
    [&[kind, 0, 9][..], &id.to_be_bytes(), b"xy"].concat()
}

#[test]
fn the_example_works() {
    let bytes = message(b'P', 7);
    let direction = crate::event::Direction::Send;
    let sample = Sample { bytes: &bytes, direction, sender: None, first: true };
    assert_eq!((PROTOCOL.detect)(&sample), Verdict::Yes);
    assert_eq!((PROTOCOL.detect)(&Sample { bytes: b"GET / HTTP/1.1", ..sample }), Verdict::No);
    let mut wire = Wire::decoding((PROTOCOL.decoder)(&sample));
    wire.send(&bytes).send(message(b'P', 8)).receive(message(b'R', 8)).receive(message(b'R', 7));
    let ids: Vec<_> = wire.out.iter().map(|exchange| (exchange.id.place, exchange.start, exchange.end)).collect();
    assert_eq!(ids, [(9, 1020, 1030), (0, 1010, 1040)]);
}
