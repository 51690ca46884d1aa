//! What is mapped at an address of the current process, as the kernel itself knows it, so that the stacks of a process can be walked of
//! which the agent has not read anything yet: by the tree of its mappings (a maple tree, since Linux 6.1), the file that is mapped, and
//! the rows that are known of that file. No lock is taken. What is read while it changes may be wrong; so what was found counts only if
//! it says that it belongs to this process and to this address, and a file is told by more than its number.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_get_smp_processor_id};
use geophone_ebpf::{
    record::{MAPPED_MAX, Mapped},
    unwind::{FileKey, Range, WITHOUT_ROWS},
};

use crate::{
    kernel::{copy, read},
    maps::{FILES, FRAMES, SAMPLES, Walking, config},
    unwind::{put, search, take, work},
};

/// Nothing that can be executed is mapped there.
pub const NOTHING: u64 = 0;
/// The walk's range is the one that the address is in.
pub const FOUND: u64 = 1;
/// A file whose rows are not known.
pub const UNKNOWN: u64 = 2;

/// Levels of a tree, at most: each has at least five times as many entries as the one above.
const LEVELS: u32 = 8;
/// `MAPLE_NODE_MASK`: what is not the address of a node.
const MARKS: u64 = 0xff;
/// Words of a node.
const NODE: u64 = 32;
/// `enum maple_type`
const LEAF: u64 = 1;
const INNER: u64 = 3;
/// Pivots, which begin at word 1, and the word of the first slot: of nodes that keep track of gaps, and of others.
const INNER_PIVOTS: u64 = 9;
const INNER_SLOTS: u64 = 10;
const PIVOTS: u64 = 15;
const SLOTS: u64 = 16;
/// `VM_EXEC`
const EXECUTABLE: u64 = 4;
/// `FMODE_BACKING`: the file that a file system put in the place of the one that the process has opened (overlayfs). Since 6.14 it is
/// the first of these, before that the second, which means something else now.
const BACKING: u32 = 1 << 24 | 1 << 25;
/// Bits of an address within a page.
const PAGE: u32 = 12;

/// Finds the range that the walk's address is in, and what is known of its rows. Returns [`FOUND`], [`UNKNOWN`] or [`NOTHING`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_mapping() -> u64 {
    let Some(walk) = work() else {
        return NOTHING;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let walk = unsafe { &mut *walk };
    // SAFETY: the helper has no preconditions.
    let task = unsafe { bpf_get_current_task() };
    let mm = read::<u64>(task, config!(mappings.task_mm)).unwrap_or_default();
    if mm == 0 {
        return NOTHING;
    }
    let root = read::<u64>(mm, config!(mappings.mm_root)).unwrap_or_default();
    // A root that is no node holds at most one mapping, from address 0 on.
    if root & 3 != 2 {
        return NOTHING;
    }
    put(&mut walk.entry, root);
    for _ in 0..LEVELS {
        if walk_node() == 0 {
            break;
        }
    }
    let area = take(&walk.entry);
    // What is a node, or holds nothing, is marked.
    if area & 7 != 0 || area == 0 {
        return NOTHING;
    }
    let (Some(start), Some(end)) =
        (read::<u64>(area, config!(mappings.area_start)), read::<u64>(area, config!(mappings.area_end)))
    else {
        return NOTHING;
    };
    let owner = read::<u64>(area, config!(mappings.area_mm)).unwrap_or_default();
    let flags = read::<u64>(area, config!(mappings.area_flags)).unwrap_or_default();
    let file = read::<u64>(area, config!(mappings.area_file)).unwrap_or_default();
    let pages = read::<u64>(area, config!(mappings.area_offset)).unwrap_or_default();
    if walk.at < start || walk.at >= end || owner != mm || flags & EXECUTABLE == 0 {
        return NOTHING;
    }
    walk.range = Range { start, end, base: 0, chunk: WITHOUT_ROWS, rows: 0 };
    let mut offset = pages << PAGE;
    if file != 0 {
        identify(&mut walk.file, file);
    } else if read::<u64>(mm, config!(mappings.mm_vdso)) == Some(start) {
        offset = 0;
        walk.file = FileKey::VDSO;
    } else {
        // Code that the process makes itself.
        return FOUND;
    }
    // SAFETY: a copy is taken at once.
    let Some(space) = (unsafe { FILES.get(&walk.file) }).copied() else {
        walk.range.end = start;
        return UNKNOWN;
    };
    if file != 0 {
        tell(walk, start, end, offset);
    }
    if !search(walk, space, walk.at - start + offset) {
        // Of this place only.
        walk.range.start = walk.at;
        walk.range.end = walk.at + 1;
        return FOUND;
    }
    // From places in the file to addresses.
    let range = walk.range;
    let address = |place: u64| if place <= offset { start } else { start.wrapping_add(place - offset) };
    walk.range.start = address(range.start);
    walk.range.end = if range.end.wrapping_sub(offset) >= end - start { end } else { address(range.end) };
    walk.range.base = range.base.wrapping_add(start).wrapping_sub(offset);
    FOUND
}

