//! Against real interpreters: that of the machine, and those whose paths `GEOPHONE_TEST_PYTHON` lists, separated by colons.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

use geophone_ebpf::python::*;

use super::*;
use crate::runtime::{Probe, file::Elf};

/// Says what is to be found: of a thread that runs a task, of the loop's own callbacks, of a thread of the executor meanwhile.
const SCRIPT: &str = r"
import asyncio, os, sys, threading
def say(*what):
    print(*what, flush=True)
    os.read(0, 1)
async def inner():
    say('inner', threading.get_ident(), id(asyncio.current_task()))
async def main():
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    say('task', threading.get_ident(), id(task))
    # Grows and shrinks the dict of running tasks.
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.get_running_loop().create_task(inner())
    say('again', threading.get_ident(), id(task))
    done = asyncio.Event()
    def callback():
        say('callback', threading.get_ident(), 0)
        done.set()
    loop.call_soon(callback)
    await done.wait()
    # While this task runs on, which it does not in a coroutine that waits.
    ready = threading.Event()
    def elsewhere():
        say('thread', threading.get_ident(), 0)
        ready.set()
    threading.Thread(target=elsewhere).start()
    ready.wait()
    # A loop of its own in another thread.
    async def other():
        say('other', threading.get_ident(), id(asyncio.current_task()))
        ready.set()
    ready.clear()
    threading.Thread(target=lambda: asyncio.run(other())).start()
    ready.wait()
    say('both', threading.get_ident(), id(task))
asyncio.run(main())
";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pythons() -> Vec<String> {
    let more = std::env::var("GEOPHONE_TEST_PYTHON").unwrap_or_default();
    let more = more.split(':').filter(|path| !path.is_empty()).map(str::to_owned);
    std::iter::once("/usr/bin/python3".to_owned()).chain(more).collect()
}

fn start(python: &str, script: &str) -> Running {
    let mut words = python.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    Running(command.spawn().unwrap_or_else(|error| panic!("{python}: {error}")))
}

fn answer(running: &Running) -> Answer {
    let pid = running.0.id();
    let target = Target { pid, proc: format!("/proc/{pid}").into() };
    let image = Image::open(&target.proc.join("exe")).unwrap().unwrap();
    let plan = Python.file(&image).unwrap().unwrap();
    plan.process(&target).unwrap()
}

fn found(running: &Running) -> Found {
    match answer(running) {
        // What it has not imported may still come.
        Answer::Found(found) | Answer::SoFar(found) => found,
        answer => panic!("{answer:?}"),
    }
}

/// What the kernel side does (`ebpf/src/programs/python.rs`).
fn task(memory: &Memory, at: &[u64; 24], pointer: u64) -> u64 {
    let word = |address: u64| memory.word(address).unwrap();
    let mut state = word(pointer.wrapping_add(at[THREAD_WORD]));
    if at[THREAD_TABLE] != NONE {
        state = word(state + at[THREAD_TABLE]);
    }
    if at[TASKS] == 0 {
        return word(state + at[RUNNING_TASK]);
    }
    let (used, keys) = (word(at[TASKS] + DICT_USED), word(at[TASKS] + DICT_KEYS));
    let context = word(state + at[CONTEXT]);
    if used == 0 || context == 0 {
        return 0;
    }
    let (first, entries) = if at[OLD_KEYS] == 0 {
        let mut log2 = [0];
        memory.read(keys + KEYS_LOG2 + 1, &mut log2).unwrap();
        (keys + KEYS_HEADER + (1 << log2[0]), word(keys + KEYS_ENTRIES))
    } else {
        (keys + OLD_KEYS_HEADER + word(keys + OLD_KEYS_SIZE), word(keys + OLD_KEYS_ENTRIES))
    };
    assert!(entries <= ENTRIES_SEARCHED, "{entries}");
    let tasks = (0..entries).map(|index| word(first + index * ENTRY_SIZE + ENTRY_VALUE));
    tasks.filter(|task| *task != 0).find(|task| word(task + at[TASK_CONTEXT]) == context).unwrap_or_default()
}

