//! `geophone profile show`.

use std::{path::PathBuf, process::ExitCode};

use opentelemetry::trace::TraceId;

use super::{CliError, profile::write};
use crate::profile::{Filter, Output, Part};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    geophone profile show cpu.pb.gz --request 'GET /cart/{id}' -o cart.svg       one endpoint\n  \
    geophone profile show cpu.pb.gz --trace 4bf92f3577b34da6a3ce929d0e0e4736     one single trace")]
pub struct Args {
    /// The profile: NAME.pb.gz (pprof), as `geophone run --profile-output` writes it, or NAME.folded (text)
    file: PathBuf,
    /// Only what was sampled for this trace
    #[arg(long, value_name = "ID", value_parser = trace)]
    trace: Option<TraceId>,
    /// Only what was sampled for requests whose spans have this name
    #[arg(long, value_name = "NAME")]
    request: Option<String>,
    /// Where it goes: NAME.svg (flame graph) or NAME.folded (text)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    let filter = Filter { trace: args.trace.map(|id| id.to_string()), endpoint: args.request.clone() };
    let part = Part::read(&args.file, &filter)?;
    let output = args.output.as_deref().map(Output::for_difference).transpose()?;
    // Nobody may be there to read it.
    let _ = part.table(&mut anstream::stdout().lock());
    anstream::eprintln!("{} samples", part.samples());
    if let Some(output) = output {
        write(output, |output| output.write_part(&part))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn trace(text: &str) -> Result<TraceId, String> {
    let id = TraceId::from_hex(text).ok().filter(|id| *id != TraceId::INVALID && text.len() == 32);
    id.ok_or_else(|| "a trace id has 32 hexadecimal digits, not all of them 0".to_owned())
}
