//! tokio: the task that runs on a thread, who wakes a task, and who starts one. Found by a program's symbols, which release builds of
//! Cargo keep unless told otherwise; without them its tasks stay unknown. All of it is the same for every process that runs a file.

mod code;
mod symbols;

use std::sync::Arc;

use geophone_ebpf::{
    config::{RUNTIME_TOKIO, Runtime},
    tokio::{CURRENT, FIRST_ARGUMENT, SECOND_ARGUMENT},
};

use self::symbols::{Function, Symbols};
use super::{Answer, Detector, Found, Image, Plan, Probe, Refusal, Target};

/// Programs that contain tokio's scheduler.
pub struct Tokio;

/// The longest function that is looked at.
const CODE: usize = 1024;

/// Where the first two arguments of a function are in `struct pt_regs`, which is the same in all kernels: `rdi`, `rsi`.
const ARGUMENTS: [u64; 2] = [112, 104];

impl Detector for Tokio {
    fn name(&self) -> &'static str {
        "tokio"
    }

    fn file(&self, image: &Image) -> Result<Option<Box<dyn Plan>>, Refusal> {
        let Some(symbols) = Symbols::of(image)? else {
            return Ok(None);
        };
        if !cfg!(target_arch = "x86_64") {
            return Err(Refusal::Version("the code of programs of this architecture".to_owned()));
        }
        let (context, size) = symbols.context;
        let inside = symbols.setters.iter().find_map(|function| code::stored(&body(image, function)?, context, size));
        let inside = inside.ok_or(Refusal::Malformed("where the task that runs is kept cannot be told"))?;
        let mut runtime = Runtime { kind: RUNTIME_TOKIO, ..Runtime::default() };
        let [first, second] = ARGUMENTS;
        let values = [
            (CURRENT, context.saturating_add_unsigned(inside).cast_unsigned()),
            (FIRST_ARGUMENT, first),
            (SECOND_ARGUMENT, second),
        ];
        for (index, value) in values {
            if let Some(at) = runtime.at.get_mut(index) {
                *at = value;
            }
        }
        let wakes = symbols.wakes.iter().map(|function| ("tokio_wake", function));
        let spawns = symbols.spawns.iter().map(|function| ("tokio_spawn", function));
        let probes = wakes.chain(spawns).map(|(program, function)| {
            let offset =
                image.offset_of(function.address).ok_or(Refusal::Malformed("a function is not in the file"))?;
            Ok(Probe { program, file: Arc::clone(image.file()), id: image.id(), offset })
        });
        let probes = probes.collect::<Result<Vec<_>, Refusal>>()?;
        Ok(Some(Box::new(Known(Found { runtime, probes, ..Found::default() }))))
    }
}

/// A function's code.
fn body(image: &Image, function: &Function) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(function.size).ok()?.min(CODE)];
    let offset = image.offset_of(function.address)?;
    let read = image.read_some(&mut bytes, offset).ok()?;
    bytes.truncate(read);
    Some(bytes)
}

/// The same in each process.
struct Known(Found);

impl Plan for Known {
    fn runtime(&self) -> &'static str {
        Tokio.name()
    }

    fn process(&self, _target: &Target) -> Result<Answer, Refusal> {
        Ok(Answer::Found(self.0.clone()))
    }
}
