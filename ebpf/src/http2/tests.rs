//! Frames that are given fields, and those that are not.

extern crate std;
use std::vec::Vec;

use super::{play::send, *};

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, flags, 0, 0, 0, stream], payload].concat()
}

fn blank() -> Frames {
    // SAFETY: zeroes are a value of every field, as in the kernel's map.
    let mut frames: Frames = unsafe { core::mem::zeroed() };
    frames.start();
    frames
}

const GET: &[u8] = b"\x82\x84\x86\x41\x01a";

#[test]
fn requests_are_given_fields_and_nothing_else_changes() {
    let mut frames = blank();
    let first = [PREFACE, &*frame(4, 0, 0, b""), &frame(HEADERS, 5, 1, GET)].concat();
    let (out, steps) = send(&mut frames, &first, true);
    assert_eq!((steps, out.len()), (std::vec![Step::Written], first.len() + FIELD));
    assert_eq!(out[PREFACE.len() + 9..][..9], frame(HEADERS, 5, 1, &[0; 75])[..9]);
    // Padding stays behind the field; trailers, and what there is no room for, are left alone.
    let padded = frame(HEADERS, END_HEADERS | PADDED | PRIORITY, 3, &[b"\x02\0\0\0\0\0", GET, b"\0\0"].concat());
    let (out, steps) = send(&mut frames, &padded, true);
    assert_eq!((steps, out.ends_with(b"-01\0\0")), (std::vec![Step::Written], true));
    let trailers = frame(HEADERS, 5, 3, b"\0\x01a\x01b");
    assert_eq!(send(&mut frames, &trailers, true), (trailers, std::vec![]));
    let next = frame(HEADERS, 5, 5, GET);
    assert_eq!(send(&mut frames, &next, false), (next, std::vec![Step::Busy]));
    assert_eq!(frames.count, 2);
}

#[test]
fn contexts_and_signatures_end_it() {
    let name = |name: &[u8], value: &[u8]| [&[0x40, name.len() as u8], name, &[value.len() as u8], value].concat();
    let huffman_b3 = b"\x40\x82\x8d\x9f\x010".to_vec();
    let signed = [b"\x04\x0e".to_vec(), b"/a?x&sig=abcde".to_vec()].concat();
    for (block, over) in [
        (name(b"traceparent", b"x"), Step::OverCarried),
        (huffman_b3, Step::OverCarried),
        (name(b"signature", b"x"), Step::OverSigned),
        (b"\x57\x05AWS4 ".to_vec(), Step::OverSigned),
        (b"\x57\x06Bearer".to_vec(), Step::Written),
        (b"\x57\x08Bearer a".to_vec(), Step::Written),
        (signed, Step::OverSigned),
        (b"\x80".to_vec(), Step::OverOther),
        (b"\x41\x05a".to_vec(), Step::OverOther),
    ] {
        let mut frames = blank();
        let sent = [PREFACE, &*frame(HEADERS, 5, 1, &block)].concat();
        let (_, steps) = send(&mut frames, &sent, true);
        assert_eq!(steps, [over], "{}", block.escape_ascii());
    }
}

#[test]
fn names_are_known_by_their_place_in_the_table() {
    let mut frames = blank();
    // It enters the table with credentials that sign nothing; then another value for the same name.
    let first = [PREFACE, &*frame(HEADERS, 5, 1, b"\x57\x08Bearer a")].concat();
    assert_eq!(send(&mut frames, &first, true).1, [Step::Written]);
    let newer = frame(HEADERS, 5, 3, b"\x40\x01x\x01y\x7f\0\x03AWS");
    assert_eq!(send(&mut frames, &newer, true).1, [Step::OverSigned]);
}

#[test]
fn frames_may_be_cut_anywhere_but_heads() {
    let data = frame(0, 0, 1, &[HEADERS; 40]);
    let rest = [&*data, &frame(HEADERS, 5, 3, GET)].concat();
    for cut in 1..data.len() {
        let mut frames = blank();
        send(&mut frames, &[PREFACE, &*frame(HEADERS, 4, 1, GET)].concat(), true);
        let (first, second) = rest.split_at(cut);
        assert_eq!(send(&mut frames, first, true), (first.to_vec(), std::vec![]));
        assert_eq!(send(&mut frames, second, true).1, [Step::Written], "{cut}");
    }
    for cut in data.len() + 1..rest.len() {
        let mut frames = blank();
        send(&mut frames, &[PREFACE, &*frame(HEADERS, 4, 1, GET)].concat(), true);
        let (first, second) = rest.split_at(cut);
        let mut steps = send(&mut frames, first, true).1;
        if steps.is_empty() {
            steps = send(&mut frames, second, true).1;
        }
        assert_eq!(steps, [Step::OverIncomplete], "{cut}");
    }
}
