//! What a socket is: finding its entry, making one at first sight, and where its streams are.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_ktime_get_ns};
use geophone_ebpf::{
    record::{Kind, Open, ROLE_CONNECT, SEND},
    stats::Counter,
};

use crate::{
    emit,
    kernel::{copy, read},
    log,
    maps::{
        CONNECTION_ANNOUNCED, CONNECTION_COUNTED, CONNECTION_IGNORED, CONNECTION_PLACED, CONNECTION_UNIX,
        CONNECTION_WHOLE, CONNECTIONS, Connection, Frames, NO_FRAMES, OWN_PEERS, PORTS, Tuple, config,
    },
    process::Current,
};

const AF_UNIX: u16 = 1;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
const SOCK_STREAM: u16 = 1;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;

/// The entry of a socket that is traced, made at first sight and announced to the agent.
#[inline(always)]
pub fn find(sk: u64, who: Current) -> Option<*mut Connection> {
    let mut entry = CONNECTIONS.get_ptr_mut(sk);
    if let Some(found) = entry {
        // SAFETY: the map keeps the value alive while the program runs, here and below.
        let (flags, identity) = unsafe { ((*found).flags, (*found).identity) };
        // There is no event for the end of a Unix socket, and one of what is ignored may have been missed: look whether this is still the
        // one that was meant.
        if flags & (CONNECTION_UNIX | CONNECTION_IGNORED) != 0 {
            let now = if flags & CONNECTION_UNIX != 0 { unix_identity(sk) } else { tcp_identity(sk) };
            if identity != now {
                entry = None;
            } else if flags & CONNECTION_IGNORED != 0 {
                return None;
            }
        }
    }
    let entry = match entry {
        Some(entry) => entry,
        None => create(sk, 0)?,
    };
    // SAFETY: see above.
    let connection = unsafe { &mut *entry };
    if connection.flags & CONNECTION_IGNORED != 0 {
        return None;
    }
    if connection.flags & CONNECTION_ANNOUNCED == 0 {
        announce(sk, (u64::from(who.tgid) << 32) | u64::from(who.tid));
        if connection.flags & CONNECTION_IGNORED != 0 {
            return None;
        }
    }
    Some(entry)
}

/// Makes an entry; `None` when it is not a stream socket, or there is no room.
#[inline(always)]
pub fn create(sk: u64, flags: u32) -> Option<*mut Connection> {
    if insert(sk, u64::from(flags)) == 0 {
        return None;
    }
    CONNECTIONS.get_ptr_mut(sk)
}

/// Makes an entry; 0 if there is none. Global, as `announce`: an entry is put together on the stack, of which there is little.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn insert(sk: u64, flags: u64) -> u64 {
    u64::from(try_insert(sk, flags as u32).is_some())
}

#[inline(always)]
fn try_insert(sk: u64, flags: u32) -> Option<()> {
    let family: u16 = read(sk, config!(offsets.sock_family))?;
    if family != AF_INET && family != AF_INET6 && family != AF_UNIX {
        return None;
    }
    if read::<u16>(sk, config!(offsets.sock_type))? != SOCK_STREAM {
        return None;
    }
    let mut flags = flags;
    let identity = if family == AF_UNIX {
        flags |= CONNECTION_UNIX | CONNECTION_COUNTED | CONNECTION_PLACED;
        if config!(by_port) != 0 {
            flags |= CONNECTION_IGNORED;
        }
        unix_identity(sk)
    } else {
        match read::<u16>(sk, config!(offsets.sock_protocol))? {
            IPPROTO_TCP => {
                if read::<u64>(sk, config!(offsets.icsk_ulp))? != 0 {
                    flags |= CONNECTION_COUNTED | CONNECTION_PLACED;
                }
            }
            IPPROTO_MPTCP => flags |= CONNECTION_COUNTED | CONNECTION_PLACED,
            _ => return None,
        }
        tcp_identity(sk)
    };
    let new = Connection {
        // SAFETY: the helper has no preconditions.
        born: unsafe { bpf_ktime_get_ns() },
        position: [0; 2],
        sequence: [0; 2],
        identity,
        flags,
        role: 0,
        frames: [Frames { next: NO_FRAMES, header: [0; 8], have: 0, wanted: 0 }; 2],
    };
    if CONNECTIONS.insert(sk, new, 0).is_err() {
        emit::count(Counter::MapFull);
        return None;
    }
    Some(())
}

