//! `bench memory`: what the agent takes when nothing happens, and with many connections that all speak.

use std::{path::Path, thread, time::Duration};

use super::{
    agent::Agent,
    client::{self, Client},
    process::Memory,
    sink::Sink,
    table::{self, thousands},
    webserver::WebServer,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Connections that are open at a time
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Requests a second on all of them
    #[arg(long, default_value_t = 50_000)]
    rate: u32,
    /// Seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self { connections: 10_000, rate: 50_000, seconds: 10 }
    }
}

pub fn run(args: &Args, binary: &Path) -> anyhow::Result<()> {
    let sink = Sink::start()?;
    let endpoint = sink.endpoint();
    println!("### Memory\n");
    println!("RSS counts the rings, which are memory of the kernel that the agent maps, and the executable's pages.\n");
    table::head(
        &["what"],
        &[
            "RSS peak MB",
            "RSS at the end",
            "of which allocated",
            "maps in the kernel",
            "requests/s",
            "requests",
            "spans",
            "lost",
        ],
    );
    let otlp = ["--output", "otlp", "--endpoint", &endpoint, "--protocol", "http/protobuf"];
    let agent = Agent::start(binary, &otlp)?;
    thread::sleep(Duration::from_secs(3));
    let idle = agent.memory()?;
    agent.stop()?;
    let mut cells = vec!["everything selected, nothing to do".to_owned()];
    cells.extend(megabytes(idle));
    cells.extend(std::iter::repeat_n(String::new(), 4));
    table::row(&cells);

    let server = WebServer::start()?;
    for (name, selection) in [("nginx traced", &["--exe", "nginx"][..]), ("nginx and its client traced", &[])] {
        let before = server.work()?;
        let agent = Agent::start(binary, &[selection, &["--port", &server.port()], &otlp].concat())?;
        let client = Client::start(&client::Args {
            address: server.address(),
            connections: args.connections as usize,
            rate: args.rate.into(),
            seconds: args.seconds.into(),
        })?;
        let report = client.wait()?;
        let requests = server.work()?.requests - before.requests;
        let account = agent.stop()?;
        let mut cells = vec![format!("{} connections, {name}", thousands(args.connections.into()))];
        cells.extend(megabytes(account.memory));
        cells.extend([
            thousands(report.per_second),
            thousands(requests as f64),
            thousands(account.spans as f64),
            thousands(account.lost as f64),
        ]);
        table::row(&cells);
        if account.lost + account.dropped > 0 {
            eprintln!("{name}: lost {}; {} spans not exported", account.losses, account.dropped);
        }
    }
    server.stop()?;
    println!();
    Ok(())
}

fn megabytes(memory: Memory) -> [String; 4] {
    [memory.peak, memory.resident, memory.anonymous, memory.maps].map(|bytes| format!("{:.1}", bytes / 1e6))
}
