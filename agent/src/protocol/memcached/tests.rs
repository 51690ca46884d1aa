use crate::protocol::{
    Understanding,
    framed::{Found, Role},
    promises::{captured, heard, keep, told},
    testing::{Wire, text},
};

const TEXT: &str = include_str!("text.txt");
const META: &str = include_str!("meta.txt");
const BINARY: &str = include_str!("binary.txt");
const QUIET: &str = include_str!("quiet.txt");

const KEYS: [&str; 3] = ["db.query.text", "db.response.returned_rows", "error.type"];

#[test]
fn text_protocol() {
    for server in [false, true] {
        let wire = heard(&captured(TEXT), server);
        assert_eq!(
            told(&wire, &KEYS),
            [
                "version | version | - | -",
                "set | set ? | - | -",
                "get | get ? | 1 | -",
                "get | get ? | 0 | -",
                "set | set ? | - | -",
                "set | set ? | - | -",
                "get | get ? ? ? ? | 3 | -",
                "gets | gets ? | 1 | -",
                "cas | cas ? | - | -",
                "cas | cas ? | - | -",
                "set | set ? | - | -",
                "incr | incr ? | - | -",
                "decr | decr ? | - | -",
                "add | add ? | - | -",
                "append | append ? | - | -",
                "prepend | prepend ? | - | -",
                "replace | replace ? | - | -",
                "touch | touch ? | - | -",
                "delete | delete ? | - | -",
                "delete | delete ? | - | -",
                "delete | delete ? | - | -",
                "set | set ? | - | -",
                "get | get ? | 1 | -",
                "stats | stats | - | -",
                "flush_all | flush_all | - | -",
                "set | set ? | - | -",
                "get | get ? | 1 | -",
                "set | set ? | - | -",
                "incr | incr ? | - | CLIENT_ERROR"
            ]
        );
        assert!(wire.out.iter().all(|e| text(e, "db.system.name") == "memcached" && !e.holes.no_response));
    }
}

#[test]
fn meta_commands() {
    let wire = heard(&captured(META), true);
    assert_eq!(
        told(&wire, &KEYS),
        [
            "mn | mn | - | -",
            "ms | ms ? | - | -",
            "mg | mg ? | 1 | -",
            "mg | mg ? | 1 | -",
            "mg | mg ? | 0 | -",
            "ms | ms ? | - | -",
            "ms | ms ? | - | -",
            "mn | mn | - | -",
            "mg | mg ? | 1 | -",
            "mg | mg ? | - | -",
            "mg | mg ? | 1 | -",
            "mn | mn | - | -",
            "ma | ma ? | - | -",
            "ma | ma ? | - | -",
            "ms | ms ? | - | -",
            "ms | ms ? | - | -",
            "mn | mn | - | -",
            "me | me ? | - | -",
            "md | md ? | - | -",
            "md | md ? | - | -",
            "gats | gats ? ? | 1 | -",
            "stats | stats | - | -",
            "verbosity | verbosity | - | -",
            "10.0.0.1 | - | - | ERROR",
            "lru_crawler | lru_crawler | - | -",
            "get | get ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ? ... | 0 | -",
            "quit | quit | - | -"
        ]
    );
}

#[test]
fn binary_protocol() {
    let wire = heard(&captured(BINARY), false);
    assert_eq!(
        told(&wire, &KEYS),
        [
            "set | set ? | - | -",
            "get | get ? | 1 | -",
            "get | get ? | 0 | -",
            "setq | setq ? | - | -",
            "setq | setq ? | - | -",
            "noop | noop | - | -",
            "getkq | getkq ? | 1 | -",
            "getkq | getkq ? | 1 | -",
            "getkq | getkq ? | - | -",
            "getk | getk ? | 1 | -",
            "add | add ? | - | -",
            "get | get ? | 1 | -",
            "set | set ? | - | -",
            "set | set ? | - | -",
            "increment | increment ? | - | -",
            "increment | increment ? | - | -",
            "decrement | decrement ? | - | -",
            "replace | replace ? | - | -",
            "delete | delete ? | - | -",
            "delete | delete ? | - | -",
            "delete | delete ? | - | -",
            "delete | delete ? | - | -",
            "noop | noop | - | -",
            "stat | stat | - | -",
            "flush | flush | - | -"
        ]
    );
}

#[test]
fn quiet_operations() {
    let wire = heard(&captured(QUIET), true);
    assert_eq!(
        told(&wire, &KEYS),
        [
            "version | version | - | -",
            "setq | setq ? | - | -",
            "setq | setq ? | - | -",
            "noop | noop | - | -",
            "getq | getq ? | 1 | -",
            "getq | getq ? | - | -",
            "getkq | getkq ? | 1 | -",
            "noop | noop | - | -",
            "addq | addq ? | - | -",
            "deleteq | deleteq ? | - | -",
            "get | get ? | 1 | -",
            "gat | gat ? | 1 | -",
            "touch | touch ? | - | -",
            "increment | increment ? | - | 6",
            "append | append ? | - | -",
            "10.0.0.1 | - | - | 129",
            "stat | stat | - | -",
            "quitq | quitq | - | -"
        ]
    );
}

