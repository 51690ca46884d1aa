//! What threads work for, as another program on the host reads it: the map that is pinned for other profilers.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{HashMap, Map, MapData};
use geophone_tests::agent::{Agent, Capture};
use geophone_tests::{paths, wait};
use tempfile::TempDir;

use crate::profile::run;
use crate::support::flags;

/// How long the service works for a request, and how many there are.
const WORK: Duration = Duration::from_millis(150);
const REQUESTS: usize = 30;

type Contexts = HashMap<MapData, u64, [u8; 24]>;

/// A bpffs of its own, for as long as this is there.
struct Bpffs(TempDir);

impl Bpffs {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(folder.path()))?;
        Ok(Self(folder))
    }

    fn pin(&self) -> PathBuf {
        self.0.path().join("otel/traces_ctx_v1")
    }

    fn flag(&self) -> String {
        format!("--share-context={}", self.0.path().display())
    }

    fn open(&self) -> Result<Contexts> {
        Ok(Map::from_map_data(MapData::from_pin(self.pin())?)?.try_into()?)
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg(self.0.path()));
    }
}

/// Reads a request's head.
fn head(stream: &mut TcpStream) -> Result<()> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.extend(byte);
    }
    Ok(())
}

/// Serves one connection on a thread of its own, and says when it begins and ends to work for a request, and on which thread.
fn serve(listener: TcpListener) -> mpsc::Receiver<(Instant, Instant, u32)> {
    let (say, heard) = mpsc::sync_channel(64);
    thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        let tid = rustix::thread::gettid().as_raw_nonzero().get().try_into()?;
        while head(&mut stream).is_ok() {
            let start = Instant::now();
            thread::sleep(WORK);
            let end = Instant::now();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            say.send((start, end, tid))?;
        }
        Ok(())
    });
    heard
}

/// Each value of any thread of this process, when it was seen first and last.
fn watch(map: &Contexts, until: Instant) -> Vec<(u64, [u8; 24], Instant, Instant)> {
    let own = u64::from(std::process::id());
    let mut seen: Vec<(u64, [u8; 24], Instant, Instant)> = Vec::new();
    while Instant::now() < until {
        for (key, value) in map.iter().flatten().filter(|(key, _)| key >> 32 == own) {
            let now = Instant::now();
            match seen.iter_mut().find(|(k, v, ..)| (*k, *v) == (key, value)) {
                Some((.., last)) => *last = now,
                None => seen.push((key, value, now, now)),
            }
        }
        thread::sleep(Duration::from_micros(500));
    }
    seen
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn another_program_reads_what_threads_work_for() -> Result<()> {
    let _shared = wait::shared();
    let bpffs = Bpffs::new()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut arguments = flags(&["--port", &address.port().to_string()]);
    arguments.push(bpffs.flag());
    let agent = Agent::start(Capture::Sockets, &arguments)?;
    let map = bpffs.open()?;
    let heard = serve(listener);
    let watcher = {
        let until = Instant::now() + WORK * u32::try_from(REQUESTS)? + Duration::from_secs(2);
        thread::spawn(move || watch(&map, until))
    };
    let mut client = TcpStream::connect(address)?;
    let mut works = Vec::new();
    for _ in 0..REQUESTS {
        client.write_all(b"GET /work HTTP/1.1\r\nHost: shop\r\n\r\n")?;
        works.push(heard.recv_timeout(wait::PATIENCE)?);
        head(&mut client)?;
        client.read_exact(&mut [0; 2])?;
    }
    let seen = watcher.join().ok().context("the watcher failed")?;
    let left = bpffs.open()?.keys().flatten().filter(|key| key >> 32 == u64::from(std::process::id())).count();
    ensure!(left == 0, "{left} threads still work for something");
    drop(client);
    let report = agent.finish()?;
    ensure!(!bpffs.pin().exists() && !bpffs.pin().with_file_name("").exists(), "the pin is still there");
    let served: BTreeSet<(String, String)> =
        report.spans.iter().filter(|s| s.kind == "SERVER").map(|s| (s.trace_id.clone(), s.span_id.clone())).collect();
    ensure!(served.len() == REQUESTS, "{} spans", served.len());
    let (mut late, mut long) = (Vec::new(), Vec::new());
    for (key, value, first, last) in &seen {
        let ids = (hex(value.get(..16).unwrap_or_default()), hex(value.get(16..).unwrap_or_default()));
        ensure!(served.contains(&ids), "{ids:?} is no request's: {served:?}");
        // The one that the thread worked for then.
        let work = works.iter().rev().find(|(start, ..)| start <= first).context("seen before it began")?;
        ensure!(key & 0xffff_ffff == u64::from(work.2), "{key:x}: {works:?}");
        late.push(first.saturating_duration_since(work.0));
        long.push(last.saturating_duration_since(work.1));
    }
    late.sort_unstable();
    long.sort_unstable();
    ensure!(seen.len() * 10 >= REQUESTS * 9, "{} of {REQUESTS} requests were seen", seen.len());
    let figures = |times: &[Duration]| {
        let at = |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1))).copied();
        format!("median {:?}, 95th percentile {:?}, maximum {:?}", at(50), at(95), times.last())
    };
    println!("seen after: {}\nkept after the end: {}", figures(&late), figures(&long));
    ensure!(late.get(late.len() / 2).is_some_and(|median| *median < WORK / 2), "{late:?}");
    Ok(())
}

#[test]
fn what_others_have_pinned_stays() -> Result<()> {
    let _shared = wait::shared();
    let bpffs = Bpffs::new()?;
    fs::create_dir(bpffs.0.path().join("otel"))?;
    let pin = |kind: u32, value: u32| -> Result<MapData> {
        let data = MapData::create(aya_obj::Map::new_from_params(kind, 8, value, 1 << 14, 0), "traces_ctx_v1", None)?;
        data.pin(bpffs.pin())?;
        Ok(data)
    };
    let run = || {
        let mut agent = Command::new(paths::agent()?);
        agent.args(["run", "--duration", "100ms", "--output", "none", "--no-tls"]).arg(bpffs.flag());
        Ok::<_, anyhow::Error>(agent.output()?)
    };
    let hash = aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_HASH as u32;
    let lru = aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_LRU_HASH as u32;
    for (kind, value) in [(hash, 24), (lru, 16)] {
        let id = pin(kind, value)?.info()?.id();
        let output = run()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains("is another kind of map"), "{said}");
        ensure!(MapData::from_pin(bpffs.pin())?.info()?.id() == id, "it was replaced");
        fs::remove_file(bpffs.pin())?;
    }
    let data = pin(lru, 24)?;
    let id = data.info()?.id();
    let mut map: Contexts = Map::from_map_data(data)?.try_into()?;
    map.insert(7, [7; 24], 0)?;
    let output = run()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(MapData::from_pin(bpffs.pin())?.info()?.id() == id, "it was replaced");
    ensure!(bpffs.open()?.get(&7, 0)? == [7; 24], "what others have written is gone");
    Ok(())
}

#[test]
fn only_a_bpffs_will_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let flag = format!("--share-context={}", Path::new(folder.path()).display());
    let output = Command::new(paths::agent()?).args(["run", "--duration", "100ms", &flag]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("is no bpffs"), "{said}");
    ensure!(fs::read_dir(folder.path())?.next().is_none(), "something was made there");
    Ok(())
}