/// Tells the agent of a socket: once, with its addresses. Decides by port and by peer whether it is traced. Global, and so verified by
/// itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn announce(sk: u64, id: u64) -> u64 {
    let who = Current { tgid: (id >> 32) as u32, tid: id as u32 };
    let (Some(entry), Some(scratch)) = (CONNECTIONS.get_ptr_mut(sk), emit::scratch()) else {
        return 0;
    };
    // SAFETY: the maps keep both alive while the program runs.
    let connection: &mut Connection = unsafe { &mut *entry };
    // SAFETY: the work space is this program's while it runs; it is larger than a record with a path.
    let open = unsafe { &mut *(&raw mut (*scratch).bytes).cast::<Open>() };
    *open = Open {
        kind: Kind::Open as u32,
        born: connection.born,
        sock: sk,
        tgid: who.tgid,
        tid: who.tid,
        ..Open::default()
    };
    // SAFETY: the helper has no preconditions.
    open.time = unsafe { bpf_ktime_get_ns() };
    open.role = connection.role as u8;
    open.comm = bpf_get_current_comm().unwrap_or_default();
    open.family = read(sk, config!(offsets.sock_family)).unwrap_or_default();
    open.netns = netns(sk);
    let mut len = size_of::<Open>() as u64;
    if open.family == AF_UNIX {
        open.peer = read(sk, config!(offsets.unix_peer)).unwrap_or_default();
        len += path(sk, open);
    } else {
        let tuple = tuple(sk, open.family);
        open.local_addr = tuple.local_addr;
        open.remote_addr = tuple.remote_addr;
        open.local_port = tuple.local_port;
        open.remote_port = tuple.remote_port;
        connection.identity = tcp_identity(sk);
        // SAFETY: only whether there is an entry matters.
        let (listed, own) = unsafe {
            let listed = PORTS.get(tuple.local_port).is_some() || PORTS.get(tuple.remote_port).is_some();
            (listed, OWN_PEERS.get(tuple).is_some())
        };
        let unwanted = own || config!(by_port) != 0 && !listed;
        if unwanted {
            connection.flags |= CONNECTION_IGNORED;
            log::say(log::IGNORED, sk, 0);
            return 0;
        }
        if connection.flags & CONNECTION_COUNTED == 0 {
            let send = sequences(sk, SEND);
            let receive = sequences(sk, SEND ^ 1);
            open.first_send_seq = send.first.wrapping_add(u32::from(open.role == ROLE_CONNECT));
            open.first_receive_seq = receive.first;
        }
    }
    who.introduce();
    if emit::write((&raw const *open).cast(), len, false) {
        connection.flags |= CONNECTION_ANNOUNCED;
        log::say(log::ANNOUNCED, sk, u64::from(who.tgid));
    }
    0
}

/// Appends the path that a Unix socket, or else its peer, is bound to. Returns its length.
#[inline(always)]
fn path(sk: u64, open: &mut Open) -> u64 {
    const PATH_MAX: u32 = 108;
    let mut address = read::<u64>(sk, config!(offsets.unix_addr)).unwrap_or_default();
    if address == 0 && open.peer != 0 {
        open.path_is_peers = 1;
        address = read::<u64>(open.peer, config!(offsets.unix_addr)).unwrap_or_default();
    }
    if address == 0 {
        return 0;
    }
    // `len` counts the two bytes of the family.
    let len = read::<u32>(address, config!(offsets.unix_addr_len)).unwrap_or_default();
    if len <= 2 || len > PATH_MAX + 2 {
        return 0;
    }
    let name = address + u64::from(config!(offsets.unix_addr_name)) + 2;
    // SAFETY: the work space goes on behind the record.
    if !unsafe { copy((&raw mut *open).add(1).cast::<[u8; PATH_MAX as usize]>(), name) } {
        return 0;
    }
    open.path_len = len - 2;
    u64::from(PATH_MAX)
}

