//! Threads of pools: the functions at the bottom of such threads, and the variables that hold what they were given, of
//! `concurrent.futures.ThreadPoolExecutor` (`run_in_executor` and `asyncio.to_thread` of asyncio use it) and of anyio (Starlette and
//! FastAPI). See [`geophone_ebpf::python`]. Other pools stay unknown.

use std::sync::atomic::{AtomicBool, Ordering};

use geophone_ebpf::python::{
    FRAME_CODE, FRAME_OF_CHAIN, FRAME_OF_STATE, FRAME_PREVIOUS, FUTURE_CODE, FUTURE_LOCAL, ITEM_CLASS, ITEM_CODE,
    ITEM_LOCAL, LOOP_CODE, LOOPS, SECOND_ARGUMENT, TASK_CLASS,
};

use super::{
    Located,
    asyncio::{Process, State},
    frames::Frames,
    layout, set, set_threads,
};
use crate::runtime::{Found, Refusal, memory::words};

/// Modules with pools.
const POOL: &str = "concurrent.futures.thread";
const ANYIO: &str = "anyio._backends._asyncio";
/// Functions that run an event loop, with their classes. Loops that are no Python code (uvloop) are run by the last two.
const RUN: [(&str, Option<&str>, &str); LOOPS] = [
    ("asyncio.base_events", Some("BaseEventLoop"), "run_forever"),
    ("asyncio.runners", Some("Runner"), "run"),
    ("asyncio.runners", None, "run"),
];

/// Where the second argument of a C function is in `struct pt_regs`: `rsi`, `x1`.
const ARGUMENT: u64 = if cfg!(target_arch = "x86_64") { 104 } else { 8 };
/// `PyMethodDescrObject.d_method`
const DESCRIBED: u64 = 40;
/// `PyMethodDef.ml_flags`: `METH_FASTCALL | METH_KEYWORDS`. Its arguments are the function's second.
const FLAGS: u64 = 16;
const FAST_WITH_KEYWORDS: u32 = 0x82;
/// Words of a function object among which its code is.
const FUNCTION: usize = 10;
/// Local variables that are looked at.
const LOCALS: usize = 256;
/// `PyTupleObject`: size and items.
const SIZE: u64 = 16;
const ITEMS: u64 = 24;

/// The log has been told that this is not understood.
static SAID: AtomicBool = AtomicBool::new(false);

/// Fills in what there is. What is not understood is said once, and is no reason to leave out anything else.
pub fn find(process: &Process<'_>, located: &Located, found: &mut Found) -> Result<State, Refusal> {
    match (Workers { process, located }).find(found) {
        Err(refusal @ (Refusal::Version(_) | Refusal::Malformed(_))) => {
            if !SAID.swap(true, Ordering::Relaxed) {
                log::info!("what threads of Python's pools work for is not followed: {refusal}");
            }
            Ok(State::Ready)
        }
        result => result,
    }
}

struct Workers<'a> {
    process: &'a Process<'a>,
    located: &'a Located,
}

