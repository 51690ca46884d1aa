//! `geophone completions`.

use std::process::ExitCode;

use clap::CommandFactory as _;

use super::{Cli, CliError};

#[derive(clap::Args)]
pub struct Args {
    /// For which shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    clap_complete::generate(args.shell, &mut Cli::command(), "geophone", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
