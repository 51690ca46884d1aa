//! What the kernel programs do with a message, done without a kernel: for tests, and for fuzzing.

extern crate std;
use std::vec::Vec;

use super::{FRAMES, Frames, HEADER, Step};
use crate::{
    hpack::{self, BAD, MORE, STEPS, WINDOW},
    inject::{FIELD, NAMES, named, value},
};

/// The field that is written into requests here.
#[must_use]
pub fn field() -> [u8; FIELD] {
    let mut field = [0; FIELD];
    let (name, text) = field.split_at_mut(FIELD - 55);
    name.copy_from_slice(b"\x00\x0btraceparent\x37");
    // SAFETY: it has room for 55 bytes.
    unsafe { value(text.as_mut_ptr(), [1, 2], 3, 1) };
    field
}

/// Sends a message behind what was sent before: what goes on the wire, and what came of its requests. `room`: whether as much as that can be sent
/// without waiting.
pub fn send(frames: &mut Frames, message: &[u8], room: bool) -> (Vec<u8>, Vec<Step>) {
    let (mut wire, mut steps) = (message.to_vec(), Vec::new());
    if !frames.begin(frames.end, message.len() as u32) {
        return (wire, std::vec![Step::OverLost]);
    }
    for _ in 0..FRAMES {
        let mut step = frames.seek();
        if step == Step::Header {
            step = header(frames, &wire);
        }
        if step == Step::Block {
            step = block(frames, &wire);
        }
        if step == Step::Put {
            step = if room { put(frames, &mut wire) } else { Step::Busy };
        }
        match step {
            Step::Next => {}
            Step::End => return (wire, steps),
            Step::Written | Step::Signed | Step::Long | Step::Busy => steps.push(step),
            over => {
                steps.push(over);
                return (wire, steps);
            }
        }
    }
    steps.push(Step::OverLost);
    (wire, steps)
}

fn header(frames: &mut Frames, wire: &[u8]) -> Step {
    let (have, need) = (frames.have.min(HEADER) as usize, frames.need.min(HEADER) as usize);
    let Some(read) = wire.get(frames.offset as usize..).and_then(|rest| rest.get(..need)) else {
        return Step::OverLost;
    };
    frames.header.iter_mut().skip(have).zip(read).for_each(|(to, from)| *to = *from);
    frames.parse()
}

fn block(frames: &mut Frames, wire: &[u8]) -> Step {
    let payload = wire.get(frames.offset as usize..).and_then(|rest| rest.get(..frames.length as usize));
    let payload = payload.unwrap_or_default();
    let step = frames.block(payload.first().map_or(u32::MAX >> 1, |first| u32::from(*first)));
    if step != Step::Next {
        return step;
    }
    let block = payload.get(frames.begin as usize..).unwrap_or_default();
    let meaning = |hash| NAMES.iter().find(|(name, _)| named(name) == hash).map_or(0, |(_, meaning)| *meaning as u32);
    let mut what = MORE;
    for _ in 0..STEPS {
        let mut window = [0; WINDOW];
        let rest = block.get(frames.fields.at as usize..).unwrap_or_default();
        window.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        // SAFETY: both are valid, and of that length.
        what = unsafe { hpack::step(&raw mut frames.fields, window.as_ptr(), meaning) };
        if what != MORE {
            break;
        }
    }
    frames.decide(if what == MORE { BAD } else { what })
}

fn put(frames: &mut Frames, wire: &mut Vec<u8>) -> Step {
    let (at, from) = (frames.at as usize, frames.from as usize);
    let (true, Some(length)) = (at <= wire.len(), wire.get_mut(from..from + 3)) else {
        return Step::Broken;
    };
    length.copy_from_slice(frames.length.to_be_bytes().split_at(1).1);
    wire.splice(at..at, field());
    frames.written();
    Step::Written
}