#[test]
fn promises() {
    for text in [TEXT, META, BINARY, QUIET] {
        keep("memcached", &captured(text));
    }
}

#[test]
fn quiet_answers_that_may_be_anothers_say_so() {
    let mut wire = Wire::new();
    wire.send("ms a 1 T0\r\nx\r\n").receive("HD\r\n");
    wire.send("mg none q v\r\nmg l q v\r\nmn\r\n").receive("VA 3\r\nabc\r\nMN\r\n");
    let told = told(&wire, &["db.response.returned_rows"]);
    assert!(told[1].starts_with("mg | 1") && told[1].contains("pairing: true"), "{told:?}");
    assert_eq!(told[2..], ["mg | -", "mn | -"]);
    // With a token for each, nothing is left open.
    wire.send("mg none q v O1\r\nmg l q v O2\r\nmn\r\n").receive("VA 3 O2\r\nabc\r\nMN\r\n");
    let told = crate::protocol::promises::told(&wire, &["db.response.returned_rows"]);
    assert_eq!(told[4..], ["mg | -", "mg | 1", "mn | -"]);
}

#[test]
fn an_answer_that_cannot_be_is_nobodys() {
    let mut wire = Wire::new();
    wire.send("set a 0 0 1\r\nx\r\n").receive("VALUE a 0 1\r\nx\r\nEND\r\n");
    assert!(wire.out[0].holes.no_response && wire.count("orphans") > 0);
    wire.send("set b 0 0 1\r\nx\r\n").receive("STORED\r\n");
    assert!(wire.out[1].holes.pairing, "{:?}", wire.out[1]);
}

#[test]
fn a_line_that_others_have_needs_its_answer() {
    let mut wire = Wire::new();
    wire.send("get a\r\n");
    assert_eq!(wire.understanding(), Understanding::Detecting);
    wire.receive("VALUE a 0 1\r\nx\r\nEND\r\n");
    assert_eq!(told(&wire, &["db.response.returned_rows"]), ["get | 1"]);
    // Redis' inline commands look the same.
    let mut wire = Wire::new();
    wire.send("get a\r\n").receive("$1\r\nx\r\n");
    assert_ne!(wire.understanding(), Understanding::Understood("memcached"));
}

#[test]
fn not_every_line_is_memcached() {
    let refused = |bytes: &[u8], role| assert_eq!(super::detect::find(role, bytes), Found::No, "{bytes:?}");
    for line in ["GET / HTTP/1.1\r\n", "set a b c d\r\n", "set a 0 0\r\n", "quit\r\n", "foo 1\r\n", "\r\n"] {
        refused(line.as_bytes(), Role::Request);
    }
    for line in ["OK\r\n", "ERROR\r\n", "42\r\n", "END OF FILE\r\n", "VALUE of x\r\n", "HD wallet\r\n", "220 ready\r\n"]
    {
        refused(line.as_bytes(), Role::Response);
    }
    // A text frame of WebSocket; a magic with an opcode, lengths that do not fit.
    refused(b"\x81\x05hello", Role::Response);
    refused(&[[0x80, 1, 0, 200, 8, 0, 0, 0, 0, 0, 0, 9].as_slice(), &[0; 12]].concat(), Role::Request);
    refused(&[[0x80, 0, 0, 1, 8, 0, 0, 0, 0, 0, 0, 9].as_slice(), &[0; 12]].concat(), Role::Request);
}

#[test]
fn lengths_beyond_sanity() {
    let mut wire = Wire::new();
    wire.send("set a 0 0 1\r\nx\r\n").receive("STORED\r\n");
    // Not a block of data of that size: a line, which the server refuses.
    wire.send("set a 0 0 99999999999\r\n").receive("SERVER_ERROR object too large for cache\r\n");
    assert_eq!(told(&wire, &["db.response.status_code"])[1], "set | SERVER_ERROR");
    wire.send(b"\x80\x01\0\x01\x08\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0".as_slice());
    assert_eq!(wire.understanding(), Understanding::Not(crate::protocol::Foreign::Malformed));
}

#[test]
fn quiet_commands_without_end_are_bounded() {
    let mut wire = Wire::new();
    for _ in 0..2000 {
        wire.send("ms a 1 q\r\nx\r\n");
    }
    assert_eq!((wire.out.len(), wire.count("overflows")), (2000 - 512, 0));
    wire.close();
    assert_eq!(wire.out.len(), 2000);
    assert!(wire.out.iter().all(|e| e.holes == Default::default() && e.end == e.request_end));
}
