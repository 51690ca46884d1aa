//! `bench nginx`: nginx saturated by wrk, with and without an agent.

use std::path::Path;

use super::{
    agent::{Account, Agent, FRONT_ENDS},
    table::{self, median, spread, thousands},
    webserver::{WebServer, wrk},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds; in each, every variant runs once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// wrk's connections
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self { rounds: 5, seconds: 4, connections: 64 }
    }
}

/// One variant's figures, round by round.
#[derive(Default)]
struct Figures {
    name: String,
    flags: Vec<&'static str>,
    traced: bool,
    per_second: Vec<f64>,
    /// nginx's own time for a request, in microseconds.
    nginx: Vec<f64>,
    /// The agent's.
    agent: Vec<f64>,
    requests: u64,
    account: Account,
}

pub fn run(args: &Args, binary: &Path) -> anyhow::Result<()> {
    let mut variants = vec![Figures { name: "no agent".to_owned(), ..Figures::default() }];
    for front_end in FRONT_ENDS {
        variants.push(Figures {
            name: format!("`{front_end}`"),
            flags: vec!["--exe", "nginx", "--capture", front_end],
            traced: true,
            ..Figures::default()
        });
    }
    variants.push(Figures {
        name: "`sockets`, sampled 99 times a second".to_owned(),
        flags: vec!["--exe", "nginx", "--capture", "sockets", "--profile", "99"],
        traced: true,
        ..Figures::default()
    });
    variants.push(Figures {
        name: "`sockets`, wrk traced too".to_owned(),
        flags: vec!["--exe", "nginx,wrk", "--capture", "sockets"],
        ..Figures::default()
    });
    let server = WebServer::start()?;
    wrk(&server, args.connections, 1)?;
    for _ in 0..args.rounds {
        for variant in &mut variants {
            variant.round(&server, binary, args)?;
        }
    }
    server.stop()?;
    report(&variants, args);
    Ok(())
}

impl Figures {
    fn round(&mut self, server: &WebServer, binary: &Path, args: &Args) -> anyhow::Result<()> {
        // The request for the figures before comes before the agent, the one for those after is seen by it.
        let before = server.work()?;
        let agent = if self.flags.is_empty() {
            None
        } else {
            Some(Agent::start(binary, &[&self.flags, &["--port", &server.port()][..]].concat())?)
        };
        let started = agent.as_ref().map(Agent::cpu).transpose()?.unwrap_or_default();
        let reached = wrk(server, args.connections, args.seconds)?;
        let after = server.work()?;
        let requests = after.requests - before.requests;
        self.per_second.push(reached.per_second);
        self.nginx.push((after.cpu - before.cpu) / 1e3 / requests as f64);
        let Some(agent) = agent else {
            return Ok(());
        };
        let account = agent.stop()?;
        self.agent.push((account.cpu - started) / 1e3 / requests as f64);
        self.requests += requests;
        let sum = &mut self.account;
        sum.spans += account.spans;
        sum.lost += account.lost;
        if account.memory.peak > sum.memory.peak {
            sum.memory = account.memory;
        }
        if account.lost > 0 {
            eprintln!("{}: lost {}", self.name, account.losses);
        }
        Ok(())
    }
}

fn report(variants: &[Figures], args: &Args) {
    println!("### nginx saturated\n");
    println!(
        "One worker on processor 0 serves a file of 612 bytes to wrk ({} connections, keep-alive) on processor 1, where the \
         agent runs too if there is no third. Medians of {} rounds of {} s that take turns; in brackets the lowest and \
         highest. nginx's time is its worker's own, as the scheduler counts it.\n",
        args.connections, args.rounds, args.seconds
    );
    table::head(
        &["agent"],
        &[
            "nginx µs/request",
            "speed kept (its own time)",
            "requests/s",
            "of those without",
            "requests",
            "spans",
            "lost",
            "agent µs/request",
            "agent RSS peak MB",
            "of which allocated",
            "maps in the kernel MB",
        ],
    );
    let Some(base) = variants.first() else {
        return;
    };
    for variant in variants {
        // Ratios within a round, which is as close in time as it gets.
        let ratios = |base: &[f64], own: &[f64]| -> Vec<f64> { base.iter().zip(own).map(|(b, o)| b / o).collect() };
        let kept = ratios(&base.nginx, &variant.nginx);
        let reached = ratios(&variant.per_second, &base.per_second);
        let mut cells = vec![
            variant.name.clone(),
            format!("{:.2} ({})", median(&variant.nginx), spread(&variant.nginx, 2)),
            format!("**{:.3}** ({})", median(&kept), spread(&kept, 2)),
            thousands(median(&variant.per_second)),
            format!("{:.2}", median(&reached)),
        ];
        if variant.flags.is_empty() {
            cells.extend(std::iter::repeat_n(String::new(), 7));
        } else {
            let memory = variant.account.memory;
            cells.extend([
                thousands(variant.requests as f64),
                thousands(variant.account.spans as f64),
                thousands(variant.account.lost as f64),
                format!("{:.2}", median(&variant.agent)),
                format!("{:.1}", memory.peak / 1e6),
                format!("{:.1}", memory.anonymous / 1e6),
                format!("{:.1}", memory.maps / 1e6),
            ]);
        }
        table::row(&cells);
        if variant.traced && variant.account.lost == 0 && variant.requests != variant.account.spans {
            eprintln!("{}: {} spans of {} requests", variant.name, variant.account.spans, variant.requests);
        }
    }
    println!();
}