/// Inode of a Unix socket: unique among those that exist.
#[inline(always)]
fn unix_identity(sk: u64) -> u64 {
    let socket = read::<u64>(sk, config!(offsets.sock_socket)).unwrap_or_default();
    read(socket + u64::from(config!(offsets.socket_inode)), config!(offsets.inode_ino)).unwrap_or_default()
}

/// The two ports of a TCP connection.
#[inline(always)]
fn tcp_identity(sk: u64) -> u64 {
    u64::from(read::<u32>(sk, config!(offsets.sock_portpair)).unwrap_or_default())
}

/// Inode of a socket's network namespace.
#[inline(always)]
pub fn netns(sk: u64) -> u32 {
    let net = read::<u64>(sk, config!(offsets.sock_net)).unwrap_or_default();
    read(net, config!(offsets.net_inum)).unwrap_or_default()
}

/// The two ends of a TCP connection.
#[inline(always)]
pub fn tuple(sk: u64, family: u16) -> Tuple {
    let mut tuple = Tuple { local_addr: [0; 16], remote_addr: [0; 16], local_port: 0, remote_port: 0 };
    if family == AF_INET6 {
        tuple.local_addr = read(sk, config!(offsets.sock_saddr6)).unwrap_or_default();
        tuple.remote_addr = read(sk, config!(offsets.sock_daddr6)).unwrap_or_default();
    } else {
        // As IPv6 writes it, so that a dual-stack socket and an IPv4 one name the same connection alike.
        let mapped = |v4: [u8; 4]| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3]];
        tuple.local_addr = mapped(read(sk, config!(offsets.sock_saddr)).unwrap_or_default());
        tuple.remote_addr = mapped(read(sk, config!(offsets.sock_daddr)).unwrap_or_default());
    }
    let [remote, local] = read::<[u16; 2]>(sk, config!(offsets.sock_portpair)).unwrap_or_default();
    tuple.local_port = local;
    tuple.remote_port = u16::from_be(remote);
    tuple
}

/// Where one direction of a TCP stream is.
struct Sequences {
    /// Sequence number of its first byte (of the SYN, where this side sends and opened the connection).
    first: u32,
    /// Sequence number behind the last byte that the process moved.
    last: u32,
    /// How many bytes that is.
    position: u64,
}

#[inline(always)]
fn sequences(sk: u64, direction: u8) -> Sequences {
    let or_zero = |offset| read::<u32>(sk, offset).unwrap_or_default();
    if direction == SEND {
        let (unacked, acked) = counted(sk, config!(offsets.tcp_snd_una), config!(offsets.tcp_bytes_acked));
        let last = or_zero(config!(offsets.tcp_write_seq));
        let position = acked + u64::from(last.wrapping_sub(unacked));
        Sequences { first: unacked.wrapping_sub(acked as u32), last, position }
    } else {
        let (next, received) = counted(sk, config!(offsets.tcp_rcv_nxt), config!(offsets.tcp_bytes_received));
        let copied = or_zero(config!(offsets.tcp_copied_seq));
        let last = copied.wrapping_sub(u32::from(copied == next && receive_shut(sk)));
        let position = received.wrapping_sub(u64::from(next.wrapping_sub(last)));
        Sequences { first: next.wrapping_sub(received as u32), last, position }
    }
}

