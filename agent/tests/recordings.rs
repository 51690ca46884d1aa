//! Recordings of real servers and clients, replayed: the spans are those that lie beside them, and whatever record is lost, no span
//! says anything else without saying that it is incomplete. `tests/recordings/README.md` says how they are made;
//! `cargo xtask recordings` rewrites what is expected, for review.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test")]

use std::{
    collections::BTreeMap,
    io::Cursor,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use geophone::{
    bpf::decode,
    conn,
    event::{Direction, Event, SocketId},
    export::json,
    packets,
    pipeline::Pipeline,
    process,
    protocol::Shared,
    recording::{MAGIC, Reader},
    run::{packet_clock, packet_limits, replay, replay_packets},
    trace::{Span, Tracer},
};
use serde_json::{Value, json};

/// The files with this extension.
fn files(wanted: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == wanted))
        .collect();
    found.sort();
    assert!(!found.is_empty());
    found
}

/// The spans of a recording or packet capture, by their beginning, and what was counted on the way.
fn spans(recording: &[u8]) -> (Vec<Value>, Value) {
    let processes = process::Table::new(process::Settings { proc: None, ..process::Settings::default() });
    let tracer = Tracer::new(packet_clock()).unwrap();
    let recorded = recording.starts_with(MAGIC);
    let limits = conn::Limits::default();
    let limits = if recorded { limits } else { packet_limits(limits) };
    let mut pipeline = Pipeline::new(limits, Arc::new(Shared::default()), tracer, processes);
    let mut lines = Vec::new();
    let mut each = |spans: &mut Vec<Span>| {
        for span in spans.drain(..) {
            json::write(&span, &mut lines).unwrap();
        }
    };
    let (undecodable, cut) = if recorded {
        let replayed = replay(&mut Reader::new(recording).unwrap(), &mut pipeline, &mut each).unwrap();
        (replayed.undecodable, replayed.cut)
    } else {
        let mut file = packets::File::new(Cursor::new(recording.to_vec())).unwrap();
        let replayed = replay_packets(&mut file, &mut pipeline, &[53], &mut each).unwrap();
        (replayed.stats.damaged + replayed.stats.fragments + replayed.stats.evicted, replayed.cut)
    };
    let parse = |line: &[u8]| serde_json::from_slice(line).unwrap();
    let mut spans: Vec<Value> = lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(parse).collect();
    let names = spans.iter().map(|span| (span["spanId"].to_string(), described(span))).collect();
    spans.iter_mut().for_each(|span| make_plain(span, &names));
    spans.sort_by_key(|span| (span["startTimeUnixNano"].to_string(), span["kind"].to_string()));

    let conn = pipeline.connections();
    let mut counted: BTreeMap<&str, u64> = pipeline.shared().counts.iter().collect();
    counted.extend([
        ("undecodable", undecodable),
        ("cut", cut.into()),
        ("lost_gaps", conn.lost_gaps),
        ("opened_unseen", conn.opened_unseen),
        ("overlaps", conn.overlaps),
        ("after_end", conn.after_end),
        ("malformed", conn.malformed),
        ("implausible", conn.implausible),
        ("invalid_traceparent", pipeline.tracer().stats().invalid.traceparent),
    ]);
    counted.retain(|_, count| *count > 0);
    (spans, json!({ "counted": counted }))
}

/// What tells a span from the others of its recording, without its id.
fn described(span: &Value) -> String {
    let attribute = |key: &str| span["attributes"].get(key).and_then(Value::as_str);
    let full = attribute("url.full").unwrap_or_default();
    // The host may be among what is lost.
    let path = full.splitn(4, '/').nth(3).map(|path| format!("/{path}"));
    let target = attribute("url.path").map(str::to_owned).or(path).unwrap_or_default();
    format!("{} {target}", span["kind"].as_str().unwrap())
}

/// Takes out of a span what differs from one replay or version to the next: ids that were made up, and who recorded it. A parent among
/// the spans is named by what it is.
fn make_plain(span: &mut Value, names: &BTreeMap<String, String>) {
    let map = span.as_object_mut().unwrap();
    map.remove("spanId");
    let parent = map["parentSpanId"].to_string();
    if let Some(name) = names.get(&parent) {
        map.insert("parentSpanId".into(), name.as_str().into());
    }
    // A trace id that came in a header shows with the span whose parent that names.
    if parent == "\"\"" || names.contains_key(&parent) {
        map.remove("traceId");
    }
    map["resource"].as_object_mut().unwrap().retain(|key, _| !key.starts_with("telemetry."));
}

