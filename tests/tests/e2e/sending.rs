//! Profiles that are sent: what comes out of a real Collector is what was put in.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use geophone::export::otlp::config::{Config, RawConfig, RawEndpoint};
use geophone::export::profiles::{Part, Sink};
use geophone::export::{Limits, RetryPolicy};
use geophone::profile::model::{End, Location, Module, Owner, Stack};
use geophone::profile::{Kind, Link, Profile};
use geophone::trace::Resource;
use geophone_tests::profiles::{Sample, samples};
use geophone_tests::receivers::Receiver;
use geophone_tests::{ports, wait};
use serde_json::Value;

use crate::profile::{self, Program, folded, words};

/// The Collector's ports by protocol.
fn ports_of(receiver: &Receiver) -> [(&'static str, u16); 2] {
    [("grpc", receiver.grpc), ("http/protobuf", receiver.http)]
}

/// Waits until the Collector has written samples of so many periods.
pub fn of_periods(receiver: &Receiver, count: usize) -> Result<Vec<Sample>> {
    let are_there =
        |samples: &[Sample]| samples.iter().map(|sample| sample.time.0).collect::<BTreeSet<_>>().len() >= count;
    wait::until(wait::PATIENCE, "profiles of several periods", || {
        are_there(&written(receiver, 1).ok()?).then_some(())
    })?;
    written(receiver, 1)
}

/// Waits until the Collector has written so many samples.
pub(crate) fn written(receiver: &Receiver, count: usize) -> Result<Vec<Sample>> {
    let read = || {
        let all: Result<Vec<_>> = receiver.documents()?.iter().map(samples).collect();
        anyhow::Ok(all?.concat())
    };
    wait::until(wait::PATIENCE, "profiles", || (read().ok()?.len() >= count).then_some(()))?;
    read()
}

/// Two processes; one sample is of a request.
fn example(kind: Kind) -> Profile {
    let resource = |name: &str, pid: i64| {
        let mut resource = Resource::default();
        resource.attributes.push("service.name", name);
        resource.attributes.push("process.pid", pid);
        Arc::new(resource)
    };
    let location = |name: &str, owner, module, address| Location {
        name: name.into(),
        owner,
        module,
        address,
        first_line: 0,
        source: None,
        inlined: Vec::new(),
    };
    let (shop, other) = (resource("shop", 42), resource("other", 43));
    let stack = |resource: &Arc<Resource>, frames: &[usize], link, count| Stack {
        resource: Arc::clone(resource),
        tgid: 42,
        thread: "worker".into(),
        link,
        frames: frames.to_vec(),
        end: End::Whole,
        count,
        nanos: count * 10_000_000,
    };
    let link = Link {
        trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.into(),
        span_id: 0xb7ad_6b71_6920_3331_u64.into(),
        endpoint: "GET /cart".into(),
    };
    Profile {
        kind,
        start: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        duration: Duration::from_secs(10),
        modules: vec![
            Module { name: "/opt/shop".into(), build_id: Some("abcd".into()), size: 0x5000 },
            Module { name: "[kernel]".into(), build_id: None, size: 0 },
        ],
        locations: vec![
            location("main", Owner::Native, Some(0), 0x1000),
            location("heavy", Owner::Native, Some(0), 0x2000),
            location("read", Owner::Kernel, Some(1), 0xffff_ffff_8100_0000),
            location("compiled", Owner::Jit, None, 0x7000),
        ],
        stacks: vec![
            stack(&shop, &[2, 1, 0], Some(link), 3),
            stack(&shop, &[1, 0], None, 2),
            stack(&other, &[3, 0], None, 1),
            stack(&other, &[], None, 4),
        ],
    }
}

fn expected(kind: &Kind) -> Vec<Sample> {
    let frame = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
    let (main, heavy) = (frame("main", "native"), frame("heavy", "native"));
    let sample = |(name, pid): (&str, i64), frames: &[(String, String)], count: i64, is_linked: bool| Sample {
        resource: BTreeMap::from([
            ("service.name".to_owned(), Value::from(name)),
            ("process.pid".to_owned(), Value::from(pid)),
        ]),
        kind: match kind {
            Kind::OnCpu { .. } => ("samples".into(), "count".into()),
            Kind::OffCpu { .. } => ("off_cpu".into(), "nanoseconds".into()),
        },
        period: if kind.period().is_some() { 10_000_000 } else { 0 },
        frames: frames.to_vec(),
        sources: frames
            .iter()
            .map(|(_, kind)| match kind.as_str() {
                "native" => ("/opt/shop".to_owned(), 0),
                "kernel" => ("[kernel]".to_owned(), 0),
                _ => (String::new(), 0),
            })
            .collect(),
        value: if kind.period().is_some() { count } else { count * 10_000_000 },
        attributes: BTreeMap::from([("thread.name".to_owned(), "worker".to_owned())])
            .into_iter()
            .chain(is_linked.then(|| ("endpoint".to_owned(), "GET /cart".to_owned())))
            .collect(),
        link: is_linked.then(|| ("0af7651916cd43dd8448eb211c80319c".to_owned(), "b7ad6b7169203331".to_owned())),
        time: (1_700_000_000_000_000_000, 10_000_000_000),
    };
    let (shop, other) = (("shop", 42), ("other", 43));
    vec![
        sample(shop, &[main.clone(), heavy.clone(), frame("read", "kernel")], 3, true),
        sample(shop, &[main.clone(), heavy], 2, false),
        sample(other, &[main, frame("compiled", "")], 1, false),
        sample(other, &[], 4, false),
    ]
}

#[test]
fn all_of_a_profile_arrives() -> Result<()> {
    let kinds = [Kind::OnCpu { frequency: 100 }, Kind::OffCpu { least: Duration::from_millis(1) }];
    for (index, compression) in ["none", "gzip"].iter().enumerate() {
        let receiver = Receiver::collector_of_profiles()?;
        let (protocol, port) = ports_of(&receiver)[index];
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let raw = RawConfig {
            endpoint: Some(RawEndpoint::Base(format!("http://127.0.0.1:{port}"))),
            protocol: Some(protocol.to_owned()),
            compression: Some((*compression).to_owned()),
            ..RawConfig::default()
        };
        let mut sink = Sink::new(runtime.handle().clone());
        sink.add_otlp(&Config::new::<Part>(raw)?, Limits::of_profiles(), RetryPolicy::default())?;
        let stats = sink.stats();
        // One batch: both kinds are in one request, and share its dictionary.
        kinds.iter().for_each(|kind| sink.hand_over(example(*kind)));
        runtime.block_on(sink.shutdown(wait::PATIENCE));
        let counts = stats.first().context("no output")?.1.snapshot();
        ensure!((counts.offered, counts.exported, counts.requests) == (4, 4, 1), "{protocol}: {counts:?}");
        let mut found = written(&receiver, 8)?;
        let mut expected: Vec<_> = kinds.iter().flat_map(expected).collect();
        let order = |a: &Sample, b: &Sample| format!("{a:?}").cmp(&format!("{b:?}"));
        found.sort_by(order);
        expected.sort_by(order);
        ensure!(found == expected, "{protocol}: {found:#?}");
    }
    Ok(())
}

/// The same profile as folded text and by OTLP.
#[test]
fn a_profile_is_the_same_in_a_file_and_in_the_collector() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::c()?;
    let receiver = Receiver::collector_of_profiles()?;
    let file = program.file("a.folded");
    let mut before = 0;
    for (protocol, port) in ports_of(&receiver) {
        let endpoint = format!("http://127.0.0.1:{port}");
        let mut arguments = words(&["--frequency", "199", "--endpoint", &endpoint, "--protocol", protocol, "-o"]);
        arguments.extend([file.as_os_str(), OsStr::new("--"), program.path.as_os_str(), OsStr::new("1")]);
        let (_, said) = profile::profile(&arguments)?;
        ensure!(said.contains("sent by otlp: the profiles of ") && !said.contains("lost ("), "{said}");
        let sent = folded(&file)?;
        let all = written(&receiver, before + 1)?;
        let arrived = all.get(before..).unwrap_or_default();
        before = all.len();
        let mut lines = BTreeMap::<Vec<String>, u64>::new();
        for sample in arrived {
            ensure!(sample.kind.0 == "samples" && sample.period == 1_000_000_000 / 199, "{sample:?}");
            ensure!(sample.resource.contains_key("process.pid") && sample.link.is_none(), "{sample:?}");
            let service = sample.resource.get("service.name").and_then(Value::as_str).context("no service")?;
            let mut stack = vec![service.to_owned()];
            stack.extend(sample.frames.iter().map(|(name, kind)| match kind.as_str() {
                "kernel" => format!("{name}_[k]"),
                "" => format!("{name}_[j]"),
                _ => name.clone(),
            }));
            *lines.entry(stack).or_default() += u64::try_from(sample.value)?;
        }
        ensure!(lines == sent.into_iter().collect(), "{protocol}: {lines:#?}");
    }
    Ok(())
}

