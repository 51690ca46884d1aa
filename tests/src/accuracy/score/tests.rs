//! Made-up spans: each way to be wrong is found, and nothing else.

use serde_json::json;

use super::super::shape::{Process, TREE, name};
use super::*;

fn plan() -> Plan {
    let processes = (0..4).map(|i| Process { name: name(i).into(), ..Process::default() }).collect();
    Plan { shape: TREE, processes, ways: (0..4).map(|i| vec![i]).collect(), retries: false }
}

fn make(kind: Kind, process: usize, path: &str, trace: &str, id: &str, parent: &str, link: &str) -> Span {
    let (kind, url) = match kind {
        Kind::Client => ("CLIENT", ("url.full", format!("http://127.0.0.1:80{path}"))),
        Kind::Server => ("SERVER", ("url.path", path.to_owned())),
    };
    let mut attributes = json!({ (url.0): url.1 });
    if !link.is_empty() {
        attributes["geophone.link"] = json!(link);
    }
    let line = json!({
        "traceId": trace, "spanId": id, "parentSpanId": parent, "kind": kind, "name": "GET",
        "startTimeUnixNano": "1", "endTimeUnixNano": "2", "status": "UNSET", "attributes": attributes,
        "resource": {"process.pid": process + 100}, "links": [],
    });
    Span::parse(&line.to_string()).unwrap()
}

/// The spans of a request as they should be, in the order of [`Plan::hops`].
fn right(plan: &Plan, id: u64) -> Vec<Span> {
    let (hops, _) = plan.hops(id);
    let span_id = |index: usize| format!("{id}-{index}");
    let one = |(index, hop): (usize, &Hop)| {
        let parent = hop.parent.map(span_id).unwrap_or_default();
        let link = if parent.is_empty() { "" } else { "thread" };
        let path = format!("/x/{id}/{}", hop.position);
        make(hop.kind, hop.process, &path, &format!("trace {id}"), &span_id(index), &parent, link)
    };
    hops.iter().enumerate().map(one).collect()
}

fn judge_with(plan: &Plan, spans: &[Span], sdk: &[SdkSpan]) -> Score {
    let pids = (0..plan.processes.len()).map(|process| (process as u32 + 100, process)).collect();
    let ids = HashSet::from([1, 2]);
    let (score, said) = score(plan, &Seen { spans, sdk, pids: &pids, ids: &ids }, 10);
    let fine = score.whole == 2 && score.stray == 0;
    assert_eq!(said.is_empty(), fine, "{said:#?}");
    score
}

/// The score of two requests, of which the first one's spans were spoiled.
fn judge(spoil: impl FnOnce(&mut Vec<Span>)) -> Score {
    let plan = plan();
    let mut spans = right(&plan, 1);
    spans.extend(right(&plan, 2));
    spoil(&mut spans);
    judge_with(&plan, &spans, &[])
}

const ALL: Score = Score {
    requests: 2,
    whole: 2,
    expected: 18,
    seen: 18,
    doubled: 0,
    stray: 0,
    right: 16,
    wrong: 0,
    missing: 0,
    links: BTreeMap::new(),
};

fn expect(found: &Score, expected: &Score, links: &[(&str, u64, u64)]) {
    let links = links.iter().map(|(name, right, wrong)| ((*name).to_owned(), Link { right: *right, wrong: *wrong }));
    assert_eq!(found, &Score { links: links.collect(), ..expected.clone() });
}

#[test]
fn what_is_right_is_right() {
    expect(&judge(|_| {}), &ALL, &[("thread", 16, 0)]);
}

#[test]
fn a_wrong_parent() {
    // D's request under C's: a span of the same request, but not the true one.
    let score = judge(|spans| spans[4].parent_span_id = "1-6".into());
    expect(&score, &Score { whole: 1, right: 15, wrong: 1, ..ALL }, &[("thread", 15, 1)]);
    // A span of another request.
    let score = judge(|spans| spans[5].parent_span_id = "2-0".into());
    expect(&score, &Score { whole: 1, right: 15, wrong: 1, ..ALL }, &[("thread", 15, 1)]);
    // One that nobody knows, though the true one is there.
    let score = judge(|spans| spans[5].parent_span_id = "9-9".into());
    expect(&score, &Score { whole: 1, right: 15, wrong: 1, ..ALL }, &[("thread", 15, 1)]);
    // Two calls exchanged between two requests.
    let score = judge(|spans| {
        for (index, other) in [(5, 14), (14, 5)] {
            spans[index].trace_id = format!("trace {}", if other < 9 { 1 } else { 2 });
            spans[index].parent_span_id = if index < 9 { "2-0" } else { "1-0" }.into();
        }
    });
    assert_eq!((score.whole, score.wrong), (0, 4), "{score:?}");
}

#[test]
fn a_root_with_a_parent() {
    let score = judge(|spans| spans[0].parent_span_id = "2-0".into());
    expect(&score, &Score { whole: 1, wrong: 1, ..ALL }, &[("(none)", 0, 1), ("thread", 16, 0)]);
}

#[test]
fn a_missing_parent() {
    let score = judge(|spans| spans[3].parent_span_id.clear());
    expect(&score, &Score { whole: 1, right: 15, missing: 1, ..ALL }, &[("thread", 15, 0)]);
}

