//! `geophone replay`.

use std::{fs::File, io::BufReader, path::PathBuf, process::ExitCode};

use compact_str::CompactString;

use super::{CliError, capture::CaptureArgs, logger, output::OutputArgs};
use crate::{
    export::WhenFull,
    pipeline::Pipeline,
    process::{self, Host},
    protocol::Attributes,
    recording::Reader,
    run::{Account, replay, sample_clock, write_summary},
    trace::Tracer,
};

#[derive(clap::Args)]
pub struct Args {
    /// The recording
    file: PathBuf,
    #[command(flatten)]
    capture: CaptureArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    logger::start(false);
    let output = args.output.check(WhenFull::Wait)?;
    let shared = args.capture.shared()?;
    let path = args.file.display().to_string();
    let file = File::open(&args.file).map_err(|error| CliError::File { path: path.clone(), error })?;
    let recording = |error| CliError::Recording { path: path.clone(), error };
    let mut reader = Reader::new(BufReader::with_capacity(1 << 20, file)).map_err(recording)?;

    let mut host = Attributes::default();
    for (key, value) in &reader.header().host {
        host.0.push((key.clone().into(), CompactString::from(value).into()));
    }
    let processes = process::Table::new(process::Settings {
        proc: None,
        host: Host { attributes: host },
        ..process::Settings::default()
    });
    let tracer = Tracer::new(sample_clock())
        .map_err(|error| CliError::System { what: "random numbers", error: std::io::Error::other(error) })?;
    let mut pipeline = Pipeline::new(args.capture.limits(), shared, tracer, processes);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| CliError::System { what: "threads", error })?;
    let outputs = output.start(runtime.handle())?;
    let stats = outputs.stats();
    let result = replay(&mut reader, &mut pipeline, |spans| outputs.send(spans));
    // As long as the receiver needs: nothing is lost by waiting.
    runtime.block_on(outputs.shutdown(std::time::Duration::from_secs(60)));
    runtime.shutdown_background();
    let replayed = result.map_err(recording)?;
    if replayed.cut {
        log::warn!("{path} ends in the middle of a record: whoever wrote it did not finish");
    }
    let account = Account { undecodable: replayed.undecodable, ..Account::of(&mut pipeline, stats) };
    let _ = write_summary(&account, &mut anstream::stderr().lock());
    Ok(ExitCode::SUCCESS)
}
