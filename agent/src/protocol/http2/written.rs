//! Fields that the kernel programs write into requests: whatever is sent, in whatever frames and messages, it says the same afterwards but for
//! these fields, and none is written where there is a context or a signature already.

use geophone_ebpf::http2::{
    Frames, PREFACE, Step,
    play::{field, send},
};
use proptest::prelude::*;

use super::{
    hpack::{Block, Decoder},
    testing::*,
};

#[derive(Clone, Debug)]
struct Request {
    fields: Vec<Coded>,
    padding: Option<u8>,
    priority: bool,
    /// Frames of other kinds behind it, as long as this.
    others: Vec<usize>,
    trailers: bool,
}

fn coded() -> impl Strategy<Value = Coded> {
    let values = prop_oneof![
        20 => ("[a-z]{1,3}", "[ -~]{0,40}"),
        4 => ("cookie", "[ -~]{400,1500}"),
        4 => ("authorization", "(Bearer|basic|Token) [a-z]{0,9}"),
        1 => ("authorization", "(AWS4-HMAC-SHA256|Signature) [a-z]{0,9}"),
        1 => (":path", "/[a-z]{0,9}[?&](X-Amz-Signature|sig)=[a-z]{0,9}"),
        4 => (":path", "/[a-z]{0,30}"),
        1 => ("(b3|traceparent|x-amzn-trace-id|grpc-trace-bin)", "[a-f0-9-]{1,55}"),
        // More than the table has room for.
        1 => ("large", "[a-z]{3000,4200}"),
    ];
    (values, any::<bool>(), any::<bool>()).prop_map(|((name, value), add, huffman)| Coded { name, value, add, huffman })
}

fn request() -> impl Strategy<Value = Request> {
    let padding = prop::option::of(any::<u8>());
    let others = prop::collection::vec(0..300_usize, 0..3);
    (prop::collection::vec(coded(), 1..6), padding, any::<bool>(), others, any::<bool>()).prop_map(
        |(fields, padding, priority, others, trailers)| Request { fields, padding, priority, others, trailers },
    )
}

impl Request {
    /// A frame with this header block.
    fn frame(&self, stream: u32, block: &[u8]) -> Vec<u8> {
        let (mut flags, mut payload) = (END_HEADERS, Vec::new());
        if let Some(padding) = self.padding {
            flags |= PADDED;
            payload.push(padding);
        }
        if self.priority {
            flags |= PRIORITY;
            payload.extend([0, 0, 0, 0, 7]);
        }
        payload.extend(block);
        payload.extend(vec![0; self.padding.map_or(0, usize::from)]);
        frame(HEADERS, flags, stream, &payload)
    }

    fn is_marked(&self) -> bool {
        self.fields.iter().any(|field| {
            let value = field.value.to_ascii_lowercase();
            match &*field.name {
                "authorization" => value.starts_with("aws4") || value.starts_with("signature"),
                ":path" => value.contains("gnature=") || value.contains("?sig=") || value.contains("&sig="),
                "b3" | "traceparent" | "x-amzn-trace-id" | "grpc-trace-bin" => true,
                _ => false,
            }
        })
    }
}

/// The frames of a stream of bytes: kind, flags, stream and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u8, u8, &[u8])> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        frames.push((bytes[3], bytes[4], bytes[8], &bytes[9..9 + length]));
        bytes = &bytes[9 + length..];
    }
    frames
}

