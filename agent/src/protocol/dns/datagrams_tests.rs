use std::collections::HashMap;

use proptest::prelude::*;

use super::Datagrams;
use crate::{
    event::{Datagram, Direction, Nanos, SocketId, Thread},
    protocol::{Exchange, Interest, Note, OtherEnd, Shared, Side, Value},
};

const SECOND: Nanos = 1_000_000_000;
const CLIENT: &str = "127.0.0.1:40000";
const SERVER: &str = "127.0.0.1:53";

/// A query for the address of a name, or the response to it.
fn message(id: u16, flags: u16, name: &str, address: Option<[u8; 4]>) -> Vec<u8> {
    let mut message = Vec::new();
    for word in [id, flags, 1, u16::from(address.is_some()), 0, 0] {
        message.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    if let Some(address) = address {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend(address);
    }
    message
}

fn query(id: u16, name: &str) -> Vec<u8> {
    message(id, 0x100, name, None)
}

fn answer(id: u16, name: &str) -> Vec<u8> {
    message(id, 0x8180, name, Some([192, 0, 2, 1]))
}

/// One end's view of some sockets.
#[derive(Default)]
struct Host {
    shared: Shared,
    datagrams: Datagrams,
    notes: Vec<Note>,
    advice: Vec<(Direction, Interest)>,
    now: Nanos,
}

impl Host {
    fn put(&mut self, direction: Direction, sock: u64, local: &str, remote: Option<&str>, bytes: &[u8]) {
        self.now += 1000;
        let datagram = Datagram {
            time: self.now,
            socket: SocketId { sock, born: 1 },
            thread: Thread { tgid: 7, tid: 7, ..Thread::default() },
            direction,
            local: local.parse().unwrap(),
            remote: remote.map(|remote| remote.parse().unwrap()),
            netns: 1,
            len: u32::try_from(bytes.len()).unwrap(),
            bytes,
        };
        let advice = &mut self.advice;
        self.datagrams.datagram(&self.shared, &datagram, &mut self.notes, |way, interest| advice.push((way, interest)));
    }

    fn send(&mut self, bytes: &[u8]) {
        self.put(Direction::Send, 1, CLIENT, Some(SERVER), bytes);
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.put(Direction::Receive, 1, CLIENT, Some(SERVER), bytes);
    }

    fn wait(&mut self, time: Nanos) {
        self.now += time;
        self.datagrams.tick(&self.shared, self.now, &mut self.notes);
    }

    fn done(&self) -> Vec<&Exchange> {
        self.notes
            .iter()
            .filter_map(|note| if let Note::Done(exchange) = note { Some(exchange) } else { None })
            .collect()
    }

    fn count(&self, name: &str) -> u64 {
        self.shared.counts.iter().find(|(n, _)| *n == name).unwrap().1
    }
}

fn text<'a>(exchange: &'a Exchange, key: &str) -> Option<&'a str> {
    match exchange.attributes.get(key)? {
        Value::Text(text) => Some(text),
        other => panic!("{key} is {other:?}"),
    }
}

#[test]
fn two_queries_on_one_socket() {
    let mut host = Host::default();
    host.send(&query(1, "a.example.org"));
    host.send(&query(2, "b.example.org"));
    host.receive(&message(2, 0x8183, "b.example.org", None));
    // Whoever asks may mix upper and lower case to be harder to deceive.
    host.receive(&answer(1, "A.Example.ORG"));
    let done = host.done();
    let told: Vec<_> = done.iter().map(|e| (text(e, "dns.question.name"), text(e, "error.type"), e.side)).collect();
    assert_eq!(
        told,
        [(Some("b.example.org"), Some("NXDOMAIN"), Side::Client), (Some("a.example.org"), None, Side::Client)]
    );
    assert_eq!(done[1].attributes.get("dns.answers"), Some(&Value::List(vec!["192.0.2.1".into()])));
    assert_eq!((&*done[1].name, text(done[1], "network.transport")), ("QUERY A", Some("udp")));
    assert_eq!(text(done[1], "server.address"), Some("127.0.0.1"));
    assert_eq!(done[1].attributes.get("server.port"), Some(&Value::Int(53)));
}

#[test]
fn a_server_learns_who_asks_when_it_answers() {
    let mut host = Host::default();
    for (receive, remote) in [(true, None), (false, Some(CLIENT))] {
        let (way, bytes) =
            if receive { (Direction::Receive, query(9, "a.b")) } else { (Direction::Send, answer(9, "a.b")) };
        host.put(way, 1, "0.0.0.0:53", remote, &bytes);
    }
    let asked = host.notes.iter().find_map(|note| if let Note::Asked(asked) = note { Some(asked) } else { None });
    assert_eq!(asked.unwrap().other_end, OtherEnd::Datagram(9));
    assert!(asked.unwrap().addresses.is_none());
    let named = host.notes.iter().find_map(|note| if let Note::Named(named) = note { Some(named) } else { None });
    assert_eq!(named.unwrap().addresses.client, CLIENT.parse().unwrap());
    let done = host.done();
    assert_eq!((done[0].side, text(done[0], "network.peer.address")), (Side::Server, Some("127.0.0.1")));
    // It listens on all addresses: which one was asked is not known.
    assert_eq!(text(done[0], "server.address"), None);
}

