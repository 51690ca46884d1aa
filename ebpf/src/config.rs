//! What the agent tells the kernel programs at load time, as one read-only global. The verifier knows its values, so that what
//! is switched off costs nothing, and offsets into kernel structures are as good as compiled in.

/// Largest number of bytes copied from one call.
pub const CAPTURE_MAX: u32 = 16 * 1024;

/// System-call numbers at or above this are not looked up.
pub const CALLS: usize = 512;

/// The number in a call instruction that stands for `bpf_preempt_disable`. A function of the kernel is called by the number that its
/// type has in that kernel, so the agent writes it into the instruction before loading.
pub const PREEMPT_DISABLE: u32 = 0x0067_656f01;

/// As [`PREEMPT_DISABLE`], for `bpf_preempt_enable`.
pub const PREEMPT_ENABLE: u32 = 0x0067_656f02;

/// How a system call names its socket and its buffer: the values of the `CALLS` map, by system-call number.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Moves no socket bytes.
    None = 0,
    /// `(fd, buf, count)`: write.
    Send = 1,
    /// `(fd, buf, count)`: read.
    Receive = 2,
    /// `(fd, iov, iovcnt)`: writev, pwritev2.
    SendVector = 3,
    /// `(fd, iov, iovcnt)`: readv, preadv2.
    ReceiveVector = 4,
    /// `(fd, msghdr, flags)`: sendmsg.
    SendMessage = 5,
    /// `(fd, msghdr, flags)`: recvmsg.
    ReceiveMessage = 6,
    /// `(fd, mmsghdr, vlen, flags)`: sendmmsg.
    SendMessages = 7,
    /// `(fd, mmsghdr, vlen, flags)`: recvmmsg.
    ReceiveMessages = 8,
    /// `(out_fd, in_fd, ...)`: sendfile.
    SendFile = 9,
    /// `(fd_in, off_in, fd_out, ...)`: splice.
    Splice = 10,
    /// `(fd, buf, count, flags, address)`: recvfrom, whose flags matter.
    ReceiveFrom = 11,
    /// `(fd, buf, count, flags, address)`: sendto.
    SendTo = 12,
}

/// Where in the `INJECT_PROGRAMS` map the program is that writes contexts into requests of HTTP/1.
pub const INJECT_HTTP1: u32 = 0;
/// The same of HTTP/2; there may be none.
pub const INJECT_HTTP2: u32 = 1;

/// How many entries the map of sockets has in the object: what the agent knows it by, to make it a plain map.
pub const INJECT_SOCKETS_MARK: u32 = 0x0067_656f;

/// The offset of a field that this kernel does not have.
pub const MISSING: u32 = u32::MAX;

