//! Sample records as the kernel side writes them: `geophone_ebpf::record::Sample`, followed by addresses. Every length is checked.

use geophone_ebpf::{
    interpreter::{ADDRESS, MOST},
    record::{
        self, INTERPRETED_CUT, KERNEL_FAILED, Kind, MAPPED_MAX, RESULT_FAULT, RESULT_KERNEL, RESULT_TRUNCATED,
        SAMPLE_WAITS, STACK_MAX, USER_FAILED, USER_MAX,
    },
};

use crate::{bpf::decode::DecodeError, event::Nanos};

/// A thread's name as the kernel keeps it: up to the first zero byte.
pub type Comm = [u8; 16];

/// What a thread was doing at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Process (thread group).
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// When, by `CLOCK_MONOTONIC`.
    pub time: Nanos,
    /// The thread's name.
    pub comm: Comm,
    /// The frames of an interpreter: two words each.
    pub interpreted: Stack<'a>,
    /// The kernel's frames.
    pub kernel: Stack<'a>,
    /// The frames of the process, and where those of the interpreter belong: see `geophone_ebpf::interpreter`.
    pub user: Stack<'a>,
    /// Files that these are in, as far as the kernel side found them by itself.
    pub mapped: MappedFiles<'a>,
    /// How the walk of these ended: `RESULT_*`.
    pub result: u32,
    /// What happened on the way: `WALK_*`, `INTERPRETED_*`; and `SAMPLE_WAITS`.
    pub flags: u32,
}

/// A thread runs again that has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// Process (thread group).
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// When it went to sleep: the time of its sample.
    pub since: Nanos,
    /// When it ran again.
    pub time: Nanos,
}

/// A record of a wait; `None` when it is of another kind, or cut short.
#[must_use]
pub fn waited(bytes: &[u8]) -> Option<Waited> {
    macro_rules! at {
        ($field:ident) => {
            std::mem::offset_of!(record::Waited, $field)
        };
    }
    let long = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
    let kind = word(bytes, at!(kind))?;
    (kind == Kind::Waited as u32).then_some(())?;
    Some(Waited {
        tgid: word(bytes, at!(tgid))?,
        tid: word(bytes, at!(tid))?,
        since: long(at!(since))?,
        time: long(at!(time))?,
    })
}

/// Addresses, the innermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stack<'a> {
    bytes: &'a [u8],
    /// The kernel could not read it.
    pub failed: bool,
}

impl<'a> Stack<'a> {
    /// The addresses.
    pub fn addresses(self) -> impl Iterator<Item = u64> + 'a {
        self.words().filter(|word| *word <= ADDRESS)
    }

    /// All that there is.
    pub fn words(self) -> impl Iterator<Item = u64> + 'a {
        self.bytes.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes)
    }

    /// How many words.
    #[must_use]
    pub fn len(self) -> usize {
        self.bytes.len() / 8
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }
}

/// Files that are mapped in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MappedFiles<'a> {
    bytes: &'a [u8],
}

impl<'a> MappedFiles<'a> {
    /// Each of them; some may be there more than once.
    pub fn all(self) -> impl Iterator<Item = record::Mapped> + 'a {
        self.bytes.chunks_exact(size_of::<record::Mapped>()).filter_map(|bytes| {
            let mut words = bytes.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes);
            let mut word = || words.next();
            Some(record::Mapped { start: word()?, end: word()?, offset: word()?, inode: word()?, device: word()? })
        })
    }
}

impl Sample<'_> {
    /// Whether the thread goes to sleep.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.flags & SAMPLE_WAITS != 0
    }

    /// Whether one of the stacks has as many frames as are looked at, so that there may have been more.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let user = match self.result {
            RESULT_KERNEL => self.user.len() >= STACK_MAX,
            result => result == RESULT_TRUNCATED,
        };
        user || self.kernel.len() >= STACK_MAX || self.flags & INTERPRETED_CUT != 0
    }
}

/// Whether a record is a sample.
#[must_use]
pub fn is_sample(record: &[u8]) -> bool {
    word(record, 0) == Some(Kind::Sample as u32)
}

