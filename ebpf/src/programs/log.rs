//! What the programs decide, said in words when the agent asks for it (`--debug-kernel`). Otherwise none of this is reached, and so not
//! even verified.

use aya_log_ebpf::debug;

use crate::maps::config;

/// The agent is told of a socket of this process.
pub const ANNOUNCED: u32 = 0;
/// A socket is left alone: no port of it was chosen, or it belongs to the agent's own exports.
pub const IGNORED: u32 = 1;
/// A socket went into this TCP state.
pub const STATE: u32 = 2;
/// A call failed with this errno.
pub const FAILED: u32 = 3;

/// Says it.
#[inline(always)]
pub fn say(what: u32, sk: u64, detail: u64) {
    if config!(debug) != 0 {
        write(what, sk, detail);
    }
}

/// Apart, because it needs much of the stack.
#[inline(never)]
fn write(what: u32, sk: u64, detail: u64) {
    match what {
        ANNOUNCED => debug!((), "socket {:x}: used by process {}", sk, detail),
        IGNORED => debug!((), "socket {:x}: left alone", sk),
        STATE => debug!((), "socket {:x}: TCP state {}", sk, detail),
        _ => debug!((), "socket {:x}: errno {}", sk, detail),
    }
}
