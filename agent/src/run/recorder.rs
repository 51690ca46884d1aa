//! A recording beside a running capture: it must never get in its way. What cannot be written ends the recording, not the capture.

use std::{fs::File, io::BufWriter, path::PathBuf};

use super::sample_clock;
use crate::{
    event::{Event, Life},
    process::{Host, Table},
    protocol::Value,
    recording::{Header, Writer},
    trace::ClockSample,
};

/// Where a capture is recorded, if anywhere.
pub struct Recorder {
    path: PathBuf,
    writer: Option<Writer<BufWriter<File>>>,
    records: u64,
    missed: u64,
}

impl Recorder {
    /// Creates the file. It may hold credentials, so it is its owner's alone. Begins with a sample of the clocks, so that a replay
    /// knows the time of day from the first record on.
    ///
    /// # Errors
    /// Those of the file.
    pub fn create(path: PathBuf, host: &Host) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let text = |value: &Value| match value {
            Value::Text(text) => Some(text.to_string()),
            _ => None,
        };
        let header = Header {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            host: host.attributes.0.iter().filter_map(|(key, value)| Some((key.to_string(), text(value)?))).collect(),
        };
        let mut writer = Writer::new(BufWriter::with_capacity(1 << 20, file), &header)?;
        writer.clock(sample_clock())?;
        Ok(Self { path, writer: Some(writer), records: 0, missed: 0 })
    }

    /// Adds a sample of the clocks.
    pub fn clock(&mut self, sample: ClockSample) {
        self.with(|writer| writer.clock(sample));
    }

    /// Adds a record, and after it what it makes known of a process.
    pub fn record(&mut self, record: &[u8], event: &Event<'_>, processes: &mut Table) {
        if self.writer.is_none() {
            self.missed += 1;
            return;
        }
        self.with(|writer| writer.record(record));
        self.records += 1;
        if let Event::Process(process) = event
            && matches!(process.what, Life::Seen | Life::Exec)
        {
            // What the record says stands in for a process that has ended already.
            processes.apply(process);
            let known = processes.seen(process.tgid, process.time);
            self.with(|writer| writer.process(&known.facts));
        }
    }

    fn with(&mut self, write: impl FnOnce(&mut Writer<BufWriter<File>>) -> std::io::Result<()>) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = write(writer)
        {
            log::error!("recording to {} has ended: {error}", self.path.display());
            self.writer = None;
        }
    }

    /// Ends the recording. Returns how many records it holds, and how many came after it had failed.
    pub fn finish(mut self) -> (u64, u64) {
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.finish()
        {
            log::error!("recording to {} is not complete: {error}", self.path.display());
        }
        (self.records, self.missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Process,
        process::{Proc, Settings},
        recording::{Frame, Reader},
    };

    #[test]
    fn of_a_process_that_has_ended_the_record_says_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.rec");
        let nothing = Settings { proc: Some(Proc::new(folder.path())), ..Settings::default() };
        let mut processes = Table::new(nothing);
        let mut recorder = Recorder::create(path.clone(), &Host::default()).unwrap();
        let seen = Process { time: 5, tgid: 42, parent: 7, what: Life::Seen, comm: "curl".into() };
        recorder.record(b"a record", &Event::Process(seen), &mut processes);
        assert_eq!(recorder.finish(), (1, 0));

        let mut reader = Reader::new(File::open(path).unwrap()).unwrap();
        assert!(matches!(reader.next().unwrap(), Some(Frame::Clock(_))));
        assert_eq!(reader.next().unwrap(), Some(Frame::Record(b"a record")));
        let Some(Frame::Process(facts)) = reader.next().unwrap() else { panic!("no facts") };
        assert_eq!((facts.tgid, facts.parent, &*facts.comm), (42, 7, "curl"));
        assert_eq!(reader.next().unwrap(), None);
    }
}
