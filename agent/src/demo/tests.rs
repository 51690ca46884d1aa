//! The whole shop, in processes: of this test's executable, which runs one service when it is told to by a variable.

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use clap::Parser;
use serde_json::{Value, json};

use super::{http::Client, *};

const VARIABLE: &str = "GEOPHONE_TEST_DEMO_SERVICE";

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,
}

/// Not a test: one service of the shop.
#[test]
#[ignore = "started as a process by the other tests"]
fn service_process() {
    let line = std::env::var(VARIABLE).unwrap();
    serve(&CommandLine::parse_from(std::iter::once("x").chain(line.split(' '))).arguments).unwrap();
}

/// A command that passes its arguments on to `service_process`.
fn settings(directory: &Path, slow: Duration) -> Settings {
    let script = directory.join("service");
    let text = format!(
        "#!/bin/sh\n{VARIABLE}=\"$*\" exec '{}' --exact demo::tests::service_process --ignored --nocapture\n",
        std::env::current_exe().unwrap().display()
    );
    let mut file = std::fs::File::create(&script).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(file);
    Settings { command: ("/bin/sh".into(), vec![script.to_str().unwrap().to_owned()]), slow }
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !matches!(
        stat.rsplit_once(')').map(|(_, rest)| rest.trim().as_bytes().first().copied()),
        None | Some(Some(b'Z' | b'X'))
    )
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn sells() {
    let directory = tempfile::tempdir().unwrap();
    let slow = Duration::from_millis(700);
    let shop = Shop::start(settings(directory.path(), slow)).unwrap();
    assert_eq!(shop.pids().len(), 4);
    assert!(shop.url().starts_with("http://127.0.0.1:"));
    let gateway = Client::new(shop.address(Role::Gateway).unwrap());
    let get = |path: &str| gateway.call("GET", path, &Value::Null).unwrap();
    let post = |path: &str, body: &Value| gateway.call("POST", path, body).unwrap();

    assert_eq!(get("/carts/7").status, 404);
    assert_eq!(get("/nowhere").status, 404);
    assert_eq!(get("/orders/1000").status, 404);
    assert_eq!(post("/checkout/7", &Value::Null).status, 404);
    let mut times = Vec::new();
    let mut statuses = Vec::new();
    for number in 1..=8_u64 {
        assert_eq!(post("/carts/7/items", &json!({"product": 1})).body, json!({"items": 1}));
        assert_eq!(get("/carts/7?x=y").body, json!({"id": 7, "items": [{"product": 1}], "total": 5}));
        let start = Instant::now();
        let order = post("/checkout/7", &json!({}));
        times.push(start.elapsed() >= slow);
        statuses.push(order.status);
        if order.status == 201 {
            let id = order.body["id"].as_u64().unwrap();
            assert_eq!(get(&format!("/orders/{id}")).body["order"], json!([{"cart": "7", "payment": number}]));
            assert_eq!(get("/carts/7").status, 404, "emptied");
        } else {
            // Its payment failed: the cart is as it was, and is emptied for the next round.
            let cart = Client::new(shop.address(Role::Cart).unwrap());
            assert_eq!(cart.call("DELETE", "/carts/7", &Value::Null).unwrap().status, 204);
        }
    }
    assert!(times[2], "the third payment is slow: {times:?}");
    assert_eq!(statuses, [201, 201, 201, 201, 201, 201, 502, 201]);
}

#[test]
fn each_process_has_its_own_name_and_ends_with_the_shop() {
    let directory = tempfile::tempdir().unwrap();
    let mut shop = Shop::start(settings(directory.path(), Duration::from_millis(1))).unwrap();
    shop.open().unwrap();
    let pids = shop.pids();
    let mut table = crate::process::Table::new(crate::process::Settings::default());
    let mut names = Vec::new();
    for pid in &pids {
        let process = table.seen(*pid, 1);
        let attribute = |key: &str| process.resource.attributes.get(key).cloned();
        assert_eq!(attribute("service.namespace"), Some("geophone-demo".into()));
        names.push(attribute("service.name").unwrap());
    }
    assert_eq!(names, ["cart", "payment", "orders", "gateway"].map(Into::into));
    assert!(pids.iter().all(|pid| is_running(*pid)));
    drop(shop);
    assert!(!pids.iter().any(|pid| is_running(*pid)));
}

#[test]
fn customers_come_when_it_opens() {
    let directory = tempfile::tempdir().unwrap();
    let mut shop = Shop::start(settings(directory.path(), Duration::from_millis(1))).unwrap();
    shop.open().unwrap();
    let orders = Client::new(shop.address(Role::Orders).unwrap());
    wait_until("an order", || orders.call("GET", "/orders/1000", &Value::Null).unwrap().status == 200);
}

#[test]
fn services_end_when_whoever_started_them_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let script = settings(directory.path(), Duration::ZERO).command.1.remove(0);
    // A parent that is killed has no time to tell its children.
    let mut parent = Command::new("/bin/sh")
        .args(["-c", "sleep 60 | { sh \"$0\" cart; }; true", &script])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(parent.stdout.take().unwrap());
    while !line.contains("listening on ") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut out, &mut line).unwrap() > 0, "it ended");
    }
    let children = crate::process::Proc::default();
    let below = |parent: u32| -> Vec<(u32, String)> {
        children.all().filter(|(_, facts)| facts.parent == parent).map(|(pid, facts)| (pid, facts.comm)).collect()
    };
    let (sleep, service): (Vec<_>, Vec<_>) = below(parent.id()).into_iter().partition(|(_, comm)| comm == "sleep");
    let pids: Vec<u32> = service
        .iter()
        .flat_map(|(pid, _)| std::iter::once(*pid).chain(below(*pid).into_iter().map(|(p, _)| p)))
        .collect();
    assert!(!pids.is_empty());
    let sleep = rustix::process::Pid::from_raw(i32::try_from(sleep[0].0).unwrap()).unwrap();
    rustix::process::kill_process(sleep, rustix::process::Signal::KILL).unwrap();
    wait_until("the service ends", || !pids.iter().any(|pid| is_running(*pid)));
    parent.wait().unwrap();
}

#[test]
fn a_service_that_does_not_start_is_an_error() {
    let broken =
        |program: &str| Shop::start(Settings { command: (program.into(), vec![]), slow: Duration::ZERO }).unwrap_err();
    assert!(matches!(broken("/nonexistent"), StartError::Spawn(Role::Cart, _)));
    assert_eq!(broken("/bin/true").to_string(), "the demo's service cart did not start to listen");
}
