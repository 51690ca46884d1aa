//! Agents find each other by a TCP option: see `geophone_ebpf::greeting`. It is on SYN and SYN-ACK. A socket that listened before the agent
//! came does not let its SYN-ACK be written to; then it is on the first segments after those, of both sides.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_PARSE_HDR_OPT_CB,
        BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TCP_LISTEN_CB, BPF_SOCK_OPS_WRITE_HDR_OPT_CB,
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG,
    },
    btf_maps::{Array, LruHashMap},
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_load_hdr_opt, bpf_reserve_hdr_opt, bpf_store_hdr_opt},
    },
    macros::btf_map,
    programs::SockOpsContext,
};
use geophone_ebpf::{
    carry::{self as contexts, OFFER},
    greeting::{FIRST, Greeting, KIND, LONG, MAGIC, SHORT},
    record::{Greeted, Kind, ROLE_ACCEPT, ROLE_CONNECT},
    stats::Counter,
};

use crate::{
    carry::{self, Room},
    emit,
    tcp::{field, sequence, set},
};

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
/// Flags of a TCP header.
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;
/// `BPF_LOAD_HDR_OPT_TCP_SYN`: of the SYN, rather than of the segment that has come.
const OF_SYN: u64 = 1;
/// Nothing but acknowledgements is sent on some connections: after so many segments no more of them have the option.
const SEGMENTS: u32 = 8;
const WRITE: u32 = BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;
const PARSE: u32 = BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG;
const ENOSPC: i64 = -28;
const ENOMSG: i64 = -42;

/// Set by the agent before this is attached.
#[btf_map]
pub static GREETING: Array<Greeting, 1> = Array::new();

/// What SYNs have told, until their connections are established.
#[btf_map]
pub static GREETED: LruHashMap<Ends, Came, 4096> = LruHashMap::new();

/// Both ends of a connection that begins.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ends {
    local: [u32; 4],
    remote: [u32; 4],
    local_port: u32,
    remote_port: u32,
}

/// An option that has come.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Came {
    option: [u8; LONG],
    len: u32,
}

