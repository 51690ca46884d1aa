//! The head of an HTTP/1 request, looked at block by block: where its lines begin, whether it carries a context or a signature, how
//! long its body is. What follows from that is not decided here.

use geophone_ebpf::inject::{CREDENTIALS, Meaning, NAME, name, signs, word};

use crate::{
    capture::at_most,
    emit,
    maps::{BLOCK, Head, INJECT_NAMES, INJECT_STATES},
};

/// Blocks of a head that are looked at: 8 KiB, as much as most servers take.
pub const BLOCKS: u32 = 32;
pub const LONGEST: u64 = BLOCKS as u64 * BLOCK as u64;

// As `phase` of a `Head`.
const PHASE_TARGET: u32 = 0;
const PHASE_NAME: u32 = 1;
const PHASE_VALUE: u32 = 2;
const PHASE_DONE: u32 = 3;

// As `flags` of a `Head`.
pub const HEAD_CONTEXT: u32 = 1;
pub const HEAD_SIGNED: u32 = 2;
pub const HEAD_LENGTH: u32 = 4;
pub const HEAD_LOST: u32 = 8;
pub const HEAD_OTHER: u32 = 16;

/// Whether bytes begin as a request does.
#[inline(always)]
pub fn is_request(bytes: &[u8; BLOCK], have: u64) -> bool {
    if have < 16 {
        return false;
    }
    let word = u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]);
    let begins = |method: &[u8]| {
        let (mut wanted, mut i) = (0, 0);
        while i < method.len() {
            wanted = wanted << 8 | method[i] as u64;
            i += 1;
        }
        word >> (64 - 8 * method.len()) == wanted
    };
    begins(b"GET ")
        || begins(b"POST ")
        || begins(b"PUT ")
        || begins(b"HEAD ")
        || begins(b"PATCH ")
        || begins(b"DELETE ")
        || begins(b"OPTIONS ")
}

/// A head of which nothing was seen.
pub const EMPTY: Head = Head {
    hash: 0,
    window: 0,
    length: 0,
    phase: PHASE_TARGET,
    what: 0,
    flags: 0,
    line: 0,
    end: 0,
    parent: 0,
    base: 0,
    count: 0,
};

/// Goes on with the head that is about to be sent on a socket. Not 0: it has come to its end. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn scan_sending(sk: u64) -> u64 {
    let Some(state) = INJECT_STATES.get_ptr_mut(sk) else {
        return 1;
    };
    // SAFETY: the map keeps it alive while the program runs.
    unsafe { scan(&raw mut (*state).head, (&raw const (*state).block).cast()) }
}

/// The same for one that was received, in the work space.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn scan_received() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 1;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs, and longer than what is looked at.
    unsafe {
        let base = at_most::<LONGEST>(u64::from((*scratch).head.base));
        scan(&raw mut (*scratch).head, (&raw const (*scratch).bytes).cast::<u8>().add(base as usize))
    }
}

/// Looks at a block of a head. What it has found so far is kept in memory, where numbers are unknown to the verifier.
///
/// # Safety
/// `block` must have [`BLOCK`] bytes; the verifier checks it too.
#[inline(always)]
unsafe fn scan(head: *mut Head, block: *const u8) -> u64 {
    macro_rules! get {
        ($field:ident) => {
            // SAFETY: the caller's promise; volatile, so that the verifier does not know what was written.
            unsafe { core::ptr::read_volatile(&raw const (*head).$field) }
        };
    }
    macro_rules! set {
        ($field:ident = $value:expr) => {{
            let value = $value;
            // SAFETY: as above.
            unsafe { core::ptr::write_volatile(&raw mut (*head).$field, value) };
        }};
    }
    let count = get!(count);
    let mut i = 0u32;
    while i < BLOCK as u32 {
        if i >= count {
            return 0;
        }
        // SAFETY: the caller's promise.
        let byte = unsafe { core::ptr::read_volatile(block.add(i as usize)) };
        let lower = if byte.wrapping_sub(b'A') < 26 { byte | 0x20 } else { byte };
        let before = get!(window);
        let window = before << 8 | u64::from(lower);
        set!(window = window);
        let phase = get!(phase);
        if byte == b'\n' {
            if phase == PHASE_TARGET {
                let version = before & 0xff_ffff_ffff_ffff;
                if version != word(b"tp/1.1\r") && version != word(b"tp/1.0\r") {
                    set!(flags = get!(flags) | HEAD_OTHER);
                    return 1;
                }
                set!(line = get!(base) + i + 1);
            } else if phase == PHASE_NAME && get!(hash) == NAME {
                set!(end = get!(base) + i + 1);
                set!(phase = PHASE_DONE);
                return 1;
            }
            set!(phase = PHASE_NAME);
            set!(hash = NAME);
        } else if phase == PHASE_NAME {
            if byte == b':' {
                let hash = get!(hash);
                // SAFETY: a copy is taken at once.
                let what = unsafe { INJECT_NAMES.get(hash) }.copied().unwrap_or(0);
                set!(phase = PHASE_VALUE);
                set!(what = what);
                if what == Meaning::Context as u32 || what == Meaning::TraceParent as u32 {
                    set!(flags = get!(flags) | HEAD_CONTEXT);
                } else if what == Meaning::Signature as u32 {
                    set!(flags = get!(flags) | HEAD_SIGNED);
                } else if what == Meaning::Lost as u32 {
                    set!(flags = get!(flags) | HEAD_LOST);
                } else if what == Meaning::Length as u32 {
                    let flags = get!(flags);
                    set!(flags = flags | HEAD_LENGTH | if flags & HEAD_LENGTH != 0 { HEAD_LOST } else { 0 });
                } else if what == Meaning::Credentials as u32 {
                    set!(hash = name(hash, b':'));
                }
            } else if byte != b'\r' {
                set!(hash = name(get!(hash), lower));
            }
        } else if phase == PHASE_VALUE {
            let what = get!(what);
            let space = byte == b' ' || byte == b'\t' || byte == b'\r';
            if what == Meaning::Length as u32 {
                let digit = byte.wrapping_sub(b'0');
                let length = get!(length);
                if digit < 10 && length < 1 << 48 {
                    set!(length = length * 10 + u64::from(digit));
                } else if !space {
                    set!(flags = get!(flags) | HEAD_LOST);
                }
            } else if what == Meaning::Credentials as u32 {
                let hash = get!(hash);
                if !space {
                    set!(hash = name(hash, lower));
                } else if byte == b'\r' || hash != CREDENTIALS {
                    // SAFETY: a copy is taken at once.
                    if unsafe { INJECT_NAMES.get(hash) }.copied().unwrap_or(0) != Meaning::Plain as u32 {
                        set!(flags = get!(flags) | HEAD_SIGNED);
                    }
                    set!(what = 0);
                }
            } else if what == Meaning::TraceParent as u32 && !space {
                // Two of them are none.
                set!(parent = if get!(parent) == 0 { get!(base) + i } else { u32::MAX });
                set!(what = 0);
            }
        } else if signs(window) {
            set!(flags = get!(flags) | HEAD_SIGNED);
        }
        i += 1;
    }
    0
}