/// Offsets of fields in kernel structures, in bytes, from the kernel's own BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Offsets {
    /// `task_struct.flags`
    pub task_flags: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `task_struct.io_uring`, or [`MISSING`]
    pub task_io_uring: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.stack`
    pub task_stack: u32,
    /// From the bottom of a task's kernel stack to its user registers; [`MISSING`] where the kernel finds them itself
    /// (`bpf_task_pt_regs`, since 5.15).
    pub stack_regs: u32,
    /// Thread pointer of a task (`fsbase`, `tp_value`).
    pub task_thread_pointer: u32,
    /// `task_struct.real_parent`
    pub task_parent: u32,
    /// `task_struct.__state`
    pub task_state: u32,
    /// `task_struct.se.sum_exec_runtime`
    pub task_runtime: u32,
    /// The byte of `task_struct` that says whether a task waits for a disk.
    pub task_io_wait: u32,
    /// Its bit in that byte.
    pub task_io_wait_mask: u32,
    /// Word of `task_struct.thread_info` that says whether a system call is a 32-bit one.
    pub task_compat: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.max_fds`
    pub fdt_max: u32,
    /// `fdtable.fd`
    pub fdt_fd: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `file.private_data`
    pub file_private: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `inode.i_ino`
    pub inode_ino: u32,
    /// `inode.i_sb`
    pub inode_sb: u32,
    /// `super_block.s_dev`
    pub sb_dev: u32,
    /// `linux_binprm.file`
    pub binprm_file: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// From a `struct socket` to the inode that it is allocated with (`socket_alloc`).
    pub socket_inode: u32,
    /// `sock_common.skc_family`
    pub sock_family: u32,
    /// `sock_common.skc_daddr`
    pub sock_daddr: u32,
    /// `sock_common.skc_rcv_saddr`
    pub sock_saddr: u32,
    /// `sock_common.skc_v6_daddr`
    pub sock_daddr6: u32,
    /// `sock_common.skc_v6_rcv_saddr`
    pub sock_saddr6: u32,
    /// `sock_common.skc_dport`, followed by `skc_num`
    pub sock_portpair: u32,
    /// `sock_common.skc_net`
    pub sock_net: u32,
    /// `sock.sk_type`
    pub sock_type: u32,
    /// `sock.sk_protocol`
    pub sock_protocol: u32,
    /// `sock.sk_err`
    pub sock_err: u32,
    /// `sock.sk_shutdown`
    pub sock_shutdown: u32,
    /// `sock.sk_socket`
    pub sock_socket: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `inet_connection_sock.icsk_ulp_ops`
    pub icsk_ulp: u32,
    /// `tcp_sock.write_seq`
    pub tcp_write_seq: u32,
    /// `tcp_sock.copied_seq`
    pub tcp_copied_seq: u32,
    /// `tcp_sock.snd_una`
    pub tcp_snd_una: u32,
    /// `tcp_sock.rcv_nxt`
    pub tcp_rcv_nxt: u32,
    /// `tcp_sock.bytes_acked`
    pub tcp_bytes_acked: u32,
    /// `tcp_sock.bytes_received`
    pub tcp_bytes_received: u32,
    /// `tcp_sock.snd_nxt`, as the six that follow, or [`MISSING`]
    pub tcp_snd_nxt: u32,
    /// `tcp_sock.notsent_lowat`
    pub tcp_notsent_lowat: u32,
    /// `net.ipv4.sysctl_tcp_notsent_lowat`
    pub net_notsent_lowat: u32,
    /// `sock.sk_wmem_queued`
    pub sock_wmem_queued: u32,
    /// `sock.sk_sndbuf`
    pub sock_sndbuf: u32,
    /// `sock_common.skc_prot`
    pub sock_prot: u32,
    /// `proto.memory_pressure`
    pub proto_memory_pressure: u32,
    /// `unix_sock.peer`
    pub unix_peer: u32,
    /// `unix_sock.addr`
    pub unix_addr: u32,
    /// `unix_address.len`
    pub unix_addr_len: u32,
    /// `unix_address.name`
    pub unix_addr_name: u32,
    /// `sk_msg.sk`
    pub msg_sk: u32,
    /// `sk_msg.data`, followed by `data_end`
    pub msg_data: u32,
    /// `bpf_sock_ops_kern.sk`
    pub sock_ops_sk: u32,
    /// `bpf_sock_ops_kern.skb`
    pub sock_ops_skb: u32,
    /// `sk_buff.cb`, and in that `tcp_skb_cb.seq`
    pub skb_seq: u32,
    /// `pt_regs`: the system call's number.
    pub regs_call: u32,
    /// `pt_regs`: the system call's arguments, still there when it returns.
    pub regs_args: [u32; 5],
    /// `pt_regs`: the address of the instruction.
    pub regs_ip: u32,
    /// `pt_regs`: the stack pointer.
    pub regs_sp: u32,
    /// `pt_regs`: the first arguments of a C function.
    pub regs_function: [u32; 6],
    /// `pt_regs`: where a Rust function puts a result that fits no register, and its first arguments.
    pub regs_rust: [u32; 4],
    /// `pt_regs`: what a C function returns.
    pub regs_return: u32,
    /// `pt_regs`: the first argument of a Go function, and the first value that it returns (`rax`, `x0`).
    pub regs_go_first: u32,
    /// `pt_regs`: the second argument of a Go function (`rbx`, `x1`).
    pub regs_go_second: u32,
    /// `pt_regs`: the third argument of a Go function (`rcx`, `x2`).
    pub regs_go_third: u32,
    /// `pt_regs`: the fourth argument of a Go function (`rdi`, `x3`).
    pub regs_go_fourth: u32,
    /// `pt_regs`: where Go code keeps the address of the goroutine that runs (`r14`, `x28`).
    pub regs_go_g: u32,
}

