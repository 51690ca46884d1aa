//! Any events through all stages up to what an output writes.

#![no_main]

use geophone_fuzz::{Step, check, pipeline, steps};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut pipeline = pipeline();
    let mut spans = Vec::new();
    let mut steps = steps(data);
    for step in steps.by_ref() {
        match step {
            Step::Event(event) => pipeline.event(&event, &mut spans),
            Step::Tick(now) => pipeline.tick(now, &mut spans),
            // The pipeline itself advises.
            Step::Skip(..) => {}
        }
        pipeline.take_advice();
        check(&mut spans);
    }
    pipeline.finish(steps.now(), &mut spans);
    check(&mut spans);
});
