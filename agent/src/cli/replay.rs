//! `geophone replay`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    process::ExitCode,
};

use compact_str::CompactString;
use flate2::read::MultiGzDecoder;

use super::{CliError, capture::CaptureArgs, logger, output::OutputArgs};
use crate::{
    export::WhenFull,
    packets,
    pipeline::Pipeline,
    process::{self, Host},
    protocol::Attributes,
    recording::{MAGIC, Reader},
    run::{Account, packet_clock, packet_limits, replay, replay_packets, sample_clock, write_summary},
    trace::Span,
};

/// How a file that gzip made begins (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

#[derive(clap::Args)]
pub struct Args {
    /// A recording that `geophone run --record` made, or a packet capture (pcap or pcapng); either may be compressed by gzip
    file: PathBuf,
    #[command(flatten)]
    capture: CaptureArgs,
    #[command(flatten)]
    output: OutputArgs,
}

type Input = Box<dyn BufRead + Send>;

/// What is replayed.
enum Source {
    Recording(Reader<Input>),
    Packets(packets::File),
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    logger::start(false);
    let output = args.output.check(WhenFull::Wait)?;
    let shared = args.capture.shared()?;
    let path = args.file.display().to_string();
    let input = open(&args.file).map_err(|error| CliError::File { path: path.clone(), error })?;
    let mut source = Source::of(input, &path)?;

    let processes = process::Table::new(process::Settings {
        proc: None,
        host: Host { attributes: source.host() },
        ..process::Settings::default()
    });
    let (clock, limits) = match &source {
        Source::Recording(_) => (sample_clock(), args.capture.limits()),
        Source::Packets(_) => (packet_clock(), packet_limits(args.capture.limits())),
    };
    let mut tracer = args.capture.tracer(clock)?;
    if matches!(source, Source::Packets(_)) {
        // Who has sent what is not in a capture.
        tracer.keep_sdk_spans();
    }
    let mut pipeline = Pipeline::new(limits, shared, tracer, processes);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| CliError::System { what: "threads", error })?;
    let outputs = output.start(runtime.handle())?;
    let stats = outputs.stats();
    let result = source.replay(&path, &mut pipeline, args.capture.dns_ports(), |spans| outputs.send(spans));
    // As long as the receiver needs: nothing is lost by waiting.
    runtime.block_on(outputs.shutdown(std::time::Duration::from_secs(60)));
    runtime.shutdown_background();
    let replayed = result?;
    let account =
        Account { undecodable: replayed.undecodable, packets: replayed.packets, ..Account::of(&mut pipeline, stats) };
    let _ = write_summary(&account, &mut anstream::stderr().lock());
    Ok(ExitCode::SUCCESS)
}

/// The file, decompressed.
fn open(path: &PathBuf) -> io::Result<Input> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    if file.fill_buf()?.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::with_capacity(1 << 20, MultiGzDecoder::new(file))));
    }
    Ok(Box::new(file))
}

/// What came of a replay, whatever was replayed.
#[derive(Default)]
struct Replayed {
    undecodable: u64,
    packets: Option<packets::Stats>,
}

impl Source {
    fn of(mut input: Input, path: &str) -> Result<Self, CliError> {
        let begin = input.fill_buf().map_err(|error| CliError::File { path: path.to_owned(), error })?;
        if begin.starts_with(MAGIC) {
            let reader = Reader::new(input);
            return Ok(Self::Recording(reader.map_err(|error| CliError::Recording { path: path.to_owned(), error })?));
        }
        match packets::File::new(input) {
            Ok(file) => Ok(Self::Packets(file)),
            Err(packets::FileError::NotACapture) => Err(CliError::NotReplayable { path: path.to_owned() }),
            Err(error) => Err(CliError::Packets { path: path.to_owned(), error }),
        }
    }

    /// The host that it is from, as far as it says.
    fn host(&self) -> Attributes {
        let mut host = Attributes::default();
        if let Self::Recording(reader) = self {
            for (key, value) in &reader.header().host {
                host.0.push((key.clone().into(), CompactString::from(value).into()));
            }
        }
        host
    }

    fn replay(
        &mut self,
        path: &str,
        pipeline: &mut Pipeline,
        dns_ports: &[u16],
        each: impl FnMut(&mut Vec<Span>),
    ) -> Result<Replayed, CliError> {
        let path = path.to_owned();
        let (replayed, cut) = match self {
            Self::Recording(reader) => {
                let replayed = replay(reader, pipeline, each);
                let replayed = replayed.map_err(|error| CliError::Recording { path: path.clone(), error })?;
                (Replayed { undecodable: replayed.undecodable, packets: None }, replayed.cut)
            }
            Self::Packets(file) => {
                let replayed = replay_packets(file, pipeline, dns_ports, each);
                let replayed = replayed.map_err(|error| CliError::Packets { path: path.clone(), error })?;
                (Replayed { undecodable: 0, packets: Some(replayed.stats) }, replayed.cut)
            }
        };
        if cut {
            log::warn!("{path} ends in the middle of a record: whoever wrote it did not finish");
        }
        Ok(replayed)
    }
}
