use super::request;
use crate::{
    conn::Gap,
    event::Direction::Receive,
    protocol::{
        ContextHeader, Verdict,
        promises::{captured, heard, keep, told},
        testing::{Wire, int},
    },
};

const PRODUCE: &str = include_str!("produce.txt");
const SILENT: &str = include_str!("silent.txt");
const FETCH: &str = include_str!("fetch.txt");
const GROUP: &str = include_str!("group.txt");
const IDS: &str = include_str!("ids.txt");

const KEYS: [&str; 5] = [
    "messaging.operation.type",
    "messaging.client.id",
    "messaging.destination.partition.id",
    "messaging.batch.message_count",
    "error.type",
];

#[test]
fn producing() {
    for server in [false, true] {
        let wire = heard(&captured(PRODUCE), server);
        assert_eq!(
            told(&wire, &KEYS),
            [
                "ApiVersions | - | shop | - | - | -",
                "Metadata | - | shop | - | - | UNKNOWN_TOPIC_OR_PARTITION",
                "Metadata | - | shop | - | - | -",
                "send orders | send | shop | 0 | 1 | -",
                "send orders | send | shop | 0 | 3 | -",
            ]
        );
        // The one record's context; those of three would be three causes.
        let carried = wire.asked[3].carried.as_ref().unwrap();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(carried.one(ContextHeader::TraceParent), Some(parent));
        assert!(wire.asked[4].carried.is_none());
    }
}

#[test]
fn producing_without_an_answer() {
    let wire = heard(&captured(SILENT), false);
    assert_eq!(told(&wire, &KEYS)[2], "send orders | send | shop0 | 0 | 1 | -");
    let sent = &wire.out[2];
    assert_eq!((sent.first_byte, sent.end, sent.holes.no_response), (None, sent.request_end, false));
}

#[test]
fn fetching() {
    let wire = heard(&captured(FETCH), false);
    let told_of = told(&wire, &KEYS);
    assert_eq!(told_of[6], "poll orders | receive | billing | 0 | 5 | -");
    // Later ones of a session do not say what they are about.
    assert!(told_of[7..].iter().all(|told| told == "poll orders | receive | billing | 0 | 0 | -"), "{told_of:#?}");
    assert_eq!(int(&wire.out[6], "geophone.kafka.max_wait_ms"), Some(500));
    let wire = heard(&captured(IDS), true);
    let told_of = told(&wire, &KEYS);
    assert_eq!(told_of[6], "poll orders | receive | rdbill | 0 | 9 | -");
    // The consumer was closed while it waited.
    assert!(told_of[7].starts_with("poll orders | receive | rdbill | 0 | - | connection_closed"), "{told_of:#?}");
}

#[test]
fn groups() {
    let wire = heard(&captured(GROUP), false);
    assert_eq!(
        told(&wire, &["messaging.consumer.group.name", "messaging.operation.name", "error.type"]),
        [
            "ApiVersions | - | ApiVersions | -",
            "JoinGroup | bills | JoinGroup | MEMBER_ID_REQUIRED",
            "JoinGroup | bills | JoinGroup | -",
            "SyncGroup | bills | SyncGroup | -",
            "OffsetFetch | - | OffsetFetch | -",
            "Heartbeat | bills | Heartbeat | -",
            "commit orders | bills | commit | -",
            "commit orders | bills | commit | -",
            "LeaveGroup | bills | LeaveGroup | -",
        ]
    );
}

/// A list of versions is small numbers. Where the beginning of its message was lost, a number in it that is a request's correlation id does not
/// make an answer of the rest; its real answer, behind a loss, is one.
#[test]
fn an_answer_of_versions_after_a_loss() {
    let parts = captured(PRODUCE);
    let request = &parts.iter().find(|part| part.request).unwrap().bytes;
    let answer = &parts.iter().find(|part| !part.request).unwrap().bytes;
    assert_eq!(request[4..6], [0, 18], "ApiVersions");
    let correlation = &request[8..12];
    let play = |bytes: &[u8]| {
        let mut wire = Wire::new();
        wire.send(request).hole(Receive, 100, Gap::Lost).receive(bytes).close();
        told(&wire, &["error.type"])
    };
    assert_eq!(play(answer), ["ApiVersions | -"]);
    // A range of versions that happens to be a length and the correlation id; an error that does not exist behind it, or too little.
    let nonsense = [&[0, 0, 0, 12][..], correlation, &[0x7f, 0, 0, 0, 0, 1, 0, 0]].concat();
    let short = [&[0, 0, 0, 8][..], correlation, &[0, 0, 0, 3]].concat();
    for bytes in [nonsense, short] {
        let told = play(&bytes);
        assert!(told.len() == 1 && told[0].contains("no_response: true"), "{told:?}");
    }
}

#[test]
fn promises() {
    for text in [PRODUCE, SILENT, FETCH, GROUP, IDS] {
        keep("kafka", &captured(text));
    }
}

#[test]
fn zeros_and_a_letter_are_no_request_in_the_middle_of_a_stream() {
    let mut padded = vec![0, 0, 1, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 1, b'm'];
    padded.resize(64, 0);
    assert_eq!(request::detect(&padded, false), Verdict::No);
    let parts = captured(PRODUCE);
    let produced = &parts.iter().find(|part| part.bytes.starts_with(&[0, 0, 0, 0xb6])).unwrap().bytes;
    assert_eq!(request::detect(produced, false), Verdict::Yes);
    assert_eq!(request::detect(&produced[..24], false), Verdict::More);
}

/// A message of gRPC's in a frame of HTTP/2: the frame's type is 0, and the stream's number is small. Then the next frame.
#[test]
fn a_message_of_grpc_is_no_request_in_the_middle_of_a_stream() {
    let frame = b"\0\0\x20\0\0\0\0\0\x03\0\0\0\0\x1b";
    let next = b"\0\0\x05\0\0\0\0\0\x03\0\0\0\0\0";
    let bytes = [&frame[..], &[b'm'; 27], next].concat();
    assert_eq!(request::detect(&bytes, false), Verdict::No);
}

/// Rows of Cassandra's, seen from the middle of one of them: a length, a small number, a name, and what no client of Kafka's would ask.
#[test]
fn a_name_in_somebody_elses_rows_is_no_request() {
    let rows = b"\0\0\0\x10\0\x01\0\x10\0\0\0\x01\0\x04shop\0dateoforder";
    for end in 4..=rows.len() {
        assert_ne!(request::detect(&rows[..end], false), Verdict::Yes, "{end} bytes");
    }
    assert_eq!(request::detect(rows, false), Verdict::No);
    // The first fields of a real one, of each kind: sure only with what it asks.
    for text in [FETCH, GROUP, IDS] {
        for part in captured(text).iter().filter(|part| part.request) {
            let header = 14 + usize::from(part.bytes[13]);
            assert_eq!(request::detect(&part.bytes, false), Verdict::Yes, "{:x?}", part.bytes);
            assert_ne!(request::detect(&part.bytes[..header], false), Verdict::Yes, "{:x?}", part.bytes);
        }
    }
}
