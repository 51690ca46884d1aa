//! Node.js: where its event loop leaves what it has read, and runs timers. Which request set a timer, Node does not keep after an
//! `await`; that the timer's callback does not go on with what was read last is known by this.

use std::sync::Arc;

use geophone_ebpf::config::{RUNTIME_NODE, Runtime};
use object::{
    elf::{SHT_DYNSYM, SHT_SYMTAB},
    read::elf::Sym as _,
};

use super::{Answer, Detector, Found, Image, Plan, Probe, Refusal, Target};

/// Programs that contain Node.
pub struct Node;

/// `void node::Environment::RunTimers(uv_timer_t*)`: called when a timer is due. Exported, so it is found in stripped files too.
const RUN_TIMERS: &[u8] = b"_ZN4node11Environment9RunTimersEP10uv_timer_s";

impl Detector for Node {
    fn name(&self) -> &'static str {
        "Node.js"
    }

    fn file(&self, image: &Image) -> Result<Option<Box<dyn Plan>>, Refusal> {
        let Some(address) = image.elf(|elf| {
            for table in [SHT_DYNSYM, SHT_SYMTAB] {
                let symbols = elf.sections.symbols(elf.endian, elf.data, table)?;
                let is = |name: Result<&[u8], _>| name.is_ok_and(|name| name == RUN_TIMERS);
                if let Some(symbol) = symbols.iter().find(|symbol| is(symbol.name(elf.endian, symbols.strings()))) {
                    return Ok(Some(symbol.st_value(elf.endian)));
                }
            }
            Ok(None)
        })?
        else {
            return Ok(None);
        };
        let offset = image.offset_of(address).ok_or(Refusal::Malformed("a function is not in the file"))?;
        let probe = Probe { program: "node_timers", file: Arc::clone(image.file()), id: image.id(), offset };
        let runtime = Runtime { kind: RUNTIME_NODE, ..Runtime::default() };
        Ok(Some(Box::new(Known(Found { runtime, probes: vec![probe], on_demand: Vec::new() }))))
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
