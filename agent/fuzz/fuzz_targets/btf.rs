//! Any bytes as the kernel's type information.

#![no_main]

use geophone::bpf::btf::Btf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(btf) = Btf::parse(data.to_vec()) else { return };
    for path in ["sock.__sk_common.skc_family", "sock.sk_err", "task_struct.thread", "a.b.c", "a", ""] {
        let _ = btf.offset(path);
    }
    let _ = btf.has("btf_trace_sock_send_length");
});
