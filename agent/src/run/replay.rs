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

/// The time of what is replayed, and the spans that have come of it.
#[derive(Default)]
pub(super) struct Course {
    /// The latest time that was seen.
    pub(super) now: Nanos,
    ticked: Nanos,
    pub(super) spans: Vec<Span>,
}

impl Course {
    /// To be called after each part.
    pub(super) fn go_on(&mut self, pipeline: &mut Pipeline, each: &mut impl FnMut(&mut Vec<Span>)) {
        if self.now.saturating_sub(self.ticked) >= TICK {
            self.ticked = self.now;
            pipeline.tick(self.now, &mut self.spans);
        }
        // Nobody waits in a replay: there is nobody to advise.
        pipeline.take_advice();
        if !self.spans.is_empty() {
            each(&mut self.spans);
        }
    }

    /// To be called after the last one.
    pub(super) fn finish(mut self, pipeline: &mut Pipeline, each: &mut impl FnMut(&mut Vec<Span>)) {
        pipeline.finish(self.now, &mut self.spans);
        each(&mut self.spans);
    }
}

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
    let mut course = Course::default();
    let result = loop {
        match reader.next() {
            Ok(Some(Frame::Record(record))) => match decode::event(record) {
                Ok(event) => {
                    replayed.records += 1;
                    course.now = course.now.max(event.time());
                    pipeline.event(&event, &mut course.spans);
                }
                Err(_) => replayed.undecodable += 1,
            },
            Ok(Some(Frame::Process(facts))) => pipeline.processes().fill(facts, course.now),
            Ok(Some(Frame::Clock(sample))) => pipeline.sample_clock(sample),
            Ok(None) => break Ok(()),
            Err(ReadError::Cut) => {
                replayed.cut = true;
                break Ok(());
            }
            Err(error) => break Err(error),
        }
        course.go_on(pipeline, &mut each);
    };
    course.finish(pipeline, &mut each);
    result.map(|()| replayed)
}
