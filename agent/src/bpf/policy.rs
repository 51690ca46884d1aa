//! Writing the agent's advice into the table that the kernel programs map too: no system call, and no lock.

use std::{
    ptr,
    sync::atomic::{Ordering, fence},
};

use aya::maps::MapData;
use geophone_ebpf::config::{NEVER, Policy, policy_slot};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::AsFd as _;

use crate::{
    event::{Direction, SocketId},
    protocol::Interest,
};

/// The mapped table.
pub struct Policies {
    slots: *mut Policy,
    count: u32,
    /// Keeps the map alive.
    _map: MapData,
}

// SAFETY: the mapping belongs to this value alone; the kernel side reads each field by itself.
unsafe impl Send for Policies {}

impl Policies {
    /// Maps the table of `count` slots, a power of two.
    ///
    /// # Errors
    /// Those of `mmap`.
    pub fn map(map: MapData, count: u32) -> std::io::Result<Self> {
        let len = count as usize * size_of::<Policy>();
        // SAFETY: a new mapping at an address that the kernel chooses.
        let slots = unsafe {
            mmap(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, map.fd().as_fd(), 0)?
        };
        Ok(Self { slots: slots.cast(), count, _map: map })
    }

    /// Sets what is wanted of one direction of a connection. Of the other direction, the usual stays wanted when the slot was another's.
    pub fn set(&mut self, socket: SocketId, direction: Direction, decrypted: bool, interest: Interest, usual: u32) {
        let decrypted = u32::from(decrypted);
        let slot = policy_slot(socket.sock, self.count - 1);
        // SAFETY: `policy_slot` is below `count`, and the mapping has that many.
        let slot = unsafe { self.slots.add(slot as usize) };
        // SAFETY: as above. Only this value writes; the kernel side may read meanwhile, so every access is volatile, and the slot
        // names no socket while it is being changed.
        unsafe {
            let mut policy = ptr::read_volatile(slot);
            if policy.sock != socket.sock || policy.born != socket.born || policy.decrypted != decrypted {
                let (sock, born) = (socket.sock, socket.born);
                policy = Policy { sock, born, from: [0; 2], bytes: [usual; 2], decrypted, pad: 0 };
            }
            let d = match direction {
                Direction::Send => 0,
                Direction::Receive => 1,
            };
            if let (Some(from), Some(bytes)) = (policy.from.get_mut(d), policy.bytes.get_mut(d)) {
                *from = if interest.never { NEVER } else { interest.from };
                *bytes = interest.bytes;
            }
            ptr::write_volatile(&raw mut (*slot).sock, 0);
            fence(Ordering::Release);
            ptr::write_volatile(&raw mut (*slot).born, policy.born);
            ptr::write_volatile(&raw mut (*slot).from, policy.from);
            ptr::write_volatile(&raw mut (*slot).bytes, policy.bytes);
            ptr::write_volatile(&raw mut (*slot).decrypted, policy.decrypted);
            fence(Ordering::Release);
            ptr::write_volatile(&raw mut (*slot).sock, policy.sock);
        }
    }
}

impl Drop for Policies {
    fn drop(&mut self) {
        // SAFETY: nothing else points into the mapping. That it cannot be unmapped is no reason to fail.
        let _ = unsafe { munmap(self.slots.cast(), self.count as usize * size_of::<Policy>()) };
    }
}
