//! Decoders alone, on one thread: what an exchange costs each of them, what a connection keeps, and how often bytes are taken for what
//! they are not. Run by `cargo xtask bench decoders`, or `cargo bench -p geophone --bench decoders -- --help`.
//!
//! Leaves out what all protocols have in common: reading records, putting streams together, causes, spans, exports.

mod alloc;
mod corpus;
mod cost;
mod detection;

use clap::Parser;

/// How long an exchange takes each decoder, and what detection mistakes.
#[derive(Parser)]
struct Args {
    /// Every decoder runs so many times, in turns; the quickest counts
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The cost of this protocol alone, for a profiler
    #[arg(long, value_name = "PROTOCOL")]
    only: Option<String>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let all = corpus::all()?;
    cost::run(&all, args.rounds, args.only.as_deref())?;
    if args.only.is_none() {
        println!();
        detection::run(&all);
    }
    Ok(())
}
