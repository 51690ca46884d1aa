//! What the kernel programs must know of this kernel and this architecture: field offsets, registers, system-call numbers.

use geophone_ebpf::config::{Call, MISSING, Mappings, Offsets, Wait};

use super::btf::{Btf, BtfError};

/// Looks up every field that the kernel programs read.
///
/// # Errors
/// When one is missing that every supported kernel has.
pub fn offsets(btf: &Btf) -> Result<Offsets, BtfError> {
    let at = |path: &str| btf.offset(path);
    let socket = at("socket_alloc.socket")?;
    let io_wait = btf.bit("task_struct.in_iowait")?;
    Ok(Offsets {
        task_flags: at("task_struct.flags")?,
        task_files: at("task_struct.files")?,
        // Since 5.11; without it there is nothing to be careful of in the front end that needs it (6.5).
        task_io_uring: at("task_struct.io_uring").unwrap_or(MISSING),
        task_tgid: at("task_struct.tgid")?,
        task_pid: at("task_struct.pid")?,
        task_stack: at("task_struct.stack")?,
        stack_regs: if btf.function("bpf_task_pt_regs").is_some() { MISSING } else { arch::STACK_REGS },
        task_thread_pointer: arch::thread_pointer(btf)?,
        task_parent: at("task_struct.real_parent")?,
        // Renamed in 5.14; before, it was a word twice as long. The states that matter are in its lower half.
        task_state: at("task_struct.__state").or_else(|_| at("task_struct.state"))?,
        task_runtime: at("task_struct.se.sum_exec_runtime")?,
        task_io_wait: io_wait / 8,
        task_io_wait_mask: 1 << (io_wait % 8),
        task_compat: at("task_struct.thread_info")? + arch::compat_word(btf)?,
        files_fdt: at("files_struct.fdt")?,
        fdt_max: at("fdtable.max_fds")?,
        fdt_fd: at("fdtable.fd")?,
        file_inode: at("file.f_inode")?,
        file_private: at("file.private_data")?,
        inode_mode: at("inode.i_mode")?,
        inode_ino: at("inode.i_ino")?,
        inode_sb: at("inode.i_sb")?,
        sb_dev: at("super_block.s_dev")?,
        binprm_file: at("linux_binprm.file")?,
        socket_sk: at("socket.sk")?,
        socket_inode: at("socket_alloc.vfs_inode")? - socket,
        sock_family: at("sock.__sk_common.skc_family")?,
        sock_daddr: at("sock.__sk_common.skc_daddr")?,
        sock_saddr: at("sock.__sk_common.skc_rcv_saddr")?,
        // A kernel without IPv6 has no such field, and no such socket.
        sock_daddr6: at("sock.__sk_common.skc_v6_daddr").unwrap_or(MISSING),
        sock_saddr6: at("sock.__sk_common.skc_v6_rcv_saddr").unwrap_or(MISSING),
        sock_portpair: at("sock.__sk_common.skc_dport")?,
        sock_net: at("sock.__sk_common.skc_net.net")?,
        sock_type: at("sock.sk_type")?,
        sock_protocol: at("sock.sk_protocol")?,
        sock_err: at("sock.sk_err")?,
        sock_shutdown: at("sock.sk_shutdown")?,
        sock_socket: at("sock.sk_socket")?,
        net_inum: at("net.ns.inum")?,
        icsk_ulp: at("inet_connection_sock.icsk_ulp_ops")?,
        tcp_write_seq: at("tcp_sock.write_seq")?,
        tcp_copied_seq: at("tcp_sock.copied_seq")?,
        tcp_snd_una: at("tcp_sock.snd_una")?,
        tcp_rcv_nxt: at("tcp_sock.rcv_nxt")?,
        tcp_bytes_acked: at("tcp_sock.bytes_acked")?,
        tcp_bytes_received: at("tcp_sock.bytes_received")?,
        // Only for what is refused without them.
        tcp_snd_nxt: at("tcp_sock.snd_nxt").unwrap_or(MISSING),
        tcp_notsent_lowat: at("tcp_sock.notsent_lowat").unwrap_or(MISSING),
        net_notsent_lowat: at("net.ipv4.sysctl_tcp_notsent_lowat").unwrap_or(MISSING),
        sock_wmem_queued: at("sock.sk_wmem_queued").unwrap_or(MISSING),
        sock_sndbuf: at("sock.sk_sndbuf").unwrap_or(MISSING),
        sock_prot: at("sock.__sk_common.skc_prot").unwrap_or(MISSING),
        proto_memory_pressure: at("proto.memory_pressure").unwrap_or(MISSING),
        unix_peer: at("unix_sock.peer")?,
        unix_addr: at("unix_sock.addr")?,
        unix_addr_len: at("unix_address.len")?,
        unix_addr_name: at("unix_address.name")?,
        // A kernel without maps of sockets may have none of these.
        msg_sk: at("sk_msg.sk").unwrap_or(MISSING),
        msg_data: at("sk_msg.data").unwrap_or(MISSING),
        sock_ops_sk: at("bpf_sock_ops_kern.sk").unwrap_or(MISSING),
        sock_ops_skb: at("bpf_sock_ops_kern.skb").unwrap_or(MISSING),
        skb_seq: at("sk_buff.cb")? + at("tcp_skb_cb.seq")?,
        regs_call: arch::regs_call(btf)?,
        regs_args: arch::regs_args(btf)?,
        regs_ip: arch::regs_ip(btf)?,
        regs_sp: arch::regs_sp(btf)?,
        regs_function: arch::regs_function(btf)?,
        regs_rust: arch::regs_rust(btf)?,
        regs_return: arch::regs_return(btf)?,
        regs_go_first: arch::regs_return(btf)?,
        regs_go_second: arch::regs_go_second(btf)?,
        regs_go_third: arch::regs_go_third(btf)?,
        regs_go_fourth: arch::regs_go_fourth(btf)?,
        regs_go_g: arch::regs_go_g(btf)?,
    })
}