/// Runs a script of which each line says what, on which thread, and which id is to be found there. Returns what was said, and what was known.
fn follow(
    python: &str,
    script: &str,
    look: impl Fn(&Running) -> Found,
    id: impl Fn(&Memory, &[u64; 24], u64) -> u64,
) -> (Vec<String>, Found) {
    let mut running = start(python, script);
    let lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let mut known: Option<Found> = None;
    let mut seen = Vec::new();
    for line in lines {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let (what, thread, expected) = (words[0], words[1].parse().unwrap(), words[2].parse::<u64>().unwrap());
        let found = known.get_or_insert_with(|| look(&running));
        let pid = running.0.id();
        let memory = Memory::open(&Target { pid, proc: format!("/proc/{pid}").into() }).unwrap();
        assert_eq!(id(&memory, &found.runtime.at, thread), expected, "{python}: {what}: {:?}", found.runtime);
        seen.push(what.to_owned());
        running.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
    (seen, known.unwrap())
}

#[test]
fn the_running_task_is_found() {
    for python in pythons() {
        let (seen, _) = follow(&python, SCRIPT, found, task);
        assert_eq!(seen, ["task", "inner", "again", "callback", "thread", "other", "both"], "{python}");
    }
}

/// Says the same of threads of pools: what they were given, when that is done by many functions, and when it is to run a loop. The class
/// of anyio is as in its version 4.
const POOLS: &str = r#"
import asyncio, contextvars, os, queue, sys, threading, types
from concurrent.futures import ThreadPoolExecutor
def say(*what):
    print(*what, flush=True)
    os.read(0, 1)
anyio = types.ModuleType('anyio._backends._asyncio')
sys.modules[anyio.__name__] = anyio
class WorkerThread(threading.Thread):
    def __init__(self, loop):
        super().__init__()
        self.loop = loop
        self.queue = queue.Queue(2)
    def run(self):
        while True:
            item = self.queue.get()
            if item is None:
                return
            context, func, args, future = item
            result = context.run(func, *args)
            self.loop.call_soon_threadsafe(future.set_result, result)
            self.queue.task_done()
            del item, context, func, args, future
anyio.WorkerThread = WorkerThread
pool = ThreadPoolExecutor(1)
pool.submit(int).result()
def item(depth):
    if depth:
        return item(depth - 1)
    frame = sys._getframe()
    while frame.f_code.co_name != '_worker':
        frame = frame.f_back
    say('item', threading.get_ident(), id(frame.f_locals['work_item']))
say('main', threading.get_ident(), 0)
for depth in 0, 200:
    pool.submit(item, depth).result()
async def within():
    say('task', threading.get_ident(), id(asyncio.current_task()))
    asyncio.get_running_loop().call_soon(lambda: say('callback', threading.get_ident(), 0))
    await asyncio.sleep(0)
pool.submit(asyncio.run, within()).result()
async def main():
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(pool, item, 3)
    thread = WorkerThread(loop)
    thread.start()
    for _ in range(2):
        future = loop.create_future()
        task = id(asyncio.current_task())
        func = lambda: say('future', threading.get_ident(), task)
        thread.queue.put_nowait((contextvars.copy_context(), func, (), future))
        await future
    thread.queue.put_nowait(None)
    thread.join()
asyncio.run(main())
"#;

/// What the kernel side does where no task runs.
fn given(memory: &Memory, at: &[u64; 24], pointer: u64) -> u64 {
    let word = |address: u64| memory.word(address).unwrap();
    let is_of = |object: u64, class| object != 0 && memory.word(object + OBJECT_TYPE).is_ok_and(|found| found == class);
    let mut state = word(pointer.wrapping_add(at[THREAD_WORD]));
    if at[THREAD_TABLE] != NONE {
        state = word(state + at[THREAD_TABLE]);
    }
    let mut frame = word(state + at[FRAME_OF_STATE]);
    if at[FRAME_OF_CHAIN] != NONE {
        frame = word(frame + at[FRAME_OF_CHAIN]);
    }
    for _ in 0..FRAMES {
        if frame == 0 {
            break;
        }
        let code = word(frame + at[FRAME_CODE]) & !FLAGS;
        if code == at[ITEM_CODE] {
            let item = word(frame + at[ITEM_LOCAL]) & !FLAGS;
            return if is_of(item, at[ITEM_CLASS]) { item } else { 0 };
        }
        if code == at[FUTURE_CODE] {
            let future = word(frame + at[FUTURE_LOCAL]) & !FLAGS;
            let wakes = word(future + FUTURE_CALLBACK);
            let tasks = WAKES.map(|offset| word(wakes + offset));
            return tasks.into_iter().find(|task| is_of(*task, at[TASK_CLASS])).unwrap_or_default();
        }
        if at[LOOP_CODE..LOOP_CODE + LOOPS].contains(&code) {
            break;
        }
        frame = word(frame + at[FRAME_PREVIOUS]);
    }
    0
}

#[test]
fn what_threads_of_pools_were_given_is_found() {
    for python in pythons() {
        let complete = |running: &Running| match answer(running) {
            Answer::Found(found) => found,
            answer => panic!("{python}: {answer:?}"),
        };
        let (seen, found) = follow(&python, POOLS, complete, |memory, at, thread| match task(memory, at, thread) {
            0 => given(memory, at, thread),
            task => task,
        });
        let expected = ["main", "item", "item", "task", "callback", "item", "future", "future"];
        assert_eq!(seen, expected, "{python}");
        let programs: Vec<_> = found.probes.iter().map(|probe| probe.program).collect();
        assert_eq!(programs, ["python_submit", "python_task"], "{python}");
    }
}

#[test]
fn the_function_that_starts_tasks_is_found() {
    for python in pythons() {
        let mut running = start(&python, "import asyncio, os; print(flush=True); os.read(0, 1)");
        BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let found = found(&running);
        let [Probe { program, file, offset, .. }] = found.probes.as_slice() else {
            panic!("{python}: {found:?}");
        };
        assert_eq!(*program, "python_task");
        let path = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&**file))).unwrap();
        let image = Image::open(&path).unwrap().unwrap();
        let code =
            image.segments().iter().find(|segment| (segment.offset..segment.offset + segment.size).contains(offset));
        let code = code.unwrap_or_else(|| panic!("{python}: {offset:#x} in {}", path.display()));
        assert!(code.execute, "{python}");
        // Where there are symbols, it can be seen that it is the right one.
        let address = code.address + offset - code.offset;
        if let Some(name) = image.elf(|elf| Ok(name(elf, address))).unwrap() {
            assert_eq!(name, "_asyncio_Task___init__", "{python}");
        }
        // The lock that threads take turns by is among the interpreter's own.
        let [from, to] = found.runtime.locks;
        assert!(to - from >= 600, "{python}");
    }
}

