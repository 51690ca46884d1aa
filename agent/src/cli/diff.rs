//! `geophone profile diff`.

use std::{path::PathBuf, process::ExitCode};

use super::{CliError, profile::write};
use crate::profile::{Difference, Output};

#[derive(clap::Args)]
#[command(
    after_help = "Shares are compared, so the profiles may have been taken for different times. Both may come from other tools, too."
)]
pub struct Args {
    /// The first profile: NAME.folded (text) or NAME.pb.gz (pprof)
    before: PathBuf,
    /// The second one
    after: PathBuf,
    /// Where the difference goes: NAME.svg (flame graph, red: more, blue: less) or NAME.folded (text with both counts)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    let difference = Difference::read(&args.before, &args.after)?;
    let output = args.output.as_deref().map(Output::for_difference).transpose()?;
    let (before, after) = difference.samples();
    // Nobody may be there to read it.
    let _ = difference.table(&mut anstream::stdout().lock());
    anstream::eprintln!("{before} samples before, {after} after");
    if let Some(output) = output {
        write(output, |output| output.write_difference(&difference))?;
    }
    Ok(ExitCode::SUCCESS)
}
