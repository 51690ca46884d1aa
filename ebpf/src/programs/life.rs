//! The life of connections: TCP's states by their tracepoint, and ends by what calls return.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    programs::RawTracePointContext,
};
use geophone_ebpf::record::{HANDOVER_CONNECT, Kind, NOWHERE, RECEIVE, ROLE_CONNECT, State};

use crate::{
    capture, connection, emit, handover, inject,
    kernel::read,
    log,
    maps::{
        CONNECTION_ANNOUNCED, CONNECTION_DRAINING, CONNECTION_IGNORED, CONNECTION_OWN, CONNECTIONS, Connection,
        MOVED_RAW, Moved, OWN_PEERS, SOURCE_NONE, Tuple, config,
    },
    process::{self, Current},
    twin::{self, Occurrence},
};

const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_SENT: i32 = 2;
const TCP_FIN_WAIT1: i32 = 4;
const TCP_CLOSE: i32 = 7;
const TCP_LAST_ACK: i32 = 9;

const EPIPE: i64 = -32;
const ECONNRESET: i64 = -104;
const ETIMEDOUT: i64 = -110;

/// Whether what a call returned means that its connection is over.
#[inline(always)]
pub fn is_end(ret: i64) -> bool {
    ret == EPIPE || ret == ECONNRESET || ret == ETIMEDOUT
}

/// `inet_sock_set_state`. Runs in the middle of whatever the processor was doing, except for a connect.
#[inline(always)]
pub fn changed<const SECOND: bool>(ctx: &RawTracePointContext) {
    let sk: u64 = ctx.arg(0);
    let old: i32 = ctx.arg(1);
    let new: i32 = ctx.arg(2);
    if new != TCP_SYN_SENT && new != TCP_ESTABLISHED && new != TCP_FIN_WAIT1 && new != TCP_LAST_ACK && new != TCP_CLOSE
    {
        return;
    }
    if !twin::is_mine::<SECOND>(Occurrence::Socket(sk)) {
        return;
    }
    if new == TCP_SYN_SENT {
        connecting(sk);
        return;
    }
    let Some(entry) = CONNECTIONS.get_ptr_mut(sk) else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let connection: &mut Connection = unsafe { &mut *entry };
    if connection.flags & CONNECTION_OWN != 0 {
        own(sk, new);
    }
    if new == TCP_ESTABLISHED && connection.flags & CONNECTION_DRAINING != 0 {
        // Closed, and never read to its end: what is established now is another connection, accepted at the same address.
        tell(sk, connection, TCP_CLOSE, TCP_CLOSE, 0);
        let _ = CONNECTIONS.remove(sk);
        return;
    }
    if connection.flags & CONNECTION_ANNOUNCED == 0 {
        if new == TCP_CLOSE {
            let _ = CONNECTIONS.remove(sk);
        }
        return;
    }
    log::say(log::STATE, sk, new as u64);
    tell(sk, connection, old, new, read::<i32>(sk, config!(offsets.sock_err)).unwrap_or_default());
    if new == TCP_CLOSE {
        // The process may still read what is queued, until it closes the socket.
        if read::<u64>(sk, config!(offsets.sock_socket)).unwrap_or_default() == 0 {
            let _ = CONNECTIONS.remove(sk);
        } else {
            connection.flags |= CONNECTION_DRAINING;
        }
    }
}

/// A receive returned 0: the end of the stream, unless nothing was asked for.
#[inline(always)]
pub fn received_end(sk: u64, who: Current) {
    let Some(entry) = CONNECTIONS.get_ptr_mut(sk) else {
        return;
    };
    if !connection::receive_shut(sk) {
        return;
    }
    capture::report(Moved {
        sk,
        who,
        direction: u32::from(RECEIVE),
        len: 0,
        source: SOURCE_NONE,
        decrypted: MOVED_RAW,
        address: 0,
        count: 0,
        record: NOWHERE,
        regs: 0,
    });
    // SAFETY: the map keeps the value alive while the program runs.
    if unsafe { (*entry).flags } & CONNECTION_DRAINING != 0 {
        let _ = CONNECTIONS.remove(sk);
    }
}

/// A call on a socket failed with this errno, negated.
#[inline(always)]
pub fn failed(sk: u64, ret: i32) {
    if !is_end(i64::from(ret)) {
        return;
    }
    let Some(entry) = CONNECTIONS.get_ptr_mut(sk) else {
        return;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let connection: &Connection = unsafe { &*entry };
    if connection.flags & CONNECTION_ANNOUNCED != 0 {
        log::say(log::FAILED, sk, u64::from(ret.unsigned_abs()));
        tell(sk, connection, TCP_CLOSE, TCP_CLOSE, -ret);
    }
    if connection.flags & CONNECTION_DRAINING != 0 {
        let _ = CONNECTIONS.remove(sk);
    }
}

/// A connect begins, in its process: the only moment that says who opens the connection.
#[inline(always)]
fn connecting(sk: u64) {
    let agent = (bpf_get_current_pid_tgid() >> 32) as u32 == config!(agent_tgid);
    let who = Current::traced();
    if !agent && who.is_none() {
        return;
    }
    // A new connection: whatever was known of this address is over.
    let flags = if agent { CONNECTION_OWN | CONNECTION_IGNORED } else { inject::mark(who) };
    if let Some(entry) = connection::create(sk, flags) {
        // SAFETY: the map keeps the value alive while the program runs.
        unsafe { (*entry).role = u32::from(ROLE_CONNECT) };
    }
    if let Some(who) = who
        && process::is_known(who.tgid)
    {
        handover::tell(HANDOVER_CONNECT, who, (0, 0, 0), sk);
    }
}

/// A connection of the agent itself: remembers its peer while it lasts.
#[inline(always)]
fn own(sk: u64, new: i32) {
    let family = read(sk, config!(offsets.sock_family)).unwrap_or_default();
    let mine = connection::tuple(sk, family);
    let peers = Tuple {
        local_addr: mine.remote_addr,
        remote_addr: mine.local_addr,
        local_port: mine.remote_port,
        remote_port: mine.local_port,
    };
    if new == TCP_ESTABLISHED {
        // An LRU map: an insertion makes room for itself.
        let _ = OWN_PEERS.insert(peers, 1, 0);
    }
}

#[inline(always)]
fn tell(sk: u64, connection: &Connection, old: i32, new: i32, error: i32) {
    let record = State {
        kind: Kind::State as u32,
        old: old as u16,
        new: new as u16,
        // SAFETY: the helper has no preconditions.
        time: unsafe { bpf_ktime_get_ns() },
        sock: sk,
        born: connection.born,
        error,
        owned: u32::from(read::<u64>(sk, config!(offsets.sock_socket)).unwrap_or_default() != 0),
    };
    emit::write((&raw const record).cast(), size_of::<State>() as u64, false);
}