/// Where the kernel's own knowledge of what is mapped in a process is (since Linux 6.1): see `ebpf/src/programs/mapping.rs`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mappings {
    /// 1: this kernel has all that follows.
    pub known: u32,
    /// `task_struct.mm`
    pub task_mm: u32,
    /// `mm_struct.mm_mt.ma_root`
    pub mm_root: u32,
    /// `mm_struct.context.vdso`
    pub mm_vdso: u32,
    /// `vm_area_struct.vm_start`
    pub area_start: u32,
    /// `vm_area_struct.vm_end`
    pub area_end: u32,
    /// `vm_area_struct.vm_mm`
    pub area_mm: u32,
    /// `vm_area_struct.vm_flags`
    pub area_flags: u32,
    /// `vm_area_struct.vm_pgoff`
    pub area_offset: u32,
    /// `vm_area_struct.vm_file`
    pub area_file: u32,
    /// `file.f_mode`
    pub file_mode: u32,
    /// From a `struct file` that stands for another one to the directory entry of that (`backing_file.user_path.dentry`); 0: there are none.
    pub backing_entry: u32,
    /// `dentry.d_inode`
    pub entry_inode: u32,
    /// `dentry.d_sb`
    pub entry_sb: u32,
    /// `inode.i_size`
    pub inode_size: u32,
    /// `inode.i_mtime_sec`
    pub inode_seconds: u32,
    /// `inode.i_mtime_nsec`
    pub inode_nanos: u32,
}

/// How many ports of DNS there can be.
pub const DNS_PORTS: usize = 4;

/// The configuration.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// Fields of kernel structures.
    pub offsets: Offsets,
    /// Mask of `task_compat`; 0 where there are no 32-bit calls.
    pub compat_mask: u32,
    /// The agent's own process, which is never traced.
    pub agent_tgid: u32,
    /// 1 when only processes marked in `PROCESSES` are traced.
    pub selective: u32,
    /// 1 when only connections with a port in `PORTS` are traced.
    pub by_port: u32,
    /// 1 when each exec is reported, because it may change what is selected.
    pub report_exec: u32,
    /// Bytes copied from the beginning of each call unless a policy says otherwise; at most [`CAPTURE_MAX`].
    pub capture: u32,
    /// Bytes written to a processor's ring after which the agent is woken.
    pub wake_after: u32,
    /// 1 when the programs say what they decide.
    pub debug: u32,
    /// Slots of the `POLICIES` map less one; a power of two less one.
    pub policy_mask: u32,
    /// Number of the system call `futex`.
    pub futex_call: u32,
    /// 1: each tracepoint has two programs, because this kernel leaves programs out.
    pub twins: u32,
    /// 1: the sampling program walks the stacks of processes by rows; 0: the kernel does by frame pointers.
    pub unwind: u32,
    /// 1: a call is seen when it has returned, and what it tells its caller is there; 0: a little before that.
    pub returned: u32,
    /// Datagrams from or to these ports may be DNS, unless only connections with a port in `PORTS` are traced, whose datagrams then may be;
    /// 0: none.
    pub dns_ports: [u32; DNS_PORTS],
    /// `pt_regs`: the frame pointer.
    pub regs_fp: u32,
    /// What is mapped in processes.
    pub mappings: Mappings,
    /// 1: samples are taken beside tracing, and say which of the runtime's tasks ran; 0: by themselves.
    pub tracing: u32,
    /// 1: it is counted for how long threads run, and what they wait for.
    pub usage: u32,
    /// Nanoseconds from one tick of the kernel's clock to the next.
    pub tick: u32,
    /// Microseconds of the shortest wait that counts.
    pub wait_least: u32,
    /// Stacks that a processor looks at in a second: so many of threads whose last wait was long, and so many of others.
    pub wait_stacks: u32,
    /// 1: requests of the processes in `INJECT_PROCESSES` are given a context; what follows is for that only.
    pub inject: u32,
    /// 1: contexts are carried in TCP options.
    pub contexts: u32,
    /// What trace ids are made of: see [`inject::trace_id`](crate::inject::trace_id). Random; the agent has the same.
    pub inject_key: [u32; 4],
}

