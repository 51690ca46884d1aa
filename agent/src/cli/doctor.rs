//! `geophone doctor`.

use std::{path::Path, process::ExitCode};

use super::{CliError, session::raise_limits};
use crate::{
    bpf::test_injection,
    doctor::{self, Machine},
};

#[derive(clap::Args)]
pub struct Args {
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Also try whether contexts can be written into requests (`geophone run --inject-headers`): loads a program, and uses connections to itself
    #[arg(long)]
    inject_headers: bool,
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    let mut checks = doctor::examine(&Machine::read(Path::new("/")));
    if args.inject_headers && doctor::is_ready(&checks) {
        raise_limits();
        checks.push(doctor::injection(&test_injection()));
    }
    let mut stdout = anstream::stdout().lock();
    let written = if args.json { doctor::json(&checks, &mut stdout) } else { doctor::text(&checks, &mut stdout) };
    written.map_err(|error| CliError::System { what: "standard output", error })?;
    Ok(if doctor::is_ready(&checks) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
