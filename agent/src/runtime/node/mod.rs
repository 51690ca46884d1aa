//! Node.js 18 to 26: where its event loop leaves what it has read and runs timers, and which callback runs on it. Which request set a
//! timer, Node does not keep after an `await`; what runs as a callback of `setImmediate` or of a timer itself is known by its async id.

mod environment;
mod http2;

use std::sync::Arc;

use geophone_ebpf::{
    config::{RUNTIME_NODE, Runtime},
    node::IDS,
};

use super::{Answer, Detector, Found, Image, Plan, Probe, Refusal, Target, memory::Memory};

/// Programs that contain Node.
pub struct Node;

/// `void node::Environment::RunTimers(uv_timer_t*)`: called when a timer is due. Exported, so it is found in stripped files too.
const RUN_TIMERS: &str = "_ZN4node11Environment9RunTimersEP10uv_timer_s";

impl Detector for Node {
    fn name(&self) -> &'static str {
        "Node.js"
    }

    fn file(&self, image: &Image) -> Result<Option<Box<dyn Plan>>, Refusal> {
        let [Some(timers)] = find(image, [RUN_TIMERS])? else {
            return Ok(None);
        };
        let mut probes = vec![probe(image, "node_timers", timers)?];
        probes.extend(http2::probes(image)?);
        let runtime = Runtime { kind: RUNTIME_NODE, ..Runtime::default() };
        Ok(Some(Box::new(Known(Found { runtime, probes, ..Found::default() }))))
    }
}

/// Where functions of Node's own are: it exports them, unless somebody has built it otherwise.
fn find<const N: usize>(image: &Image, names: [&str; N]) -> Result<[Option<u64>; N], Refusal> {
    image.elf(|elf| {
        let exported = elf.exported(names)?;
        if exported.iter().any(Option::is_some) { Ok(exported) } else { elf.named(names) }
    })
}

/// Runs a kernel program at the entry of a function.
fn probe(image: &Image, program: &'static str, address: u64) -> Result<Probe, Refusal> {
    let offset = image.offset_of(address).ok_or(Refusal::Malformed("a function is not in the file"))?;
    Ok(Probe { program, file: Arc::clone(image.file()), id: image.id(), offset })
}

/// The same in each process, but for where its main thread's environment is.
struct Known(Found);

impl Plan for Known {
    fn runtime(&self) -> &'static str {
        Node.name()
    }

    fn process(&self, target: &Target) -> Result<Answer, Refusal> {
        let mut found = self.0.clone();
        let memory = Memory::open(target)?;
        let Some(ids) = environment::find(target, &memory)? else {
            // It has not come that far, or is of a version that keeps them elsewhere.
            return Ok(Answer::SoFar(found));
        };
        if let Some(at) = found.runtime.at.get_mut(IDS) {
            *at = ids;
        }
        Ok(Answer::Found(found))
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, process::Command, time::Duration};

    use super::*;

    /// The real one, where it is installed.
    #[test]
    fn the_environment_of_a_running_node_is_found() {
        let Ok(mut node) = Command::new("node").args(["-e", "setInterval(() => {}, 1000)"]).spawn() else {
            return;
        };
        let target = Target { pid: node.id(), proc: PathBuf::from(format!("/proc/{}", node.id())) };
        let mut found = None;
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(100));
            let memory = Memory::open(&target).unwrap();
            found = environment::find(&target, &memory).unwrap();
            if found.is_some() {
                break;
            }
        }
        let word = |address| Memory::open(&target).unwrap().word(address).unwrap();
        let made = f64::from_bits(word(found.expect("it has an environment") + 16));
        assert!((1.0..1000.0).contains(&made), "{made} ids were given out");
        node.kill().unwrap();
        node.wait().unwrap();
    }
}