#[test]
fn many_clients_with_one_id() {
    let mut host = Host::default();
    let clients = ["192.0.2.1:5000", "192.0.2.2:5000", "192.0.2.1:5001"];
    for client in clients {
        host.put(Direction::Receive, 1, SERVER, Some(client), &query(4, "same.example.org"));
    }
    for client in clients.iter().rev() {
        host.put(Direction::Send, 1, SERVER, Some(client), &answer(4, "same.example.org"));
    }
    let ports: Vec<_> =
        host.done().iter().map(|e| (text(e, "network.peer.address"), e.attributes.get("network.peer.port"))).collect();
    assert_eq!(
        ports,
        [
            (Some("192.0.2.1"), Some(&Value::Int(5001))),
            (Some("192.0.2.2"), Some(&Value::Int(5000))),
            (Some("192.0.2.1"), Some(&Value::Int(5000)))
        ]
    );
    assert!(host.done().iter().all(|e| !e.holes.pairing));
}

#[test]
fn nothing_tells_two_queries_apart() {
    let mut host = Host::default();
    for _ in 0..2 {
        host.put(Direction::Receive, 1, SERVER, None, &query(4, "same.example.org"));
    }
    for client in ["192.0.2.1:5000", "192.0.2.2:5000"] {
        host.put(Direction::Send, 1, SERVER, Some(client), &answer(4, "same.example.org"));
    }
    assert_eq!(host.done().iter().map(|e| e.holes.pairing).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn what_is_sent_again_is_the_same_query_and_silence_ends_it() {
    let mut host = Host::default();
    host.send(&query(1, "a.example.org"));
    host.wait(5 * SECOND);
    host.send(&query(1, "a.example.org"));
    host.wait(6 * SECOND);
    assert!(host.done().is_empty());
    host.wait(4 * SECOND);
    let done = host.done();
    assert_eq!((done.len(), text(done[0], "error.type")), (1, Some("timeout")));
    assert!(done[0].holes.no_response);
    assert_eq!(done[0].attributes.get("geophone.dns.resends"), Some(&Value::Int(1)));
    assert_eq!(done[0].end, 15 * SECOND + 2000);
    host.receive(&answer(1, "a.example.org"));
    host.wait(SECOND);
    assert_eq!(host.count("orphans"), 1);
}

#[test]
fn an_answer_that_is_seen_first() {
    let mut host = Host::default();
    host.receive(&answer(1, "a.example.org"));
    host.receive(&answer(2, "a.example.org"));
    host.send(&query(2, "a.example.org"));
    host.send(&query(1, "a.example.org"));
    let done = host.done();
    assert!(done.len() == 2 && done.iter().all(|e| e.start <= e.end && e.first_byte == Some(e.start)));
    host.wait(SECOND);
    assert_eq!(host.count("orphans"), 0);
}

#[test]
fn somebody_else_cannot_answer() {
    let mut host = Host::default();
    host.send(&query(1, "a.example.org"));
    host.put(Direction::Receive, 1, CLIENT, Some("192.0.2.66:53"), &answer(1, "a.example.org"));
    host.receive(&answer(1, "b.example.org"));
    host.receive(&answer(2, "a.example.org"));
    assert!(host.done().is_empty());
    host.datagrams.finish(&host.shared, &mut host.notes);
    assert!(host.done()[0].holes.no_response && text(host.done()[0], "error.type").is_none());
}

#[test]
fn truncated_and_extended() {
    let mut host = Host::default();
    host.send(&query(1, "a.example.org"));
    host.receive(&message(1, 0x8380, "a.example.org", None));
    assert_eq!(host.done()[0].attributes.get("geophone.dns.truncated"), Some(&Value::Bool(true)));
    host.send(&query(2, "a.example.org"));
    let mut bad_version = message(2, 0x8180, "a.example.org", None);
    bad_version[11] = 1;
    bad_version.extend([0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0]);
    host.receive(&bad_version);
    assert_eq!(text(host.done()[1], "error.type"), Some("BADVERS"));
    // A server that cannot read a query need not repeat it.
    host.send(&query(3, "a.example.org"));
    host.receive(&[0, 3, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(text(host.done()[2], "error.type"), Some("FORMERR"));
}

#[test]
fn multicast_is_left_out() {
    let mut host = Host::default();
    host.put(Direction::Send, 1, "192.0.2.1:5353", Some("224.0.0.251:5353"), &query(0, "a.local"));
    host.put(Direction::Send, 1, "[fe80::1]:5353", Some("[ff02::fb]:5353"), &query(0, "a.local"));
    assert!(host.notes.is_empty());
    assert_eq!(host.count("datagrams_multicast"), 2);
}

#[test]
fn a_socket_that_is_for_something_else_is_left_alone() {
    let mut host = Host::default();
    for _ in 0..100 {
        host.send(b"page.views:1|c");
    }
    assert_eq!(host.advice, [(Direction::Send, Interest::NEVER), (Direction::Receive, Interest::NEVER)]);
    // What others send does not make a server's answers unseen, and with the next of those it is listened to again.
    let mut host = Host::default();
    for _ in 0..1000 {
        host.put(Direction::Receive, 2, SERVER, None, &[0xff; 30]);
    }
    assert_eq!(host.advice, [(Direction::Receive, Interest::NEVER)]);
    host.put(Direction::Send, 2, SERVER, Some(CLIENT), &answer(1, "a.b"));
    assert_eq!(host.advice[1], (Direction::Receive, Interest { from: 0, bytes: 1024, never: false }));
    assert_eq!(host.count("datagrams_foreign"), 1000);
}

#[test]
fn what_waits_is_bounded() {
    let mut host = Host::default();
    for i in 0..40_000u32 {
        let name = format!("n{i}.example.org");
        host.send(&query(u16::try_from(i % 65_536).unwrap(), &name));
        host.receive(&answer(u16::try_from(i % 65_536).unwrap(), "other.example.org"));
    }
    assert!(host.count("overflows") > 20_000 && host.count("orphans") > 39_000);
    assert_eq!(host.done().len() as u64, host.count("overflows"));
}

/// What is sent of a name that says which query it is.
fn name(i: usize) -> String {
    format!("n{i}.example.org")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any order, any loss, any repetition, few ids: no query is given the answer of another one, and each ends once.
    #[test]
    fn answers_belong_to_their_queries(
        steps in prop::collection::vec((0..12_usize, any::<bool>(), any::<bool>(), 0..40_u64), 1..80),
        server in any::<bool>(),
        ids in 1..4_usize,
    ) {
        let mut host = Host::default();
        for (i, response, known, pause) in steps {
            let id = u16::try_from(i % ids).unwrap();
            let bytes = if response { answer(id, &name(i)) } else { query(id, &name(i)) };
            let (way, local, remote) = match (server, response) {
                (true, true) => (Direction::Send, SERVER, Some(CLIENT)),
                (true, false) => (Direction::Receive, SERVER, known.then_some(CLIENT)),
                (false, true) => (Direction::Receive, CLIENT, known.then_some(SERVER)),
                (false, false) => (Direction::Send, CLIENT, Some(SERVER)),
            };
            host.put(way, 1, local, remote, &bytes);
            host.wait(pause * SECOND / 4);
        }
        host.wait(60 * SECOND);
        let mut open = HashMap::new();
        for note in &host.notes {
            match note {
                Note::Asked(asked) => drop(open.insert(asked.id, 0)),
                Note::Done(exchange) => {
                    *open.get_mut(&exchange.id).unwrap() += 1;
                    prop_assert!(exchange.start <= exchange.end);
                    prop_assert_eq!(exchange.first_byte.is_none(), exchange.holes.no_response);
                }
                Note::Named(_) | Note::Answered(_) | Note::WentOn(_) => {}
            }
        }
        prop_assert!(open.values().all(|ends| *ends == 1));
        prop_assert!(host.datagrams.is_empty());
    }

    /// Any bytes, cut anywhere, among those that mean something.
    #[test]
    fn any_bytes(parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..80), 0..400_usize, any::<bool>(), any::<u8>()), 1..40)) {
        let mut host = Host::default();
        for (noise, cut, send, change) in parts {
            let mut bytes = if change & 1 == 0 { query(1, "a.example.org") } else { answer(1, "a.example.org") };
            if change & 2 != 0 {
                let at = cut % bytes.len();
                bytes[at] = change;
            }
            if change & 4 != 0 {
                bytes.extend(&noise);
            }
            if change & 8 != 0 {
                bytes = noise;
            }
            host.now += 1000;
            let captured = &bytes[..cut.min(bytes.len())];
            let datagram = Datagram {
                time: host.now,
                socket: SocketId { sock: 1, born: 1 },
                thread: Thread::default(),
                direction: if send { Direction::Send } else { Direction::Receive },
                local: CLIENT.parse().unwrap(),
                remote: Some(SERVER.parse().unwrap()),
                netns: 0,
                len: u32::try_from(bytes.len()).unwrap(),
                bytes: captured,
            };
            host.datagrams.datagram(&host.shared, &datagram, &mut host.notes, |_, _| {});
        }
        host.datagrams.finish(&host.shared, &mut host.notes);
        prop_assert!(host.done().iter().all(|exchange| exchange.start <= exchange.end));
    }
}