/// One profile after the other, and each sample in one of them.
#[test]
fn profiles_of_intervals() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::c()?;
    let receiver = Receiver::collector_of_profiles()?;
    let endpoint = format!("http://127.0.0.1:{}", receiver.http);
    let mut arguments = words(&["--frequency", "199", "--endpoint", &endpoint, "--interval", "1s", "--"]);
    arguments.extend([program.path.as_os_str(), OsStr::new("4")]);
    let (_, said) = profile::profile(&arguments)?;
    let all = of_periods(&receiver, 4)?;
    let mut periods: Vec<_> = all.iter().map(|sample| sample.time).collect();
    periods.sort_unstable();
    periods.dedup();
    ensure!(periods.len() >= 4, "{periods:?}; {said}");
    let next = periods.iter().skip(1).map(|(start, _)| *start);
    for ((start, duration), next) in periods.iter().zip(next) {
        ensure!(start.abs_diff(next - duration) < 1_000_000, "periods overlap or have holes: {periods:?}");
    }
    let total: i64 = all.iter().map(|sample| sample.value).sum();
    ensure!((600..=1000).contains(&total), "{total} samples of 4 s; {said}");
    let with_name = all.iter().filter(|sample| sample.frames.iter().any(|(name, _)| name.starts_with("burn_")));
    let named: i64 = with_name.map(|sample| sample.value).sum();
    ensure!(named * 100 > total * 95, "{named} of {total} have the function's name");
    Ok(())
}

/// Nobody is there to take it: that is said, and is a failure.
#[test]
fn a_profile_that_nobody_takes() -> Result<()> {
    let _shared = wait::shared();
    let program = Program::c()?;
    let endpoint = format!("http://127.0.0.1:{}", ports::free()?);
    let mut command = std::process::Command::new(geophone_tests::paths::agent()?);
    command.args(["profile", "--duration", "1s", "--endpoint", &endpoint]);
    let mut burner = std::process::Command::new(&program.path);
    let _burner = geophone_tests::child::Guard::start(burner.arg("60"))?;
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{said}");
    ensure!(said.contains("the profiles of 0 processes") && said.contains("lost ("), "{said}");
    let output = std::process::Command::new(geophone_tests::paths::agent()?)
        .args(["profile", "--interval", "1s"])
        .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("--interval: say where"), "{said}");
    Ok(())
}
