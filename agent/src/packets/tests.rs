//! Conversations in packets, through all stages: whatever happens to packets on their way, the spans are those of the conversation.

use std::sync::Arc;

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::{File, FileError, Stats};
use crate::{
    conn,
    pipeline::Pipeline,
    process,
    protocol::{Shared, Value},
    run::{packet_clock, packet_limits, replay_packets},
    trace::{Span, Tracer},
};

/// Seconds since 1970 of the first packet.
const BEGIN: u32 = 1_700_000_000;
/// Numbers go round in the middle of the client's direction.
const CLIENT_ISN: u32 = u32::MAX - 100;
const SERVER_ISN: u32 = 7;

/// A segment of a TCP conversation on port 8080, over Ethernet and IPv4.
#[derive(Clone, Debug)]
struct Part {
    /// Milliseconds after the first packet.
    at: u32,
    by_client: bool,
    sequence: u32,
    flags: &'static str,
    payload: Vec<u8>,
}

fn packet(part: &Part) -> Vec<u8> {
    let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (from, to, ports) = if part.by_client { (a, b, (40_000, 8080)) } else { (b, a, (8080, 40_000)) };
    let mut tcp =
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from, to, 64).tcp(ports.0, ports.1, part.sequence, 1000);
    for flag in part.flags.chars() {
        tcp = match flag {
            'S' => tcp.syn(),
            'F' => tcp.fin(),
            'R' => tcp.rst(),
            _ => tcp.ack(1),
        };
    }
    let mut bytes = Vec::new();
    tcp.write(&mut bytes, &part.payload).unwrap();
    bytes
}

/// A file in the older format, with at most `snap` bytes of each packet.
fn pcap(parts: &[Part], snap: usize) -> Vec<u8> {
    let mut file = Vec::new();
    for number in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        file.extend(number.to_le_bytes());
    }
    for part in parts {
        let packet = packet(part);
        let captured = packet.len().min(snap);
        let (seconds, micros) = (BEGIN + part.at / 1000, part.at % 1000 * 1000);
        for number in [seconds, micros, captured as u32, packet.len() as u32] {
            file.extend(number.to_le_bytes());
        }
        file.extend(&packet[..captured]);
    }
    file
}

/// The same in the newer format, with nanoseconds.
fn pcapng(parts: &[Part]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let len = 12 + body.len() as u32;
        [&kind.to_le_bytes()[..], &len.to_le_bytes(), body, &len.to_le_bytes()].concat()
    };
    let mut section = Vec::new();
    section.extend(0x1a2b_3c4d_u32.to_le_bytes());
    section.extend([1, 0, 0, 0]);
    section.extend(u64::MAX.to_le_bytes());
    // Ethernet; if_tsresol = 10^-9.
    let interface = [1, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    let mut file = [block(0x0a0d_0d0a, &section), block(1, &interface)].concat();
    for part in parts {
        let mut packet = packet(part);
        let time = (u64::from(BEGIN) * 1000 + u64::from(part.at)) * 1_000_000;
        let mut body = Vec::new();
        for number in [0, (time >> 32) as u32, time as u32, packet.len() as u32, packet.len() as u32] {
            body.extend(number.to_le_bytes());
        }
        packet.resize(packet.len().next_multiple_of(4), 0);
        body.extend(packet);
        file.extend(block(6, &body));
    }
    file
}

fn replay(bytes: Vec<u8>) -> Result<(Vec<Span>, Stats), FileError> {
    replay_with(bytes, &[53])
}

fn replay_with(bytes: Vec<u8>, dns_ports: &[u16]) -> Result<(Vec<Span>, Stats), FileError> {
    let mut file = File::new(std::io::Cursor::new(bytes))?;
    let processes = process::Table::new(process::Settings { proc: None, ..process::Settings::default() });
    let limits = packet_limits(conn::Limits::default());
    let mut pipeline =
        Pipeline::new(limits, Arc::new(Shared::default()), Tracer::new(packet_clock()).unwrap(), processes);
    let mut spans = Vec::new();
    let replayed = replay_packets(&mut file, &mut pipeline, dns_ports, |some| spans.append(some))?;
    Ok((spans, replayed.stats))
}

