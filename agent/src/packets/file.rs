//! The packets of a `pcap` or `pcapng` file, each with its time and link type. Reads it as a stream, in bounded memory.

use std::io::Read;

use pcap_parser::{
    Block, Linktype, PcapBlockOwned, PcapError, create_reader,
    traits::{PcapNGPacketBlock as _, PcapReaderIterator},
};
use thiserror::Error;

use crate::event::Nanos;

/// The longest packet or other part of a file; `tcpdump` writes at most 256 KiB.
const LONGEST: usize = 4 << 20;
/// Interfaces of a section; what belongs to more is left out.
const INTERFACES: usize = 4096;

/// Why a packet capture cannot be read, or not any further.
#[derive(Debug, Error)]
pub enum FileError {
    /// It does not begin as one.
    #[error("this is not a packet capture in the format pcap or pcapng")]
    NotACapture,
    /// It ends in the middle of a packet.
    #[error("the packet capture ends in the middle of a packet")]
    Cut,
    /// A part contradicts the format.
    #[error("the packet capture is damaged after {0} bytes")]
    Damaged(usize),
    /// A part is longer than any that is known.
    #[error("the packet capture has a part of more than 4 MiB after {0} bytes")]
    TooLong(usize),
    /// The file cannot be read.
    #[error("the packet capture cannot be read after {0} bytes")]
    Io(usize),
}

/// A packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When, in nanoseconds since 1970.
    pub time: Nanos,
    /// What its bytes begin with.
    pub link: Linktype,
    /// Its beginning, or all of it.
    pub bytes: &'a [u8],
}

/// One interface of a capture.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Linktype,
    /// Units of time stamps in a second.
    resolution: u64,
    /// What is added to time stamps, in seconds.
    offset: i64,
}

/// A packet capture that is being read.
pub struct File {
    reader: Box<dyn PcapReaderIterator + Send>,
    interfaces: Vec<Interface>,
    /// Of the packet that was returned last.
    used: usize,
}

impl File {
    /// Reads the beginning.
    ///
    /// # Errors
    /// It is no packet capture, or cannot be read.
    pub fn new<R: Read + Send + 'static>(input: R) -> Result<Self, FileError> {
        let reader = create_reader(LONGEST, input).map_err(|error| match error {
            PcapError::ReadError => FileError::Io(0),
            _ => FileError::NotACapture,
        })?;
        Ok(Self { reader, interfaces: Vec::new(), used: 0 })
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    /// See [`FileError`].
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its buffer")]
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, FileError> {
        loop {
            if self.used > 0 {
                self.reader.consume(std::mem::take(&mut self.used));
            }
            let at = self.reader.consumed();
            match self.reader.next() {
                Ok((used, block)) => {
                    self.used = used;
                    if is_packet(&block) {
                        break;
                    }
                    take_note(&mut self.interfaces, &block);
                }
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => self.reader.refill().map_err(|_| FileError::Io(at))?,
                Err(PcapError::UnexpectedEof) => return Err(FileError::Cut),
                Err(PcapError::BufferTooSmall) => return Err(FileError::TooLong(at)),
                Err(PcapError::ReadError) => return Err(FileError::Io(at)),
                Err(_) => return Err(FileError::Damaged(at)),
            }
        }
        // Asked again, because what it lends cannot outlive a turn of the loop.
        let at = self.reader.consumed();
        match self.reader.next() {
            Ok((_, block)) => Ok(Some(packet(&self.interfaces, block))),
            Err(_) => Err(FileError::Damaged(at)),
        }
    }
}

fn is_packet(block: &PcapBlockOwned<'_>) -> bool {
    matches!(block, PcapBlockOwned::Legacy(_) | PcapBlockOwned::NG(Block::EnhancedPacket(_) | Block::SimplePacket(_)))
}

/// What packets after it need to be understood.
fn take_note(interfaces: &mut Vec<Interface>, block: &PcapBlockOwned<'_>) {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
            interfaces.push(Interface { link: header.network, resolution, offset: i64::from(header.thiszone) });
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
        PcapBlockOwned::NG(Block::InterfaceDescription(description)) if interfaces.len() < INTERFACES => {
            let resolution = description.ts_resolution().filter(|resolution| *resolution > 0).unwrap_or(1_000_000);
            interfaces.push(Interface { link: description.linktype, resolution, offset: description.ts_offset() });
        }
        _ => {}
    }
}

fn packet<'a>(interfaces: &[Interface], block: PcapBlockOwned<'a>) -> Packet<'a> {
    let interface = |index: u32| {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        // No link type has this number: the packet is counted as one that is not understood.
        let unknown = Interface { link: Linktype(-1), resolution: 1_000_000, offset: 0 };
        interfaces.get(index).copied().unwrap_or(unknown)
    };
    match block {
        PcapBlockOwned::Legacy(block) => {
            let interface = interface(0);
            let fraction = u64::from(block.ts_usec);
            let time = u64::from(block.ts_sec).saturating_mul(interface.resolution).saturating_add(fraction);
            let bytes = block.data.get(..block.caplen as usize).unwrap_or(block.data);
            Packet { time: nanos(time, interface), link: interface.link, bytes }
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
            let interface = interface(block.if_id);
            let time = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
            let bytes = block.data.get(..block.caplen as usize).unwrap_or(block.data);
            Packet { time: nanos(time, interface), link: interface.link, bytes }
        }
        PcapBlockOwned::NG(Block::SimplePacket(block)) => {
            // It has no time.
            let bytes = block.data.get(..block.orig_len() as usize).unwrap_or(block.data);
            Packet { time: 0, link: interface(0).link, bytes }
        }
        _ => Packet { time: 0, link: Linktype(-1), bytes: &[] },
    }
}

/// Nanoseconds since 1970 of a time stamp.
fn nanos(time: u64, interface: Interface) -> Nanos {
    let nanos = u128::from(time) * 1_000_000_000 / u128::from(interface.resolution.max(1));
    let nanos = i128::try_from(nanos).unwrap_or(i128::MAX).saturating_add(i128::from(interface.offset) * 1_000_000_000);
    Nanos::try_from(nanos.max(0)).unwrap_or(Nanos::MAX)
}
