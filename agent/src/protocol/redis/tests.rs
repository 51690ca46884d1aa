//! Conversations, one by one.

use crate::{
    conn::Gap,
    event::Direction::{Receive, Send},
    protocol::{
        Holes, Status, Understanding,
        testing::{Wire, int, text},
    },
};

pub(super) fn command(arguments: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend(format!("${}\r\n{argument}\r\n", argument.len()).bytes());
    }
    bytes
}

fn names(wire: &Wire) -> Vec<&str> {
    wire.out.iter().map(|e| &*e.name).collect()
}

#[test]
fn a_command_on_both_sides() {
    for server in [true, false] {
        let mut wire = Wire::new();
        let (asked, answered) = (command(&["SET", "user:42", "secret"]), "+OK\r\n");
        if server {
            wire.receive(asked).send(answered);
        } else {
            wire.send(asked).receive(answered);
        }
        assert_eq!(names(&wire), ["SET"]);
        let exchange = &wire.out[0];
        for (key, value) in [
            ("db.system.name", "redis"),
            ("db.namespace", "0"),
            ("db.operation.name", "SET"),
            ("db.query.text", "SET ? ?"),
            ("server.address", if server { "10.0.0.1" } else { "10.0.0.2" }),
        ] {
            assert_eq!(text(exchange, key), value, "{key}");
        }
        assert_eq!(int(exchange, "server.port"), Some(if server { 8080 } else { 40000 }));
        assert_eq!((exchange.holes, &exchange.status), (Holes::default(), &Status::Unset));
        assert_eq!((exchange.start, exchange.first_byte, exchange.end), (1010, Some(1020), 1020));
    }
}

#[test]
fn pipelines_and_all_kinds_of_answers() {
    let mut wire = Wire::new();
    let answers = [
        "$-1\r\n",
        "*-1\r\n",
        "_\r\n",
        ":-5\r\n",
        "#t\r\n",
        ",1.5e3\r\n",
        "(123\r\n",
        "$0\r\n\r\n",
        "*0\r\n",
        "$5\r\na\r\nbc\r\n",
        "*2\r\n*2\r\n:1\r\n$1\r\na\r\n*0\r\n",
        "%1\r\n+a\r\n~2\r\n:1\r\n:2\r\n",
        "=6\r\ntxt:ab\r\n",
        "|1\r\n+k\r\n+v\r\n:7\r\n",
        "*3\r\n+a\r\n-ERR inner\r\n:1\r\n",
    ];
    wire.send(answers.iter().map(|_| command(&["GET", "k"])).collect::<Vec<_>>().concat()).receive(answers.concat());
    assert_eq!(names(&wire), vec!["GET"; answers.len()]);
    assert!(wire.out.iter().all(|e| e.holes == Holes::default() && e.status == Status::Unset));
    assert_eq!(wire.count("orphans"), 0);
}

#[test]
fn errors() {
    let mut wire = Wire::new();
    wire.send(command(&["INCR", "k"])).receive("-WRONGTYPE Operation against a key 'k'\r\n");
    wire.send(command(&["EVAL", "x"])).receive("!21\r\nSYNTAX invalid syntax\r\n");
    wire.send(command(&["FOO"])).receive("-unknown\r\n");
    let codes: Vec<_> = wire
        .out
        .iter()
        .map(|e| (e.attributes.get("db.response.status_code").cloned(), text(e, "error.type")))
        .collect();
    assert_eq!(codes, [(Some("WRONGTYPE".into()), "WRONGTYPE"), (Some("SYNTAX".into()), "SYNTAX"), (None, "_OTHER")]);
    assert_eq!(wire.out[0].status, Status::Error("".into()));
}

#[test]
fn transactions_and_databases() {
    let mut wire = Wire::new();
    wire.send(command(&["select", "3"])).receive("+OK\r\n");
    wire.send([command(&["MULTI"]), command(&["INCR", "a"]), command(&["EXEC"])].concat())
        .receive("+OK\r\n+QUEUED\r\n*1\r\n:1\r\n");
    wire.send(command(&["SELECT", "99"]))
        .receive("-ERR DB index is out of range\r\n")
        .send(command(&["PING"]))
        .receive("+PONG\r\n");
    assert_eq!(names(&wire), ["select", "MULTI", "INCR", "EXEC", "SELECT", "PING"]);
    let databases: Vec<_> = wire.out.iter().map(|e| text(e, "db.namespace")).collect();
    assert_eq!(databases, ["0", "3", "3", "3", "3", "3"]);
}

