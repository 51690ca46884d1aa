//! `bench connect`: what a TCP connection costs with the option by which agents find each other, both ends together.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rustix::net::sockopt::set_socket_linger;

use super::{agent::Agent, process, table};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Connections of each round
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Rounds, in which what is compared takes turns
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// A private address, which loopback's are not. The machine's own while this runs; the segments never leave it.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 254, 253, 251);
/// What the option's agents share.
const KEY: &str = "a key of nobody, for a measurement";

pub fn run(args: &Args, binary: &Path) -> anyhow::Result<()> {
    let _address = Address::take()?;
    let key = tempfile::NamedTempFile::new()?;
    std::fs::write(key.path(), KEY)?;
    let key = key.path().to_str().context("not UTF-8")?;
    let at = format!("{ADDRESS}:4419");
    // Nothing of this process is traced: port 1 is nobody's.
    let common = ["--port", "1", "--no-tls", "--peer-key-file", key];
    let private = [&common[..], &["--peer-discover", "private"]].concat();
    let option = [&common[..], &["--peer-discover", "option", "--peer-advertise", &at]].concat();
    let sides: [(&str, Option<&[&str]>, bool); 4] = [
        ("no agent", None, true),
        ("agent without the option", Some(&private), true),
        ("with it, on SYN and SYN-ACK", Some(&option), true),
        ("with it, listening since before the agent", Some(&option), false),
    ];
    println!("### A TCP connection, with the option by which agents find each other\n");
    println!(
        "Connect, accept, one byte each way, reset: both ends on one thread, from and to a private address of this machine. Processor time of that \
         thread, {} rounds of {} connections in turns; the agent traces nothing of it.\n",
        args.rounds, args.connections
    );
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..args.rounds {
        for ((_, flags, fresh), times) in sides.iter().zip(&mut times) {
            let before = TcpListener::bind((ADDRESS, 0))?;
            let agent = flags.map(|flags| Agent::start(binary, flags)).transpose()?;
            let listener = if *fresh { TcpListener::bind((ADDRESS, 0))? } else { before };
            times.push(connections(&listener, args.connections)?);
            if let Some(agent) = agent {
                agent.stop()?;
            }
        }
    }
    table::head(&[""], &["µs a connection", "lowest to highest", "ratio"]);
    let base = table::lowest(times.first().map_or(&[], Vec::as_slice));
    for ((name, ..), times) in sides.iter().zip(&times) {
        let lowest = table::lowest(times);
        table::row(&[
            (*name).to_owned(),
            format!("{lowest:.2}"),
            table::spread(times, 2),
            format!("{:.3}", lowest / base),
        ]);
    }
    println!();
    Ok(())
}

/// Microseconds of this thread's processor time for each.
fn connections(listener: &TcpListener, count: u32) -> anyhow::Result<f64> {
    let address = listener.local_addr()?;
    let before = process::thread_time();
    for _ in 0..count {
        let mut client = TcpStream::connect(address)?;
        let (mut server, _) = listener.accept()?;
        let mut byte = [1];
        client.write_all(&byte)?;
        server.read_exact(&mut byte)?;
        server.write_all(&byte)?;
        client.read_exact(&mut byte)?;
        // By a reset: no port stays taken.
        set_socket_linger(&client, Some(Duration::ZERO))?;
    }
    Ok((process::thread_time() - before).as_secs_f64() * 1e6 / f64::from(count))
}

/// The address, as long as it is this machine's.
pub(super) struct Address;

impl Address {
    pub(super) fn take() -> anyhow::Result<Self> {
        ensure!(ip("add")?, "cannot give {ADDRESS} to the loopback interface");
        Ok(Self)
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let _gone = ip("delete");
    }
}

fn ip(what: &str) -> anyhow::Result<bool> {
    let address = format!("{ADDRESS}/32");
    let status = Command::new("ip").args(["address", what, &address, "dev", "lo"]).status();
    Ok(status.context("cannot run ip (package iproute2)")?.success())
}
