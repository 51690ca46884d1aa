//! The way from `_PyRuntime` to asyncio: the module `_asyncio`, its class `Task`, and where the running tasks are.

use geophone_ebpf::python::{CONTEXT, FIRST_ARGUMENT, OLD_KEYS, RUNNING_TASK, TASK_CONTEXT, TASKS};

use super::{
    Located,
    image::{self, Interpreter},
    layout::{self, Layout, Version},
    objects::{self, NEW_KEYS},
    set, set_threads,
};
use crate::runtime::{Found, Image, Probe, Refusal, Target, maps::Maps, memory::Memory};

/// A process that runs Python.
pub struct Process<'a> {
    pub target: &'a Target,
    pub maps: &'a Maps,
    pub memory: &'a Memory,
    pub layout: &'a Layout,
    pub interpreter: &'a Interpreter,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All was found.
    Ready,
    /// It has not imported asyncio, or cannot be understood at this moment.
    NotYet,
}

/// The first version in which each thread's state has the running task.
const BY_THREAD: Version = Version(14);

/// Where the first argument of a C function is in `struct pt_regs`, which is the same in all kernels: `rdi`, `x0`.
const ARGUMENT: u64 = if cfg!(target_arch = "x86_64") { 112 } else { 0 };

impl Process<'_> {
    /// Fills in what there is.
    pub fn find(&self, located: &Located, found: &mut Found) -> Result<State, Refusal> {
        let Some(interpreter) = located.main()? else {
            return Ok(State::NotYet);
        };
        let Some(module) = self.module(interpreter, "_asyncio")? else {
            return Ok(State::NotYet);
        };
        let (Some(class), Some(place)) = (self.lookup(module, "Task")?, located.threads(interpreter)?) else {
            return Ok(State::NotYet);
        };
        let name = self.memory.word(class.wrapping_add(self.layout.tp_name))?;
        if !self.memory.is_text(name, "_asyncio.Task") {
            return Err(Refusal::Malformed("_asyncio.Task is not what it should be"));
        }
        let runtime = &mut found.runtime;
        if self.layout.version >= BY_THREAD {
            set(runtime, RUNNING_TASK, self.published()?.running_task);
        } else {
            let Some(tasks) = self.lookup(module, "_current_tasks")? else {
                return Ok(State::NotYet);
            };
            set(runtime, TASKS, tasks);
            set(runtime, CONTEXT, self.layout.context);
            set(runtime, TASK_CONTEXT, self.task_context(class)?);
            set(runtime, OLD_KEYS, (self.layout.version < NEW_KEYS).into());
        }
        set_threads(runtime, place);
        set(runtime, FIRST_ARGUMENT, ARGUMENT);
        found.probes.push(self.probe(class)?);
        Ok(State::Ready)
    }

    /// The dict of a module; `None` while it is not imported.
    pub fn module(&self, interpreter: u64, name: &str) -> Result<Option<u64>, Refusal> {
        let modules = self.memory.word(interpreter.wrapping_add(self.layout.modules))?;
        if modules == 0 {
            return Ok(None);
        }
        match self.lookup(modules, name)? {
            Some(module) => Ok(Some(self.memory.word(module.wrapping_add(layout::OBJECT))?)),
            None => Ok(None),
        }
    }

    /// The value of a name in a dict; `None` also where the dict cannot be understood.
    pub fn lookup(&self, dict: u64, name: &str) -> Result<Option<u64>, Refusal> {
        Ok(objects::lookup(self.memory, self.layout, dict, name)?)
    }

    /// Where in a task its context is: before the flags at its end, which differ.
    fn task_context(&self, class: u64) -> Result<u64, Refusal> {
        let name = class.wrapping_add(self.layout.tp_name);
        let size = self.memory.word(name.wrapping_add(layout::BASIC_SIZE))?;
        let behind = match self.layout.version.0 {
            ..=10 => 16,
            11 | 12 => 24,
            _ => 8,
        };
        // 144 to 192 bytes in all that were seen.
        if !(128..=256).contains(&size) {
            return Err(Refusal::Malformed("the size of a task cannot be right"));
        }
        Ok(size - behind)
    }

    /// What `_asyncio` publishes of itself.
    fn published(&self) -> Result<image::Asyncio, Refusal> {
        if let Some(asyncio) = self.interpreter.asyncio {
            return Ok(asyncio);
        }
        let missing = Refusal::Malformed("_asyncio does not say where the running task is");
        let Some(map) = self.maps.named("_asyncio.") else {
            return Err(missing);
        };
        let image = Image::open(&map.file(self.target))?;
        let asyncio = image.map(|image| image.elf(|elf| Ok(image::asyncio(elf)))).transpose()?;
        asyncio.flatten().ok_or(missing)
    }

    /// The function that initialises a task.
    fn probe(&self, class: u64) -> Result<Probe, Refusal> {
        let name = class.wrapping_add(self.layout.tp_name);
        self.function("python_task", self.memory.word(name.wrapping_add(layout::INIT))?)
    }

    /// The entry of a function, by its address, for a kernel program.
    pub fn function(&self, program: &'static str, address: u64) -> Result<Probe, Refusal> {
        let Some(map) = self.maps.code(address) else {
            return Err(Refusal::Malformed("a function that is to be watched is in no file"));
        };
        let Some(image) = Image::open(&map.file(self.target))? else {
            return Err(Refusal::Malformed("a function that is to be watched is in no program"));
        };
        let offset = map.offset_of(address);
        Ok(Probe { program, file: image.file().clone(), id: image.id(), offset })
    }
}
