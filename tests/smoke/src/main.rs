//! Smoke test of the agent, in one static program without any needs, for kernels in virtual machines (`cargo xtask vm`).
//!
//! `check` starts servers and clients as processes of their own, the agent beside them, and compares the agent's spans with
//! what was sent. `serve`, `request` and `early` are those processes, `burn` is one to be profiled. It runs on any Linux as root, not only in a guest.

mod agent;
mod burn;
mod calls;
mod check;
mod client;
mod conversation;
mod expect;
mod http;
mod net;
mod process;
mod profile;
mod server;

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{calls::Way, net::Family};

const USAGE: &str =
    "usage: geophone-smoke check [AGENT] | serve FAMILY | request FAMILY ADDRESS WAY | early FAMILY ADDRESS | burn";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check"] => check::run("/bin/geophone"),
        ["check", agent] => check::run(agent),
        ["serve", family] => server::run(family_called(family)?),
        ["request", family, address, way] => {
            let way = Way::ALL.into_iter().find(|known| known.name() == *way).context("no such way to send")?;
            client::run(family_called(family)?, address, way)
        }
        ["early", family, address] => client::run_early(family_called(family)?, address),
        ["burn"] => {
            burn::run(Duration::from_secs(300));
            Ok(())
        }
        _ => bail!(USAGE),
    }
}

fn family_called(name: &str) -> Result<Family> {
    Family::ALL.into_iter().find(|family| family.name() == name).with_context(|| format!("no such family: {name}"))
}
