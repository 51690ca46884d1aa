//! Reading the rings, one per processor, merged by time.
//!
//! A record is in its ring within microseconds of its time stamp. So what is older than [`SLACK`] when a round begins is complete
//! on all rings, and is handed on in order of time; what is younger waits for the next round.

use std::{cmp::Reverse, collections::BinaryHeap, io, mem, os::fd::OwnedFd, time::Duration};

use aya::maps::{Map, MapData, MapError, RingBuf};
use rustix::event::{Timespec, epoll};

use super::{Waker, decode, load::LoadError};
use crate::event::Nanos;

/// How long a record may take from its time stamp to its ring.
pub const SLACK: Duration = Duration::from_micros(500);

/// The rings.
pub struct Rings {
    rings: Vec<RingBuf<MapData>>,
    heads: BinaryHeap<Reverse<(Nanos, usize)>>,
    /// Edge-triggered: a ring that has records, but whose writer did not ask to wake the agent, does not end a wait. Otherwise
    /// every wait would end at once under load, and each round would be for a handful of records.
    epoll: OwnedFd,
}

impl Rings {
    /// Creates one ring of `bytes` (a power of two) per processor.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn create(
        count: usize,
        bytes: u32,
        mut place: impl FnMut(u32, &MapData) -> Result<(), MapError>,
    ) -> Result<Self, LoadError> {
        let mut rings = Vec::with_capacity(count);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        for index in 0..count {
            let ringbuf = aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32;
            let data = MapData::create(aya_obj::Map::new_from_params(ringbuf, 0, 0, bytes, 0), "geophone_ring", None)?;
            place(u32::try_from(index).unwrap_or(u32::MAX), &data)?;
            let ring = RingBuf::try_from(Map::RingBuf(data))?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &ring, data, epoll::EventFlags::IN | epoll::EventFlags::ET).map_err(io::Error::from)?;
            rings.push(ring);
        }
        Ok(Self { heads: BinaryHeap::with_capacity(count), rings, epoll })
    }

    /// From here on, `waker` ends waits, too.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn listen(&self, waker: &Waker) -> io::Result<()> {
        // Edge-triggered, each call of `wake` ends a wait, and nobody need read.
        let data = epoll::EventData::new_u64(u64::MAX);
        Ok(epoll::add(&self.epoll, waker, data, epoll::EventFlags::IN | epoll::EventFlags::ET)?)
    }

    /// Hands on the records older than [`SLACK`], in order of time, at most `limit` of them. Returns how many, and whether
    /// younger ones are waiting.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> (usize, bool) {
        let horizon = now().saturating_sub(u64::try_from(SLACK.as_nanos()).unwrap_or_default());
        self.heads.clear();
        for (index, ring) in self.rings.iter_mut().enumerate() {
            if let Some(time) = peek(ring) {
                self.heads.push(Reverse((time, index)));
            }
        }
        let mut count = 0;
        while let Some(mut head) = self.heads.peek_mut() {
            let Reverse((time, index)) = *head;
            if time > horizon || count == limit {
                return (count, true);
            }
            let Some(ring) = self.rings.get_mut(index) else {
                break;
            };
            if let Some(record) = ring.next() {
                each(&record);
                count += 1;
            }
            match peek(ring) {
                Some(time) => *head = Reverse((time, index)),
                None => {
                    std::collections::binary_heap::PeekMut::pop(head);
                }
            }
        }
        (count, false)
    }

    /// Waits until the kernel side wakes the agent, at most for `timeout`.
    ///
    /// # Errors
    /// Those of `epoll_wait`, except for an interruption.
    pub fn wait(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 8];
        match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The time of a ring's first record, which stays there.
fn peek(ring: &mut RingBuf<MapData>) -> Option<Nanos> {
    let record = ring.next()?;
    let time = decode::time(&record);
    // Dropping an item takes it out of the ring; a forgotten one is returned again.
    mem::forget(record);
    Some(time)
}

/// The kernel's monotonic clock.
#[must_use]
pub fn now() -> Nanos {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}
