//! The command `geophone`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    geophone::cli::main().unwrap_or_else(|error| {
        anstream::eprintln!("geophone: {error}");
        ExitCode::FAILURE
    })
}
