//! Datagrams that may be DNS, because a port at either end says so. Every other one is left alone before anything of it is read.
//!
//! What is told of a datagram is complete by itself, and nothing is kept of its socket: nobody would say when that is closed.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use geophone_ebpf::{
    config::{Call, NEVER},
    record::{DATAGRAM, DATAGRAM_BORN, Ends, SEND},
    stats::Counter,
};

use crate::{
    capture::{self, MESSAGE_LEN, MESSAGE_SIZE, STEPS},
    connection::{self, AF_INET, AF_INET6},
    emit,
    kernel::{read, read_user_or_zero},
    maps::{
        ASKERS, CALLS, MOVED_DATAGRAM, MOVED_RAW, Moved, PORTS, Piece, SOURCE_BUFFER, SOURCE_MESSAGES, SOURCE_NONE,
        SOURCE_SIZED_MESSAGES, config,
    },
};

const SOCK_DGRAM: u16 = 2;
const IPPROTO_UDP: u16 = 17;

/// Whether a socket is for datagrams.
#[inline(always)]
pub fn is_one(sk: u64) -> bool {
    read::<u16>(sk, config!(offsets.sock_type)) == Some(SOCK_DGRAM)
}

/// A call on a socket that has no entry: reports its datagrams, if they may be DNS. What it is about is in the work space. Global, as
/// `report_call`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn report_datagrams() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs.
    let call = unsafe { &mut (*scratch).call };
    // What most datagrams need is this: one look at the socket's own ports.
    let [remote, local] = read::<[u16; 2]>(call.sk, config!(offsets.sock_portpair)).unwrap_or_default();
    if !wanted(local) && !wanted(u16::from_be(remote)) {
        let unnamed = call.direction as u8 != SEND && config!(returned) == 0;
        if remote != 0 || unnamed && !has_asked(call.sk, u32::from(local)) {
            return 0;
        }
        // Who sends says where to.
        if call.direction as u8 == SEND && call.source != SOURCE_SIZED_MESSAGES {
            let [_, port] = read_user_or_zero::<[u16; 2]>(name(call));
            if !wanted(u16::from_be(port)) {
                return 0;
            }
        }
    }
    let family = read::<u16>(call.sk, config!(offsets.sock_family)).unwrap_or_default();
    if family != AF_INET && family != AF_INET6 || call.decrypted != MOVED_RAW || call.source == SOURCE_NONE {
        return 0;
    }
    if !is_one(call.sk) || read::<u16>(call.sk, config!(offsets.sock_protocol)) != Some(IPPROTO_UDP) {
        return 0;
    }
    call.decrypted = MOVED_DATAGRAM;
    if call.source != SOURCE_SIZED_MESSAGES {
        report();
        return 0;
    }
    // Each message is a datagram.
    let mut step = 0;
    let left = call.count;
    while step < STEPS && u64::from(step) < left {
        step += 1;
        call.count = 1;
        call.len = read_user_or_zero::<u32>(call.address + MESSAGE_LEN);
        report();
        call.address += MESSAGE_SIZE;
    }
    0
}

/// Reports the datagram that the work space is about. One function after the other, not one in the other: on 5.10 all that are
/// under way share 512 bytes of stack.
#[inline(always)]
fn report() {
    if describe_datagram() != 0 {
        introduce();
        capture::report_piece();
    }
}

