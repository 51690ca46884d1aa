//! Reading memory: the kernel's structures at offsets from the configuration, and the memory of processes.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};

/// Reads a `T` at `base + offset` in kernel memory; `None` when that fails.
#[inline(always)]
pub fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    let from = base.wrapping_add(u64::from(offset)) as *const c_void;
    // SAFETY: the helper checks the address, and writes all of `value` (zeroes when it fails).
    unsafe {
        let ret = bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, from);
        (ret == 0).then(|| value.assume_init())
    }
}

/// Copies a `T` from `address` in kernel memory to `to`, which is no detour over the stack: 512 bytes of that are all that a
/// program and the functions that it calls have together.
///
/// # Safety
/// `to` must have room for a `T`; the verifier checks it too.
#[inline(always)]
pub unsafe fn copy<T>(to: *mut T, address: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe { bpf_probe_read_kernel(to.cast(), size_of::<T>() as u32, address as *const c_void) == 0 }
}

/// Reads a `T` of the current process's memory.
#[inline(always)]
pub fn read_user<T: Copy>(address: u64) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: as in `read`.
    unsafe {
        let ret = bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const c_void);
        (ret == 0).then(|| value.assume_init())
    }
}

/// Reads a `T` of the current process's memory; zeroes when that fails. For values that are not looked at unless they are used: with an
/// `Option` the compiler may compute with what was not read, which the verifier refuses.
#[inline(always)]
pub fn read_user_or_zero<T: Copy>(address: u64) -> T {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the address, and writes all of `value`: zeroes when it fails.
    unsafe {
        bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const c_void);
        value.assume_init()
    }
}

/// Copies `len` bytes of the current process's memory to `to`.
///
/// # Safety
/// `to` must have room for `len` bytes; the verifier checks it too.
#[inline(always)]
pub unsafe fn copy_user(to: *mut u8, len: u64, from: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe { bpf_probe_read_user(to.cast(), len as u32, from as *const c_void) == 0 }
}

/// Copies `len` bytes of the kernel's memory to `to`.
///
/// # Safety
/// `to` must have room for `len` bytes; the verifier checks it too.
#[inline(always)]
pub unsafe fn copy_kernel(to: *mut u8, len: u64, from: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe { bpf_probe_read_kernel(to.cast(), len as u32, from as *const c_void) == 0 }
}
