//! `bench rate`: constant rates, one higher than the other, until an agent that has one processor loses an event.

use std::path::Path;

use super::{
    agent::{Account, Agent, FRONT_ENDS},
    client::{self, Client},
    machine,
    sink::Sink,
    table::{self, thousands},
    webserver::WebServer,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Requests a second
    #[arg(long, value_delimiter = ',', default_values_t = RATES)]
    rates: Vec<u32>,
    /// Seconds at each rate
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The client's connections
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
}

const RATES: [u32; 7] = [15_000, 20_000, 30_000, 40_000, 50_000, 60_000, 75_000];

impl Default for Args {
    fn default() -> Self {
        Self { rates: RATES.to_vec(), seconds: 5, connections: 100 }
    }
}

/// When less than this of a rate is reached, server and client can do no more.
const REACHED: f64 = 0.97;

pub fn run(args: &Args, binary: &Path) -> anyhow::Result<()> {
    let sink = Sink::start()?;
    let endpoint = sink.endpoint();
    let server = WebServer::start()?;
    let port = server.port();
    println!("### Constant rates, one processor for the agent\n");
    println!(
        "The agent alone on processor {}: it traces nginx and sends OTLP (HTTP, uncompressed) to a receiver that throws it \
         away; nginx, which answers with 612 bytes out of its configuration, a client with {} connections that sends {} s long at a constant rate, and the receiver share \
         processor 0 (the receiver takes what is left anywhere).\n",
        machine::agent(),
        args.connections,
        args.seconds
    );
    table::head(
        &["`--capture`"],
        &[
            "requests/s asked for",
            "reached",
            "requests",
            "spans",
            "events lost",
            "spans not exported",
            "agent µs/request",
            "of its processor",
            "OTLP bytes/span",
            "RSS peak MB",
        ],
    );
    let mut verdicts = Vec::new();
    for front_end in FRONT_ENDS {
        let mut highest = 0.0;
        for &rate in &args.rates {
            let flags = [
                "--exe",
                "nginx",
                "--port",
                &port,
                "--capture",
                front_end,
                "--output",
                "otlp",
                "--endpoint",
                &endpoint,
                "--protocol",
                "http/protobuf",
            ];
            let before = server.work()?;
            let agent = Agent::start(binary, &flags)?;
            let idle = agent.cpu()?;
            let bytes = sink.bytes();
            let client = Client::start(&client::Args {
                address: server.address(),
                connections: args.connections as usize,
                rate: rate.into(),
                seconds: args.seconds.into(),
            })?;
            let report = client.wait()?;
            let requests = server.work()?.requests - before.requests;
            let account = agent.stop()?;
            let cpu = account.cpu - idle;
            table::row(&[
                format!("`{front_end}`"),
                thousands(rate.into()),
                thousands(report.per_second),
                thousands(requests as f64),
                thousands(account.spans as f64),
                thousands(account.lost as f64),
                thousands(account.dropped as f64),
                format!("{:.2}", cpu / 1e3 / requests as f64),
                format!("{:.0} %", cpu / 1e7 / f64::from(args.seconds)),
                format!("{:.0}", (sink.bytes() - bytes) as f64 / account.spans.max(1) as f64),
                format!("{:.1}", account.memory.peak / 1e6),
            ]);
            if !complete(&account, requests) {
                eprintln!("{front_end} at {rate}: lost {}; {} spans not exported", account.losses, account.dropped);
                break;
            }
            highest = report.per_second;
            if report.per_second < f64::from(rate) * REACHED {
                break;
            }
        }
        verdicts.push(format!("`{front_end}` {}", thousands(highest)));
    }
    server.stop()?;
    println!(
        "\nHighest rate with every request a span and nothing lost, in requests/s: {}. The series ends where something is lost, or where nginx and \
         the client can do no more.\n",
        verdicts.join(", ")
    );
    Ok(())
}

fn complete(account: &Account, requests: u64) -> bool {
    account.lost == 0 && account.dropped == 0 && account.spans == requests
}
