//! The agent's stages, each run with all that come before it, so that a difference of two times is what one of them costs.

use std::{hint::black_box, sync::Arc};

use anyhow::Context as _;
use geophone::{
    bpf::decode,
    conn::{self, Connection, Update},
    event::Event,
    export::otlp::encode_request,
    pipeline::Pipeline,
    process::{self, Facts, Host},
    protocol::{Attributes, Note, Session, Shared},
    recording::{Frame, Reader},
    trace::{ClockSample, Span, Tracer},
};

/// Spans of one request, as the export queue makes them.
const BATCH: usize = 4096;
/// Time between ticks, as when live.
const TICK: u64 = 100_000_000;

/// How far events go.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stage {
    /// Records become events.
    Decode,
    /// And find their place in a connection's streams.
    Conn,
    /// And become exchanges.
    Protocol,
    /// And spans of a process.
    Trace,
    /// And OTLP.
    Encode,
}

impl Stage {
    /// From the shortest way to the longest.
    pub const ALL: [Self; 5] = [Self::Decode, Self::Conn, Self::Protocol, Self::Trace, Self::Encode];
}

/// A recording, laid out as a ring would be: one record behind the other.
pub struct Recording {
    host: Vec<(String, String)>,
    clock: ClockSample,
    processes: Vec<Facts>,
    bytes: Vec<u8>,
    lengths: Vec<usize>,
}

/// What came out at the end.
#[derive(Default)]
pub struct Done {
    pub spans: u64,
    pub encoded: u64,
}

impl Recording {
    /// Reads all of it into memory.
    pub fn read(file: &[u8]) -> anyhow::Result<Self> {
        let mut reader = Reader::new(file)?;
        let mut recording = Self {
            host: reader.header().host.clone(),
            clock: ClockSample { before: 1, wall: 1, after: 1 },
            processes: Vec::new(),
            bytes: Vec::new(),
            lengths: Vec::new(),
        };
        while let Some(frame) = reader.next()? {
            match frame {
                Frame::Record(record) => {
                    recording.bytes.extend_from_slice(record);
                    recording.lengths.push(record.len());
                }
                Frame::Process(facts) => recording.processes.push(facts),
                Frame::Clock(clock) => recording.clock = clock,
            }
        }
        Ok(recording)
    }

    /// Runs all of it, as far as `stage`.
    pub fn run(&self, stage: Stage) -> anyhow::Result<Done> {
        match stage {
            Stage::Decode => self.decode(|event| {
                black_box(event);
            }),
            Stage::Conn => {
                let mut table = conn::Table::<()>::new(conn::Limits::default());
                self.decode(|event| {
                    table.event(event, &mut |_: &Connection, (): &mut (), update: &Update<'_>| {
                        black_box(update);
                    });
                })
            }
            Stage::Protocol => {
                let mut table = conn::Table::<Option<Box<Session>>>::new(conn::Limits::default());
                let shared = Arc::new(Shared::default());
                let mut notes = Vec::<Note>::new();
                self.decode(|event| {
                    table.event(event, &mut |connection: &Connection,
                                             session: &mut Option<Box<Session>>,
                                             update: &Update<'_>| {
                        let session = session.get_or_insert_with(|| Box::new(Session::new(Arc::clone(&shared))));
                        session.update(connection, update, &mut notes);
                    });
                    black_box(&mut notes).clear();
                })
            }
            Stage::Trace => self.whole(|_| 0),
            Stage::Encode => self.whole(|spans| {
                let mut request = Vec::with_capacity(spans.len() * 768 + 1024);
                encode_request(spans, &mut request);
                black_box(&request).len() as u64
            }),
        }
    }

    fn decode(&self, mut each: impl FnMut(&Event<'_>)) -> anyhow::Result<Done> {
        for record in self.records() {
            each(&decode::event(record)?);
        }
        Ok(Done::default())
    }

    /// The pipeline as the agent runs it; `export` is given the spans in batches.
    fn whole(&self, mut export: impl FnMut(&[Span]) -> u64) -> anyhow::Result<Done> {
        let mut pipeline = self.pipeline()?;
        let mut spans = Vec::with_capacity(BATCH);
        let mut done = Done::default();
        let (mut now, mut ticked) = (0, 0);
        let mut flush = |spans: &mut Vec<Span>| {
            done.spans += spans.len() as u64;
            done.encoded += export(spans);
            spans.clear();
        };
        for record in self.records() {
            let event = decode::event(record)?;
            now = now.max(event.time());
            pipeline.event(&event, &mut spans);
            if now.saturating_sub(ticked) >= TICK {
                ticked = now;
                pipeline.tick(now, &mut spans);
            }
            pipeline.take_advice();
            if spans.len() >= BATCH {
                flush(&mut spans);
            }
        }
        pipeline.finish(now, &mut spans);
        flush(&mut spans);
        Ok(done)
    }

    fn pipeline(&self) -> anyhow::Result<Pipeline> {
        let mut host = Attributes::default();
        for (key, value) in &self.host {
            host.0.push((key.clone().into(), value.as_str().into()));
        }
        let settings =
            process::Settings { proc: None, host: Host { attributes: host }, ..process::Settings::default() };
        let mut processes = process::Table::new(settings);
        for facts in &self.processes {
            processes.fill(facts.clone(), 0);
        }
        let tracer = Tracer::new(self.clock).context("no random numbers")?;
        Ok(Pipeline::new(conn::Limits::default(), Arc::default(), tracer, processes))
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        self.lengths.iter().map_while(move |len| {
            let (record, others) = rest.split_at_checked(*len)?;
            rest = others;
            Some(record)
        })
    }
}