/// What a system call that blocks waits for: the values of the `WAIT_CALLS` map, by system-call number.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// None of those below.
    Other = 0,
    /// futex: another thread.
    Lock = 1,
    /// fsync and the like: a disk.
    Disk = 2,
    /// Whoever is at the other end of a connection.
    Network = 3,
    /// Until some time has passed.
    Sleep = 4,
    /// The descriptor that is the first argument says it: a socket is [`Wait::Network`].
    Descriptor = 5,
    /// As many descriptors as the second argument says (poll): none is [`Wait::Sleep`], any others [`Wait::Network`].
    Poll = 6,
    /// The same by the first argument (select).
    Select = 7,
}

/// Which runtime's tasks run in a process, as `kind` of a [`Runtime`]: none of its own.
pub const RUNTIME_THREADS: u32 = 0;
/// Go: goroutines.
pub const RUNTIME_GO: u32 = 1;
/// CPython: asyncio's tasks.
pub const RUNTIME_PYTHON: u32 = 2;
/// Node.js: one event loop.
pub const RUNTIME_NODE: u32 = 3;
/// tokio: tasks.
pub const RUNTIME_TOKIO: u32 = 4;
/// Java: virtual threads.
pub const RUNTIME_JAVA: u32 = 5;

/// How the task that runs on a thread of a process is found: the values of the `RUNTIMES` map, by thread group. What `at` holds is
/// said where each runtime is read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// `RUNTIME_*`
    pub kind: u32,
    /// Not 0 when wake-ups between threads of this process say nothing of who works for whom (the runtime's own scheduler makes them);
    /// [`REUSED`] when the runtime keeps threads that have ended, and wakes them to begin anew.
    pub no_wakes: u32,
    /// Offsets and addresses.
    pub at: [u64; 24],
    /// A futex in this range of addresses is one of the runtime's own locks: from, to.
    pub locks: [u64; 2],
}

/// As `no_wakes` of a [`Runtime`]: a thread that waits for a new life does so on its own stack, by a futex within
/// [`OUTERMOST`] bytes of the end of it. All others are the scheduler's.
pub const REUSED: u32 = 2;
/// The outermost frames of a thread, its thread-local variables and the C library's descriptor of it.
pub const OUTERMOST: u64 = 32 * 1024;