/// What a span says: path, status, response's size.
fn said(spans: &[Span]) -> Vec<(String, i64, i64)> {
    let text = |span: &Span, key| match span.attributes.get(key) {
        Some(Value::Text(text)) => text.to_string(),
        other => panic!("{key}: {other:?}"),
    };
    let number = |span: &Span, key| match span.attributes.get(key) {
        Some(Value::Int(number)) => *number,
        _ => -1,
    };
    let of = |span: &Span| {
        (text(span, "url.path"), number(span, "http.response.status_code"), number(span, "http.response.body.size"))
    };
    spans.iter().map(of).collect()
}

/// A kept connection with this many requests, every segment of at most `size` bytes; a millisecond between packets.
fn conversation(requests: usize, size: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0;
    let mut add = |by_client, sequence, flags, payload: &[u8]| {
        parts.push(Part { at, by_client, sequence, flags, payload: payload.to_vec() });
        at += 1;
    };
    add(true, CLIENT_ISN, "S", b"");
    add(false, SERVER_ISN, "SA", b"");
    let (mut client, mut server) = (CLIENT_ISN.wrapping_add(1), SERVER_ISN.wrapping_add(1));
    add(true, client, "A", b"");
    for i in 0..requests {
        let request = format!("GET /item/{i} HTTP/1.1\r\nHost: shop:8080\r\n\r\n");
        for piece in request.as_bytes().chunks(size) {
            add(true, client, "A", piece);
            client = client.wrapping_add(piece.len() as u32);
        }
        let body = "x".repeat(i * 40);
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        for piece in response.as_bytes().chunks(size) {
            add(false, server, "A", piece);
            server = server.wrapping_add(piece.len() as u32);
        }
    }
    add(true, client, "FA", b"");
    add(false, server, "FA", b"");
    parts
}

fn expected(requests: usize) -> Vec<(String, i64, i64)> {
    (0..requests).map(|i| (format!("/item/{i}"), 200, i as i64 * 40)).collect()
}

#[test]
fn a_conversation_becomes_spans() {
    let parts = conversation(5, 60);
    let (spans, stats) = replay(pcap(&parts, usize::MAX)).unwrap();
    assert_eq!(said(&spans), expected(5));
    assert_eq!((stats.packets, stats.segments), (parts.len() as u64, parts.len() as u64));
    let first = &spans[0];
    assert_eq!(first.attributes.get("server.port"), Some(&Value::Int(8080)));
    assert_eq!(first.attributes.get("network.peer.address"), Some(&"10.0.0.1".into()));
    assert_eq!(first.resource.attributes.get("service.name"), Some(&"10.0.0.2:8080".into()));
    assert_eq!(first.resource.attributes.get("process.pid"), None);
    // The third packet after the first.
    assert_eq!(first.start_unix_nano, (u64::from(BEGIN) * 1000 + 3) * 1_000_000);
}

#[test]
fn both_formats_say_the_same() {
    let parts = conversation(3, 50);
    let (old, _) = replay(pcap(&parts, usize::MAX)).unwrap();
    let (new, _) = replay(pcapng(&parts)).unwrap();
    assert_eq!(said(&old), said(&new));
    assert_eq!(old[1].start_unix_nano, new[1].start_unix_nano);
}

#[test]
fn packets_may_be_cut_short() {
    // Ethernet, IP and TCP headers take 54 bytes: of each response the body is not captured.
    let (spans, stats) = replay(pcap(&conversation(4, 400), 54 + 60)).unwrap();
    assert_eq!(said(&spans), expected(4));
    assert_eq!(stats.damaged, 0);
    // Nothing but headers: the conversation is there, and nothing is invented.
    let (spans, _) = replay(pcap(&conversation(4, 400), 54)).unwrap();
    assert!(spans.is_empty());
}

#[test]
fn a_capture_that_begins_late_knows_the_rest() {
    let parts = conversation(6, 500);
    // Without the opening, and in the middle of a response.
    let (spans, _) = replay(pcap(&parts[6..], usize::MAX)).unwrap();
    assert_eq!(said(&spans)[..], expected(6)[2..]);
    assert!(spans.iter().all(|span| span.resource.attributes.get("service.name") == Some(&"10.0.0.2:8080".into())));
}