/// Where the kernel keeps what is mapped in processes. Nothing where it does so in another way than since Linux 6.1.
#[must_use]
pub fn mappings(btf: &Btf) -> Mappings {
    find_mappings(btf).unwrap_or_default()
}

fn find_mappings(btf: &Btf) -> Result<Mappings, BtfError> {
    let at = |path: &str| btf.offset(path);
    // What `ebpf/src/programs/mapping.rs` takes for granted.
    let layout = [
        ("maple_range_64.pivot", 8),
        ("maple_range_64.slot", 128),
        ("maple_arange_64.pivot", 8),
        ("maple_arange_64.slot", 80),
        ("backing_file.file", 0),
    ];
    for (path, expected) in layout {
        let is_there = at(path).or_else(|error| if expected == 0 { Ok(0) } else { Err(error) })?;
        if is_there != expected {
            return Err(BtfError::NoField(path.to_owned()));
        }
    }
    // In two fields since 6.11, before that in one, which had another name for a while.
    let (inode_seconds, inode_nanos) = match at("inode.i_mtime_sec") {
        Ok(seconds) => (seconds, at("inode.i_mtime_nsec")?),
        Err(_) => {
            let time = at("inode.__i_mtime").or_else(|_| at("inode.i_mtime"))?;
            (time + at("timespec64.tv_sec")?, time + at("timespec64.tv_nsec")?)
        }
    };
    Ok(Mappings {
        known: 1,
        task_mm: at("task_struct.mm")?,
        mm_root: at("mm_struct.mm_mt.ma_root")?,
        mm_vdso: at("mm_struct.context.vdso")?,
        area_start: at("vm_area_struct.vm_start")?,
        area_end: at("vm_area_struct.vm_end")?,
        area_mm: at("vm_area_struct.vm_mm")?,
        area_flags: at("vm_area_struct.vm_flags")?,
        area_offset: at("vm_area_struct.vm_pgoff")?,
        area_file: at("vm_area_struct.vm_file")?,
        file_mode: at("file.f_mode")?,
        // Since 6.7.
        backing_entry: at("backing_file.user_path.dentry").unwrap_or_default(),
        entry_inode: at("dentry.d_inode")?,
        entry_sb: at("dentry.d_sb")?,
        inode_size: at("inode.i_size")?,
        inode_seconds,
        inode_nanos,
    })
}

/// Where `pt_regs` has the frame pointer. On processors whose frame descriptions are not understood: nothing.
///
/// # Errors
/// When the field is missing.
pub fn frame_pointer(btf: &Btf) -> Result<Option<u32>, BtfError> {
    arch::frame_pointer(btf)
}

