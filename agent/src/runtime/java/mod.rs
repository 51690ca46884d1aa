//! Java (HotSpot, JDK 21 and later): where the virtual thread is that runs on a thread. All is found in the tables that the JVM
//! publishes of itself for debuggers, and checked by the threads that it has. Platform threads are threads; JVMs that have no virtual
//! ones are left alone.

mod classes;
mod local;
mod objects;
mod tables;
mod waits;

#[cfg(test)]
mod tests;

use geophone_ebpf::{
    config::{RUNTIME_JAVA, Runtime},
    java::{CLASS, CLASS_MASK, CLASS_VIRTUAL, ID, MODULE, MODULE_WORD, MOUNTED, NONE, OWNER_ID, VTABLE, VTHREAD, WORD},
};

use self::{
    classes::Classes,
    local::{Place, Thread},
    objects::Objects,
    tables::Tables,
    waits::Family,
};
use super::{Answer, Detector, Found, Image, Plan, Refusal, Target, file::is_dynamic, maps::Maps, memory::Memory};

/// Programs that may load a JVM.
pub struct Java;

/// Its library.
const LIBRARY: &str = "libjvm.so";
/// Threads that are looked at.
const THREADS: u64 = 64;
/// The class of virtual threads, and that of all threads.
const VIRTUAL: &str = "java/lang/VirtualThread";
const THREAD: &str = "java/lang/Thread";

impl Detector for Java {
    fn name(&self) -> &'static str {
        "Java"
    }

    fn file(&self, image: &Image) -> Result<Option<Box<dyn Plan>>, Refusal> {
        let dynamic = image.elf(is_dynamic)?;
        Ok(dynamic.then(|| Box::new(Known) as Box<dyn Plan>))
    }
}

/// Nothing is known before the library is loaded.
struct Known;

impl Plan for Known {
    fn runtime(&self) -> &'static str {
        Java.name()
    }

    fn process(&self, target: &Target) -> Result<Answer, Refusal> {
        let maps = Maps::read(target)?;
        let Some(map) = maps.named(LIBRARY) else {
            return Ok(Answer::No);
        };
        let Some(image) = Image::open(&map.file(target))? else {
            return Ok(Answer::No);
        };
        let base = map.bias(image.segments()).ok_or(Refusal::Malformed("libjvm.so is mapped in another way"))?;
        let memory = Memory::open(target)?;
        let Some(tables) = Tables::read(&image, base, &memory)? else {
            return Ok(Answer::Later);
        };
        if !tables.has("JavaThread", "_vthread") {
            return Ok(Answer::No);
        }
        if !cfg!(target_arch = "x86_64") {
            return Err(Refusal::Version("the thread pointer of Java's threads on this architecture".to_owned()));
        }
        Ok(look(&memory, &tables)?.unwrap_or(Answer::Later))
    }
}

/// Looks at a process; `None`: it has not come that far.
fn look(memory: &Memory, tables: &Tables) -> Result<Option<Answer>, Refusal> {
    let threads = threads(memory, tables)?;
    // The oldest one is of the kind that runs Java code: the main thread or, when that has ended, the next that there was.
    let (Some(place), Some(oldest)) = (local::find(memory, &threads), threads.first()) else {
        return Ok(None);
    };
    let (word, module, module_word) = match place {
        Place::Word(word) => (word, NONE, 0),
        Place::Module { module, word } => (local::TABLE, module, word),
    };
    let vtable = memory.word(oldest.java)?;
    let mut runtime = Runtime { kind: RUNTIME_JAVA, ..Runtime::default() };
    set(&mut runtime, &[(WORD, word), (MODULE, module), (MODULE_WORD, module_word), (VTABLE, vtable)]);
    let is_all = match Objects::new(memory, tables)? {
        Some(objects) => match of_objects(memory, tables, &objects, &threads)? {
            Some((values, is_all)) => {
                set(&mut runtime, &values);
                is_all
            }
            None => return Ok(None),
        },
        None => {
            let values = [
                (VTHREAD, NONE),
                (MOUNTED, tables.offset("JavaThread", "_cont_entry")?),
                (OWNER_ID, tables.offset("JavaThread", "_monitor_owner_id")?),
            ];
            set(&mut runtime, &values);
            true
        }
    };
    let found = Found { runtime, ..Found::default() };
    Ok(Some(if is_all { Answer::Found(found) } else { Answer::SoFar(found) }))
}

