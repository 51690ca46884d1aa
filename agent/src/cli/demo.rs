//! `geophone demo`.

use std::{process::ExitCode, time::Duration};

use super::{
    CliError,
    capture::CaptureArgs,
    output::{OutputArgs, duration},
    select::SelectArgs,
    session::{Session, Target},
};
use crate::{
    demo::{Settings, Shop},
    export::WhenFull,
    process::Selector,
};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    capture: CaptureArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Stop by itself after this time, such as 30s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
}

pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    let output = args.output.check(WhenFull::Drop)?;
    let settings =
        Settings::of_this_executable().map_err(|error| CliError::System { what: "this executable", error })?;
    let mut shop = Shop::start(settings)?;
    let target = Target {
        selector: Selector { pids: shop.pids(), ..Selector::default() },
        children: false,
        share_context: None,
        peers: None,
        sampling: None,
        inject: None,
        contexts: None,
    };
    let mut session = Session::start(&SelectArgs::default(), &args.capture, &output, target, None)?;
    anstream::eprintln!(
        "the shop: customers ask a gateway, which asks cart, payment and orders; now and then a payment takes 4.5 s; see {}",
        shop.url()
    );
    shop.open()?;
    session.wait(args.duration, None);
    drop(shop);
    session.finish()
}
