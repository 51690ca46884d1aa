//! What is needed of a file: of the one that the interpreter is in, the executable or `libpython`, and of that of `_asyncio`, which may
//! be the same.

use object::{
    elf::SHT_DYNSYM,
    read::elf::{SectionHeader as _, Sym as _},
};

use super::{cold, layout::Version};
use crate::runtime::memory::words;
use crate::runtime::{Image, Refusal, Segment, file::Elf};

/// The interpreter's file. Addresses are the file's own.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// Of `_PyRuntime`.
    pub runtime: u64,
    /// Its size in bytes.
    pub runtime_size: u64,
    /// What `Py_Version` says, which there is since 3.11.
    pub version: Option<Version>,
    /// When `_asyncio` is in this file: where it publishes its offsets.
    pub asyncio: Option<Asyncio>,
    /// What is loaded.
    pub segments: Vec<Segment>,
    /// `_PyEval_EvalFrameDefault`, and the part of it that the compiler has put elsewhere because it is seldom run: first address and
    /// behind the last one, or zeroes.
    pub evaluates: Option<[u64; 4]>,
}

/// What `_asyncio` says of itself since 3.14 (`_Py_AsyncioModuleDebugOffsets`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asyncio {
    /// `_PyThreadStateImpl.asyncio_running_task`
    pub running_task: u64,
}

/// The function that evaluates frames.
const EVALUATES: &[u8] = b"_PyEval_EvalFrameDefault\0";
/// The largest `_PyRuntime` is some 460 KB.
const RUNTIME_MOST: u64 = 16 << 20;

impl Interpreter {
    /// `None` when the file has none.
    ///
    /// # Errors
    /// When its tables cannot be understood.
    pub fn of(image: &Image) -> Result<Option<Self>, Refusal> {
        image.elf(|elf| {
            let Some((runtime, runtime_size)) = symbol(elf, b"_PyRuntime\0")? else {
                return Ok(None);
            };
            if runtime_size == 0 || runtime_size > RUNTIME_MOST {
                return Err(Refusal::Malformed("the size of _PyRuntime cannot be right"));
            }
            let mut version = None;
            if let Some((address, 4..)) = symbol(elf, b"Py_Version\0")?
                && let Some(offset) = image.offset_of(address)
            {
                let mut hex = [0; 4];
                image.read_at(&mut hex, offset)?;
                version = Version::from_hex(u32::from_ne_bytes(hex).into());
            }
            let segments = image.segments().to_vec();
            let evaluates = match symbol(elf, EVALUATES)? {
                Some((start, size)) if size != 0 => {
                    let (cold, behind) = cold::part(elf, image, start, size).unwrap_or_default();
                    Some([start, start.wrapping_add(size), cold, behind])
                }
                _ => None,
            };
            Ok(Some(Self { runtime, runtime_size, version, asyncio: asyncio(elf), segments, evaluates }))
        })
    }
}

/// The offsets that `_asyncio` publishes in a section of its own.
pub fn asyncio(elf: &Elf<'_>) -> Option<Asyncio> {
    let data = elf.section(b".AsyncioDebug")?.data(elf.endian, elf.data).ok()?;
    // A task: 7 words; the interpreter's state: 2; a thread's state: size, running loop, running task, tasks.
    let mut state = words(data).skip(9);
    let (size, running_loop, running_task) = (state.next()?, state.next()?, state.next()?);
    (running_loop < size && running_task < size).then_some(Asyncio { running_task })
}

/// The address and size of a symbol that is exported; `name` has a zero behind it. The names are searched first: few files have this
/// one, and some have very many others.
fn symbol(elf: &Elf<'_>, name: &[u8]) -> Result<Option<(u64, u64)>, Refusal> {
    let table = elf.sections.symbols(elf.endian, elf.data, SHT_DYNSYM)?;
    if table.is_empty() {
        return Ok(None);
    }
    let names = elf.sections.section(table.string_section())?.data(elf.endian, elf.data)?;
    if !names.windows(name.len()).any(|part| part == name) {
        return Ok(None);
    }
    let is_named = |at: u32| names.get(at as usize..).is_some_and(|rest| rest.starts_with(name));
    let mut defined = table.iter().filter(|symbol| !symbol.is_undefined(elf.endian));
    let symbol = defined.find(|symbol| is_named(symbol.st_name(elf.endian)));
    Ok(symbol.map(|symbol| (symbol.st_value(elf.endian), symbol.st_size(elf.endian))))
}
