//! Where in a process's memory Node keeps the async ids, which its C++ and its JavaScript share. They are reached through arrays that
//! lie one behind the other in `node::Environment`, and are recognised by their sizes and values: `AsyncHooks::async_ids_stack_`,
//! `fields_`, `async_id_fields_`. Node 18 to 26 have them alike. Environments of worker threads are left alone: the first one in memory
//! is taken, of those that the heap of the main thread has.

use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};

use crate::runtime::{
    Refusal, Target,
    memory::{Memory, words},
};

/// Words from one such array to the next: `AliasedBufferBase` with its isolate, length, offset, address, handles and table of functions.
const STRIDE: usize = 7;
/// Where in it is how many elements the array has, and where they are.
const COUNT: usize = 1;
const OFFSET: usize = 2;
const BUFFER: usize = 3;
/// Elements of the stack of async ids: pairs.
const STACK: std::ops::RangeInclusive<u64> = 32..=65_536;
/// Kinds of async hooks.
const KINDS: std::ops::RangeInclusive<u64> = 7..=12;
/// `kExecutionAsyncId`, `kTriggerAsyncId`, `kAsyncIdCounter`, `kDefaultTriggerAsyncId`.
const IDS: u64 = 4;

/// Words of the three.
const ARRAYS: usize = 3 * STRIDE;
/// Memory is read in pieces of so many bytes, which overlap by what belongs together.
const PIECE: u64 = 1 << 20;
const OVERLAP: u64 = (ARRAYS * 8) as u64;
/// So many bytes are looked through, and no more.
const MOST: u64 = 256 << 20;

/// Looks for the ids in a process, and gives the address of four `double`s; `None`: they are not there (yet). They are in the heap, or, where that
/// could not grow, in what the allocator has mapped somewhere else.
///
/// # Errors
/// When the process is gone, or may not be looked at.
pub fn find(target: &Target, memory: &Memory) -> Result<Option<u64>, Refusal> {
    let process = Process::new_with_root(target.proc.clone())?;
    let mut left = MOST;
    match search(heaps(&process)?, memory, &mut left) {
        Some(ids) => Ok(Some(ids)),
        None => Ok(search(others(&process)?, memory, &mut left)),
    }
}

fn heaps(process: &Process) -> Result<Vec<(u64, u64)>, Refusal> {
    let maps = process.maps()?;
    Ok(maps
        .into_iter()
        .filter(|map| map.pathname == MMapPath::Heap && is_writable(map))
        .map(|map| map.address)
        .collect())
}

/// What has least in it comes first, so that JavaScript's own heaps, which may be very large, come last. The kernel counts for that what there is:
/// only where there is nothing in the heap.
fn others(process: &Process) -> Result<Vec<(u64, u64)>, Refusal> {
    let resident = |map: &MemoryMap| map.extension.map.get("Rss").copied().unwrap_or_default();
    let is_other = |map: &MemoryMap| map.pathname == MMapPath::Anonymous && is_writable(map) && resident(map) > 0;
    let maps = process.smaps()?.into_iter().filter(is_other);
    let mut others: Vec<_> = maps.map(|map| (resident(&map), map.address)).collect();
    others.sort_unstable();
    Ok(others.into_iter().map(|(_, address)| address).collect())
}

fn is_writable(map: &MemoryMap) -> bool {
    map.perms.contains(MMPermissions::READ | MMPermissions::WRITE)
}

/// Looks for the ids in some ranges of addresses.
fn search(ranges: Vec<(u64, u64)>, memory: &Memory, left: &mut u64) -> Option<u64> {
    let mut piece = vec![0; (PIECE + OVERLAP) as usize];
    for (from, to) in ranges {
        let mut at = from;
        while at < to && *left > 0 {
            let size = (to - at).min(PIECE + OVERLAP) as usize;
            if let Some(piece) = piece.get_mut(..size)
                && memory.read(at, piece).is_ok()
            {
                let words: Vec<u64> = words(piece).collect();
                let found = words.windows(ARRAYS).find_map(|words| recognise(words, memory));
                if found.is_some() {
                    return found;
                }
            }
            *left = left.saturating_sub(PIECE);
            at += PIECE;
        }
    }
    None
}

/// Where the ids are, if the arrays begin here.
fn recognise(words: &[u64], memory: &Memory) -> Option<u64> {
    let isolate = *words.first()?;
    let stack = *words.get(COUNT)?;
    if !STACK.contains(&stack) || stack % 2 != 0 || isolate < 4096 || isolate % 8 != 0 {
        return None;
    }
    let array = |at: usize| {
        let field = |index: usize| words.get(at + index).copied();
        (field(0)? == isolate && field(OFFSET)? == 0).then(|| Some((field(COUNT)?, field(BUFFER)?)))?
    };
    let (kinds, _) = array(STRIDE)?;
    let (count, ids) = array(2 * STRIDE)?;
    (KINDS.contains(&kinds) && count == IDS && are_ids(ids, memory)).then_some(ids)
}

/// Whether there are numbers at an address that can be async ids: whole ones, and no id is greater than the last that was given out.
fn are_ids(address: u64, memory: &Memory) -> bool {
    let ids: Vec<f64> = memory.words(address, IDS as usize).into_iter().map(f64::from_bits).collect();
    let [running, trigger, made, default] = ids[..] else {
        return false;
    };
    let is_id = |id: f64| id.fract() == 0.0 && (-1.0..=made).contains(&id);
    made >= 1.0 && made.fract() == 0.0 && is_id(running) && is_id(trigger) && is_id(default)
}
