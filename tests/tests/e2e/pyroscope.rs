//! Profiles that are pushed to Pyroscope: a receiver with a decoder of its own takes them, and `go tool pprof` reads what is in them.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use geophone_tests::child::Guard;
use geophone_tests::{paths, ports, wait};
use serde_json::Value;
use tempfile::TempDir;

use crate::profile::{self, Program, run, words};

/// A receiver.
struct Server {
    _guard: Guard,
    folder: TempDir,
    url: String,
}

impl Server {
    /// That gives these answers first.
    fn start(answers: &[&str]) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, ports::free()?);
        let mut command = Command::new(paths::program("python3")?);
        command.arg(paths::service("python/pyroscope.py")).arg(port.to_string()).arg(folder.path()).args(answers);
        let log = fs::File::create(folder.path().join("log"))?;
        let guard = Guard::start(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))?;
        wait::until(wait::PATIENCE, "a receiver", || TcpStream::connect(("127.0.0.1", port)).ok())?;
        Ok(Self { _guard: guard, folder, url: format!("http://127.0.0.1:{port}") })
    }

    /// What has arrived.
    fn requests(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.folder.path().join("requests.jsonl")).unwrap_or_default();
        let log = fs::read_to_string(self.folder.path().join("log"))?;
        ensure!(!log.contains("Error"), "the receiver cannot read it: {log}");
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// Profiles a burning program, and sends that.
fn send(server: &Server, program: &Program, more: &[&str]) -> Result<String> {
    let mut arguments = words(&["--frequency", "499", "--pyroscope", &server.url]);
    arguments.extend(words(more));
    arguments.extend([OsStr::new("--"), program.path.as_os_str(), OsStr::new("2")]);
    Ok(profile::profile(&arguments)?.1)
}

/// The profile of the program among those that arrived, and the request that it came in.
fn of_program(requests: &[Value], name: impl Fn(&Value) -> bool) -> Result<(Value, PathBuf)> {
    let request = requests.iter().find(|request| name(request)).with_context(|| format!("{requests:#?}"))?;
    let file = request.pointer("/profiles/0").and_then(Value::as_str).context("no profile")?;
    Ok((request.clone(), file.into()))
}

/// Looks at a profile with Go's tool.
fn looks_right(file: &Path) -> Result<()> {
    let tool = |flags: &[&str]| {
        let mut go = Command::new(paths::program("go")?);
        let output = run(go.args(["tool", "pprof"]).args(flags).arg(file))?;
        anyhow::Ok(String::from_utf8(output.stdout)?)
    };
    let raw = tool(&["-raw"])?;
    ensure!(raw.contains("samples/count cpu/nanoseconds"), "{raw}");
    ensure!(!raw.contains("process.pid"), "a label of each process would be a series of each process: {raw}");
    let top = tool(&["-top", "-sample_index=cpu"])?;
    let line = top.lines().find(|line| line.ends_with(" burn_most")).with_context(|| top.clone())?;
    let share = line.split_whitespace().nth(1).and_then(|word| word.strip_suffix('%')).context("no share")?;
    let share: f64 = share.parse()?;
    ensure!((70.0..80.0).contains(&share), "{top}");
    Ok(())
}

#[test]
fn push() -> Result<()> {
    let _shared = wait::shared();
    let (program, server) = (Program::c()?, Server::start(&[])?);
    let said = send(&server, &program, &["--pyroscope-headers", "X-Scope-OrgID=tenant"])?;
    ensure!(said.contains("sent by pyroscope: the profiles of ") && !said.contains("lost ("), "{said}");
    let is_burn = |request: &Value| request["labels"]["service_name"] == "burn";
    let (request, file) = of_program(&server.requests()?, is_burn)?;
    ensure!(request["labels"]["__name__"] == "process_cpu", "{request}");
    ensure!(request["headers"]["x-scope-orgid"] == "tenant", "{request}");
    let names = request["labels"].as_object().context("no labels")?.keys();
    let is_plain = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    ensure!(names.clone().all(is_plain) && names.count() >= 3, "{request}");
    looks_right(&file)
}

#[test]
fn ingest() -> Result<()> {
    let _shared = wait::shared();
    let (program, server) = (Program::c()?, Server::start(&[])?);
    send(&server, &program, &["--pyroscope-api", "ingest"])?;
    let name = |request: &Value| request["query"]["name"].as_str().unwrap_or_default().to_owned();
    let (request, file) = of_program(&server.requests()?, |request| name(request).starts_with("burn{"))?;
    let query = &request["query"];
    ensure!(query["format"] == "pprof" && query["spyName"] == "geophone" && query["sampleRate"] == "499", "{query}");
    ensure!(name(&request).contains("host_name=") && name(&request).ends_with('}'), "{query}");
    let seconds = |name: &str| Ok::<u64, anyhow::Error>(query[name].as_str().context("no time")?.parse()?);
    // Two seconds of a processor's time, on a machine that may be busy.
    ensure!((1..=60).contains(&(seconds("until")? - seconds("from")?)), "{query}");
    looks_right(&file)
}

/// A server that fails for a while gets everything, once; one that never comes to itself costs no more than some seconds, and that is said.
#[test]
fn servers_that_misbehave() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::c()?;
    for answers in [["500", "429"], ["503", "502"]] {
        let server = Server::start(&answers)?;
        let said = send(&server, &program, &[])?;
        ensure!(!said.contains("lost ("), "{answers:?}: {said}");
        let requests = server.requests()?;
        let burn = requests.iter().filter(|request| request["labels"]["service_name"] == "burn").count();
        ensure!(burn == 1, "{answers:?}: {requests:#?}");
    }
    for (answers, why) in [(vec!["401"; 9], "refused"), (vec!["hang"; 9], "shutdown"), (vec!["500"; 99], "shutdown")] {
        let server = Server::start(&answers)?;
        let start = std::time::Instant::now();
        let mut command = Command::new(paths::agent()?);
        command.args(["profile", "--duration", "1s", "--frequency", "499", "--pyroscope", &server.url]);
        let mut burner = Command::new(&program.path);
        let _burner = Guard::start(burner.arg("60"))?;
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains(&format!("lost ({why})")), "{answers:?}: {said}");
        ensure!(start.elapsed() < Duration::from_secs(60), "{answers:?}: {:?}", start.elapsed());
        ensure!(server.requests()?.is_empty(), "{answers:?}");
    }
    Ok(())
}