#[test]
fn the_same_addresses_again_are_another_connection() {
    let first = conversation(2, 500);
    let mut second = conversation(3, 500);
    for part in &mut second {
        part.at += 100;
        part.sequence = part.sequence.wrapping_add(1_000_000);
    }
    let (spans, _) = replay(pcap(&[first, second].concat(), usize::MAX)).unwrap();
    assert_eq!(said(&spans), [expected(2), expected(3)].concat());
}

#[test]
fn a_reset_ends_what_is_under_way() {
    let mut parts = conversation(2, 500);
    parts.truncate(6);
    let sequence = parts[5].sequence.wrapping_add(parts[5].payload.len() as u32);
    parts.push(Part { at: 50, by_client: false, sequence: SERVER_ISN + 1 + 500, flags: "R", payload: Vec::new() });
    assert_ne!(sequence, 0);
    let (spans, _) = replay(pcap(&parts, usize::MAX)).unwrap();
    assert_eq!(spans.len(), 2);
    assert_eq!(said(&spans)[1], ("/item/1".to_owned(), -1, -1));
}

#[test]
fn what_is_neither_tcp_nor_dns_is_counted() {
    let mut file = pcap(&conversation(1, 500), usize::MAX);
    let mut udp = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(1, 443)
        .write(&mut udp, b"?")
        .unwrap();
    for packet in [&udp[..], &udp[..20]] {
        for number in [BEGIN, 0, packet.len() as u32, packet.len() as u32] {
            file.extend(number.to_le_bytes());
        }
        file.extend(packet);
    }
    let (spans, stats) = replay(file).unwrap();
    assert_eq!(spans.len(), 1);
    assert_eq!((stats.other, stats.damaged), (1, 1));
}

/// Without its beginning, the server of a connection is the end that has been one before, or that has the port of a protocol.
#[test]
fn servers_that_have_the_higher_port() {
    const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";
    let mut file = pcap(&[], usize::MAX);
    let mut put = |at: u32, (from, to): (u16, u16), flags: &str, bytes: &[u8]| {
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let mut packet = Vec::new();
        let (from_address, to_address) = if from == 1111 || from == 2222 { (a, b) } else { (b, a) };
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from_address, to_address, 64);
        let tcp = builder.tcp(from, to, 100, 1000);
        let tcp = if flags == "S" { tcp.syn() } else { tcp.ack(1) };
        tcp.write(&mut packet, bytes).unwrap();
        for number in [BEGIN, at, packet.len() as u32, packet.len() as u32] {
            file.extend(number.to_le_bytes());
        }
        file.extend(packet);
    };
    let (get, ok) = (&b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"[..], &b"HTTP/1.1 204 No Content\r\n\r\n"[..]);
    // Its port says it.
    put(0, (1111, 8080), "A", get);
    put(1, (8080, 1111), "A", ok);
    // It was asked to connect before.
    put(2, (1111, 40_000), "S", b"");
    put(3, (2222, 40_000), "A", get);
    put(4, (40_000, 2222), "A", ok);
    let (spans, _) = replay(file.clone()).unwrap();
    let servers: Vec<_> = spans.iter().map(|span| span.resource.attributes.get("service.name").cloned()).collect();
    assert_eq!(servers, [Some("10.0.0.2:8080".into()), Some("10.0.0.2:40000".into())]);
    // Lookups at another port, where that is asked for.
    let mut packet = Vec::new();
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.udp(5000, 8600).write(&mut packet, QUERY).unwrap();
    for number in [BEGIN, 9, packet.len() as u32, packet.len() as u32] {
        file.extend(number.to_le_bytes());
    }
    file.extend(packet);
    assert_eq!(replay(file.clone()).unwrap().1.lookups, 0);
    assert_eq!(replay_with(file, &[53, 8600]).unwrap().1.lookups, 1);
}