/// A sequence number and the count of bytes that goes with it. A segment may come in between, on another processor: they are read until they
/// stay the same.
#[inline(always)]
fn counted(sk: u64, sequence: u32, bytes: u32) -> (u32, u64) {
    const TRIES: u32 = 4;
    let mut found = (0, 0);
    for _ in 0..TRIES {
        let before = read::<u64>(sk, bytes).unwrap_or_default();
        let number = read::<u32>(sk, sequence).unwrap_or_default();
        found = (number, read::<u64>(sk, bytes).unwrap_or_default());
        if found.1 == before && read::<u32>(sk, sequence).unwrap_or_default() == number {
            break;
        }
    }
    found
}

/// Whether the peer's FIN has come.
#[inline(always)]
pub fn receive_shut(sk: u64) -> bool {
    const RCV_SHUTDOWN: u8 = 1;
    read::<u8>(sk, config!(offsets.sock_shutdown)).unwrap_or_default() & RCV_SHUTDOWN != 0
}

/// Takes note that `len` bytes were moved, and returns the stream position of the first of them.
///
/// TCP's own sequence numbers say where they are, so that a call that was not seen leaves a hole of the right size instead of
/// shifting everything behind it.
#[inline(always)]
pub fn advance(sk: u64, connection: &mut Connection, direction: u8, len: u64) -> u64 {
    let d = usize::from(direction & 1);
    if connection.flags & CONNECTION_PLACED == 0 {
        place(sk, u64::from(direction), len);
    }
    let position = connection.position[d];
    if connection.flags & CONNECTION_COUNTED == 0 {
        let field = if direction == SEND { config!(offsets.tcp_write_seq) } else { config!(offsets.tcp_copied_seq) };
        let mut sequence = read::<u32>(sk, field).unwrap_or_default();
        let mut moved = sequence.wrapping_sub(connection.sequence[d]);
        if direction != SEND && u64::from(moved) == len + 1 && receive_shut(sk) {
            // A receive that comes to the FIN takes it too, and it has a number of its own.
            sequence = sequence.wrapping_sub(1);
            moved -= 1;
        }
        if u64::from(moved) == len {
            connection.sequence[d] = sequence;
        } else if read::<u64>(sk, config!(offsets.icsk_ulp)).unwrap_or_default() != 0 {
            // Kernel TLS began: from here on the sequence numbers count records, not what the process moves.
            connection.flags |= CONNECTION_COUNTED;
        } else if (moved as i32) < 0 {
            // Another thread was faster; its bytes come after these.
            return position.wrapping_sub(u64::from(moved.wrapping_neg())).wrapping_sub(len);
        } else {
            connection.sequence[d] = sequence;
            connection.position[d] = position + u64::from(moved);
            return connection.position[d].wrapping_sub(len);
        }
    }
    connection.position[d] = position + len;
    position
}

/// Finds both directions' positions from the kernel's own counts, the first time that bytes are moved. Global, and so verified by itself.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn place(sk: u64, direction: u64, len: u64) -> u64 {
    let Some(entry) = CONNECTIONS.get_ptr_mut(sk) else {
        return 0;
    };
    // SAFETY: the map keeps the value alive while the program runs.
    let connection: &mut Connection = unsafe { &mut *entry };
    let send = sequences(sk, SEND);
    let receive = sequences(sk, SEND ^ 1);
    // The SYN was counted where this side sent it.
    let syn = u64::from(connection.role == u32::from(ROLE_CONNECT));
    connection.position = [send.position.saturating_sub(syn), receive.position];
    connection.sequence = [send.last, receive.last];
    let d = direction as usize & 1;
    connection.position[d] = connection.position[d].saturating_sub(len);
    connection.sequence[d] = connection.sequence[d].wrapping_sub(len as u32);
    if connection.position == [0, 0] {
        connection.flags |= CONNECTION_WHOLE;
    }
    connection.flags |= CONNECTION_PLACED;
    0
}
