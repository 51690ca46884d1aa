//! Takes out of a recording what names the machine and the processes it was made on, so that it can be shown to others:
//! `cargo run --example anonymise -- IN OUT`. Numbers of processes and addresses of sockets become small ones in order of
//! appearance, and processes that moved no bytes are left out. What was sent stays as it is: look at it before you show it.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{BufReader, BufWriter},
    mem::offset_of,
};

use anyhow::Context as _;
use geophone::{
    bpf::decode,
    event::{Event, Life},
    process::Facts,
    recording::{Frame, Header, Reader, Writer},
    trace::ClockSample,
};
use geophone_ebpf::record::{
    DATAGRAM, Data, Ends, HANDOVER_CLAIM, HANDOVER_CONNECT, Handover, Kind, Open, Process, State,
};

enum Part {
    Record(Vec<u8>),
    Process(Facts),
    Clock(ClockSample),
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (input, output) = (args.next().context("which recording?")?, args.next().context("where to?")?);
    let mut reader = Reader::new(BufReader::new(File::open(input)?))?;
    let header = Header {
        host: vec![("host.name".to_owned(), "host".to_owned()), ("os.type".to_owned(), "linux".to_owned())],
        ..reader.header().clone()
    };
    let mut parts = Vec::new();
    while let Some(frame) = reader.next()? {
        parts.push(match frame {
            Frame::Record(record) => Part::Record(record.to_vec()),
            Frame::Process(facts) => Part::Process(facts),
            Frame::Clock(sample) => Part::Clock(sample),
        });
    }
    let kept = kept(&parts);
    let mut numbers = Numbers::default();
    let mut writer = Writer::new(BufWriter::new(File::create(output)?), &header)?;
    for part in parts {
        match part {
            Part::Clock(sample) => writer.clock(sample)?,
            Part::Process(facts) if kept.contains(&facts.tgid) => writer.process(&numbers.facts(facts, &kept))?,
            Part::Process(_) => {}
            Part::Record(mut record) => {
                let process = match decode::event(&record) {
                    Ok(Event::Process(process)) => process.tgid,
                    _ => 0,
                };
                if process == 0 || kept.contains(&process) {
                    numbers.record(&mut record, &kept)?;
                    writer.record(&record)?;
                }
            }
        }
    }
    Ok(writer.finish()?)
}

/// The processes that moved bytes, and those that they are copies of.
fn kept(parts: &[Part]) -> HashSet<u32> {
    let mut kept = HashSet::new();
    let mut parents = HashMap::new();
    for part in parts {
        let Part::Record(record) = part else { continue };
        match decode::event(record) {
            Ok(Event::Data(data)) => {
                kept.insert(data.thread.tgid);
            }
            Ok(Event::Datagram(datagram)) => {
                kept.insert(datagram.thread.tgid);
            }
            Ok(Event::Process(process)) if process.what == Life::Fork => {
                parents.insert(process.tgid, process.parent);
            }
            _ => {}
        }
    }
    kept.remove(&0);
    let mut found: Vec<u32> = kept.iter().copied().collect();
    while let Some(child) = found.pop() {
        if let Some(parent) = parents.get(&child)
            && kept.insert(*parent)
        {
            found.push(*parent);
        }
    }
    kept
}

/// Small numbers for large ones, in order of appearance.
#[derive(Default)]
struct Numbers {
    threads: HashMap<u32, u32>,
    sockets: HashMap<u64, u64>,
}

impl Numbers {
    fn thread(&mut self, id: u32) -> u32 {
        let next = 1001 + u32::try_from(self.threads.len()).unwrap_or_default();
        if id <= 1 { id } else { *self.threads.entry(id).or_insert(next) }
    }

    fn socket(&mut self, sock: u64) -> u64 {
        let next = 0x1000 * (1 + self.sockets.len() as u64);
        if sock == 0 { 0 } else { *self.sockets.entry(sock).or_insert(next) }
    }

    fn parent(&mut self, id: u32, kept: &HashSet<u32>) -> u32 {
        if kept.contains(&id) { self.thread(id) } else { 0 }
    }

    fn facts(&mut self, facts: Facts, kept: &HashSet<u32>) -> Facts {
        Facts {
            tgid: self.thread(facts.tgid),
            parent: self.parent(facts.parent, kept),
            start: 0,
            executable: facts.executable.map(|path| plain(&path)),
            command: facts.command.map(|path| plain(&path)),
            cgroups: Vec::new(),
            netns: None,
            ..facts
        }
    }

    /// Rewrites a record in place.
    fn record(&mut self, record: &mut [u8], kept: &HashSet<u32>) -> anyhow::Result<()> {
        let kind = read_u32(record, 0)?;
        let (threads, sockets): (&[usize], &[usize]) = match kind {
            k if k == Kind::Data as u32 => {
                (&[offset_of!(Data, tgid), offset_of!(Data, tid)], &[offset_of!(Data, sock)])
            }
            k if k == Kind::Open as u32 => {
                (&[offset_of!(Open, tgid), offset_of!(Open, tid)], &[offset_of!(Open, sock), offset_of!(Open, peer)])
            }
            k if k == Kind::State as u32 => (&[], &[offset_of!(State, sock)]),
            k if k == Kind::Process as u32 => (&[offset_of!(Process, tgid)], &[]),
            k if k == Kind::Handover as u32 => {
                const THREADS: &[usize] = &[
                    offset_of!(Handover, tgid),
                    offset_of!(Handover, tid),
                    offset_of!(Handover, to_tgid),
                    offset_of!(Handover, to_tid),
                ];
                let names_a_socket =
                    matches!(read_u32(record, offset_of!(Handover, what))?, HANDOVER_CLAIM | HANDOVER_CONNECT);
                (THREADS, if names_a_socket { &[offset_of!(Handover, object)] } else { &[] })
            }
            _ => anyhow::bail!("a record of the unknown kind {kind}"),
        };
        for at in threads {
            let id = self.thread(read_u32(record, *at)?);
            write(record, *at, &id.to_ne_bytes())?;
        }
        for at in sockets {
            let bytes = record.get(*at..*at + 8).context("a record is cut short")?;
            let sock = self.socket(u64::from_ne_bytes(bytes.try_into()?));
            write(record, *at, &sock.to_ne_bytes())?;
        }
        if kind == Kind::Open as u32 {
            write(record, offset_of!(Open, netns), &1_u32.to_ne_bytes())?;
        }
        if kind == Kind::Data as u32
            && record.get(offset_of!(Data, flags)).context("a record is cut short")? & DATAGRAM != 0
        {
            write(record, size_of::<Data>() + offset_of!(Ends, netns), &1_u32.to_ne_bytes())?;
        }
        if kind == Kind::Process as u32 {
            let parent = self.parent(read_u32(record, offset_of!(Process, parent))?, kept);
            write(record, offset_of!(Process, parent), &parent.to_ne_bytes())?;
        }
        Ok(())
    }
}

/// A path as it would be on any machine.
fn plain(path: &str) -> String {
    if !path.starts_with('/') || path.starts_with("/usr/") {
        return path.to_owned();
    }
    format!("/srv/{}", path.rsplit('/').next().unwrap_or_default())
}

fn read_u32(record: &[u8], at: usize) -> anyhow::Result<u32> {
    let bytes = record.get(at..at + 4).context("a record is cut short")?;
    Ok(u32::from_ne_bytes(bytes.try_into()?))
}

fn write(record: &mut [u8], at: usize, bytes: &[u8]) -> anyhow::Result<()> {
    record.get_mut(at..at + bytes.len()).context("a record is cut short")?.copy_from_slice(bytes);
    Ok(())
}