#[test]
fn lookups_become_spans() {
    const QUERY: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";
    let mut file = pcap(&[], usize::MAX);
    for (i, port, response) in [(0_u32, 5000, false), (1, 5001, false), (2, 5001, true), (3, 5000, true)] {
        let mut message = QUERY.to_vec();
        let mut packet = Vec::new();
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (from, to, ports) = if response { (b, a, (53, port)) } else { (a, b, (port, 53)) };
        if response {
            // The second client asked for what there is.
            (message[2], message[3]) = (0x81, if port == 5000 { 3 } else { 0 });
        }
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from, to, 64).udp(ports.0, ports.1);
        builder.write(&mut packet, &message).unwrap();
        for number in [BEGIN, i * 1000, packet.len() as u32, packet.len() as u32] {
            file.extend(number.to_le_bytes());
        }
        file.extend(packet);
    }
    let (mut spans, stats) = replay(file).unwrap();
    assert_eq!((spans.len(), stats.lookups, stats.other), (2, 4, 0));
    spans.sort_by_key(|span| std::cmp::Reverse(span.start_unix_nano));
    let told: Vec<_> = spans
        .iter()
        .map(|span| {
            let get = |key| span.attributes.get(key).cloned();
            (get("network.peer.port"), get("error.type"), get("geophone.incomplete"))
        })
        .collect();
    assert_eq!(told[0], (Some(Value::Int(5001)), None, None));
    assert_eq!(told[1], (Some(Value::Int(5000)), Some(Value::Text("NXDOMAIN".into())), None));
}

#[test]
fn other_files_are_refused() {
    assert!(matches!(replay(b"GIF89a and more than enough bytes for a header".to_vec()), Err(FileError::NotACapture)));
    assert!(matches!(replay(Vec::new()), Err(FileError::NotACapture)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Segments that come twice, were lost on their way and sent again, or have passed each other change nothing.
    #[test]
    fn order_and_repetition_do_not_matter(
        size in 1_usize..200,
        again in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        passed in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        twice in proptest::collection::vec((any::<prop::sample::Index>(), 1_u32..300), 0..12),
    ) {
        let mut parts = conversation(6, size);
        for index in passed {
            // The opening comes first, or the capture would have begun late.
            let at = index.index(parts.len() - 4) + 3;
            if parts[at].by_client == parts[at + 1].by_client {
                let (first, second) = (parts[at].at, parts[at + 1].at);
                parts.swap(at, at + 1);
                (parts[at].at, parts[at + 1].at) = (first, second);
            }
        }
        for index in again {
            // What was sent behind it arrives; then nothing happens until it is sent again.
            let at = index.index(parts.len() - 3) + 3;
            let by_client = parts[at].by_client;
            let end = (at..parts.len()).find(|i| parts[*i].by_client != by_client).unwrap_or(parts.len());
            parts[at..end].rotate_left(1);
            let before = parts[end - 1].at.max(parts[at].at);
            parts[end - 1].at = before + 200;
            let mut latest = 0;
            for part in &mut parts {
                part.at = part.at.max(latest);
                latest = part.at;
            }
        }
        let copies: Vec<Part> = twice
            .iter()
            .map(|(index, by)| {
                let part = &parts[index.index(parts.len())];
                Part { at: part.at + by, ..part.clone() }
            })
            .collect();
        parts.extend(copies);
        parts.sort_by_key(|part| part.at);
        let (spans, _) = replay(pcap(&parts, usize::MAX)).unwrap();
        prop_assert_eq!(said(&spans), expected(6));
    }

    /// Whatever packets are missing: what is said of a request is true.
    #[test]
    fn losses_invent_nothing(
        size in 20_usize..200,
        lost in proptest::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let mut parts = conversation(8, size);
        for index in lost {
            let at = index.index(parts.len());
            parts.remove(at);
        }
        let (spans, _) = replay(pcap(&parts, usize::MAX)).unwrap();
        for span in &spans {
            let Some(Value::Text(path)) = span.attributes.get("url.path") else { continue };
            let marked = span.attributes.get(crate::trace::INCOMPLETE).is_some();
            let number: usize = path.rsplit('/').next().unwrap().parse().unwrap();
            prop_assert!(number < 8);
            if let Some(Value::Int(len)) = span.attributes.get("http.response.body.size") {
                prop_assert!(marked || *len == number as i64 * 40, "{path}: {len}");
            }
        }
    }

    /// Any bytes, as a file or as packets.
    #[test]
    fn garbage_never_panics(tail in proptest::collection::vec(any::<u8>(), 0..400), cut in 0_usize..300, ng: bool) {
        let parts = conversation(1, 100);
        let mut file = if ng { pcapng(&parts) } else { pcap(&parts, usize::MAX) };
        file.truncate(file.len().saturating_sub(cut));
        file.extend(&tail);
        let _ = replay(file);
        let _ = replay(tail);
    }
}
