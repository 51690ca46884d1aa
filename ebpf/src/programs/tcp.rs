//! What programs that TCP calls (`sock_ops`) read of their context.

use aya_ebpf::{helpers::generated::bpf_sock_ops_cb_flags_set, programs::SockOpsContext};

use crate::{kernel::read, maps::config};

/// A field of the context, or the so many-th word of one. In assembly, because the verifier takes nothing but a constant for its place, and
/// the compiler computes one where it can join two reads.
macro_rules! field {
    ($ctx:expr, $field:ident) => {
        $crate::tcp::field!($ctx, $field, 0)
    };
    ($ctx:expr, $field:ident, $word:literal) => {{
        let value: u64;
        // SAFETY: the kernel hands the program a context, whose fields the verifier lets it read.
        unsafe {
            core::arch::asm!(
                "{value} = *(u32 *)({ctx} + {at})",
                value = out(reg) value,
                ctx = in(reg) $ctx.ops,
                at = const core::mem::offset_of!(aya_ebpf::bindings::bpf_sock_ops, $field) + 4 * $word,
                options(nostack, preserves_flags, readonly),
            );
        }
        value as u32
    }};
}

/// A field of the context that is 64 bits long: a number, or an address.
macro_rules! wide {
    ($ctx:expr, $field:ident, $type:ty) => {{
        let value: $type;
        // SAFETY: as above.
        unsafe {
            core::arch::asm!(
                "{value} = *(u64 *)({ctx} + {at})",
                value = out(reg) value,
                ctx = in(reg) $ctx.ops,
                at = const core::mem::offset_of!(aya_ebpf::bindings::bpf_sock_ops, $field),
                options(nostack, preserves_flags, readonly),
            );
        }
        value
    }};
}

pub(crate) use field;
pub(crate) use wide;

/// The `struct sock`.
#[inline(always)]
pub fn sock(ctx: &SockOpsContext) -> u64 {
    read::<u64>(ctx.ops as u64, config!(offsets.sock_ops_sk)).unwrap_or_default()
}

/// What the kernel is to call the program for on this connection from now on: `BPF_SOCK_OPS_*_CB_FLAG`.
pub fn set(ctx: &SockOpsContext, flags: u32) {
    // SAFETY: the context is the kernel's.
    unsafe { bpf_sock_ops_cb_flags_set(ctx.ops, flags as i32) };
}

/// The sequence number in the header at hand.
#[inline(always)]
pub fn sequence(ctx: &SockOpsContext) -> Option<u32> {
    let data = wide!(ctx, __bindgen_anon_3, *const u8);
    let end = wide!(ctx, __bindgen_anon_4, *const u8);
    // SAFETY: behind the check, which the verifier asks for.
    unsafe {
        if data.add(8) > end {
            return None;
        }
        Some(u32::from_be(data.add(4).cast::<u32>().read()))
    }
}
