//! Samples that know their request, and requests that know what they have cost. The services say what is right: by the names of the
//! functions that their endpoints spend their time in, and by what their threads measure of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture, Report};
use geophone_tests::child::Guard;
use geophone_tests::receivers::Receiver;
use geophone_tests::span::Span;
use geophone_tests::{paths, ports, wait};
use tempfile::TempDir;

use crate::profile::{folded, profile, run};
use crate::sending::of_periods;
use crate::support::{both, flags, pids};

both!(of_threads, of_goroutines, what_threads_wait_for);

/// Endpoints that burn one, two and four parts of processor time, each in a function of its own.
const BURNING: [&str; 3] = ["light", "medium", "heavy"];
/// Percentage points that a share may be wrong by.
const TOLERANCE: f64 = 5.0;

/// What a service has said of a request: nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    cpu: u64,
    wait: u64,
}

/// A service under load, and what became of it.
struct Run {
    folder: TempDir,
    report: Report,
    truth: BTreeMap<String, Truth>,
}

fn c(folder: &Path) -> Result<Command> {
    let path = folder.join("endpoints");
    let mut gcc = Command::new(paths::program("gcc")?);
    gcc.args(["-O2", "-pthread", "-o"]).arg(&path).arg(paths::service("c/endpoints.c"));
    run(&mut gcc)?;
    Ok(Command::new(path))
}

fn go(folder: &Path) -> Result<Command> {
    let path = folder.join("endpoints");
    let mut go = Command::new(paths::program("go")?);
    go.current_dir(paths::service("go")).arg("build").arg("-o").arg(&path).arg("./endpoints");
    run(&mut go)?;
    Ok(Command::new(path))
}

fn python(script: &str) -> Result<Command> {
    let mut python = Command::new(paths::installed("venv/bin/python")?);
    python.arg(paths::service(script));
    Ok(python)
}

fn node(_: &Path) -> Result<Command> {
    let mut node = Command::new(paths::program("node")?);
    node.args([
        "--perf-basic-prof",
        "--interpreted-frames-native-stack",
        "--no-logfile-per-isolate",
        "--logfile=v8.log",
    ]);
    node.arg(paths::service("node/endpoints.js"));
    Ok(node)
}

fn java(folder: &Path) -> Result<Command> {
    let mut javac = Command::new(paths::program("javac")?);
    run(javac.arg("-d").arg(folder).arg(paths::service("java/Endpoints.java")))?;
    let mut java = Command::new(paths::program("java")?);
    // Compiled once and for all, and each by itself, so that the map that is written before samples are taken holds on.
    java.args([
        "-XX:+PreserveFramePointer",
        "-XX:TieredStopAtLevel=1",
        "-XX:CompileCommand=dontinline,Endpoints.burn_*",
    ]);
    java.args(["-Xmx128m", "-cp"]).arg(folder).arg("Endpoints");
    Ok(java)
}

/// Writes down where a virtual machine has put what it has compiled.
fn perf_map(service: &Guard, address: SocketAddr) -> Result<()> {
    load(address, &BURNING, 4, 150, Duration::ZERO)?;
    run(Command::new(paths::program("jcmd")?).arg(service.pid().to_string()).arg("Compiler.perfmap"))?;
    Ok(())
}

