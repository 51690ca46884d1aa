//! What goes wrong: one clear sentence, a status that is not 0, and nothing left in the kernel.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Result, ensure};
use geophone_tests::agent::{Agent, Capture, Said, kernel_objects, require_root, say, wait_gone};
use geophone_tests::drive::{Driver, Plan, Template};
use geophone_tests::services::Service;
use geophone_tests::{child, paths, wait};
use rustix::process::Signal;

use crate::support::{both, port};

both!(nothing_is_left_in_the_kernel, nothing_is_left_after_sigkill);

fn refused(said: &Said, hint: &str) -> Result<()> {
    ensure!(!said.status.success(), "it ended well: {said:?}");
    ensure!(said.stdout.is_empty(), "something on standard output: {said:?}");
    ensure!(said.stderr.to_lowercase().contains(hint), "`{hint}` is not in: {}", said.stderr);
    for word in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
        ensure!(!said.stderr.contains(word), "a panic: {}", said.stderr);
    }
    Ok(())
}

fn agent(words: &[&str]) -> Result<Said> {
    say(Command::new(paths::agent()?).args(words))
}

#[test]
fn not_root() -> Result<()> {
    require_root()?;
    // Where others may read and run it.
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    let copy = folder.path().join("geophone");
    // By a process of its own: what another test starts meanwhile would hold a file that this one writes, and keep it from running.
    child::output(Command::new("cp").args([&paths::agent()?, &copy]), wait::PATIENCE)?;
    let mut command = Command::new(paths::program("setpriv")?);
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&copy);
    let said = say(command.args(["run", "--output", "json"]))?;
    refused(&said, "root")?;
    ensure!(said.stderr.contains("CAP_BPF"), "it does not say which capability is missing: {}", said.stderr);
    ensure!(said.stderr.trim().lines().count() <= 3, "not one clear sentence: {}", said.stderr);
    Ok(())
}

#[test]
fn bad_flags() -> Result<()> {
    for (words, hint) in [
        (["run", "--no-such-flag"].as_slice(), "--no-such-flag"),
        (&["run", "--port", "70000"], "70000"),
        (&["run", "--pid", "none"], "none"),
        (&["run", "--duration", "soon"], "soon"),
        (&["run", "--capture", "magic"], "magic"),
        (&["run", "--output", "xml"], "xml"),
        (&["nonsense"], "nonsense"),
    ] {
        refused(&agent(words)?, hint)?;
    }
    Ok(())
}

#[test]
fn a_process_that_does_not_exist() -> Result<()> {
    require_root()?;
    // The largest process id that Linux allows is 4,194,304.
    refused(&agent(&["run", "--output", "json", "--pid", "4194304"])?, "4194304")
}

#[test]
fn a_command_that_does_not_exist() -> Result<()> {
    require_root()?;
    refused(&agent(&["run", "--output", "json", "--", "/no/such/program"])?, "/no/such/program")
}

#[test]
fn bad_endpoint() -> Result<()> {
    require_root()?;
    refused(&agent(&["run", "--output", "otlp", "--endpoint", "not a url"])?, "not a url")?;
    let mut command = Command::new(paths::agent()?);
    command.args(["run", "--output", "otlp"]).env("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon");
    refused(&say(&mut command)?, "carrier-pigeon")
}

#[test]
fn help_says_what_it_does() -> Result<()> {
    for words in [["--help"].as_slice(), &["run", "--help"]] {
        let said = agent(words)?;
        ensure!(said.status.success() && said.stdout.contains("Usage:"), "{said:?}");
    }
    Ok(())
}

/// Traces something, so that everything that is loaded on demand is loaded.
fn busy(capture: Capture) -> Result<(Agent, Vec<(String, u32)>)> {
    let service = Service::go(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let agent = Agent::start(capture, &port(&service))?;
    Driver::start(&Plan::tcp(service.address, vec![Template::get("/echo/{id}")]))?.go()?;
    agent.wait_spans(2);
    let objects = kernel_objects(agent.pid());
    ensure!(objects.iter().any(|(kind, _)| kind == "prog"), "the agent holds no kernel program: {objects:?}");
    Ok((agent, objects))
}

fn nothing_is_left_in_the_kernel(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let (agent, objects) = busy(capture)?;
    agent.finish()?;
    wait_gone(&objects)
}

fn nothing_is_left_after_sigkill(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let (agent, objects) = busy(capture)?;
    ensure!(agent.finish_by(Signal::KILL).is_err(), "SIGKILL is no good end");
    wait_gone(&objects)
}
