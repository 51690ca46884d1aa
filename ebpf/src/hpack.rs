//! The fields of an HTTP/2 header block (RFC 7541), looked at from outside and without a dynamic table: whether one of them is a context or a
//! signature. On a connection that is seen from its first byte on, a name can only be referred to after it has been sent as a literal; so
//! literals are all that has to be read, and of the table only which entries have a name whose values have to be read, too.

use crate::{
    huffman,
    inject::{CREDENTIALS, Meaning, NAME, name, signs},
};

/// Bytes of a block that are looked at together: more than what comes before a string can have.
pub const WINDOW: usize = 32;
/// How often [`step`] may be needed for a block: three times for a field that is new, once for one that is known.
pub const STEPS: u32 = 256;

/// The size of a dynamic table before anything was said about it.
pub const TABLE: u32 = 4096;
/// What an entry of it takes besides its name and its value.
const ENTRY: u32 = 32;
/// The longest name in the static table is shorter.
const STATIC_NAME: u32 = 32;

/// There is more.
pub const MORE: u32 = 0;
/// The block has come to its end.
pub const DONE: u32 = 1;
/// This is no header block.
pub const BAD: u32 = 2;

/// As `found` of [`Fields`]: a context.
pub const CARRIED: u32 = 1;
/// A signature, or credentials that may be one.
pub const SIGNED: u32 = 2;
/// A field that may be credentials, and if so, a signature.
pub const UNSURE: u32 = 4;

/// Where the walk of a block has got to, and what has to be remembered from one to the next.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields {
    /// Which of the 64 newest entries of the dynamic table have a name whose values are looked at, the newest lowest: credentials, targets.
    pub named: [u64; 2],
    /// Not 0: an older one has, or had. As `LOOK_*`.
    pub spilled: u32,
    /// Not 0: an entry may have been too large for the table, which empties it. Which entry is which is not known any more.
    pub blurred: u32,
    /// The largest size of the table, as the sender has it.
    pub table: u32,
    /// No name that was sent is longer.
    longest: u32,
    /// The field at hand is not longer, name and value.
    size: u32,
    /// What was found in the block: [`CARRIED`] and so on.
    pub found: u32,
    /// Where the window begins in the block.
    pub at: u32,
    /// The length of the block.
    pub end: u32,
    /// `PHASE_*`
    phase: u32,
    /// Bytes that are left of the string at hand.
    left: u32,
    /// State of its Huffman code, or [`PLAIN`].
    code: u32,
    /// What its value is looked at for: `LOOK_*`.
    looks: u32,
    /// What else with the same name would be looked at for.
    same: u32,
    /// Not 0: the field enters the table.
    enters: u32,
    /// Its name, or its scheme: see [`name`].
    hash: u64,
    /// The last eight bytes of its value, letters in lower case.
    last: u64,
}

const PHASE_FIELD: u32 = 0;
const PHASE_NAME: u32 = 1;
const PHASE_LENGTH: u32 = 2;
const PHASE_VALUE: u32 = 3;

const LOOK_CREDENTIALS: u32 = 1;
const LOOK_TARGET: u32 = 2;
/// Only perhaps credentials.
const LOOK_PERHAPS: u32 = 4;

/// No Huffman code.
const PLAIN: u32 = 256;

/// Entries of the static table: `:path`, `authorization`, and how many there are.
const PATHS: [u32; 2] = [4, 5];
const AUTHORIZATION: u32 = 23;
const STATIC: u32 = 61;

/// Begins with a block of so many bytes.
///
/// # Safety
/// `fields` must be valid.
#[inline(always)]
pub unsafe fn begin(fields: *mut Fields, len: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        (*fields).found = 0;
        (*fields).at = 0;
        (*fields).end = len;
        (*fields).phase = PHASE_FIELD;
    }
}