/// System calls in which threads wait, and what for.
#[rustfmt::skip]
pub const WAITS: &[(libc::c_long, Wait)] = &[
    (libc::SYS_futex, Wait::Lock),
    (libc::SYS_futex_waitv, Wait::Lock),
    (libc::SYS_flock, Wait::Lock),
    (libc::SYS_fsync, Wait::Disk),
    (libc::SYS_fdatasync, Wait::Disk),
    (libc::SYS_sync, Wait::Disk),
    (libc::SYS_syncfs, Wait::Disk),
    (libc::SYS_msync, Wait::Disk),
    (libc::SYS_sync_file_range, Wait::Disk),
    (libc::SYS_epoll_pwait, Wait::Network),
    (libc::SYS_epoll_pwait2, Wait::Network),
    (libc::SYS_accept, Wait::Network),
    (libc::SYS_accept4, Wait::Network),
    (libc::SYS_connect, Wait::Network),
    (libc::SYS_recvfrom, Wait::Network),
    (libc::SYS_recvmsg, Wait::Network),
    (libc::SYS_recvmmsg, Wait::Network),
    (libc::SYS_sendto, Wait::Network),
    (libc::SYS_sendmsg, Wait::Network),
    (libc::SYS_sendmmsg, Wait::Network),
    (libc::SYS_nanosleep, Wait::Sleep),
    (libc::SYS_clock_nanosleep, Wait::Sleep),
    (libc::SYS_read, Wait::Descriptor),
    (libc::SYS_readv, Wait::Descriptor),
    (libc::SYS_write, Wait::Descriptor),
    (libc::SYS_writev, Wait::Descriptor),
    (libc::SYS_sendfile, Wait::Descriptor),
    (libc::SYS_ppoll, Wait::Poll),
    (libc::SYS_pselect6, Wait::Select),
    #[cfg(target_arch = "x86_64")] (libc::SYS_epoll_wait, Wait::Network),
    #[cfg(target_arch = "x86_64")] (libc::SYS_poll, Wait::Poll),
    #[cfg(target_arch = "x86_64")] (libc::SYS_select, Wait::Select),
];
/// Mask of the word at `task_compat` that is set in a 32-bit system call.
pub const COMPAT_MASK: u32 = arch::COMPAT_MASK;

/// The system calls that move socket bytes, by number.
pub const CALLS: &[(i64, Call)] = &[
    (libc::SYS_read, Call::Receive),
    (libc::SYS_write, Call::Send),
    (libc::SYS_readv, Call::ReceiveVector),
    (libc::SYS_writev, Call::SendVector),
    (libc::SYS_preadv2, Call::ReceiveVector),
    (libc::SYS_pwritev2, Call::SendVector),
    (libc::SYS_recvfrom, Call::ReceiveFrom),
    (libc::SYS_sendto, Call::SendTo),
    (libc::SYS_recvmsg, Call::ReceiveMessage),
    (libc::SYS_sendmsg, Call::SendMessage),
    (libc::SYS_recvmmsg, Call::ReceiveMessages),
    (libc::SYS_sendmmsg, Call::SendMessages),
    (libc::SYS_sendfile, Call::SendFile),
    (libc::SYS_splice, Call::Splice),
];

#[cfg(target_arch = "x86_64")]
mod arch {
    use super::{Btf, BtfError};

    /// `TS_COMPAT` of `arch/x86/include/asm/thread_info.h`.
    pub const COMPAT_MASK: u32 = 0x2;

    /// `THREAD_SIZE` less the size of `pt_regs`, before 5.15.
    pub const STACK_REGS: u32 = 16 * 1024 - 168;

    pub fn thread_pointer(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("task_struct.thread.fsbase")
    }

    pub fn compat_word(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("thread_info.status")
    }

    pub fn regs_call(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("pt_regs.orig_ax")
    }

    /// rdi, rsi, rdx, r10
    pub fn regs_args(btf: &Btf) -> Result<[u32; 5], BtfError> {
        Ok([
            btf.offset("pt_regs.di")?,
            btf.offset("pt_regs.si")?,
            btf.offset("pt_regs.dx")?,
            btf.offset("pt_regs.r10")?,
            btf.offset("pt_regs.r8")?,
        ])
    }

    pub fn regs_ip(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("pt_regs.ip")
    }

    pub fn regs_sp(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("pt_regs.sp")
    }