/// One level of the tree, from the node in `entry`: what its slot for the address holds. Returns 0 when it is no node of nodes.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_node() -> u64 {
    let Some(walk) = work() else {
        return 0;
    };
    // SAFETY: as in `walk_mapping`.
    let walk = unsafe { &mut *walk };
    let entry = take(&walk.entry);
    let kind = entry >> 3 & 15;
    if entry < 4096 || kind < LEAF || kind > INNER {
        put(&mut walk.entry, 0);
        return 0;
    }
    // SAFETY: there is room for a node.
    if !unsafe { copy(&raw mut walk.node, entry & !MARKS) } {
        put(&mut walk.entry, 0);
        return 0;
    }
    let (pivots, slots) = if kind == INNER { (INNER_PIVOTS, INNER_SLOTS) } else { (PIVOTS, SLOTS) };
    let at = walk.at;
    let words = (&raw const walk.node).cast::<u64>();
    put(&mut walk.low, 0);
    for _ in 0..PIVOTS {
        let index = take(&walk.low);
        // SAFETY: any index becomes one of a node's words.
        let pivot = unsafe { core::ptr::read_volatile(words.add(((index + 1) & (NODE - 1)) as usize)) };
        // The last one is implied: there are no more pivots, or only zeroes.
        if index >= pivots || pivot >= at || pivot == 0 {
            break;
        }
        put(&mut walk.low, index + 1);
    }
    let slot = slots + take(&walk.low);
    // SAFETY: as above.
    let next = unsafe { core::ptr::read_volatile(words.add((slot & (NODE - 1)) as usize)) };
    put(&mut walk.entry, next);
    u64::from(kind != LEAF)
}

/// Notes a file for the agent, which need not look at the process then.
#[inline(always)]
fn tell(walk: &mut Walking, start: u64, end: u64, offset: u64) {
    let FileKey { inode, device, .. } = walk.file;
    let index = take(&walk.mapped);
    if index >= MAPPED_MAX as u64 {
        return;
    }
    let place = (&raw mut walk.files).cast::<Mapped>();
    // SAFETY: any index becomes one of those that there are.
    let place = unsafe { &mut *place.add((index & (MAPPED_MAX as u64 - 1)) as usize) };
    *place = Mapped { start, end, offset, inode, device: u64::from(device) };
    put(&mut walk.mapped, index + 1);
}

/// Appends what was noted to the frames of a sample, from a place on that is in `entry`. Returns how many there are.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_mapped() -> u64 {
    const WORDS: u64 = (size_of::<Mapped>() / 8) as u64;
    // SAFETY: the helper has no preconditions.
    let Some(sample) = SAMPLES.get_ptr_mut(unsafe { bpf_get_smp_processor_id() }) else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let sample = unsafe { &mut *sample };
    let count = take(&sample.walk.mapped);
    let first = take(&sample.walk.entry);
    let from = (&raw const sample.walk.files).cast::<u64>();
    let to = (&raw mut sample.frames).cast::<u64>();
    for word in 0..MAPPED_MAX as u64 * WORDS {
        if word >= count * WORDS {
            break;
        }
        let place = first.wrapping_add(word) & (FRAMES as u64 - 1);
        // SAFETY: there are so many words, and any place becomes one of the frames.
        unsafe { *to.add(place as usize) = *from.add(word as usize) };
    }
    count
}

/// What a file is told by: as `/proc/PID/maps` says it, not the one that a file system put in its place.
#[inline(always)]
fn identify(key: &mut FileKey, file: u64) {
    let mut inode = read::<u64>(file, config!(offsets.file_inode)).unwrap_or_default();
    if config!(mappings.backing_entry) != 0
        && read::<u32>(file, config!(mappings.file_mode)).unwrap_or_default() & BACKING != 0
    {
        let entry = read::<u64>(file, config!(mappings.backing_entry)).unwrap_or_default();
        let visible = read::<u64>(entry, config!(mappings.entry_inode)).unwrap_or_default();
        let sb = read::<u64>(entry, config!(mappings.entry_sb)).unwrap_or_default();
        // What is read behind a file that has nothing there is no directory entry.
        if sb != 0 && read::<u64>(visible, config!(offsets.inode_sb)) == Some(sb) {
            inode = visible;
        }
    }
    let sb = read::<u64>(inode, config!(offsets.inode_sb)).unwrap_or_default();
    key.inode = read(inode, config!(offsets.inode_ino)).unwrap_or_default();
    key.size = read(inode, config!(mappings.inode_size)).unwrap_or_default();
    key.seconds = read(inode, config!(mappings.inode_seconds)).unwrap_or_default();
    key.nanos = read(inode, config!(mappings.inode_nanos)).unwrap_or_default();
    key.device = read(sb, config!(offsets.sb_dev)).unwrap_or_default();
}