/// Goes on with a block, of which `window` has [`WINDOW`] bytes from `at` on, or as many as there are. What it has found so far is kept in memory, where numbers are
/// unknown to the verifier.
///
/// # Safety
/// `fields` must be valid, and `window` have [`WINDOW`] bytes; the verifier checks it too.
#[inline(always)]
pub unsafe fn step(fields: *mut Fields, window: *const u8, meaning: impl Fn(u64) -> u32) -> u32 {
    macro_rules! get {
        ($($field:tt)+) => {
            // SAFETY: the caller's promise; volatile, so that the verifier does not know what was written.
            unsafe { core::ptr::read_volatile(&raw const (*fields).$($field)+) }
        };
    }
    macro_rules! set {
        ($field:ident = $value:expr) => {{
            let value = $value;
            // SAFETY: as above.
            unsafe { core::ptr::write_volatile(&raw mut (*fields).$field, value) };
        }};
    }
    // SAFETY: the caller's promise, and inside of the window.
    let byte = |at: u32| u32::from(unsafe { core::ptr::read_volatile(window.add(at as usize & (WINDOW - 1))) });
    let (at, end) = (get!(at), get!(end));
    if at >= end {
        return if at == end && get!(phase) == PHASE_FIELD { DONE } else { BAD };
    }
    let have = (end - at).min(WINDOW as u32);
    let mut phase = get!(phase);
    if phase == PHASE_FIELD || phase == PHASE_LENGTH {
        let mut from = 0;
        if phase == PHASE_FIELD {
            let first = byte(0);
            let (index, after) = integer(byte, 0, prefix(first));
            if after == 0 || after > have {
                return BAD;
            }
            if first & 0xe0 == 0x20 || first & 0x80 != 0 {
                // A new size of the table, or a field that is in a table: it was looked at when it came there.
                if first & 0x80 == 0 {
                    set!(table = index);
                }
                set!(at = at + after);
                return if first & 0x80 != 0 && index == 0 { BAD } else { MORE };
            }
            set!(enters = first & 0x40);
            from = after;
            if index == 0 {
                phase = PHASE_NAME;
            } else {
                phase = PHASE_VALUE;
                let looks = if index > STATIC {
                    referred(index - STATIC - 1, [get!(named[0]), get!(named[1])], get!(spilled), get!(blurred))
                } else if index == AUTHORIZATION {
                    LOOK_CREDENTIALS
                } else if index == PATHS[0] || index == PATHS[1] {
                    LOOK_TARGET
                } else {
                    0
                };
                set!(looks = looks);
                set!(same = looks);
                set!(size = get!(longest).max(STATIC_NAME));
            }
        } else {
            phase = PHASE_VALUE;
        }
        let (length, after) = integer(byte, from, 0x7f);
        if after == 0 || after > have || length > end - at - after {
            return BAD;
        }
        let is_coded = byte(from) & 0x80 != 0;
        // The shortest code has five bits.
        let most = if is_coded { length + length / 2 + length / 8 + 1 } else { length };
        set!(code = if is_coded { huffman::ROOT } else { PLAIN });
        set!(at = at + after);
        set!(left = length);
        set!(last = 0);
        if phase == PHASE_NAME {
            set!(size = most);
            set!(longest = get!(longest).max(most));
            set!(hash = NAME);
            set!(phase = PHASE_NAME);
            return if length == 0 { BAD } else { MORE };
        }
        set!(size = get!(size) + most);
        set!(hash = CREDENTIALS);
        if length != 0 && get!(looks) != 0 {
            set!(phase = PHASE_VALUE);
            return MORE;
        }
        set!(at = at + after + length);
    } else {
        let count = get!(left).min(have);
        let mut i = 0;
        while i < WINDOW as u32 {
            if i >= count {
                break;
            }
            let whole = byte(i);
            let mut half = 0;
            while half < 2 {
                let code = get!(code);
                let mut symbol = whole;
                if code != PLAIN {
                    let found = huffman::step(code, if half == 0 { whole >> 4 } else { whole });
                    if found & huffman::INVALID != 0 {
                        return BAD;
                    }
                    set!(code = found >> huffman::STATE);
                    if found & huffman::SYMBOL == 0 {
                        half += 1;
                        continue;
                    }
                    symbol = found & 0xff;
                } else if half != 0 {
                    break;
                }
                half += 1;
                let symbol = symbol as u8;
                let lower = if symbol.wrapping_sub(b'A') < 26 { symbol | 0x20 } else { symbol };
                let looks = get!(looks);
                if phase == PHASE_NAME {
                    set!(hash = name(get!(hash), lower));
                    continue;
                }
                if looks & LOOK_CREDENTIALS != 0 {
                    let hash = get!(hash);
                    if symbol != b' ' && symbol != b'\t' {
                        set!(hash = name(hash, lower));
                    } else if hash != CREDENTIALS {
                        if meaning(hash) != Meaning::Plain as u32 {
                            set!(found = get!(found) | doubt(looks));
                        }
                        set!(looks = looks & LOOK_TARGET);
                    }
                }
                if looks & LOOK_TARGET != 0 {
                    let last = get!(last) << 8 | u64::from(lower);
                    set!(last = last);
                    if signs(last) {
                        set!(found = get!(found) | SIGNED);
                    }
                }
            }
            i += 1;
        }
        let left = get!(left).wrapping_sub(count);
        set!(at = at + count);
        set!(left = left);
        if left != 0 {
            return MORE;
        }
        if phase == PHASE_NAME {
            let what = meaning(get!(hash));
            let mut looks = 0;
            if what == Meaning::Context as u32 || what == Meaning::TraceParent as u32 {
                set!(found = get!(found) | CARRIED);
            } else if what == Meaning::Signature as u32 {
                set!(found = get!(found) | SIGNED);
            } else if what == Meaning::Credentials as u32 {
                looks = LOOK_CREDENTIALS;
            } else if what == Meaning::Target as u32 {
                looks = LOOK_TARGET;
            }
            set!(looks = looks);
            set!(same = looks);
            set!(phase = PHASE_LENGTH);
            return MORE;
        }
    }
    // The field has come to its end.
    let looks = get!(looks);
    if looks & LOOK_CREDENTIALS != 0 && meaning(get!(hash)) != Meaning::Plain as u32 {
        set!(found = get!(found) | doubt(looks));
    }
    if get!(enters) != 0 {
        let named = [get!(named[0]), get!(named[1])];
        let mut same = get!(same);
        let mut spilled =
            (u32::from(named[0] >> 63 != 0) * LOOK_CREDENTIALS) | (u32::from(named[1] >> 63 != 0) * LOOK_TARGET);
        if same & LOOK_PERHAPS != 0 && get!(found) & UNSURE != 0 {
            // It could be sent again by its number alone.
            set!(found = get!(found) | SIGNED);
        }
        same &= LOOK_CREDENTIALS | LOOK_TARGET;
        if get!(blurred) != 0 || get!(size) + ENTRY > get!(table) {
            spilled = (u32::from(named[0] != 0) * LOOK_CREDENTIALS) | (u32::from(named[1] != 0) * LOOK_TARGET) | same;
            set!(blurred = 1);
        }
        set!(spilled = get!(spilled) | spilled);
        let is = |look: u32| u64::from(same & look != 0);
        set!(named = [named[0] << 1 | is(LOOK_CREDENTIALS), named[1] << 1 | is(LOOK_TARGET)]);
    }
    set!(phase = PHASE_FIELD);
    MORE
}