/// What `at` of a [`Runtime`] holds for Go: indices.
pub mod go {
    /// From the thread pointer to the word that holds the address of the thread's `g`; 0: it is in a register.
    pub const TLS: usize = 0;
    /// Offset of `g.m`.
    pub const G_M: usize = 1;
    /// Offset of `g.goid`.
    pub const G_ID: usize = 2;
    /// Offset of `g.parentGoid`; 0: there is none (before Go 1.21).
    pub const G_PARENT: usize = 3;
    /// Offset of `m.curg`.
    pub const M_CURG: usize = 4;
    /// Offset of `conn` in `net/http.persistConn`.
    pub const PERSIST_CONN: usize = 5;
    /// Offset of `pfd.Sysfd` in `net.netFD`.
    pub const SYSFD: usize = 6;
    /// From `net/http.(*persistConn).roundTrip` (where the file has none: from `crypto/tls.(*Conn).Write`; without that, from another one
    /// of the functions at which there are probes) to `net.(*TCPConn).Close`, wrapping; 0: the file has no such function.
    pub const CLOSE_TCP: usize = 7;
    /// The same for `net.(*UnixConn).Close`.
    pub const CLOSE_UNIX: usize = 8;
    /// The same for the function of `net/http` that runs the handler of a stream of HTTP/2.
    pub const HTTP2_SERVE: usize = 9;
    /// The same for `crypto/tls.(*Conn).Read`.
    pub const TLS_READ: usize = 10;
    /// The same for `crypto/tls.(*Conn).Write`.
    pub const TLS_WRITE: usize = 11;
    /// When (`CLOCK_MONOTONIC`, ns) probes were in place at both: of connections that are younger, all that is decrypted is seen.
    pub const TLS_SINCE: usize = 12;
    /// As [`HTTP2_SERVE`], of `golang.org/x/net/http2`.
    pub const X_HTTP2_SERVE: usize = 13;
    /// As [`CLOSE_TCP`], to the function of gRPC that writes a message of a client.
    pub const GRPC_WRITE: usize = 14;
    /// The same for the one that serves a stream.
    pub const GRPC_HANDLE: usize = 15;
    /// Offset of `conn` in `google.golang.org/grpc/internal/transport.http2Client`.
    pub const GRPC_CLIENT_CONN: usize = 16;
    /// Offset of `conn` in `http2Server` of the same package.
    pub const GRPC_SERVER_CONN: usize = 17;
    /// Offset of `id` in `Stream` of the same package, with which the streams of both sides begin.
    pub const GRPC_STREAM_ID: usize = 18;
    /// Not 0: they begin with a pointer to it instead.
    pub const GRPC_POINTS: usize = 19;
    /// Offset of `conn` in `net/http.http2serverConn`, or `net/http/internal/http2.serverConn`.
    pub const HTTP2_CONN: usize = 20;
    /// The same in `golang.org/x/net/http2.serverConn`.
    pub const X_HTTP2_CONN: usize = 21;
}

/// A file: the keys of the `EXECUTED` map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Inode.
    pub ino: u64,
    /// Device, as the kernel writes it: the minor number in the lower 20 bits.
    pub dev: u32,
    /// Zero.
    pub pad: u32,
}

/// A process is traced.
pub const PROCESS_SELECTED: u32 = 1;
/// The agent has been told of it.
pub const PROCESS_KNOWN: u32 = 2;
/// A sample of it was taken beside tracing.
pub const PROCESS_SAMPLED: u32 = 4;

/// Nothing of a direction is wanted any more, as `from` of a [`Policy`].
pub const NEVER: u64 = u64::MAX;

/// The agent's advice for one connection, in a table that both sides map: a slot is found by [`policy_slot`] and counts only
/// for the socket that it names, so a collision costs work but never bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Address of the `struct sock`; 0 while the slot is empty or being written.
    pub sock: u64,
    /// Its identity.
    pub born: u64,
    /// For each direction: calls that end before this stream offset are not reported; [`NEVER`]: none is.
    pub from: [u64; 2],
    /// For each direction: bytes copied of each call.
    pub bytes: [u32; 2],
    /// 1: said of the decrypted streams of a TLS connection; 0: of what goes through the socket.
    pub decrypted: u32,
    /// Zero.
    pub pad: u32,
}

/// The slot of a socket in the table of policies.
#[inline(always)]
#[must_use]
pub fn policy_slot(sock: u64, mask: u32) -> u32 {
    // Fibonacci hashing: socks are aligned and lie close together, so the low bits alone would collide.
    ((sock >> 5).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u32 & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_socks_rarely_share_a_slot() {
        extern crate std;
        let mask = 65_535;
        // A slab of TCP socks: 2,368 bytes each.
        let slots: std::collections::BTreeSet<u32> =
            (0..10_000u64).map(|i| policy_slot(0xffff_8880_1234_0000 + i * 2368, mask)).collect();
        assert!(slots.len() > 9_000, "{} of 10,000", slots.len());
    }
}
