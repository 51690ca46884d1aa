//! A recording through the pipeline.

use std::io::Read;

use crate::{
    bpf::decode,
    event::Nanos,
    pipeline::Pipeline,
    recording::{Frame, ReadError, Reader},
    trace::Span,
};

/// What came of a replay.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Records that went through the pipeline.
    pub records: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// The recording ends in the middle of a record.
    pub cut: bool,
}

/// Time between ticks, as when live.
const TICK: Nanos = 100_000_000;

/// Runs all of a recording through the pipeline; `each` is given the spans as they become complete, and empties the list. Time passes as
/// the recording says.
///
/// # Errors
/// When the recording is damaged. What came before has been handed on. One that was only cut off is no error.
pub fn replay<R: Read>(
    reader: &mut Reader<R>,
    pipeline: &mut Pipeline,
    mut each: impl FnMut(&mut Vec<Span>),
) -> Result<Replayed, ReadError> {
    let mut replayed = Replayed::default();
    let mut spans = Vec::new();
    let (mut now, mut ticked) = (0, 0);
    let result = loop {
        match reader.next() {
            Ok(Some(Frame::Record(record))) => match decode::event(record) {
                Ok(event) => {
                    replayed.records += 1;
                    now = now.max(event.time());
                    pipeline.event(&event, &mut spans);
                }
                Err(_) => replayed.undecodable += 1,
            },
            Ok(Some(Frame::Process(facts))) => pipeline.processes().fill(facts, now),
            Ok(Some(Frame::Clock(sample))) => pipeline.sample_clock(sample),
            Ok(None) => break Ok(()),
            Err(ReadError::Cut) => {
                replayed.cut = true;
                break Ok(());
            }
            Err(error) => break Err(error),
        }
        if now.saturating_sub(ticked) >= TICK {
            ticked = now;
            pipeline.tick(now, &mut spans);
        }
        // Nobody waits in a replay: there is nobody to advise.
        pipeline.take_advice();
        if !spans.is_empty() {
            each(&mut spans);
        }
    };
    pipeline.finish(now, &mut spans);
    each(&mut spans);
    result.map(|()| replayed)
}