/// What is needed to read threads' objects, and whether that is all; `None`: it has not come that far.
fn of_objects(
    memory: &Memory,
    tables: &Tables,
    objects: &Objects,
    threads: &[Thread],
) -> Result<Option<(Values, bool)>, Refusal> {
    let classes = Classes::new(memory, tables)?;
    let root = memory.word(tables.address_with("vmClasses", "::Thread_klass")?)?;
    if root == 0 {
        return Ok(None);
    }
    let family = classes.family(root)?;
    let Some((class, _)) = family.iter().find(|(_, name)| name == VIRTUAL) else {
        return Ok(None);
    };
    if family.first().is_none_or(|(_, name)| name != THREAD) {
        return Err(Refusal::Malformed("java.lang.Thread is not what it should be"));
    }
    let Some(id) = classes.offset(root, "tid")? else {
        return Err(Refusal::Malformed("threads have no id"));
    };
    // The objects of the threads that there are must look as they are expected to.
    let (own, current) = (tables.offset("JavaThread", "_threadObj")?, tables.offset("JavaThread", "_vthread")?);
    let is_thread = |thread: &Thread| {
        let object = memory.word(thread.java.wrapping_add(own)).and_then(|handle| memory.word(handle))?;
        let class = objects.class(memory, object)?;
        Ok::<_, std::io::Error>(family.iter().any(|(thread, _)| class == objects.value(*thread)))
    };
    if !threads.iter().any(|thread| is_thread(thread).unwrap_or(false)) {
        return Err(Refusal::Malformed("its objects are not what they should be"));
    }
    let mut values = vec![
        (VTHREAD, current),
        (CLASS, objects.offset),
        (CLASS_MASK, objects.mask),
        (CLASS_VIRTUAL, objects.value(*class)),
        (ID, id),
    ];
    let family = Family { classes: &classes, thread: root, virtual_thread: *class };
    let is_all = waits::add(memory, tables, &family, objects, &mut values)?;
    Ok(Some((values, is_all)))
}

/// What `at` of a [`Runtime`] is to hold: indices and values.
type Values = Vec<(usize, u64)>;

fn set(runtime: &mut Runtime, values: &[(usize, u64)]) {
    for (index, value) in values {
        if let Some(at) = runtime.at.get_mut(*index) {
            *at = *value;
        }
    }
}

/// The threads that the JVM has. One that is just beginning has no thread of the system yet.
fn threads(memory: &Memory, tables: &Tables) -> Result<Vec<Thread>, Refusal> {
    let list = memory.word(tables.address("ThreadsSMRSupport", &["_java_thread_list"])?)?;
    let of_system = tables.offset("JavaThread", "_osthread").or_else(|_| tables.offset("Thread", "_osthread"))?;
    let pointer = tables.offset("OSThread", "_pthread_id")?;
    let length = memory.word(list.wrapping_add(tables.offset("ThreadsList", "_length")?))? & 0xffff_ffff;
    let first = memory.word(list.wrapping_add(tables.offset("ThreadsList", "_threads")?))?;
    let mut threads = Vec::new();
    for index in 0..length.min(THREADS) {
        let java = memory.word(first.wrapping_add(8 * index))?;
        let system = memory.word(java.wrapping_add(of_system))?;
        if system != 0
            && let pointer @ 1.. = memory.word(system.wrapping_add(pointer))?
        {
            threads.push(Thread { java, pointer });
        }
    }
    Ok(threads)
}
