//! CPython 3.8 to 3.15: where the asyncio task or the greenlet that runs on a thread is, or what the thread was given as one of a pool's, the
//! functions that initialise a task and that submit something to a pool, and the interpreter's own locks. Needs no symbols: `_PyRuntime` is exported by stripped interpreters too, and all else is reached from it in the process's
//! memory. Tasks of `asyncio.tasks._PyTask`, the pure-Python class which runs only where `_asyncio` cannot be imported, are not
//! followed.

mod asyncio;
mod cold;
mod frames;
mod greenlets;
mod image;
pub mod layout;
mod objects;
mod thread;
mod workers;

#[cfg(test)]
mod tests;

use std::{cell::RefCell, collections::HashMap, io, rc::Rc};

use geophone_ebpf::{
    config::{RUNTIME_PYTHON, Runtime},
    python::{NONE, RUNNING_TASK, STACK_CHUNK, THREAD_TABLE, THREAD_WORD},
};

use self::layout::{Layout, Version};
pub use self::{
    image::Interpreter,
    thread::{Likely, Place},
};
use super::{
    Answer, Detector, FileId, Found, Image, Plan, Refusal, Target,
    file::is_dynamic,
    maps::{Map, Maps},
    memory::Memory,
};

/// See the module.
#[derive(Debug)]
pub struct Python;

const NAME: &str = "CPython";
/// What the name of its library begins with.
pub const LIBRARY: &str = "libpython";

impl Detector for Python {
    fn name(&self) -> &'static str {
        NAME
    }

    fn file(&self, image: &Image) -> Result<Option<Box<dyn Plan>>, Refusal> {
        Ok(Program::of(image)?.map(|program| Box::new(program) as Box<dyn Plan>))
    }
}

/// A file whose processes may run Python.
#[derive(Debug)]
pub enum Program {
    /// The interpreter is in the executable.
    Static(Rc<Interpreter>),
    /// It may be in `libpython`.
    Shared(RefCell<HashMap<FileId, Rc<Interpreter>>>),
}

/// Libraries that are remembered for an executable.
const LIBRARIES: usize = 64;

impl Program {
    /// `None` when no process that runs the file can.
    ///
    /// # Errors
    /// When its tables cannot be understood.
    pub fn of(image: &Image) -> Result<Option<Self>, Refusal> {
        if let Some(interpreter) = Interpreter::of(image)? {
            return Ok(Some(Self::Static(Rc::new(interpreter))));
        }
        let dynamic = image.elf(is_dynamic)?;
        Ok(dynamic.then(|| Self::Shared(RefCell::default())))
    }

    /// Finds the interpreter in a process that runs the file; `None` when there is none (yet).
    ///
    /// # Errors
    /// When the process is gone, or its interpreter cannot be understood.
    pub fn locate(&self, target: &Target) -> Result<Option<Located>, Refusal> {
        let maps = Maps::read(target)?;
        let libraries = match self {
            Self::Static(interpreter) => {
                let map = maps.executable().cloned().ok_or(Refusal::Malformed("the interpreter is not mapped"))?;
                return Located::new(target, maps, &map, Rc::clone(interpreter)).map(Some);
            }
            Self::Shared(libraries) => libraries,
        };
        let Some(map) = maps.named(LIBRARY).cloned() else {
            return Ok(None);
        };
        let path = map.file(target);
        let id = FileId::of(&path)?;
        let known = libraries.borrow().get(&id).cloned();
        let interpreter = if let Some(known) = known {
            known
        } else {
            let Some(interpreter) = Image::open(&path)?.map(|image| Interpreter::of(&image)).transpose()?.flatten()
            else {
                return Ok(None);
            };
            let mut libraries = libraries.borrow_mut();
            if libraries.len() >= LIBRARIES {
                libraries.clear();
            }
            let interpreter = Rc::new(interpreter);
            libraries.insert(id, Rc::clone(&interpreter));
            interpreter
        };
        Located::new(target, maps, &map, interpreter).map(Some)
    }
}

