//! Any frames of HTTP/2, in any messages, that are sent where contexts are written into requests: what is left without the written fields is what
//! was sent. Input: messages of a length, and so many bytes.
#![no_main]

use geophone_ebpf::{
    http2::{
        Frames, PREFACE, PUTS, Step,
        play::{field, send},
    },
    inject::FIELD,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // SAFETY: zeroes are a value of every field, as in the kernel's map.
    let mut frames: Frames = unsafe { std::mem::zeroed() };
    frames.start();
    send(&mut frames, PREFACE, true);
    let mut data = data;
    while let [length, rest @ ..] = data {
        let (message, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        let (wire, steps) = send(&mut frames, message, length & 1 == 0);
        let written = steps.iter().filter(|step| **step == Step::Written).count();
        assert!(written <= PUTS && !steps.contains(&Step::Broken));
        assert_eq!(wire.len(), message.len() + written * FIELD);
        let mut left = wire;
        for _ in 0..written {
            let at = left.windows(FIELD).rposition(|window| window == field()).expect("a field that was written");
            left.drain(at..at + FIELD);
        }
        // Besides, only lengths of frames differ.
        let differ = left.iter().zip(message).filter(|(after, before)| after != before).count();
        assert!(differ <= 3 * written);
        frames.count = 0;
        if steps.last().is_some_and(|step| *step as u32 >= Step::OverCarried as u32) {
            break;
        }
    }
});