/// What TCP tells.
#[inline(always)]
pub fn called(ctx: &SockOpsContext) {
    match field!(ctx, op) {
        BPF_SOCK_OPS_TCP_CONNECT_CB if is_told(ctx) => {
            set(ctx, field!(ctx, bpf_sock_ops_cb_flags) | WRITE | carry::opens(ctx));
        }
        BPF_SOCK_OPS_TCP_LISTEN_CB => set(ctx, field!(ctx, bpf_sock_ops_cb_flags) | WRITE),
        BPF_SOCK_OPS_HDR_OPT_LEN_CB => reserve(ctx),
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB => write(ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => connected(ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => accepted(ctx),
        BPF_SOCK_OPS_PARSE_HDR_OPT_CB => came(ctx),
        BPF_SOCK_OPS_STATE_CB => carry::changed(ctx),
        _ => {}
    }
}

/// The segment that is about to be sent may need room.
#[inline(always)]
fn reserve(ctx: &SockOpsContext) {
    let measured = field!(ctx, __bindgen_anon_1) == 1;
    let flags = if measured { 0 } else { field!(ctx, skb_tcp_flags) };
    if flags & SYN == 0 {
        if let Some(state) = carry::state(ctx) {
            match carry::reserve(ctx, state, measured) {
                Room::Settled => return,
                Room::Greeting => {}
                Room::Over => {
                    set(ctx, field!(ctx, bpf_sock_ops_cb_flags) & !WRITE);
                    return;
                }
            }
        }
        // An acknowledgement, or the first bytes; or it is asked how long a segment may be.
        if field!(ctx, data_segs_out) != 0 || field!(ctx, segs_out) >= SEGMENTS {
            set(ctx, field!(ctx, bpf_sock_ops_cb_flags) & !WRITE);
            return;
        }
    } else if flags & ACK == 0 {
        if field!(ctx, total_retrans) != 0 {
            emit::count(Counter::OptionsWithheld);
            return;
        }
    } else {
        if !is_told(ctx) {
            return;
        }
        let mut came = Came { option: EMPTY, len: 0 };
        came.len = load(ctx, &mut came.option, OF_SYN);
        if came.len == 0 {
            return;
        }
        // An LRU map: an insertion makes room for itself.
        let _ = GREETED.insert(ends(ctx), came, 0);
    }
    let Some(greeting) = GREETING.get(0) else {
        return;
    };
    // SAFETY: the context is the kernel's.
    if unsafe { bpf_reserve_hdr_opt(ctx.ops, greeting.len, 0) } != 0 {
        emit::count(Counter::OptionsNoRoom);
    }
}

/// The header of a segment is written, for which room was reserved.
#[inline(always)]
fn write(ctx: &SockOpsContext) {
    if carry::write(ctx) {
        return;
    }
    let (Some(greeting), Some(number)) = (GREETING.get(0), sequence(ctx)) else {
        return;
    };
    let mut option = greeting.option;
    let first = if field!(ctx, skb_tcp_flags) & SYN == 0 { number } else { number.wrapping_add(1) };
    let [a, b, c, d] = first.to_be_bytes();
    option[FIRST] = a;
    option[FIRST + 1] = b;
    option[FIRST + 2] = c;
    option[FIRST + 3] = d;
    let len = match greeting.len as usize {
        OFFER => OFFER as u32,
        SHORT => SHORT as u32,
        _ => LONG as u32,
    };
    // SAFETY: the option has room for the longer one.
    let ret = unsafe { bpf_store_hdr_opt(ctx.ops, option.as_ptr().cast(), len, 0) };
    emit::count(if ret == 0 { Counter::OptionsSent } else { Counter::OptionsFailed });
}

/// A SYN-ACK has come.
#[inline(always)]
fn connected(ctx: &SockOpsContext) {
    let flags = field!(ctx, bpf_sock_ops_cb_flags);
    if flags & WRITE == 0 {
        return;
    }
    let mut option = EMPTY;
    let len = load(ctx, &mut option, 0);
    if len != 0 {
        set(ctx, flags & !WRITE | carry::agreed(ctx, reads(&option)));
        tell(ctx, ROLE_CONNECT, field!(ctx, rcv_nxt), &option, len);
    } else if field!(ctx, total_retrans) == 0 {
        set(ctx, flags | PARSE);
    } else {
        set(ctx, flags & !WRITE | carry::agreed(ctx, false));
    }
}

/// The last acknowledgement of a connection's beginning has come, or the first bytes.
#[inline(always)]
fn accepted(ctx: &SockOpsContext) {
    // Those of the socket that listens.
    let flags = field!(ctx, bpf_sock_ops_cb_flags);
    let (mut writes, mut parses) = (0, 0);
    let ends = ends(ctx);
    if let Some(came) = GREETED.get_ptr(ends) {
        // SAFETY: the map keeps the value alive while the program runs.
        let came = unsafe { &*came };
        tell(ctx, ROLE_ACCEPT, field!(ctx, rcv_nxt), &came.option, came.len);
        if reads(&came.option) {
            parses = carry::accepted(ctx);
        }
        let _ = GREETED.remove(ends);
    } else if is_told(ctx) {
        let mut option = EMPTY;
        let len = load(ctx, &mut option, 0);
        if len != 0 {
            tell(ctx, ROLE_ACCEPT, field!(ctx, rcv_nxt), &option, len);
            writes = WRITE;
            if reads(&option) {
                parses = carry::accepted(ctx);
            }
        } else if carry::came(ctx) {
            // The acknowledgement that has said so was lost.
            parses = PARSE;
        }
    }
    if flags & (WRITE | PARSE) != writes | parses {
        set(ctx, flags & !(WRITE | PARSE) | writes | parses);
    }
}

/// A segment with an option that the kernel does not know.
#[inline(always)]
fn came(ctx: &SockOpsContext) {
    if carry::is_accepted(ctx) {
        carry::came(ctx);
        return;
    }
    let mut option = EMPTY;
    let len = load(ctx, &mut option, 0);
    if len != 0
        && let Some(number) = sequence(ctx)
    {
        let flags = field!(ctx, bpf_sock_ops_cb_flags) & !(WRITE | PARSE);
        set(ctx, flags | carry::agreed(ctx, reads(&option)));
        tell(ctx, ROLE_CONNECT, number, &option, len);
    }
}

/// What the option is looked for by.
const EMPTY: [u8; LONG] = {
    let [a, b, c, d] = MAGIC;
    [KIND, 2 + MAGIC.len() as u8, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
};

/// Whether who has sent this option reads contexts.
#[inline(always)]
fn reads(option: &[u8; LONG]) -> bool {
    option[5] == contexts::MAGIC[3]
}

/// Puts the option of a segment that has come in the place of [`EMPTY`]. Returns its length, 0 if there is none. In place, because an older
/// kernel does not take a copy of what may not have been written.
#[inline(always)]
fn load(ctx: &SockOpsContext, option: &mut [u8; LONG], of: u64) -> u32 {
    // SAFETY: the option has room for so many.
    let mut len = unsafe { bpf_load_hdr_opt(ctx.ops, option.as_mut_ptr().cast(), LONG as u32, of) };
    if len == ENOMSG {
        option[5] = contexts::MAGIC[3];
        // SAFETY: as above.
        len = unsafe { bpf_load_hdr_opt(ctx.ops, option.as_mut_ptr().cast(), LONG as u32, of) };
    }
    if len > 0 {
        return len as u32;
    }
    if len == ENOSPC {
        emit::count(Counter::OptionsTooLong);
    }
    0
}

#[inline(always)]
fn tell(ctx: &SockOpsContext, role: u8, receives: u32, option: &[u8; LONG], len: u32) {
    if len == OFFER as u32 {
        // It does not say where an agent is.
        return;
    }
    let record = Greeted {
        kind: Kind::Greeted as u32,
        role: u32::from(role),
        // SAFETY: the helper has no preconditions.
        time: unsafe { bpf_ktime_get_ns() },
        remote_addr: bytes(remote(ctx)),
        sends: field!(ctx, snd_una),
        receives,
        len,
        option: *option,
    };
    emit::count(Counter::OptionsReceived);
    emit::write((&raw const record).cast(), size_of::<Greeted>() as u64, false);
}

fn bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: as many bytes, which are in network order already.
    unsafe { core::mem::transmute(words) }
}

/// Whether agents at the other end are told.
#[inline(always)]
fn is_told(ctx: &SockOpsContext) -> bool {
    let [a, b, c, d] = remote(ctx);
    let Some(greeting) = GREETING.get(0) else {
        return false;
    };
    if a == 0 && b == 0 && c == MAPPED.to_be() {
        let address = u32::from_be(d);
        let [first, second, ..] = address.to_be_bytes();
        return first != 127
            && (greeting.anywhere != 0
                || first == 10
                || first == 172 && second & 0xf0 == 16
                || first == 192 && second == 168
                || first == 100 && second & 0xc0 == 64);
    }
    let here = a == 0 && b == 0 && c == 0;
    !here && (greeting.anywhere != 0 || u32::from_be(a) >> 25 == 0xfc >> 1)
}

/// What IPv6 has before an address of IPv4.
const MAPPED: u32 = 0xffff;

#[inline(always)]
fn remote(ctx: &SockOpsContext) -> [u32; 4] {
    match field!(ctx, family) {
        AF_INET => [0, 0, MAPPED.to_be(), field!(ctx, remote_ip4)],
        AF_INET6 => [
            field!(ctx, remote_ip6, 0),
            field!(ctx, remote_ip6, 1),
            field!(ctx, remote_ip6, 2),
            field!(ctx, remote_ip6, 3),
        ],
        _ => [0; 4],
    }
}

#[inline(always)]
fn ends(ctx: &SockOpsContext) -> Ends {
    let local = match field!(ctx, family) {
        AF_INET6 => {
            [field!(ctx, local_ip6, 0), field!(ctx, local_ip6, 1), field!(ctx, local_ip6, 2), field!(ctx, local_ip6, 3)]
        }
        _ => [0, 0, MAPPED.to_be(), field!(ctx, local_ip4)],
    };
    Ends { local, remote: remote(ctx), local_port: field!(ctx, local_port), remote_port: field!(ctx, remote_port) }
}
