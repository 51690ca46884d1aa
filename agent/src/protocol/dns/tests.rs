use super::message::{HEADER, Header, answers, question};
use crate::protocol::{
    Value,
    cursor::Cursor,
    promises::{captured, heard, keep, told},
};

const CAPTURED: &str = include_str!("captured.txt");

#[test]
fn queries_and_responses() {
    for server in [false, true] {
        let wire = heard(&captured(CAPTURED), server);
        assert_eq!(
            told(&wire, &["dns.question.name", "error.type"]),
            [
                "QUERY A | shop.example.org | -",
                "QUERY AAAA | nope.example.org | NXDOMAIN",
                "QUERY TXT | b.example.org | -",
                "QUERY AAAA | a.example.org | -",
            ]
        );
        let answers = vec!["web.example.org".into(), "192.0.2.1".into(), "192.0.2.2".into()];
        assert_eq!(wire.out[0].attributes.get("dns.answers"), Some(&Value::List(answers)));
    }
}

#[test]
fn names_that_never_end() {
    let mut message = vec![0; HEADER];
    message.extend([0xc0, HEADER as u8, 0, 1, 0, 1]);
    assert!(question(&message).is_none());
    let mut message = vec![0; HEADER];
    message.extend([1, b'.', 1, b'a', 0, 0, 1, 0, 1]);
    let (asked, rest) = question(&message).unwrap();
    assert_eq!((&*asked.name, rest.len()), ("\\..a", 0));
    assert!(answers(&message, Cursor::new(&[0xff; 40]), 9).is_empty());
    assert_eq!(Header::read(&mut Cursor::new(&message[..11])), None);
}

#[test]
fn promises() {
    keep("dns", &captured(CAPTURED));
}
