//! Databases: the spans of both sides say what was asked, and belong together.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::services::Service;
use geophone_tests::span::Span;
use geophone_tests::tls::Certificate;
use geophone_tests::{child, paths, wait};

use crate::support::{both, hangs_under, port};

both!(postgres, redis, mariadb, mariadb_turns_to_tls, memcached);

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
            hangs_under(span, "CLIENT", &spans)?;
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

/// The server greets, and both ends turn to TLS in the middle of the login. What the greeting has said is known inside.
fn mariadb_turns_to_tls(capture: Capture) -> Result<()> {
    let _alone = wait::alone();
    let service = Service::mariadb_tls(&Certificate::new()?)?;
    let agent = Agent::start_on(None, capture, &port(&service))?;
    let mut client = Command::new(paths::program("mariadb")?);
    client.args(["--no-defaults", "--batch", "--ssl", "-h", "127.0.0.1", "-u", "app", "-ppw", "shop"]);
    client.args(["-e", "CREATE TABLE users (id int); SELECT * FROM users WHERE id = 7"]);
    child::output(client.args(["-P", &service.address.port().to_string()]).stderr(Stdio::null()), wait::PATIENCE)?;
    let spans = expect(agent, &[("CREATE TABLE users", "", None), ("SELECT users", "", Some(0))])?;
    for span in &spans {
        ensure!((span.text("db.system.name"), span.text("db.namespace")) == ("mariadb", "shop"), "{span:#?}");
        ensure!(span.text("tls.protocol.version") == "1.3" && !span.text("tls.cipher").is_empty(), "{span:#?}");
    }
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

/// What a store is asked by its own client, for both ways to capture, with one start of the server: name, failure and number of rows of the
/// spans of each side.
fn store(service: &Service, protocol: &str, expected: &[(&str, &str, Option<u64>)]) -> Result<()> {
    client(service, || service.store(protocol), expected)
}

/// The same for any client.
fn client(service: &Service, ask: impl Fn() -> Result<()>, expected: &[(&str, &str, Option<u64>)]) -> Result<()> {
    for capture in [Capture::Sockets, Capture::Syscalls] {
        let agent = Agent::start(capture, &port(service))?;
        ask()?;
        agent.wait_spans(2 * expected.len());
        let mut spans = agent.finish()?.spans;
        spans.sort_by_key(Span::start);
        for kind in ["CLIENT", "SERVER"] {
            let found: Vec<_> = spans
                .iter()
                .filter(|span| span.kind == kind && !IDLE.contains(&&*span.name))
                .map(|span| (&*span.name, span.text("error.type"), span.number("db.response.returned_rows")))
                .collect();
            ensure!(found == expected, "{kind}: {found:#?}");
        }
        for span in &spans {
            ensure!(!format!("{:?}", span.attributes).contains("secret"), "{span:#?}");
            ensure!(!span.attributes.contains_key("geophone.incomplete"), "{span:#?}");
            if span.kind == "SERVER" {
                hangs_under(span, "CLIENT", &spans)?;
            }
        }
    }
    Ok(())
}

/// What clients ask by themselves, as often as they like.
const IDLE: [&str; 3] = ["PING", "ismaster", "hello"];

#[test]
fn mongodb() -> Result<()> {
    let _shared = wait::shared();
    let service = Service::mongodb()?;
    store(
        &service,
        "mongodb",
        &[
            ("insert users", "", None),
            ("find users", "", Some(3)),
            ("insert users", "11000", None),
            ("ping", "", None),
            ("drop users", "", None),
        ],
    )
}

#[test]
fn clickhouse() -> Result<()> {
    let _shared = wait::shared();
    let service = Service::clickhouse()?;
    store(
        &service,
        "clickhouse",
        &[
            ("DROP TABLE users", "", None),
            ("CREATE TABLE users", "", None),
            ("INSERT users", "", None),
            ("SELECT users", "", Some(3)),
            ("SELECT nobody", "60", None),
        ],
    )
}

/// What stands for SQL Server answers as it does; who asks are real clients: FreeTDS, python-tds and go-mssqldb.
#[test]
fn mssql() -> Result<()> {
    let _shared = wait::shared();
    let service = Service::mssql()?;
    store(
        &service,
        "pymssql",
        &[
            ("SET SET SET SET SET SET SET SET SET SET", "", None),
            ("use [shop]", "", None),
            ("BEGIN", "", None),
            ("CREATE TABLE users", "", None),
            ("INSERT users", "", None),
            ("COMMIT", "", None),
            ("BEGIN", "", None),
            ("SELECT users", "", Some(3)),
            ("EXECUTE dbo.place_order", "", Some(1)),
            ("SELECT nobody", "208", None),
        ],
    )?;
    store(
        &service,
        "pytds",
        &[
            ("INSERT users", "", None),
            ("SELECT users", "", Some(3)),
            ("EXECUTE dbo.place_order", "", Some(1)),
            ("SELECT nobody", "208", None),
        ],
    )?;
    let ask = || {
        let mut command = Command::new(paths::installed("tds")?);
        child::output(command.arg(service.address.to_string()), wait::PATIENCE).map(drop)
    };
    client(
        &service,
        ask,
        &[
            ("CREATE TABLE users", "", None),
            ("INSERT users", "", None),
            ("SELECT users", "", Some(3)),
            ("SELECT users", "", Some(1)),
            ("SELECT users", "", Some(1)),
            ("EXECUTE dbo.place_order", "", Some(1)),
            ("BEGIN TRANSACTION", "", None),
            ("INSERT users", "", None),
            ("COMMIT TRANSACTION", "", None),
            ("SELECT nobody", "208", None),
            ("WAITFOR", "canceled", None),
        ],
    )
}

/// What stands for AWS answers as AWS does; who asks is Amazon's own client.
#[test]
fn aws() -> Result<()> {
    let _shared = wait::shared();
    let service = Service::aws()?;
    for capture in [Capture::Sockets, Capture::Syscalls] {
        let agent = Agent::start(capture, &port(&service))?;
        service.store("aws")?;
        agent.wait_spans(26);
        let mut spans = agent.finish()?.spans;
        spans.sort_by_key(Span::start);
        let names: Vec<_> = spans.iter().filter(|span| span.kind == "CLIENT").map(|span| &*span.name).collect();
        let expected = [
            ["DynamoDB.CreateTable", "DynamoDB.PutItem", "DynamoDB.GetItem", "DynamoDB.DeleteTable"].as_slice(),
            &["S3.CreateBucket", "S3.PutObject", "S3.GetObject", "S3.DeleteObject", "S3.DeleteBucket"],
            &["SQS.CreateQueue", "SQS.SendMessage", "SQS.ReceiveMessage", "SQS.DeleteQueue"],
        ]
        .concat();
        ensure!(names == expected, "{names:#?}");
        for span in &spans {
            ensure!(!format!("{:?}", span.attributes).contains("secret"), "{span:#?}");
            ensure!(span.kind != "CLIENT" || span.text("cloud.region") == "eu-west-1", "{span:#?}");
        }
    }
    Ok(())
}

/// Cassandra takes half a minute to start.
#[test]
fn cassandra() -> Result<()> {
    let _shared = wait::shared();
    let service = Service::cassandra()?;
    for capture in [Capture::Sockets, Capture::Syscalls] {
        let agent = Agent::start(capture, &port(&service))?;
        service.store("cassandra")?;
        agent.wait_spans(30);
        let spans = agent.finish()?.spans;
        for (name, error, rows, expected) in [
            ("CREATE TABLE users", "", None, 1),
            ("INSERT users", "", None, 3),
            ("SELECT users", "", Some(2), 1),
            ("SELECT nobody", "INVALID", None, 1),
        ] {
            for kind in ["CLIENT", "SERVER"] {
                let found = spans.iter().filter(|span| {
                    span.kind == kind
                        && span.name == name
                        && span.text("error.type") == error
                        && span.number("db.response.returned_rows") == rows
                });
                ensure!(found.count() == expected, "{kind} {name} {error}: {spans:#?}");
            }
        }
        for span in &spans {
            ensure!(!format!("{:?}", span.attributes).contains("secret"), "{span:#?}");
        }
    }
    Ok(())
}
