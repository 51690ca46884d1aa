//! CPython 3.8 to 3.15: where the asyncio task that runs on a thread is, the function that initialises a task, and the interpreter's
//! own locks. Needs no symbols: `_PyRuntime` is exported by stripped interpreters too, and all else is reached from it in the process's
//! memory. Tasks of `asyncio.tasks._PyTask`, the pure-Python class which runs only where `_asyncio` cannot be imported, are not
//! followed.

mod asyncio;
mod image;
mod layout;
mod maps;
mod objects;
mod thread;

#[cfg(test)]
mod tests;

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use geophone_ebpf::{
    config::{RUNTIME_PYTHON, Runtime},
    python::{NONE, RUNNING_TASK},
};

use self::{
    image::Interpreter,
    layout::Layout,
    maps::{Map, Maps},
};
use super::{Answer, Detector, FileId, Found, Image, Plan, Refusal, Target, memory::Memory};

/// See the module.
#[derive(Debug)]
pub struct Python;

const NAME: &str = "CPython";

impl Detector for Python {
    fn name(&self) -> &'static str {
        NAME
    }

    fn file(&self, image: &Image) -> Result<Option<Box<dyn Plan>>, Refusal> {
        if let Some(interpreter) = Interpreter::of(image)? {
            return Ok(Some(Box::new(Static(interpreter))));
        }
        // The interpreter may be in a library.
        let dynamic = image.elf(image::is_dynamic)?;
        Ok(if dynamic { Some(Box::new(Shared::default())) } else { None })
    }
}

/// The interpreter is in the executable.
struct Static(Interpreter);

impl Plan for Static {
    fn runtime(&self) -> &'static str {
        NAME
    }

    fn process(&self, target: &Target) -> Result<Answer, Refusal> {
        let maps = Maps::read(target)?;
        match maps.executable() {
            Some(map) => look(target, &maps, map, &self.0),
            None => Err(Refusal::Malformed("the interpreter is not mapped")),
        }
    }
}

/// It may be in `libpython`.
#[derive(Default)]
struct Shared {
    libraries: RefCell<HashMap<FileId, Rc<Interpreter>>>,
}

/// Libraries that are remembered for an executable.
const LIBRARIES: usize = 64;

impl Plan for Shared {
    fn runtime(&self) -> &'static str {
        NAME
    }

    fn process(&self, target: &Target) -> Result<Answer, Refusal> {
        let maps = Maps::read(target)?;
        let Some(map) = maps.named("libpython") else {
            return Ok(Answer::No);
        };
        let path = map.file(target);
        let id = FileId::of(&path)?;
        let known = self.libraries.borrow().get(&id).cloned();
        let interpreter = if let Some(known) = known {
            known
        } else {
            let Some(image) = Image::open(&path)? else {
                return Ok(Answer::No);
            };
            let Some(interpreter) = Interpreter::of(&image)? else {
                return Ok(Answer::No);
            };
            let mut libraries = self.libraries.borrow_mut();
            if libraries.len() >= LIBRARIES {
                libraries.clear();
            }
            let interpreter = Rc::new(interpreter);
            libraries.insert(id, Rc::clone(&interpreter));
            interpreter
        };
        look(target, &maps, map, &interpreter)
    }
}

/// Looks at a process; `map` is the lowest mapping of the interpreter's file.
fn look(target: &Target, maps: &Maps, map: &Map, interpreter: &Interpreter) -> Result<Answer, Refusal> {
    let base = map.bias(&interpreter.segments).ok_or(Refusal::Malformed("the interpreter is mapped in another way"))?;
    let runtime = base.wrapping_add(interpreter.runtime);
    let memory = Memory::open(target)?;
    let mut header = [0; layout::HEADER];
    memory.read(runtime, &mut header)?;
    let version = interpreter.version.or_else(|| maps.version());
    let layout = Layout::new(&header, version)?;

    let mut found = Found {
        runtime: Runtime {
            kind: RUNTIME_PYTHON,
            locks: [runtime, runtime.wrapping_add(interpreter.runtime_size)],
            ..Runtime::default()
        },
        ..Found::default()
    };
    set(&mut found.runtime, RUNNING_TASK, NONE);
    let process = asyncio::Process { target, maps, memory: &memory, layout: &layout, interpreter, runtime };
    Ok(match process.find(&mut found)? {
        asyncio::State::Ready => Answer::Found(found),
        asyncio::State::NotYet => Answer::SoFar(found),
    })
}

fn set(runtime: &mut Runtime, index: usize, value: u64) {
    if let Some(at) = runtime.at.get_mut(index) {
        *at = value;
    }
}
