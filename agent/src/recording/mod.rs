//! Recordings: what the kernel side reported, with what was known of the processes, so that the same spans come out of a replay on
//! any machine. Written by `geophone run --record`, read by `geophone replay`.
//!
//! A file is [`MAGIC`], then frames: length of the payload (32 bits, little endian), kind (one byte), payload. It may end anywhere: a
//! recording that was cut off is good up to there. It holds the beginnings of requests and responses as they were sent, credentials
//! included.

mod read;
mod write;

pub use read::{Frame, ReadError, Reader};
pub use write::Writer;

use serde::{Deserialize, Serialize};

/// How a recording begins.
pub const MAGIC: &[u8; 20] = b"geophone recording 1";

/// Longest payload: a record with 16 KiB of bytes, and room for what a process can say of itself.
const LONGEST: u32 = 256 * 1024;

/// Kinds of frames.
mod kind {
    /// A [`Header`](super::Header) in JSON; the first frame.
    pub const HEADER: u8 = 1;
    /// A record of `geophone_ebpf::record`, as it came.
    pub const RECORD: u8 = 2;
    /// [`Facts`](crate::process::Facts) in JSON.
    pub const PROCESS: u8 = 3;
    /// A clock sample: three 64-bit numbers, little endian.
    pub const CLOCK: u8 = 4;
}

/// Where and how a recording was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the agent.
    pub agent: String,
    /// `x86_64`, `aarch64`: its byte order is that of the records.
    pub arch: String,
    /// Attributes of the host.
    pub host: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{process::Facts, trace::ClockSample};

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = Header { agent: "1".into(), arch: "x86_64".into(), host: vec![("host.name".into(), "h".into())] };
        let mut writer = Writer::new(&mut bytes, &header).unwrap();
        writer.clock(ClockSample { before: 1, wall: 2, after: 3 }).unwrap();
        writer.process(&Facts { tgid: 7, ..Facts::default() }).unwrap();
        writer.record(b"some record").unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = sample();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        assert_eq!(reader.header().arch, "x86_64");
        assert_eq!(reader.next().unwrap(), Some(Frame::Clock(ClockSample { before: 1, wall: 2, after: 3 })));
        assert!(matches!(reader.next().unwrap(), Some(Frame::Process(facts)) if facts.tgid == 7));
        assert_eq!(reader.next().unwrap(), Some(Frame::Record(b"some record")));
        assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn a_cut_recording_is_good_up_to_there() {
        let bytes = sample();
        for len in 0..bytes.len() {
            match Reader::new(&bytes[..len]) {
                Err(ReadError::NotARecording | ReadError::Cut) => {}
                Err(error) => panic!("{error}"),
                Ok(mut reader) => loop {
                    match reader.next() {
                        Ok(Some(_)) => {}
                        Ok(None) | Err(ReadError::Cut) => break,
                        Err(error) => panic!("{error}"),
                    }
                },
            }
        }
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        assert!(matches!(Reader::new(&b"GIF89a, and more than twenty bytes"[..]), Err(ReadError::NotARecording)));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = sample();
            bytes.extend(tail);
            let mut reader = Reader::new(&bytes[..]).unwrap();
            while let Ok(Some(_)) = reader.next() {}
        }
    }
}