/// Describes the datagram that the work space is about in the work space; 0: it is of no interest. Global, as `report_call`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn describe_datagram() -> u64 {
    let Some(scratch) = emit::scratch() else {
        return 0;
    };
    // SAFETY: the map keeps it alive; it is this program's while it runs. The record's bytes begin with the ends.
    let (call, ends, piece) =
        unsafe { (&(*scratch).call, &mut *(&raw mut (*scratch).bytes).cast::<Ends>(), &mut (*scratch).piece) };
    let (sk, direction) = (call.sk, call.direction as u8);
    let family = read::<u16>(sk, config!(offsets.sock_family)).unwrap_or_default();
    let tuple = connection::tuple(sk, family);
    ends.local_addr = tuple.local_addr;
    ends.remote_addr = tuple.remote_addr;
    ends.local_port = tuple.local_port;
    ends.remote_port = tuple.remote_port;
    let connected = tuple.remote_port != 0;
    // Where it comes from is not there yet before the call returns.
    if !connected && (direction == SEND || config!(returned) != 0) {
        from_name(call, ends);
    }
    let asker = u32::from(ends.local_port);
    if wanted(ends.remote_port) {
        if direction == SEND && !connected {
            // Answers need not say where they come from. An LRU map: an insertion makes room for itself.
            let _ = ASKERS.insert(sk, asker, 0);
        }
    } else if !wanted(ends.local_port) && (direction == SEND || ends.remote_port != 0 || !has_asked(sk, asker)) {
        return 0;
    }
    let born = DATAGRAM_BORN | u64::from(ends.local_port);
    let (from, limit) = capture::policy(sk, born, direction, 0);
    if from == NEVER {
        emit::count(Counter::Skipped);
        return 0;
    }
    ends.netns = connection::netns(sk);
    *piece = Piece {
        offset: 0,
        from: 0,
        want: u64::from(call.len.min(limit)),
        // SAFETY: the helper has no preconditions.
        time: unsafe { bpf_ktime_get_ns() },
        born,
        len: call.len,
        skipped: 0,
        flags: u32::from(DATAGRAM),
        frame: 0,
    };
    1
}

/// Tells the agent of the process; global, as `report_call`, of whose stack it takes none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn introduce() -> u64 {
    if let Some(scratch) = emit::scratch() {
        // SAFETY: the map keeps it alive; it is this program's while it runs.
        unsafe { (*scratch).call.who }.introduce();
    }
    0
}

/// Whether datagrams from or to a port may be DNS.
#[inline(always)]
fn wanted(port: u16) -> bool {
    if config!(by_port) != 0 {
        // SAFETY: only whether there is an entry matters.
        return unsafe { PORTS.get(port) }.is_some();
    }
    let port = u32::from(port);
    port != 0
        && (port == config!(dns_ports[0])
            || port == config!(dns_ports[1])
            || port == config!(dns_ports[2])
            || port == config!(dns_ports[3]))
}

/// Whether a socket with this port of its own has sent to a port of DNS.
#[inline(always)]
fn has_asked(sk: u64, port: u32) -> bool {
    // SAFETY: a copy is taken at once.
    unsafe { ASKERS.get(sk) }.copied() == Some(port)
}

/// Where the address is that goes with the call, or 0.
#[inline(always)]
fn name(call: &Moved) -> u64 {
    if call.source == SOURCE_MESSAGES || call.source == SOURCE_SIZED_MESSAGES {
        // `msg_name` is what a message begins with.
        return read_user_or_zero::<u64>(call.address);
    }
    if call.source == SOURCE_BUFFER && call.regs != 0 {
        let number = read::<u32>(call.regs, config!(offsets.regs_call)).unwrap_or_default();
        let number = CALLS.get(number).copied().unwrap_or_default();
        if number == Call::SendTo as u8 || number == Call::ReceiveFrom as u8 {
            return read::<u64>(call.regs, config!(offsets.regs_args[4])).unwrap_or_default();
        }
    }
    0
}

/// Takes the remote end from the address that goes with the call, if there is one.
#[inline(always)]
fn from_name(call: &Moved, ends: &mut Ends) {
    let name = name(call);
    if name == 0 {
        return;
    }
    // The family, the port, and an IPv4 address; of IPv6, the address comes after another word.
    let [family, port, high, low] = read_user_or_zero::<[u16; 4]>(name);
    if family == AF_INET6 {
        ends.remote_addr = read_user_or_zero::<[u8; 16]>(name + 8);
    } else if family == AF_INET {
        let ([a, b], [c, d]) = (high.to_ne_bytes(), low.to_ne_bytes());
        ends.remote_addr = mapped([a, b, c, d]);
    } else {
        return;
    }
    ends.remote_port = u16::from_be(port);
}

/// An IPv4 address, as IPv6 writes it.
#[inline(always)]
fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
