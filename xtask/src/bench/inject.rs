//! `bench inject`: what a request costs on a connection on which contexts are sent along, both ends together.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
};

use anyhow::ensure;

use super::{
    agent::Agent,
    connect::{ADDRESS, Address},
    process, table,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Requests of each kind and round
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Rounds, in which what is compared takes turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// A body as uploads have it.
const BODY: usize = 16 << 10;

pub fn run(args: &Args, binary: &Path) -> anyhow::Result<()> {
    let pid = std::process::id().to_string();
    let traced = ["--pid", &pid, "--no-tls"];
    let chosen = format!("pid={pid}");
    let written = [&traced[..], &["--inject-headers", &chosen, "--inject-unsafe"]].concat();
    let carried = [&traced[..], &["--peer-context", "option"]].concat();
    let sides: [(&str, Option<&[&str]>, Sent); 4] = [
        ("no agent", None, Sent::Nowhere),
        ("traced", Some(&traced), Sent::Nowhere),
        ("traced, contexts in TCP options, both ends", Some(&carried), Sent::Option),
        ("traced, contexts in headers", Some(&written), Sent::Header),
    ];
    // Options are for other hosts: loopback has none.
    let _address = Address::take()?;
    println!("### Contexts in requests\n");
    println!(
        "A request with a head of about 100 bytes and its answer, an upload of 16 KiB, and a request of HTTP/2 with as much in its head, on a kept connection from and to a private address of this machine: both ends on one thread. Processor \
         time of that thread, the lowest of {} rounds of {} requests in turns.\n",
        args.rounds, args.requests
    );
    let mut times = [const { [const { Vec::new() }; 3] }; 4];
    for _ in 0..args.rounds {
        for ((_, flags, sent), times) in sides.iter().zip(&mut times) {
            let agent = flags.map(|flags| Agent::start(binary, flags)).transpose()?;
            let is_written = *sent == Sent::Header;
            let [small, large, streams] = times;
            small.push(requests(args.requests, 0, is_written)?);
            large.push(requests(args.requests, BODY, is_written)?);
            streams.push(requests_http2(args.requests, is_written)?);
            if let Some(agent) = agent {
                let contexts = agent.stop()?.contexts;
                let expected = if *sent == Sent::Option { 3 * u64::from(args.requests) } else { 0 };
                ensure!(contexts == expected, "{contexts} contexts were sent, and not {expected}");
            }
        }
    }
    table::head(&[""], &["µs a request", "ratio", "µs an upload", "ratio", "µs of HTTP/2", "ratio"]);
    let lowest = times.each_ref().map(|times| times.each_ref().map(|times| table::lowest(times)));
    let [base, ..] = lowest;
    for ((name, ..), [small, large, streams]) in sides.iter().zip(lowest) {
        table::row(&[
            (*name).to_owned(),
            format!("{small:.2}"),
            format!("{:.3}", small / base[0]),
            format!("{large:.2}"),
            format!("{:.3}", large / base[1]),
            format!("{streams:.2}"),
            format!("{:.3}", streams / base[2]),
        ]);
    }
    println!();
    Ok(())
}

/// Where contexts are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Nowhere,
    Option,
    Header,
}

/// Microseconds of this thread's processor time for each.
fn requests(count: u32, body: usize, is_written: bool) -> anyhow::Result<f64> {
    let listener = TcpListener::bind((ADDRESS, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    let head = format!("POST /a HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nContent-Length: {body}\r\n\r\n");
    let mut request = head.into_bytes();
    request.resize(request.len() + body, b'x');
    let (mut buffer, mut headers) = (vec![0; request.len() + 4096], 0);
    let before = process::thread_time();
    for _ in 0..count {
        client.write_all(&request)?;
        let mut received = 0;
        let mut wanted = request.len();
        while received < wanted {
            let (_, rest) = buffer.split_at_mut(received);
            let more = server.read(rest)?;
            ensure!(more > 0, "the connection has ended");
            if received == 0
                && buffer.get(..more).is_some_and(|head| head.windows(12).any(|part| part == b"traceparent:"))
            {
                headers += 1;
                wanted += HEADER;
            }
            received += more;
        }
        server.write_all(ANSWER)?;
        client.read_exact(buffer.split_at_mut(ANSWER.len()).0)?;
    }
    let time = (process::thread_time() - before).as_secs_f64() * 1e6 / f64::from(count);
    ensure!(is_written == (headers > 0), "{headers} of {count} requests had a context");
    Ok(time)
}

/// Bytes that are written into a request.
const HEADER: usize = 70;

/// The same of HTTP/2, each on a stream of its own.
fn requests_http2(count: u32, is_written: bool) -> anyhow::Result<f64> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // `POST http://localhost/a` with a `user-agent`, and a field of no meaning, none of which enters a table.
    const BLOCK: &[u8] =
        b"\x83\x86\x04\x02/a\x01\x09localhost\x0f\x2b\x05bench\0\x06x-name\x26a value as long as heads usually have.";
    const ANSWER: &[u8] = b"\0\0\x01\x01\x05\0\0\0\x01\x88";
    let listener = TcpListener::bind((ADDRESS, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    client.write_all(PREFACE)?;
    server.write_all(PREFACE.split_at(24).1)?;
    let mut buffer = [0; 1024];
    server.read_exact(buffer.split_at_mut(PREFACE.len()).0)?;
    client.read_exact(buffer.split_at_mut(9).0)?;
    let mut request = [&[0, 0, BLOCK.len() as u8, 1, 5, 0, 0, 0, 0], BLOCK].concat();
    let mut answer = ANSWER.to_vec();
    let mut headers = 0;
    let before = process::thread_time();
    for i in 0..count {
        let stream = (2 * i + 1).to_be_bytes();
        for frame in [&mut request, &mut answer] {
            frame.splice(5..9, stream);
        }
        client.write_all(&request)?;
        let received = server.read(&mut buffer)?;
        headers += u32::from(received > request.len());
        ensure!(received >= request.len(), "{received} bytes of a request");
        server.write_all(&answer)?;
        client.read_exact(buffer.split_at_mut(answer.len()).0)?;
    }
    let time = (process::thread_time() - before).as_secs_f64() * 1e6 / f64::from(count);
    ensure!(is_written == (headers > 0), "{headers} of {count} requests had a context");
    Ok(time)
}
