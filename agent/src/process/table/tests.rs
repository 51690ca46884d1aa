//! A table on a made-up `/proc`, and on this machine's.

use std::{fs, process::Command};

use tempfile::TempDir;

use super::*;
use crate::{process::read::tests::fake, protocol::Value};

const SECOND: Nanos = 1_000_000_000;

fn table(root: &TempDir) -> Table {
    Table::new(Settings { proc: Some(Proc::new(root.path())), ..Settings::default() })
}

fn life(what: Life, tgid: u32, parent: u32, comm: &str, time: Nanos) -> event::Process {
    event::Process { time, tgid, parent, what, comm: comm.into() }
}

fn name(table: &mut Table, tgid: u32, now: Nanos) -> String {
    match table.resource(tgid, now).attributes.get("service.name") {
        Some(Value::Text(name)) => name.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_once() {
    let root = tempfile::tempdir().unwrap();
    fake(root.path(), 42, 1, 5, "/bin/cart", "cart");
    let mut table = table(&root);
    let first = table.resource(42, 1);
    assert!(Arc::ptr_eq(&first, &table.resource(42, 2)));
    assert_eq!(table.counts(), Counts { read: 1, ..Counts::default() });
}

#[test]
fn exec_makes_it_another_program() {
    let root = tempfile::tempdir().unwrap();
    fake(root.path(), 42, 1, 5, "/bin/sh", "sh");
    let mut table = table(&root);
    assert_eq!(name(&mut table, 42, 1), "sh");
    fake(root.path(), 42, 1, 5, "/usr/bin/curl", "curl");
    table.apply(&life(Life::Exec, 42, 0, "curl", 2));
    assert_eq!(name(&mut table, 42, 3), "curl");
}

#[test]
fn what_was_read_at_an_exec_stands_when_it_is_told_again() {
    let root = tempfile::tempdir().unwrap();
    fake(root.path(), 42, 1, 5, "/usr/bin/python3", "python3|shop.py");
    let mut table = table(&root);
    let exec = life(Life::Exec, 42, 0, "python3", 2);
    table.apply(&exec);
    assert_eq!(table.seen(42, 2).facts.program.as_deref(), Some("shop"));
    fs::remove_dir_all(root.path().join("42")).unwrap();
    table.apply(&exec);
    assert_eq!(name(&mut table, 42, 3), "shop");
}

#[test]
fn is_kept_for_a_while_after_its_end() {
    let root = tempfile::tempdir().unwrap();
    fake(root.path(), 42, 1, 5, "/bin/cart", "cart");
    let mut table = table(&root);
    name(&mut table, 42, 1);
    table.apply(&life(Life::Exit, 42, 1, "cart", SECOND));
    fs::remove_dir_all(root.path().join("42")).unwrap();
    assert_eq!(name(&mut table, 42, 5 * SECOND), "cart");
    table.expire(10 * SECOND);
    assert_eq!(table.len(), 1);
    table.expire(11 * SECOND);
    assert!(table.is_empty());
    assert_eq!(name(&mut table, 42, 12 * SECOND), "unknown_service");
    assert_eq!(table.counts().gone, 1);
}

#[test]
fn a_reused_pid_is_another_process() {
    let root = tempfile::tempdir().unwrap();
    let mut table = table(&root);
    fake(root.path(), 42, 1, 5, "/bin/cart", "cart");
    assert_eq!(name(&mut table, 42, 1), "cart");
    // Neither the end nor the beginning was seen: found out by its start time, when it is next looked at.
    fake(root.path(), 42, 1, 6, "/bin/pay", "pay");
    assert_eq!(name(&mut table, 42, 2), "cart");
    assert_eq!(name(&mut table, 42, 11 * SECOND), "pay");
    assert_eq!(table.counts().reused, 1);
    // At once, when the kernel says that it uses its first socket.
    fake(root.path(), 42, 1, 7, "/bin/mail", "mail");
    table.apply(&life(Life::Seen, 42, 1, "mail", 12 * SECOND));
    assert_eq!(name(&mut table, 42, 12 * SECOND), "mail");
    // When its end was seen.
    table.apply(&life(Life::Exit, 42, 1, "mail", 13 * SECOND));
    fake(root.path(), 42, 1, 8, "/bin/news", "news");
    table.apply(&life(Life::Seen, 42, 1, "news", 13 * SECOND));
    assert_eq!(name(&mut table, 42, 13 * SECOND), "news");
    // And when its beginning was.
    fake(root.path(), 42, 1, 9, "/bin/cart", "cart");
    table.apply(&life(Life::Fork, 42, 1, "cart", 14 * SECOND));
    assert_eq!(name(&mut table, 42, 14 * SECOND), "cart");
}

#[test]
fn an_end_that_was_not_seen_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let mut table = table(&root);
    fake(root.path(), 42, 1, 5, "/bin/cart", "cart");
    name(&mut table, 42, 1);
    fs::remove_dir_all(root.path().join("42")).unwrap();
    assert_eq!(name(&mut table, 42, 20 * SECOND), "cart");
    table.expire(31 * SECOND);
    assert!(table.is_empty());
}

#[test]
fn a_child_gone_before_it_was_read_is_what_its_parent_was() {
    let root = tempfile::tempdir().unwrap();
    let mut table = table(&root);
    fake(root.path(), 42, 1, 5, "/usr/bin/python3", "python3|-m|http.server");
    name(&mut table, 42, 1);
    table.apply(&life(Life::Fork, 43, 42, "python3", 2));
    table.apply(&life(Life::Exit, 43, 42, "python3", 3));
    assert_eq!(name(&mut table, 43, 4), "http.server");
    let process = table.seen(43, 4);
    assert_eq!((process.facts.tgid, process.facts.parent), (43, 42));
    assert_eq!(process.resource.attributes.get("process.pid"), Some(&43_i64.into()));
    assert_eq!(table.counts(), Counts { read: 1, gone: 1, ..Counts::default() });
    table.expire(11 * SECOND);
    assert_eq!(table.len(), 1, "its end was noted before it was read");
    // What it was forked from says nothing any more after an exec.
    table.apply(&life(Life::Fork, 44, 42, "python3", 5));
    table.apply(&life(Life::Exec, 44, 42, "curl", 6));
    assert_eq!(name(&mut table, 44, 7), "curl");
}

#[test]
fn a_helper_is_named_like_its_parent() {
    let root = tempfile::tempdir().unwrap();
    fake(root.path(), 42, 1, 5, "/usr/bin/python3", "python3|/usr/bin/uvicorn|shop.main:app|--workers|2");
    fake(
        root.path(),
        43,
        42,
        6,
        "/usr/bin/python3",
        "python3|-c|from multiprocessing.spawn import spawn_main; spawn_main()|--multiprocessing-fork",
    );
    assert_eq!(name(&mut table(&root), 43, 1), "shop");
    // Helpers that claim to be each other's children do not keep it busy for ever.
    fake(root.path(), 42, 43, 5, "/usr/bin/python3", "python3|--multiprocessing-fork");
    assert_eq!(name(&mut table(&root), 43, 1), "python3");
}

#[test]
fn what_is_used_least_recently_goes_first() {
    let root = tempfile::tempdir().unwrap();
    let mut table = Table::new(Settings { proc: Some(Proc::new(root.path())), capacity: 8, ..Settings::default() });
    for tgid in 1..=8 {
        fake(root.path(), tgid, 0, 5, "/bin/x", "x");
        table.seen(tgid, tgid.into());
    }
    table.seen(1, 100);
    table.apply(&life(Life::Exit, 5, 0, "x", 101));
    fake(root.path(), 9, 0, 5, "/bin/x", "x");
    table.seen(9, 102);
    assert!(!table.entries.contains_key(&5), "ended");
    fake(root.path(), 10, 0, 5, "/bin/x", "x");
    table.seen(10, 103);
    assert!(!table.entries.contains_key(&2), "longest unused");
    assert!(table.entries.contains_key(&1));
    assert_eq!((table.len(), table.counts().evicted), (8, 2));
}

#[test]
fn nobody_is_not_looked_for() {
    let mut table = Table::new(Settings::default());
    let nobody = table.resource(0, 1);
    assert_eq!(nobody.attributes.get("service.name"), Some(&"unknown_service".into()));
    assert_eq!(nobody.attributes.get("process.pid"), None);
    assert_eq!(table.counts(), Counts::default());
}

#[test]
fn works_without_proc() {
    let mut table = Table::new(Settings { proc: None, ..Settings::default() });
    table.fill(Facts { tgid: 42, start: 5, program: Some("cart".into()), ..Facts::default() }, 1);
    assert_eq!(name(&mut table, 42, 100 * SECOND), "cart");
    table.apply(&life(Life::Seen, 43, 1, "curl", 2));
    assert_eq!(name(&mut table, 43, 3), "curl");
    assert_eq!(table.scan().count(), 0);
}

#[test]
fn names_real_processes() {
    let mut child = Command::new("sleep")
        .arg("60")
        .env("OTEL_RESOURCE_ATTRIBUTES", "service.version=7,service.name=nap")
        .spawn()
        .unwrap();
    let mut table = Table::new(Settings::default());
    // While `execve` is under way `/proc` shows a mixture: wait until all of it is there.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let ready = || {
        let facts = Proc::default().facts(child.id()).unwrap();
        facts.comm == "sleep" && facts.otel_resource_attributes.is_some()
    };
    while !ready() && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    let found = table.seen(child.id(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(found.resource.attributes.get("service.name"), Some(&"nap".into()));
    assert_eq!(found.resource.attributes.get("service.version"), Some(&"7".into()));
    assert_eq!(found.facts.comm, "sleep");
    assert_eq!(found.facts.parent, std::process::id());
    assert!(table.scan().any(|(tgid, _)| tgid == std::process::id()));
}