/// The name of the function at an address, by the symbol table of those that were not exported.
fn name(elf: &Elf<'_>, address: u64) -> Option<String> {
    use object::read::elf::Sym as _;
    let table = elf.sections.symbols(elf.endian, elf.data, object::elf::SHT_SYMTAB).unwrap();
    let symbol = table.iter().find(|symbol| symbol.st_value(elf.endian) == address)?;
    Some(String::from_utf8(table.symbol_name(elf.endian, symbol).unwrap().to_vec()).unwrap())
}

#[test]
fn asyncio_may_come_later() {
    for python in pythons() {
        let script = "import os; print(flush=True); os.read(0, 1); import asyncio; print(flush=True); os.read(0, 1)";
        let mut running = start(&python, script);
        let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
        lines.next();
        match answer(&running) {
            Answer::SoFar(found) => {
                assert_eq!((found.runtime.at[TASKS], found.runtime.at[RUNNING_TASK]), (0, NONE));
                assert!(found.probes.is_empty());
            }
            answer => panic!("{python}: {answer:?}"),
        }
        running.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        lines.next();
        let found = found(&running);
        assert_eq!(found.probes.len(), 1, "{python}");
        assert_eq!((found.runtime.at[ITEM_CODE], found.runtime.at[FUTURE_CODE]), (0, 0), "there are no pools");
    }
}

#[test]
fn other_programs_are_none_of_it() {
    let running = Running(Command::new("sleep").arg("60").spawn().unwrap());
    // Before it runs its program, it is this test.
    while !std::fs::read_link(format!("/proc/{}/exe", running.0.id())).is_ok_and(|exe| exe.ends_with("sleep")) {
        std::thread::yield_now();
    }
    assert!(matches!(answer(&running), Answer::No));
}

#[test]
fn nonsense_in_memory_is_bounded() {
    use std::io::Seek as _;
    let layout = Layout::new(&[0; layout::HEADER], Some(Version(11))).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    let mut words = [0_u64; 64];
    // A dict whose keys are at 64, with more entries than any.
    words[4] = 64;
    words[8 + 3] = u64::MAX;
    let mut write = |words: &[u64; 64]| {
        file.rewind().unwrap();
        words.iter().for_each(|word| file.write_all(&word.to_ne_bytes()).unwrap());
        Memory::from_file(file.try_clone().unwrap())
    };
    let memory = write(&words);
    assert!(objects::lookup(&memory, &layout, 0, "name").unwrap().is_none());
    // More than there is memory.
    words[8 + 3] = 1000;
    let memory = write(&words);
    objects::lookup(&memory, &layout, 0, "name").unwrap_err();
    // Indices as long as a number can be.
    words[8 + 3] = 1;
    words[8 + 1] = 0xff00;
    let memory = write(&words);
    assert!(objects::lookup(&memory, &layout, 0, "name").unwrap().is_none());
    // No thread, and threads that lead to themselves.
    assert!(thread::find(&memory, &layout, 400).unwrap().is_none());
    words = [8; 64];
    let memory = write(&words);
    assert!(thread::find(&memory, &layout, 0).unwrap().is_some(), "each word is the state's address");
}