#[test]
fn a_split_trace() {
    // From B's call to D on: parents are as they should be, but the trace is another one.
    let score = judge(|spans| {
        spans[3].trace_id = "other".into();
        spans[4].trace_id = "other".into();
    });
    expect(&score, &Score { whole: 1, right: 15, wrong: 1, ..ALL }, &[("thread", 15, 1)]);
    // A part without a parent in a trace of its own.
    let score = judge(|spans| {
        spans[3].trace_id = "other".into();
        spans[3].parent_span_id.clear();
        spans[4].trace_id = "other".into();
    });
    expect(&score, &Score { whole: 1, right: 15, missing: 1, ..ALL }, &[("thread", 15, 0)]);
}

#[test]
fn a_missing_span() {
    // A leaf: nothing hangs under it.
    let score = judge(|spans| drop(spans.remove(4)));
    expect(&score, &Score { whole: 1, seen: 17, right: 15, missing: 1, ..ALL }, &[("thread", 15, 0)]);
    // A's call to B: B's span names an id that cannot be checked.
    let score = judge(|spans| drop(spans.remove(1)));
    expect(&score, &Score { whole: 1, seen: 17, right: 14, missing: 2, ..ALL }, &[("thread", 14, 0)]);
    // The same, but B's span was put under a span that is there.
    let score = judge(|spans| {
        spans.remove(1);
        spans[1].parent_span_id = "1-0".into();
    });
    expect(&score, &Score { whole: 1, seen: 17, right: 14, wrong: 1, missing: 1, ..ALL }, &[("thread", 14, 1)]);
    // The root: nothing says that it should have a parent.
    let score = judge(|spans| drop(spans.remove(0)));
    expect(&score, &Score { whole: 1, seen: 17, right: 13, missing: 3, ..ALL }, &[("thread", 13, 0)]);
}

#[test]
fn a_doubled_span() {
    let score = judge(|spans| {
        let again = Span { span_id: "again".into(), ..spans[4].clone() };
        spans.push(again);
    });
    expect(&score, &Score { whole: 1, doubled: 1, ..ALL }, &[("thread", 16, 0)]);
}

#[test]
fn spans_of_nothing_that_was_sent() {
    let plan = plan();
    let invented = [
        // A position that this service is never called with, a request that was not sent, a process that is not ours, no path of ours.
        (make(Kind::Server, 2, "/c/1/13", "t", "x", "", ""), 1),
        (make(Kind::Server, 0, "/a/3/1", "t", "x", "", ""), 0),
        (make(Kind::Server, 9, "/a/1/1", "t", "x", "", ""), 1),
        (make(Kind::Server, 0, "/health", "t", "x", "", ""), 1),
        // The right path at a process that it does not go to.
        (make(Kind::Server, 3, "/a/1/1", "t", "x", "", ""), 1),
    ];
    for (span, stray) in invented {
        let mut spans = right(&plan, 1);
        spans.extend(right(&plan, 2));
        spans.push(span.clone());
        let score = judge_with(&plan, &spans, &[]);
        assert_eq!((score.stray, score.whole), (stray, 2), "{span:?}");
    }
}

#[test]
fn a_request_that_failed_is_not_judged() {
    let plan = plan();
    let mut spans = right(&plan, 1);
    spans.extend(right(&plan, 2));
    spans.extend(right(&plan, 3).into_iter().skip(3));
    expect(&judge_with(&plan, &spans, &[]), &ALL, &[("thread", 16, 0)]);
}

#[test]
fn what_is_not_decoded_is_passed_over() {
    let mut plan = plan();
    plan.processes[1].optional_server = true;
    plan.processes[0].optional_client = true;
    let mut spans = right(&plan, 1);
    spans.extend(right(&plan, 2));
    assert_eq!(judge_with(&plan, &spans, &[]).whole, 2);
    // Without A's call to B and B's request, B's call to D hangs under A's request.
    spans.remove(2);
    spans.remove(1);
    spans[1].parent_span_id = "1-0".into();
    let score = judge_with(&plan, &spans, &[]);
    assert_eq!((score.whole, score.expected, score.seen, score.right), (2, 16, 16, 14));
}

#[test]
fn an_sdk_in_a_service() {
    let mut plan = plan();
    plan.processes[1].optional_server = true;
    plan.processes[1].optional_client = true;
    let mut spans = right(&plan, 1);
    spans.extend(right(&plan, 2));
    let sdk_span = |kind, id: &str, position: u64| SdkSpan {
        trace_id: "trace 1".into(),
        span_id: id.into(),
        kind,
        path: format!("/x/1/{position}"),
        process: 1,
    };
    let sdk = [sdk_span(Kind::Server, "sdk server", 10), sdk_span(Kind::Client, "sdk client", 100)];
    // B's call to D is a part of the SDK's span of it, and so may be D's request.
    spans[3].parent_span_id = "sdk client".into();
    spans[4].parent_span_id = "sdk client".into();
    assert_eq!(judge_with(&plan, &spans, &sdk).whole, 2);
    // Only the SDK's span of the call is there, and that of B's request.
    spans.remove(3);
    spans.remove(2);
    assert_eq!(judge_with(&plan, &spans, &sdk).whole, 2);
    // The SDK's trace is another one than that of the agent's spans.
    let other: Vec<SdkSpan> = sdk.iter().map(|span| SdkSpan { trace_id: "other".into(), ..span.clone() }).collect();
    assert_eq!(judge_with(&plan, &spans, &other).whole, 1);
}