impl Run {
    fn new(
        capture: Capture,
        build: impl Fn(&Path) -> Result<Command>,
        endpoints: &[&'static str],
        connections: usize,
        requests: usize,
    ) -> Result<Self> {
        Self::prepared(capture, build, |_, _| Ok(()), endpoints, connections, requests)
    }

    /// The same of a service that something is done with before it is looked at.
    fn prepared(
        capture: Capture,
        build: impl Fn(&Path) -> Result<Command>,
        prepare: impl Fn(&Guard, SocketAddr) -> Result<()>,
        endpoints: &[&'static str],
        connections: usize,
        requests: usize,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (service, address) = serve(build(folder.path())?, folder.path())?;
        prepare(&service, address)?;
        let mut arguments = pids([service.pid()]);
        arguments.extend(flags(&["--usage", "--profile", "499", "--profile-output"]));
        arguments.push(folder.path().join("a.pb.gz").display().to_string());
        let agent = Agent::start(capture, &arguments)?;
        let truth = load(address, endpoints, connections, requests, Duration::ZERO)?;
        agent.wait_spans(truth.len());
        let report = agent.finish_within(Duration::from_secs(30))?;
        ensure!(report.spans.len() == truth.len(), "{} spans of {} requests", report.spans.len(), truth.len());
        Ok(Self { folder, report, truth })
    }

    /// The spans of an endpoint, each with what the service has said.
    fn spans(&self, endpoint: &str) -> Vec<(&Span, Truth)> {
        let of =
            |span: &Span| span.target().strip_prefix('/').and_then(|rest| rest.split('/').next()) == Some(endpoint);
        let truth = |span: &Span| self.truth.get(&span.target()).copied().unwrap_or_default();
        self.report.spans.iter().filter(|span| of(span)).map(|span| (span, truth(span))).collect()
    }

    /// Samples in functions that burn, by function: of an endpoint, or of all.
    fn burnt(&self, more: &[&str]) -> Result<BTreeMap<String, u64>> {
        let (from, to) = (self.folder.path().join("a.pb.gz"), self.folder.path().join("part.folded"));
        let mut arguments = vec![OsStr::new("show"), from.as_os_str(), OsStr::new("-o"), to.as_os_str()];
        arguments.extend(more.iter().map(OsStr::new));
        profile(&arguments)?;
        let mut burnt = BTreeMap::new();
        for (stack, count) in folded(&to)? {
            if let Some(name) = stack.iter().find_map(|name| burns(name)) {
                *burnt.entry(name).or_default() += count;
            }
        }
        Ok(burnt)
    }

    /// Samples are linked to the right endpoints, nearly all of them, and in the right shares.
    fn links(&self, shares: impl Fn(&str) -> f64) -> Result<()> {
        self.links_within(2.0, 0.5, shares)
    }

    /// The same: at most such a share is without a link, and such a share of those with one is linked to another endpoint, in percent.
    fn links_within(&self, without: f64, wrongly: f64, shares: impl Fn(&str) -> f64) -> Result<()> {
        let all: u64 = self.burnt(&[])?.values().sum();
        let (mut linked, mut wrong, mut found) = (0, 0, Vec::new());
        for endpoint in BURNING {
            let of = self.burnt(&["--request", &format!("GET /{endpoint}/{{id}}")])?;
            let right = of.get(endpoint).copied().unwrap_or_default();
            let sum = of.values().sum::<u64>();
            linked += sum;
            wrong += sum - right;
            found.push((endpoint, sum));
        }
        let said = self.report.log.join("\n");
        println!("{linked} of {all} samples linked, {wrong} wrong");
        ensure!(all > 300, "{all} samples: {said}");
        let percent = |part: u64, of: u64| part as f64 * 100.0 / of as f64;
        ensure!(percent(all - linked, all) <= without, "{linked} of {all} are linked: {said}");
        ensure!(percent(wrong, linked) <= wrongly, "{wrong} of {linked} are linked to another endpoint");
        for (endpoint, count) in found {
            let (share, expected) = (count as f64 * 100.0 / linked as f64, shares(endpoint));
            println!("{endpoint}: {share:.2} % of the samples, {expected:.2} % of the time");
            ensure!((share - expected).abs() < TOLERANCE, "{endpoint}: {share:.1} %, expected {expected:.1} %");
        }
        Ok(())
    }
}

/// The endpoint that a function burns for. Some names say where the function is, some what it returns.
fn burns(function: &str) -> Option<String> {
    let (_, name) = function.split_once("burn_").or_else(|| function.split_once("main.burn"))?;
    let name: String = name.chars().take_while(char::is_ascii_alphabetic).collect();
    // Go has another one, of no endpoint.
    (!name.is_empty()).then(|| name.to_lowercase())
}

/// One, two and four parts.
fn parts(endpoint: &str) -> f64 {
    match endpoint {
        "light" => 100.0 / 7.0,
        "medium" => 200.0 / 7.0,
        _ => 400.0 / 7.0,
    }
}

/// Starts a service.
fn serve(mut program: Command, folder: &Path) -> Result<(Guard, SocketAddr)> {
    let port = ports::free()?;
    let service = Guard::start(program.arg(port.to_string()).current_dir(folder))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait::until(wait::PATIENCE, "the service", || TcpStream::connect(address).ok())?;
    Ok((service, address))
}

/// Sends requests on some connections at a time, so many on each, and more if that did not take as long as it has to. Returns what
/// the service has said, by path.
fn load(
    address: SocketAddr,
    endpoints: &[&'static str],
    connections: usize,
    requests: usize,
    at_least: Duration,
) -> Result<BTreeMap<String, Truth>> {
    let start = Instant::now();
    let clients = (0..connections).map(|number| {
        let endpoints = endpoints.to_vec();
        thread::spawn(move || {
            let ids = (0..).take_while(|sent| *sent < requests || start.elapsed() < at_least);
            client(address, endpoints.iter().cycle().skip(number), ids.map(|sent| sent * connections + number + 1))
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut truth = BTreeMap::new();
    for client in clients {
        truth.extend(client.join().ok().context("a client has failed")??);
    }
    Ok(truth)
}

/// Sends requests on one connection. Returns their paths with what the service has said.
fn client<'a>(
    address: SocketAddr,
    endpoints: impl Iterator<Item = &'a &'static str>,
    ids: impl Iterator<Item = usize>,
) -> Result<Vec<(String, Truth)>> {
    let mut connection = BufReader::new(TcpStream::connect(address)?);
    let mut all = Vec::new();
    for (id, endpoint) in ids.zip(endpoints) {
        let path = format!("/{endpoint}/{id}");
        connection.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())?;
        let mut truth = Truth::default();
        loop {
            let mut line = String::new();
            ensure!(connection.read_line(&mut line)? > 0, "the service has closed the connection");
            match line.trim_end().split_once(": ") {
                Some(("X-Cpu", value)) => truth.cpu = value.parse()?,
                Some(("X-Wait", value)) => truth.wait = value.parse()?,
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        std::io::Read::read_exact(&mut connection, &mut [0; 2])?;
        all.push((path, truth));
    }
    Ok(all)
}

/// An attribute in nanoseconds; 0 where there is none.
fn nanos(span: &Span, name: &str) -> f64 {
    span.attributes.get(name).and_then(serde_json::Value::as_f64).unwrap_or_default() * 1e9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn of_threads(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let run = Run::new(capture, c, &BURNING, 32, 45)?;
    let sum = |endpoint: &str| run.spans(endpoint).iter().map(|(_, truth)| truth.cpu as f64).sum::<f64>();
    let all: f64 = BURNING.into_iter().map(sum).sum();
    run.links(|endpoint| sum(endpoint) * 100.0 / all)?;
    // One by one, because a virtual machine's processor may stand still for a while; reading and sending take some time, too.
    let spans = run.spans("heavy");
    let ratio = median(spans.iter().map(|(span, truth)| nanos(span, "geophone.cpu.time") / truth.cpu as f64).collect());
    println!("processor time: {ratio:.4} of what it was");
    ensure!((0.95..=1.05).contains(&ratio), "processor time is {ratio:.3} of what it was");
    let first = spans.first().context("no spans")?.0;
    let of_trace: u64 = run.burnt(&["--trace", &first.trace_id])?.values().sum();
    ensure!(of_trace <= 10, "{of_trace} samples of one request");
    Ok(())
}

/// Threads that share a lock, and whose functions are in the interpreter's frames.
#[test]
fn of_python_threads() -> Result<()> {
    let _alone = wait::alone();
    let run = Run::new(Capture::Sockets, |_| python("python/endpoints.py"), &BURNING, 32, 12)?;
    run.links(parts)?;
    let spans = run.spans("heavy");
    let ratio = median(spans.iter().map(|(span, truth)| nanos(span, "geophone.cpu.time") / truth.cpu as f64).collect());
    println!("processor time: {ratio:.4} of what it was");
    ensure!((0.95..=1.05).contains(&ratio), "processor time is {ratio:.3} of what it was");
    Ok(())
}

fn of_goroutines(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let run = Run::new(capture, go, &BURNING, 32, 30)?;
    run.links(parts)?;
    let claims = run.report.spans.iter().filter(|span| span.attributes.contains_key("geophone.cpu.time")).count();
    ensure!(claims == 0, "{claims} spans say what their threads have done, which is not known of goroutines");
    Ok(())
}

/// Tasks that take turns on one thread, in the middle of requests.
#[test]
fn of_asyncio_tasks() -> Result<()> {
    let _alone = wait::alone();
    Run::new(Capture::Sockets, |_| python("python/endpoints_asyncio.py"), &BURNING, 32, 12)?.links(parts)
}

/// The same on several threads, which take tasks from each other. Half of the work is done by tasks that were started for it, which have no link: the
/// scheduler, and not they, wakes who waits for their end.
#[test]
fn of_tokio_tasks() -> Result<()> {
    let _alone = wait::alone();
    let build = |_: &Path| {
        let mut service = Command::new(paths::installed("rustls-service")?);
        service.arg("endpoints");
        Ok(service)
    };
    // A task that has ended before anybody waits for it wakes nobody.
    Run::new(Capture::Sockets, build, &BURNING, 32, 40)?.links_within(30.0, 0.5, parts)
}

/// A pool that reads requests, and another one that does half of the work.
#[test]
fn of_java_pools() -> Result<()> {
    let _alone = wait::alone();
    // What a worker takes from the queue, and nobody waits for, is not always told from what it was woken for.
    Run::prepared(Capture::Sockets, java, perf_map, &BURNING, 32, 30)?.links_within(8.0, 4.0, parts)
}

/// An event loop that works for other requests while one waits.
#[test]
fn of_node_callbacks() -> Result<()> {
    let _alone = wait::alone();
    Run::new(Capture::Sockets, node, &BURNING, 32, 60)?.links(parts)
}

fn what_threads_wait_for(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let run = Run::new(capture, c, &["sleep", "lock", "network", "disk"], 8, 60)?;
    for endpoint in ["sleep", "lock", "network", "disk"] {
        let (mut waited, mut ready, mut ran, mut truths, mut spans) = (0.0, 0.0, 0.0, 0.0, 0);
        for (span, truth) in run.spans(endpoint) {
            let wait = nanos(span, &format!("geophone.wait.{endpoint}"));
            let all: f64 = span
                .attributes
                .keys()
                .filter(|key| key.starts_with("geophone.wait."))
                .map(|key| nanos(span, key))
                .sum();
            let duration = (span.end() - span.start()) as f64;
            ensure!(
                all + nanos(span, "geophone.cpu.time") <= duration * 1.01 + 20_000.0,
                "longer than it took: {span:?}"
            );
            // What is ready may still have to wait for a processor before it sees the time.
            ensure!(wait <= truth.wait as f64 * 1.05 + 50_000.0, "{wait} ns of {truth:?}: {span:?}");
            waited += wait;
            ready += nanos(span, "geophone.wait.runqueue");
            ran += nanos(span, "geophone.cpu.time");
            truths += truth.wait as f64;
            spans += 1;
        }
        ensure!(spans == 120, "{spans} spans of {endpoint}");
        ensure!(waited + ready + ran >= truths * 0.95, "{endpoint}: {waited}, {ready} and {ran} of {truths} ns");
        // What a disk in memory is asked for is there at once.
        let is_slow = truths > 200_000.0 * f64::from(spans);
        ensure!(waited > 0.0 || endpoint == "disk" && !is_slow, "nothing has waited for {endpoint}");
    }
    let sleeps = run.spans("sleep").into_iter().map(|(span, _)| nanos(span, "geophone.wait.sleep") / 1e6);
    let sleep = median(sleeps.collect());
    ensure!((19.9..=21.0).contains(&sleep), "{sleep:.2} ms of 20");
    let (other, what) = run
        .spans("lock")
        .into_iter()
        .map(|(span, _)| nanos(span, "geophone.wait.sleep") / 1e6)
        .fold((0.0, 0), |(sum, n), ms| (sum + ms, n + 1));
    ensure!((other / f64::from(what) - 2.0).abs() < 0.5, "{other} ms of sleep with the lock, of {what} requests");
    Ok(())
}

/// Profiles that are sent while tracing goes on: period by period, and each sample that has a link has that of a span.
#[test]
fn sent_meanwhile() -> Result<()> {
    let _shared = wait::shared();
    let folder = tempfile::tempdir()?;
    let (service, address) = serve(c(folder.path())?, folder.path())?;
    let receiver = Receiver::collector_of_profiles()?;
    let endpoint = format!("http://127.0.0.1:{}/v1development/profiles", receiver.http);
    let mut arguments = pids([service.pid()]);
    arguments.extend(flags(&["--output", "json", "--profile", "499", "--profile-otlp", "--profile-interval", "1s"]));
    let variables = [
        ("OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT", &*endpoint),
        ("OTEL_EXPORTER_OTLP_PROFILES_PROTOCOL", "http/protobuf"),
    ];
    let agent = Agent::start_with(Capture::Sockets, &arguments, &variables)?;
    // However fast the processors are: longer than two periods.
    let truth = load(address, &BURNING, 4, 400, Duration::from_secs(4))?;
    agent.wait_spans(truth.len());
    let report = agent.finish_within(Duration::from_secs(30))?;
    let said = report.log.join("\n");
    let spans: BTreeMap<_, _> = report.spans.iter().map(|span| (&*span.span_id, span)).collect();
    let samples = of_periods(&receiver, 2)?;
    let periods: BTreeSet<_> = samples.iter().map(|sample| sample.time.0).collect();
    ensure!(periods.len() >= 2, "{periods:?}: {said}");
    let (mut all, mut linked) = (0, 0);
    for sample in samples.iter().filter(|sample| sample.frames.iter().any(|(name, _)| name.starts_with("burn_"))) {
        all += sample.value;
        let Some((trace, span)) = &sample.link else {
            continue;
        };
        linked += sample.value;
        let span = spans.get(&**span).with_context(|| format!("there is no span {span}"))?;
        ensure!((&*span.kind, &span.trace_id) == ("SERVER", trace), "{span:#?}");
        ensure!(sample.attributes.get("endpoint") == Some(&span.name), "{sample:#?} of {span:#?}");
    }
    ensure!(all > 100 && linked * 100 >= all * 98, "{linked} of {all} samples are linked: {said}");
    ensure!(said.contains("sent by") && !said.contains("lost ("), "{said}");
    Ok(())
}