impl Workers<'_> {
    fn find(&self, found: &mut Found) -> Result<State, Refusal> {
        let Self { process, located } = self;
        let Some(interpreter) = located.main()? else {
            return Ok(State::NotYet);
        };
        let (pool, anyio) = (process.module(interpreter, POOL)?, process.module(interpreter, ANYIO)?);
        if pool.is_none() && anyio.is_none() {
            return Ok(State::NotYet);
        }
        let frames = Frames::new(process.layout.version, &located.header)?;
        let Some(place) = located.threads(interpreter)? else {
            return Ok(State::NotYet);
        };
        let items = pool.map(|pool| self.items(interpreter, pool, frames)).transpose()?.flatten();
        let futures = anyio.map(|anyio| self.futures(interpreter, anyio, frames)).transpose()?.flatten();
        set_threads(&mut found.runtime, place);
        let mut put = |index, value| set(&mut found.runtime, index, value);
        put(FRAME_OF_STATE, frames.state);
        put(FRAME_OF_CHAIN, frames.chain);
        put(FRAME_PREVIOUS, frames.previous);
        put(FRAME_CODE, frames.code);
        for (index, (module, class, function)) in RUN.into_iter().enumerate() {
            put(LOOP_CODE + index, self.function(interpreter, module, class, function)?.unwrap_or_default());
        }
        if let Some([code, local, task]) = futures {
            put(FUTURE_CODE, code);
            put(FUTURE_LOCAL, local);
            put(TASK_CLASS, task);
        }
        if let Some(([code, local, class], submits)) = items {
            put(ITEM_CODE, code);
            put(ITEM_LOCAL, local);
            put(ITEM_CLASS, class);
            put(SECOND_ARGUMENT, ARGUMENT);
            found.probes.push(process.function("python_submit", submits)?);
        }
        Ok(if items.is_some() && futures.is_some() { State::Ready } else { State::NotYet })
    }

    /// Of `ThreadPoolExecutor`: code, variable, the items' class; and the function that puts something into its queue.
    fn items(&self, interpreter: u64, pool: u64, frames: Frames) -> Result<Option<([u64; 3], u64)>, Refusal> {
        let Some(queues) = self.process.module(interpreter, "_queue")? else {
            return Ok(None);
        };
        let (Some(worker), Some(class), Some(queue)) = (
            self.process.lookup(pool, "_worker")?,
            self.process.lookup(pool, "_WorkItem")?,
            self.process.lookup(queues, "SimpleQueue")?,
        ) else {
            return Ok(None);
        };
        let code = self.code(worker)?;
        let local = self.local(code, frames, "work_item")?;
        let Some(put) = self.process.lookup(self.members(queue)?, "put")? else {
            return Ok(None);
        };
        let memory = self.process.memory;
        let method = memory.word(put.wrapping_add(DESCRIBED))?;
        let flags = memory.word(method.wrapping_add(FLAGS))? as u32;
        if flags != FAST_WITH_KEYWORDS {
            return Err(Refusal::Malformed("a queue's put is not called as it should be"));
        }
        Ok(Some(([code, local, class], memory.word(method.wrapping_add(8))?)))
    }

    /// Of anyio's threads: code, variable, the class of tasks.
    fn futures(&self, interpreter: u64, anyio: u64, frames: Frames) -> Result<Option<[u64; 3]>, Refusal> {
        let Some(asyncio) = self.process.module(interpreter, "_asyncio")? else {
            return Ok(None);
        };
        let (Some(thread), Some(task)) =
            (self.process.lookup(anyio, "WorkerThread")?, self.process.lookup(asyncio, "Task")?)
        else {
            return Ok(None);
        };
        let Some(run) = self.process.lookup(self.members(thread)?, "run")? else {
            return Ok(None);
        };
        let code = self.code(run)?;
        Ok(Some([code, self.local(code, frames, "future")?, task]))
    }

    /// The code of a function of a module, or of one of its classes, if there is one.
    fn function(
        &self,
        interpreter: u64,
        module: &str,
        class: Option<&str>,
        name: &str,
    ) -> Result<Option<u64>, Refusal> {
        let Some(mut names) = self.process.module(interpreter, module)? else {
            return Ok(None);
        };
        if let Some(class) = class {
            let Some(class) = self.process.lookup(names, class)? else {
                return Ok(None);
            };
            names = self.members(class)?;
        }
        self.process.lookup(names, name)?.map(|function| self.code(function)).transpose()
    }

    /// The dict of a class.
    fn members(&self, class: u64) -> Result<u64, Refusal> {
        let name = class.wrapping_add(self.process.layout.tp_name);
        Ok(self.process.memory.word(name.wrapping_add(layout::MEMBERS))?)
    }

    /// The code of a function. Where in the function that is differs by version; it is the only one there.
    fn code(&self, function: u64) -> Result<u64, Refusal> {
        let objects = self.process.memory.words(function.wrapping_add(layout::OBJECT), FUNCTION);
        let mut codes = objects.into_iter().filter(|object| self.is_code(*object));
        codes.next().ok_or(Refusal::Malformed("a function of a pool's threads has no code"))
    }

    fn is_code(&self, object: u64) -> bool {
        let memory = self.process.memory;
        let class = memory.word(object.wrapping_add(layout::OBJECT - 8));
        let name = class.and_then(|class| memory.word(class.wrapping_add(self.process.layout.tp_name)));
        object.is_multiple_of(8) && name.is_ok_and(|name| memory.is_text(name, "code"))
    }

    /// Where in a frame a local variable is.
    fn local(&self, code: u64, frames: Frames, name: &str) -> Result<u64, Refusal> {
        let memory = self.process.memory;
        let names = memory.word(code.wrapping_add(frames.names))?;
        let count = memory.word(names.wrapping_add(SIZE))?;
        let mut bytes = vec![0; 8 * usize::try_from(count).unwrap_or(usize::MAX).min(LOCALS)];
        memory.read(names.wrapping_add(ITEMS), &mut bytes)?;
        let text = |object: u64| object.wrapping_add(self.process.layout.text);
        let index = words(&bytes).position(|object| memory.is_text(text(object), name));
        let index = index.ok_or(Refusal::Malformed("a function of a pool's threads has not the variable"))?;
        Ok(frames.locals.wrapping_add(8 * index as u64))
    }
}
