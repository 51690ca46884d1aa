//! The records in a recording of `geophone run --record`, as the kernel side wrote them: what no span shows.

use std::fs;
use std::mem::offset_of;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use geophone_ebpf::record::{Data, HANDOVER_SPAWN, HANDOVER_SUBMIT, HANDOVER_WAKE, Handover, Kind, RECEIVE};

/// A call that moved bytes.
#[derive(Clone, Debug)]
pub struct Call {
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// The runtime's task that ran on it, or 0.
    pub task: u64,
    /// The task that has started it or waits for it, or 0.
    pub task_parent: u64,
    /// The process received.
    pub received: bool,
    /// What was captured.
    pub bytes: Vec<u8>,
}

/// A task was started, or left to the threads of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Spawn {
    /// Process.
    pub tgid: u32,
    /// The task that started it, or 0.
    pub from: u64,
    /// The task.
    pub task: u64,
    /// It was left to a pool.
    pub is_submitted: bool,
}

/// What was recorded.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Calls, in order of time.
    pub calls: Vec<Call>,
    /// Tasks that were started, in order of time.
    pub spawns: Vec<Spawn>,
    /// Wake-ups between threads: process, and the address of the futex or 0.
    pub wakes: Vec<(u32, u64)>,
}

const MAGIC: &[u8] = b"geophone recording 1";
/// The kind of the frames with records in them.
const RECORD: u8 = 2;

impl Records {
    /// Reads a recording.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(path: &Path) -> Result<Self> {
        let file = fs::read(path)?;
        let mut rest = file.strip_prefix(MAGIC).context("not a recording")?;
        let mut records = Self::default();
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (kind, behind) = behind.split_first().context("cut")?;
            let (frame, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize).context("cut")?;
            if *kind == RECORD {
                records.add(frame)?;
            }
            rest = behind;
        }
        Ok(records)
    }

    fn add(&mut self, record: &[u8]) -> Result<()> {
        let kind = u32_at(record, 0)?;
        if kind == Kind::Data as u32 {
            let bytes = record.get(size_of::<Data>()..).context("cut")?;
            ensure!(u32_at(record, offset_of!(Data, captured))? as usize == bytes.len(), "the length is wrong");
            self.calls.push(Call {
                tgid: u32_at(record, offset_of!(Data, tgid))?,
                tid: u32_at(record, offset_of!(Data, tid))?,
                task: u64_at(record, offset_of!(Data, task))?,
                task_parent: u64_at(record, offset_of!(Data, task_parent))?,
                received: record.get(offset_of!(Data, direction)) == Some(&RECEIVE),
                bytes: bytes.to_vec(),
            });
        } else if kind == Kind::Handover as u32 {
            let tgid = u32_at(record, offset_of!(Handover, tgid))?;
            let what = u32_at(record, offset_of!(Handover, what))?;
            match what {
                HANDOVER_SPAWN | HANDOVER_SUBMIT => self.spawns.push(Spawn {
                    tgid,
                    from: u64_at(record, offset_of!(Handover, task))?,
                    task: u64_at(record, offset_of!(Handover, to_task))?,
                    is_submitted: what == HANDOVER_SUBMIT,
                }),
                HANDOVER_WAKE => self.wakes.push((tgid, u64_at(record, offset_of!(Handover, object))?)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn u32_at(record: &[u8], at: usize) -> Result<u32> {
    let bytes = record.get(at..).and_then(<[u8]>::first_chunk).context("a record is too short")?;
    Ok(u32::from_ne_bytes(*bytes))
}

fn u64_at(record: &[u8], at: usize) -> Result<u64> {
    let bytes = record.get(at..).and_then(<[u8]>::first_chunk).context("a record is too short")?;
    Ok(u64::from_ne_bytes(*bytes))
}