#[test]
fn give_the_spans_expected_of_them() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    for path in [files("rec"), files("pcap")].concat() {
        let (spans, counted) = spans(&std::fs::read(&path).unwrap());
        let given: String = spans.iter().chain([&counted]).map(|line| format!("{line}\n")).collect();
        let beside = path.with_extension("spans.json");
        if update {
            std::fs::write(beside, given).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if given != expected {
            let missing = expected.lines().filter(|line| !given.lines().any(|other| other == *line));
            let surplus = given.lines().filter(|line| !expected.lines().any(|other| other == *line));
            let lines: Vec<_> = missing.map(|l| format!("- {l}")).chain(surplus.map(|l| format!("+ {l}"))).collect();
            wrong.push(format!("{}:\n{}", path.display(), lines.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n\n"));
}

/// Whether a span says nothing but what another one says too, times aside, and sizes where these may differ.
fn says_no_more(span: &Value, than: &Value, sizes: bool) -> bool {
    let same = ["kind", "name", "status"].iter().all(|key| span[key] == than[key]);
    let free = |key: &str| {
        ["geophone.http.time_to_first_byte", "geophone.link"].contains(&key)
            || !sizes && key == "http.response.body.size"
    };
    // Its parent may be among what is missing, or the evidence for it; then it stands alone, or under what a header names.
    let parent = span["parentSpanId"].as_str().unwrap();
    // What an event loop works for follows from all that it reads: one read that is missing may move the next call elsewhere.
    let moved = ["thread", "answer"].iter().any(|link| span["attributes"]["geophone.link"] == *link);
    let same = same && (parent == than["parentSpanId"] || !parent.contains(' ') || moved);
    let attributes = span["attributes"].as_object().unwrap();
    // That a database's product is not known is no other name for it.
    let unknown = |key: &str, value: &Value| key == "db.system.name" && value == "other_sql";
    same && attributes
        .iter()
        .all(|(key, value)| free(key) || unknown(key, value) || than["attributes"].get(key) == Some(value))
}

#[test]
fn without_any_one_call_say_nothing_else_unless_marked() {
    for path in files("rec") {
        let whole = std::fs::read(&path).unwrap();
        let (all, _) = spans(&whole);
        let calls = calls(&whole);
        for (position, call) in calls.iter().enumerate() {
            let what = format!(
                "{} without the {:?} of {} bytes at {} of {:?}",
                path.display(),
                call.direction,
                call.len,
                call.offset,
                call.socket
            );
            // A response without a length ends with its connection: of its end, nothing shows that it is missing.
            let followed = calls.iter().skip(position + 1).any(|later| call.is_followed_by(later));
            let without = [&whole[..call.frame.start], &whole[call.frame.end..]].concat();
            let (left, _) = spans(&without);
            assert!(left.len() <= all.len(), "{what}: more spans");
            for span in left.iter().filter(|span| span["attributes"].get("geophone.incomplete").is_none()) {
                assert!(all.iter().any(|other| says_no_more(span, other, followed)), "{what}: {span}");
            }
        }
    }
}

/// A call that moved bytes, or saw their end.
struct Call {
    frame: Range<usize>,
    socket: SocketId,
    direction: Direction,
    offset: u64,
    len: u32,
}

impl Call {
    fn is_followed_by(&self, later: &Self) -> bool {
        self.socket == later.socket && self.direction == later.direction && later.len > 0
    }
}

/// The calls in a recording.
fn calls(recording: &[u8]) -> Vec<Call> {
    const RECORD: u8 = 2;
    /// Bytes before a frame's payload: its length, and its kind.
    const HEAD: usize = 5;
    let mut calls = Vec::new();
    let mut at = MAGIC.len();
    while at < recording.len() {
        let len = u32::from_le_bytes(recording[at..at + 4].try_into().unwrap()) as usize;
        let frame = at..at + HEAD + len;
        if recording[at + 4] == RECORD {
            let call = match decode::event(&recording[at + HEAD..frame.end]).unwrap() {
                Event::Data(data) => Some((data.socket, data.direction, data.offset, data.len)),
                Event::Datagram(datagram) => Some((datagram.socket, datagram.direction, 0, datagram.len)),
                _ => None,
            };
            calls.extend(call.map(|(socket, direction, offset, len)| Call {
                frame: frame.clone(),
                socket,
                direction,
                offset,
                len,
            }));
        }
        at = frame.end;
    }
    assert!(!calls.is_empty());
    calls
}
