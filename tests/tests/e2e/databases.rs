//! Databases: the spans of both sides say what was asked, and belong together.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::services::Service;
use geophone_tests::span::Span;
use geophone_tests::{child, paths, wait};

use crate::support::{both, port};

both!(postgres, redis, mariadb, memcached);

/// Ends the agent, and compares name, failure and number of rows of all spans of each side, in order. Each server's span must hang under the
/// client's, and nothing that was asked may show.
fn expect(agent: Agent, expected: &[(&str, &str, Option<u64>)]) -> Result<Vec<Span>> {
    agent.wait_spans(2 * expected.len());
    let mut spans = agent.finish()?.spans;
    spans.sort_by_key(Span::start);
    for kind in ["CLIENT", "SERVER"] {
        let found: Vec<_> = spans
            .iter()
            .filter(|span| span.kind == kind)
            .map(|span| (&*span.name, span.text("error.type"), span.number("db.response.returned_rows")))
            .collect();
        ensure!(found == expected, "{kind}: {found:#?}");
    }
    for span in &spans {
        ensure!(!format!("{:?}", span.attributes).contains("secret"), "{span:#?}");
        ensure!(!span.attributes.contains_key("geophone.incomplete"), "{span:#?}");
        ensure!((span.status == "ERROR") != span.text("error.type").is_empty(), "{span:#?}");
        if span.kind == "SERVER" {
            let parent = spans.iter().find(|other| other.span_id == span.parent_span_id);
            let parent = parent.with_context(|| format!("{span:#?} has no parent"))?;
            ensure!((&*parent.kind, &parent.name) == ("CLIENT", &span.name), "{span:#?} hangs under {parent:#?}");
        }
    }
    Ok(spans)
}

fn postgres(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::postgres()?;
    service.psql("shop", &["CREATE TABLE users (id int PRIMARY KEY, name text)"])?;
    let agent = Agent::start(capture, &port(&service))?;
    service.psql(
        "shop",
        &[
            "INSERT INTO users SELECT n, 'secret' FROM generate_series(1, 5) n",
            "SELECT name FROM users WHERE id IN (1, 2, 3)",
            "SELECT 1/0",
            "BEGIN; UPDATE users SET name = 'secret'; ROLLBACK",
            "COPY users TO STDOUT",
        ],
    )?;
    let spans = expect(
        agent,
        &[
            ("INSERT users SELECT generate_series", "", None),
            ("SELECT users", "", Some(3)),
            ("SELECT", "22012", None),
            ("BEGIN UPDATE users ROLLBACK", "", None),
            ("COPY users", "", None),
        ],
    )?;
    let selects: Vec<_> = spans.iter().filter(|span| span.name == "SELECT users").collect();
    for span in selects {
        ensure!(span.text("db.query.text") == "SELECT name FROM users WHERE id IN (?)", "{span:#?}");
        let names =
            ["db.system.name", "db.namespace", "db.operation.name", "db.collection.name"].map(|name| span.text(name));
        ensure!(names == ["postgresql", "shop", "SELECT", "users"], "{span:#?}");
        ensure!(span.number("server.port") == Some(service.address.port().into()), "{span:#?}");
    }
    Ok(())
}

fn redis(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::redis()?;
    let agent = Agent::start(capture, &port(&service))?;
    let port = service.address.port().to_string();
    let ask = |words: &[&str]| {
        let mut command = Command::new(paths::program("redis-cli")?);
        child::output(command.args(["-p", &port]).args(words), wait::PATIENCE)
    };
    ask(&["SET", "user:1", "secret"])?;
    ask(&["-3", "HSET", "h", "secret", "1"])?;
    // The program says no error; the server does.
    ask(&["INCR", "user:1"])?;
    ask(&["-n", "3", "GET", "user:1"])?;
    let spans = expect(
        agent,
        &[
            ("SET", "", None),
            ("HELLO", "", None),
            ("HSET", "", None),
            ("INCR", "ERR", None),
            ("SELECT", "", None),
            ("GET", "", None),
        ],
    )?;
    let last = spans.last().context("no spans")?;
    ensure!((last.text("db.namespace"), last.text("db.query.text")) == ("3", "GET ?"), "{last:#?}");
    Ok(())
}

fn mariadb(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::mariadb()?;
    let agent = Agent::start(capture, &port(&service))?;
    let sql = "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'secret'), (2, \"secret\"); \
               SELECT * FROM `users` WHERE name = 'secret'; INSERT INTO users VALUES (1, 'secret')";
    let mut client = Command::new(paths::program("mariadb")?);
    client.args(["--no-defaults", "--batch", "--force", "-h", "127.0.0.1", "-u", "app", "-ppw", "-e", sql, "shop"]);
    client.args(["-P", &service.address.port().to_string()]).stderr(Stdio::null());
    let _ = child::output(&mut client, wait::PATIENCE);
    let spans = expect(
        agent,
        &[
            ("CREATE TABLE users", "", None),
            ("INSERT users", "", None),
            ("SELECT `users`", "", Some(2)),
            ("INSERT users", "1062", None),
        ],
    )?;
    let select = spans.iter().find(|span| span.name == "SELECT `users`").context("no SELECT")?;
    ensure!((select.text("db.system.name"), select.text("db.namespace")) == ("mariadb", "shop"), "{select:#?}");
    Ok(())
}

/// The text protocol, written by this process, which is one of the clients.
fn memcached(capture: Capture) -> Result<()> {
    let _shared = wait::shared();
    let service = Service::memcached()?;
    let agent = Agent::start(capture, &port(&service))?;
    let mut stream = TcpStream::connect(service.address)?;
    let mut answers = BufReader::new(stream.try_clone()?).lines();
    for (command, last) in [
        ("set user:1 0 0 6\r\nsecret\r\n", "STORED"),
        ("get user:1 user:2\r\n", "END"),
        ("incr user:1 1\r\n", "CLIENT_ERROR"),
        ("delete user:2\r\n", "NOT_FOUND"),
    ] {
        stream.write_all(command.as_bytes())?;
        let mut answer = String::new();
        while !answer.starts_with(last) {
            answer = answers.next().context("the connection has ended")??;
        }
    }
    let spans = expect(
        agent,
        &[("set", "", None), ("get", "", Some(1)), ("incr", "CLIENT_ERROR", None), ("delete", "", None)],
    )?;
    let get = spans.iter().find(|span| span.name == "get").context("no get")?;
    ensure!((get.text("db.system.name"), get.text("db.query.text")) == ("memcached", "get ? ?"), "{get:#?}");
    Ok(())
}