/// Decodes one.
///
/// # Errors
/// [`DecodeError::Unknown`] when it is none or has impossible lengths, [`DecodeError::Short`] when it ends before those say.
pub fn decode(bytes: &[u8]) -> Result<Sample<'_>, DecodeError> {
    macro_rules! word {
        ($field:ident) => {
            word(bytes, std::mem::offset_of!(record::Sample, $field)).ok_or(DecodeError::Short)?
        };
    }
    let (head, frames) = bytes.split_at_checked(size_of::<record::Sample>()).ok_or(DecodeError::Short)?;
    if word!(kind) != Kind::Sample as u32 {
        return Err(DecodeError::Unknown);
    }
    let (interpreted, kernel, user) = (word!(interpreted) as usize, word!(kernel) as usize, word!(user) as usize);
    let mapped = word!(mapped) as usize;
    if interpreted > MOST || kernel > STACK_MAX || user > USER_MAX || mapped > MAPPED_MAX {
        return Err(DecodeError::Unknown);
    }
    let (interpreted, frames) = frames.split_at_checked(interpreted * 16).ok_or(DecodeError::Short)?;
    let (kernel, rest) = frames.split_at_checked(kernel * 8).ok_or(DecodeError::Short)?;
    let (user, rest) = rest.split_at_checked(user * 8).ok_or(DecodeError::Short)?;
    let mapped = rest.get(..mapped * size_of::<record::Mapped>()).ok_or(DecodeError::Short)?;
    let (flags, result) = (word!(flags), word!(result));
    let failed = flags & USER_FAILED != 0 || (result == RESULT_FAULT && user.is_empty());
    let at = |offset: usize, len: usize| head.get(offset..offset + len).ok_or(DecodeError::Short);
    let time = at(std::mem::offset_of!(record::Sample, time), 8)?;
    let comm = at(std::mem::offset_of!(record::Sample, comm), 16)?;
    Ok(Sample {
        tgid: word!(tgid),
        tid: word!(tid),
        time: u64::from_ne_bytes(time.try_into().map_err(|_| DecodeError::Short)?),
        comm: comm.try_into().map_err(|_| DecodeError::Short)?,
        interpreted: Stack { bytes: interpreted, failed: false },
        kernel: Stack { bytes: kernel, failed: flags & KERNEL_FAILED != 0 },
        user: Stack { bytes: user, failed },
        mapped: MappedFiles { bytes: mapped },
        result,
        flags,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use geophone_ebpf::{interpreter::RUN, record::RESULT_COMPLETE};
    use proptest::prelude::*;

    use super::*;

    /// A record as the kernel side writes it. The result is in the upper half of `flags`.
    pub(in crate::profile) fn record(tgid: u32, comm: &str, flags: u32, kernel: &[u64], user: &[u64]) -> Vec<u8> {
        let mut name = Comm::default();
        name[..comm.len()].copy_from_slice(comm.as_bytes());
        let mut bytes: Vec<u8> = [Kind::Sample as u32, tgid].into_iter().flat_map(u32::to_ne_bytes).collect();
        bytes.extend(77u64.to_ne_bytes());
        bytes.extend(
            [tgid + 1, flags & 0xffff, kernel.len() as u32, user.len() as u32].into_iter().flat_map(u32::to_ne_bytes),
        );
        bytes.extend(name);
        bytes.extend([flags >> 16, 0].into_iter().flat_map(u32::to_ne_bytes));
        bytes.extend([0u8; 24]);
        bytes.extend(kernel.iter().chain(user).flat_map(|address| address.to_ne_bytes()));
        bytes
    }

    #[test]
    fn both_stacks_come_apart() {
        let bytes = record(42, "burner", USER_FAILED, &[1, 2], &[3]);
        assert!(is_sample(&bytes));
        let sample = decode(&bytes).unwrap();
        assert_eq!((sample.tgid, sample.tid, sample.time), (42, 43, 77));
        assert_eq!(&sample.comm[..7], b"burner\0");
        assert_eq!(sample.kernel.words().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(sample.user.addresses().collect::<Vec<_>>(), [3]);
        assert!(sample.user.failed && !sample.kernel.failed && !sample.is_cut());
        for (result, frames, is_cut) in
            [(RESULT_KERNEL, STACK_MAX, true), (RESULT_COMPLETE, STACK_MAX, false), (RESULT_TRUNCATED, USER_MAX, true)]
        {
            let bytes = record(42, "x", result << 16, &[], &vec![7; frames]);
            let sample = decode(&bytes).unwrap();
            assert_eq!((sample.result, sample.is_cut(), sample.user.failed), (result, is_cut, false));
        }
        let bytes = record(42, "x", RESULT_FAULT << 16, &[1], &[]);
        assert!(decode(&bytes).unwrap().user.failed, "without registers there is nothing");
    }

    #[test]
    fn frames_of_interpreters_come_first() {
        let mut bytes = record(42, "python3", INTERPRETED_CUT, &[], &[1, 2]);
        // How many come before the address and its place.
        let at = std::mem::offset_of!(record::Sample, interpreted);
        bytes[at..at + 4].copy_from_slice(&1u32.to_ne_bytes());
        assert_eq!(decode(&bytes), Err(DecodeError::Short));
        bytes.extend([RUN | 1, 3].into_iter().flat_map(u64::to_ne_bytes));
        let sample = decode(&bytes).unwrap();
        assert_eq!(sample.interpreted.words().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(sample.user.words().collect::<Vec<_>>(), [RUN | 1, 3]);
        assert_eq!(sample.user.addresses().collect::<Vec<_>>(), [3]);
        assert!(sample.is_cut());
        bytes[at..at + 4].copy_from_slice(&(MOST as u32 + 1).to_ne_bytes());
        assert_eq!(decode(&bytes), Err(DecodeError::Unknown));
    }

    #[test]
    fn files_come_last() {
        let mut bytes = record(42, "cc1", 0, &[1], &[2]);
        let at = std::mem::offset_of!(record::Sample, mapped);
        bytes[at..at + 4].copy_from_slice(&2u32.to_ne_bytes());
        bytes.extend((1..10u64).flat_map(u64::to_ne_bytes));
        assert_eq!(decode(&bytes), Err(DecodeError::Short));
        bytes.extend(10u64.to_ne_bytes());
        let first = record::Mapped { start: 1, end: 2, offset: 3, inode: 4, device: 5 };
        let second = record::Mapped { start: 6, end: 7, offset: 8, inode: 9, device: 10 };
        let sample = decode(&bytes).unwrap();
        assert_eq!(sample.mapped.all().collect::<Vec<_>>(), [first, second]);
        assert_eq!(sample.user.words().collect::<Vec<_>>(), [2]);
        bytes[at..at + 4].copy_from_slice(&(MAPPED_MAX as u32 + 1).to_ne_bytes());
        assert_eq!(decode(&bytes), Err(DecodeError::Unknown));
    }

    #[test]
    fn waits_are_decoded() {
        let mut bytes: Vec<u8> = [Kind::Waited as u32, 42].into_iter().flat_map(u32::to_ne_bytes).collect();
        bytes.extend([900u64, 700].into_iter().flat_map(u64::to_ne_bytes));
        bytes.extend([43u32, 0].into_iter().flat_map(u32::to_ne_bytes));
        assert_eq!(waited(&bytes), Some(Waited { tgid: 42, tid: 43, since: 700, time: 900 }));
        assert!((0..bytes.len() - 4).all(|len| waited(&bytes[..len]).is_none()));
        assert_eq!(waited(&record(1, "x", 0, &[], &[])), None);
        assert!(decode(&record(1, "x", SAMPLE_WAITS, &[], &[])).unwrap().waits());
    }

    #[test]
    fn what_is_short_or_too_long_is_refused() {
        let bytes = record(42, "x", 0, &[1, 2], &[3]);
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), Err(DecodeError::Short), "{len}");
        }
        assert_eq!(decode(&record(42, "x", 0, &[0; STACK_MAX + 1], &[])), Err(DecodeError::Unknown));
        let mut other = bytes;
        other[0] = 1;
        assert_eq!(decode(&other), Err(DecodeError::Unknown));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), sample in any::<bool>()) {
            if sample && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&(Kind::Sample as u32).to_ne_bytes());
            }
            if let Ok(sample) = decode(&bytes) {
                prop_assert!(sample.interpreted.len() + sample.kernel.len() + sample.user.len() <= bytes.len() / 8);
            }
        }
    }
}