/// What the value of a field is looked at for whose name is that of an entry; 0 is the newest.
#[inline(always)]
fn referred(entry: u32, named: [u64; 2], spilled: u32, blurred: u32) -> u32 {
    if entry < 64 && blurred == 0 {
        let [credentials, targets] = named.map(|bits| (bits >> entry) as u32 & 1);
        return (credentials * LOOK_CREDENTIALS) | (targets * LOOK_TARGET);
    }
    if spilled & LOOK_CREDENTIALS != 0 { spilled | LOOK_PERHAPS } else { spilled }
}

/// What follows from credentials of another scheme.
#[inline(always)]
fn doubt(looks: u32) -> u32 {
    if looks & LOOK_PERHAPS != 0 { UNSURE } else { SIGNED }
}

/// The bits of a field's first byte that are a number.
#[inline(always)]
fn prefix(first: u32) -> u32 {
    if first & 0x80 != 0 {
        0x7f
    } else if first & 0x40 != 0 {
        0x3f
    } else if first & 0x20 != 0 {
        0x1f
    } else {
        0x0f
    }
}

/// A number that begins in these bits of a byte, and where it ends; 0: it is longer than numbers are here.
#[inline(always)]
fn integer(byte: impl Fn(u32) -> u32, at: u32, bits: u32) -> (u32, u32) {
    let first = byte(at) & bits;
    if first != bits {
        return (first, at + 1);
    }
    let (mut value, mut i) = (bits, 0);
    while i < 3 {
        let next = byte(at + 1 + i);
        value += (next & 0x7f) << (7 * i);
        i += 1;
        if next & 0x80 == 0 {
            return (value, at + 1 + i);
        }
    }
    (0, 0)
}