    /// rdi, rsi, rdx, rcx, r8, r9
    pub fn regs_function(btf: &Btf) -> Result<[u32; 6], BtfError> {
        Ok([
            btf.offset("pt_regs.di")?,
            btf.offset("pt_regs.si")?,
            btf.offset("pt_regs.dx")?,
            btf.offset("pt_regs.cx")?,
            btf.offset("pt_regs.r8")?,
            btf.offset("pt_regs.r9")?,
        ])
    }

    /// The address for the result is the first argument.
    pub fn regs_rust(btf: &Btf) -> Result<[u32; 4], BtfError> {
        let [first, second, third, fourth, ..] = regs_function(btf)?;
        Ok([first, second, third, fourth])
    }

    /// Of Go, also the first argument.
    pub fn regs_return(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("pt_regs.ax")
    }

    pub fn regs_go_second(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("pt_regs.bx")
    }

    pub fn regs_go_third(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("pt_regs.cx")
    }

    pub fn regs_go_fourth(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("pt_regs.di")
    }

    pub fn regs_go_g(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("pt_regs.r14")
    }

    pub fn frame_pointer(btf: &Btf) -> Result<Option<u32>, BtfError> {
        btf.offset("pt_regs.bp").map(Some)
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    use super::{Btf, BtfError};

    /// `TIF_32BIT` of `arch/arm64/include/asm/thread_info.h`.
    pub const COMPAT_MASK: u32 = 1 << 22;

    /// `THREAD_SIZE` less the size of `pt_regs`, before 5.15.
    pub const STACK_REGS: u32 = 16 * 1024 - 336;

    pub fn thread_pointer(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("task_struct.thread.uw.tp_value")
    }

    pub fn compat_word(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("thread_info.flags")
    }

    pub fn regs_call(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("pt_regs.syscallno")
    }

    /// x0 is overwritten by the result; the kernel keeps the argument beside it.
    pub fn regs_args(btf: &Btf) -> Result<[u32; 5], BtfError> {
        let regs = btf.offset("pt_regs.regs")?;
        Ok([btf.offset("pt_regs.orig_x0")?, regs + 8, regs + 16, regs + 24, regs + 32])
    }

    pub fn regs_ip(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("pt_regs.pc")
    }

    pub fn regs_sp(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("pt_regs.sp")
    }

    pub fn regs_function(btf: &Btf) -> Result<[u32; 6], BtfError> {
        let regs = btf.offset("pt_regs.regs")?;
        Ok([regs, regs + 8, regs + 16, regs + 24, regs + 32, regs + 40])
    }

    /// The address for the result is in x8.
    pub fn regs_rust(btf: &Btf) -> Result<[u32; 4], BtfError> {
        let regs = btf.offset("pt_regs.regs")?;
        Ok([regs + 64, regs, regs + 8, regs + 16])
    }

    /// Of Go, also the first argument.
    pub fn regs_return(btf: &Btf) -> Result<u32, BtfError> {
        btf.offset("pt_regs.regs")
    }

    pub fn regs_go_second(btf: &Btf) -> Result<u32, BtfError> {
        Ok(btf.offset("pt_regs.regs")? + 8)
    }

    pub fn regs_go_third(btf: &Btf) -> Result<u32, BtfError> {
        Ok(btf.offset("pt_regs.regs")? + 16)
    }

    pub fn regs_go_fourth(btf: &Btf) -> Result<u32, BtfError> {
        Ok(btf.offset("pt_regs.regs")? + 24)
    }

    pub fn regs_go_g(btf: &Btf) -> Result<u32, BtfError> {
        Ok(btf.offset("pt_regs.regs")? + 28 * 8)
    }

    pub fn frame_pointer(_btf: &Btf) -> Result<Option<u32>, BtfError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where there are maple trees, all is found that is needed to walk them; where not, nothing is said.
    #[test]
    fn mappings_are_found_where_the_kernel_keeps_them_in_a_tree() {
        let btf = Btf::of_kernel().unwrap();
        let mappings = mappings(&btf);
        if btf.offset("mm_struct.mm_mt").is_err() || cfg!(not(target_arch = "x86_64")) {
            assert_eq!(mappings.known, 0);
            return;
        }
        assert_eq!(mappings.known, 1);
        assert_eq!(mappings.area_end, mappings.area_start + 8);
        assert_eq!(mappings.inode_size, btf.offset("inode.i_size").unwrap());
    }
}
