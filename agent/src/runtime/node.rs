//! Node.js: where its event loop leaves what it has read, and runs timers. Which request set a timer, Node does not keep after an
//! `await`; that the timer's callback does not go on with what was read last is known by this.

use std::sync::Arc;

use geophone_ebpf::config::{RUNTIME_NODE, Runtime};

use super::{Answer, Detector, Found, Image, Plan, Probe, Refusal, Target};

/// Programs that contain Node.
pub struct Node;

/// `void node::Environment::RunTimers(uv_timer_t*)`: called when a timer is due. Exported, so it is found in stripped files too.
const RUN_TIMERS: &str = "_ZN4node11Environment9RunTimersEP10uv_timer_s";

impl Detector for Node {
    fn name(&self) -> &'static str {
        "Node.js"
    }

    fn file(&self, image: &Image) -> Result<Option<Box<dyn Plan>>, Refusal> {
        let found = image.elf(|elf| {
            let [exported] = elf.exported([RUN_TIMERS])?;
            if exported.is_some() { Ok([exported]) } else { elf.named([RUN_TIMERS]) }
        })?;
        let [Some(address)] = found else {
            return Ok(None);
        };
        let offset = image.offset_of(address).ok_or(Refusal::Malformed("a function is not in the file"))?;
        let probe = Probe { program: "node_timers", file: Arc::clone(image.file()), id: image.id(), offset };
        let runtime = Runtime { kind: RUNTIME_NODE, ..Runtime::default() };
        Ok(Some(Box::new(Known(Found { runtime, probes: vec![probe], ..Found::default() }))))
    }
}

/// The same in each process.
struct Known(Found);

impl Plan for Known {
    fn runtime(&self) -> &'static str {
        Node.name()
    }

    fn process(&self, _target: &Target) -> Result<Answer, Refusal> {
        Ok(Answer::Found(self.0.clone()))
    }
}