/// The interpreter in a process.
#[derive(Debug)]
pub struct Located {
    /// What is mapped in the process.
    maps: Maps,
    /// The interpreter's file.
    pub interpreter: Rc<Interpreter>,
    /// What has to be added to the file's addresses, wrapping.
    pub base: u64,
    /// The process's memory.
    pub memory: Memory,
    /// The beginning of `_PyRuntime`.
    pub header: Box<[u8; layout::HEADER]>,
    /// Where in its structures is what.
    pub layout: Layout,
}

impl Located {
    /// `map` is the lowest mapping of the interpreter's file.
    fn new(target: &Target, maps: Maps, map: &Map, interpreter: Rc<Interpreter>) -> Result<Self, Refusal> {
        let base =
            map.bias(&interpreter.segments).ok_or(Refusal::Malformed("the interpreter is mapped in another way"))?;
        let memory = Memory::open(target)?;
        let mut header = Box::new([0; layout::HEADER]);
        memory.read(base.wrapping_add(interpreter.runtime), header.as_mut_slice())?;
        let version = interpreter.version.or_else(|| maps.paths().find_map(Version::from_path));
        let layout = Layout::new(&header, version)?;
        Ok(Self { maps, interpreter, base, memory, header, layout })
    }

    /// The address of `_PyRuntime`.
    #[must_use]
    pub fn runtime(&self) -> u64 {
        self.base.wrapping_add(self.interpreter.runtime)
    }

    /// The state of the main interpreter; `None` before there is one.
    ///
    /// # Errors
    /// When memory is not mapped that should be.
    pub fn main(&self) -> io::Result<Option<u64>> {
        self.layout.main.find(&self.memory, self.runtime())
    }

    /// Where in a thread's own memory its state is found; `None` when it cannot be told (yet).
    ///
    /// # Errors
    /// When memory is not mapped that should be, or this is not known of the architecture.
    pub fn threads(&self, main: u64) -> Result<Option<Place>, Refusal> {
        is_known()?;
        Ok(thread::find(&self.memory, &self.layout, main)?)
    }

    /// The same, where it is enough while a thread runs Python code.
    ///
    /// # Errors
    /// As for [`Self::threads`].
    pub fn running_threads(&self, main: u64) -> Result<Option<Likely>, Refusal> {
        is_known()?;
        Ok(thread::likely(&self.memory, &self.layout, main)?)
    }
}

/// Elsewhere the thread pointer is not what `pthread_self` gives.
fn is_known() -> Result<(), Refusal> {
    if cfg!(target_arch = "x86_64") {
        return Ok(());
    }
    Err(Refusal::Version("the thread pointer of Python's threads on this architecture".to_owned()))
}

impl Plan for Program {
    fn runtime(&self) -> &'static str {
        NAME
    }

    fn process(&self, target: &Target) -> Result<Answer, Refusal> {
        match self.locate(target)? {
            Some(located) => look(target, &located),
            None => Ok(Answer::No),
        }
    }
}

/// Looks at a process.
fn look(target: &Target, located: &Located) -> Result<Answer, Refusal> {
    let Located { maps, interpreter, memory, layout, .. } = located;
    let runtime = located.runtime();
    let mut found = Found {
        runtime: Runtime {
            kind: RUNTIME_PYTHON,
            locks: [runtime, runtime.wrapping_add(interpreter.runtime_size)],
            ..Runtime::default()
        },
        ..Found::default()
    };
    set(&mut found.runtime, RUNNING_TASK, NONE);
    set(&mut found.runtime, STACK_CHUNK, NONE);
    let process = asyncio::Process { target, maps, memory, layout, interpreter };
    greenlets::find(&process, located, &mut found.runtime)?;
    let workers = workers::find(&process, located, &mut found)?;
    let tasks = process.find(located, &mut found)?;
    let is_complete = workers == asyncio::State::Ready && tasks == asyncio::State::Ready;
    Ok(if is_complete { Answer::Found(found) } else { Answer::SoFar(found) })
}

/// Where each thread's state is.
fn set_threads(runtime: &mut Runtime, place: Place) {
    let (word, table) = match place {
        Place::Word(word) => (word, NONE),
        Place::Table(word, table) => (word, table),
    };
    set(runtime, THREAD_WORD, word);
    set(runtime, THREAD_TABLE, table);
}

fn set(runtime: &mut Runtime, index: usize, value: u64) {
    if let Some(at) = runtime.at.get_mut(index) {
        *at = value;
    }
}