#[test]
fn subscriptions() {
    for push in ["*", ">"] {
        let mut wire = Wire::new();
        wire.send(command(&["SUBSCRIBE", "a", "b"]));
        wire.receive(format!(
            "{push}3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n{push}3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"
        ));
        wire.receive(format!("{push}3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n"));
        wire.send(command(&["PING"])).receive(format!("{push}3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n"));
        wire.receive(if push == "*" { "*2\r\n$4\r\npong\r\n$0\r\n\r\n" } else { "+PONG\r\n" });
        wire.send(command(&["UNSUBSCRIBE"])).receive(format!("{push}3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n"));
        wire.receive(format!("{push}3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n"));
        assert_eq!(names(&wire), ["SUBSCRIBE", "PING", "UNSUBSCRIBE"], "{push}");
        assert_eq!((wire.out[0].end, wire.out[1].end, wire.count("orphans")), (1020, 1060, 0));
    }
}

#[test]
fn what_the_connection_becomes_after_some_commands() {
    let mut wire = Wire::new();
    wire.send(command(&["MONITOR"])).receive("+OK\r\n");
    assert_eq!((names(&wire), wire.understanding()), (vec!["MONITOR"], Understanding::Switched("redis")));
    let mut wire = Wire::new();
    wire.send(command(&["CLIENT", "REPLY", "OFF"]));
    assert_eq!((names(&wire), wire.understanding()), (vec!["CLIENT REPLY"], Understanding::Switched("redis")));
}

#[test]
fn inline_commands() {
    let mut wire = Wire::new();
    wire.receive(command(&["PING"])).send("+PONG\r\n").receive("set key  secret\r\n\r\n").send("+OK\r\n");
    assert_eq!(names(&wire), ["PING", "set"]);
    assert_eq!(text(&wire.out[1], "db.query.text"), "set ? ?");
}

#[test]
fn subcommands_and_many_arguments() {
    let mut wire = Wire::new();
    wire.send(command(&["CLIENT", "SETNAME", "me"])).receive("+OK\r\n");
    let keys = vec!["k"; 100];
    wire.send(command(&[&["MGET"][..], &keys].concat())).receive("*0\r\n");
    wire.send(command(&["user:1 secret", "x"])).receive("-ERR unknown command\r\n");
    assert_eq!(names(&wire), ["CLIENT SETNAME", "MGET", "10.0.0.2"]);
    assert_eq!(text(&wire.out[0], "db.query.text"), "CLIENT SETNAME ?");
    assert!(text(&wire.out[1], "db.query.text").ends_with("? ..."));
    assert_eq!(wire.out[2].attributes.get("db.query.text"), None);
}

#[test]
fn large_values_are_passed_over() {
    let mut wire = Wire::new();
    let asked = command(&["SET", "k", &"v".repeat(1_000_000)]);
    wire.receive(&asked[..1024]);
    assert_eq!(wire.interest(Receive).from, asked.len() as u64);
    wire.hole(Receive, asked.len() as u64 - 1024, Gap::NotCaptured).send("+OK\r\n");
    wire.receive(command(&["GET", "k"])).send("$1000000\r\nvvv").hole(Send, 999_999, Gap::NotCaptured);
    assert_eq!(names(&wire), ["SET", "GET"]);
    assert!(wire.out.iter().all(|e| e.holes == Holes::default()));
    assert_eq!((wire.out[0].request_end, wire.out[1].end), (1020, 1060));
}

#[test]
fn a_pipeline_of_which_the_end_is_not_captured() {
    let mut wire = Wire::new();
    let one = command(&["GET", "key"]);
    wire.receive(&one[..])
        .send("$-1\r\n")
        .receive(one.repeat(2))
        .hole(Receive, 100, Gap::NotCaptured)
        .send("$-1\r\n".repeat(6));
    assert_eq!(wire.interest(Receive).bytes, 16 << 10);
    for _ in 0..2 {
        wire.receive(&one).send("$-1\r\n");
    }
    // Two of six were seen. The client does not wait for answers, so that order says nothing until the connection has been quiet.
    assert!(wire.out.iter().map(|e| e.holes.no_response).eq([false, false, false, true, true]));
    wire.tick(2_000_000_000);
    for _ in 0..4 {
        wire.receive(&one).send("$-1\r\n");
    }
    assert!(wire.out.iter().skip(5).map(|e| e.holes.pairing).eq([true, true, false, false]));
}

#[test]
fn joined_in_the_middle() {
    let mut wire = Wire::new().joined_at(100, 100);
    wire.send(command(&["GET", "k"])).receive("$1\r\na\r\n");
    assert_eq!(names(&wire), ["GET"]);
    assert!(wire.out[0].holes.pairing && wire.out[0].attributes.get("db.namespace").is_none());
}

#[test]
fn what_other_protocols_say_is_not_redis() {
    for bytes in [
        &b"+OK\r\n"[..],
        b"-ERR 'Unknown'\r\n",
        b"PING\r\n",
        b"* OK IMAP4 ready\r\n",
        b"$GPGGA,1\r\n",
        b"get key\r\n",
        b"*\r\n",
    ] {
        let mut wire = Wire::new();
        wire.receive(bytes);
        assert_eq!(wire.understanding(), Understanding::Detecting, "{}", bytes.escape_ascii());
    }
}