fn fields(decoder: &mut Decoder, flags: u8, payload: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut begin, mut end) = (0, payload.len());
    if flags & PADDED != 0 {
        begin += 1;
        end -= usize::from(payload[0]);
    }
    if flags & PRIORITY != 0 {
        begin += 5;
    }
    let mut fields = Vec::new();
    let what = decoder.decode(&payload[begin..end], true, &mut |field| {
        fields.push((field.name.unwrap().to_vec(), field.value.unwrap().to_vec()));
    });
    assert_eq!(what, Block::Whole);
    fields
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_else_changes(
        requests in prop::collection::vec(request(), 1..12),
        cuts in prop::collection::vec(prop_oneof![1 => 1..60_usize, 3 => 60..9000_usize], 1..8),
        full in prop::collection::vec(prop::bool::weighted(0.1), 1..8),
    ) {
        let mut encoder = Encoder::default();
        let mut sent = frame(SETTINGS, 0, 0, &[]);
        for (i, request) in requests.iter().enumerate() {
            let mut block = Vec::new();
            request.fields.iter().for_each(|field| encoder.encode(field, &mut block));
            let stream = 2 * i as u32 + 1;
            sent.extend(request.frame(stream, &block));
            for length in &request.others {
                // A body that looks like frames.
                sent.extend(frame(DATA, 0, stream, &[HEADERS].repeat(*length)));
            }
            if request.trailers {
                let mut block = Vec::new();
                encoder.encode(&Coded { name: "a".into(), value: i.to_string(), add: true, huffman: true }, &mut block);
                sent.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
            }
        }
        // SAFETY: zeroes are a value of every field, as in the kernel's map.
        let mut state: Frames = unsafe { std::mem::zeroed() };
        state.start();
        let mut wire = Vec::new();
        let (mut rest, mut over, mut written) = (&[PREFACE, &*sent].concat()[..], false, 0);
        for (cut, full) in cuts.iter().cycle().zip(full.iter().cycle()) {
            if rest.is_empty() {
                break;
            }
            // Who it is can be told by a preface that comes as a whole.
            let least = if wire.is_empty() { PREFACE.len() } else { 1 };
            let (message, after) = rest.split_at((*cut).max(least).min(rest.len()));
            rest = after;
            if over {
                wire.extend(message);
                continue;
            }
            let (out, steps) = send(&mut state, message, !full);
            wire.extend(out);
            written += steps.iter().filter(|step| **step == Step::Written).count();
            over = steps.iter().any(|step| {
                matches!(step, Step::OverCarried | Step::OverSigned | Step::OverIncomplete | Step::OverLost)
            });
            prop_assert!(!steps.contains(&Step::OverOther) && !steps.contains(&Step::Broken), "{steps:?}");
            state.count = 0;
        }
        prop_assert!(wire.starts_with(PREFACE));
        let (before, after) = (frames(&sent), frames(&wire[PREFACE.len()..]));
        prop_assert_eq!(before.len(), after.len());
        let (mut plain, mut whole) = (Decoder::default(), Decoder::default());
        let (mut marked, mut seen) = (false, 0);
        for ((kind, flags, stream, payload), (kind_after, flags_after, stream_after, payload_after)) in before.into_iter().zip(after) {
            prop_assert_eq!((kind, flags, stream), (kind_after, flags_after, stream_after));
            if kind != HEADERS {
                prop_assert_eq!(payload, payload_after);
                continue;
            }
            let is_trailers = flags & END_STREAM != 0;
            marked |= !is_trailers && requests[usize::from(stream) / 2].is_marked();
            let expected = fields(&mut plain, flags, payload);
            let mut found = fields(&mut whole, flags, payload_after);
            if payload != payload_after {
                let (name, value) = found.pop().unwrap();
                prop_assert_eq!(&*name, b"traceparent");
                prop_assert!(field().ends_with(&value) && value.len() == 55);
                prop_assert!(!marked && !is_trailers);
                seen += 1;
            }
            prop_assert_eq!(expected, found);
        }
        prop_assert_eq!(seen, written);
    }

    /// In one message each, requests that carry nothing are given a field.
    #[test]
    fn requests_are_given_fields(requests in prop::collection::vec(request(), 1..12)) {
        let mut encoder = Encoder::default();
        // SAFETY: as above.
        let mut state: Frames = unsafe { std::mem::zeroed() };
        state.start();
        prop_assert_eq!(send(&mut state, PREFACE, true), (PREFACE.to_vec(), vec![]));
        for (i, request) in requests.iter().enumerate() {
            let mut block = Vec::new();
            request.fields.iter().for_each(|field| encoder.encode(field, &mut block));
            let is_large = request.fields.iter().any(|field| field.name == "large") || block.len() > 4096;
            if request.is_marked() || is_large {
                break;
            }
            let (_, steps) = send(&mut state, &request.frame(2 * i as u32 + 1, &block), true);
            prop_assert_eq!(steps, [Step::Written]);
            state.count = 0;
        }
    }

    #[test]
    fn any_bytes(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
        // SAFETY: as above.
        let mut state: Frames = unsafe { std::mem::zeroed() };
        state.start();
        send(&mut state, PREFACE, true);
        for message in messages {
            let (out, steps) = send(&mut state, &message, true);
            prop_assert_eq!(out.len(), message.len() + 69 * steps.iter().filter(|step| **step == Step::Written).count());
            if steps.last().is_some_and(|step| *step as u32 >= Step::OverCarried as u32) {
                break;
            }
        }
    }
}
