//! The servers under test, each started on a free port.

mod brokers;
mod databases;
mod gateways;
mod names;

pub use names::{configured, lookups};

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::check::Side;
use crate::child::Guard;
use crate::netns::Namespace;
use crate::tls::{Certificate, Kind};
use crate::wait::PATIENCE;
use crate::{paths, ports, wait};

/// Sizes of the files that nginx serves under `/static/SIZE` (sendfile) and `/plain/SIZE`.
pub const FILES: [u64; 4] = [0, 612, 100_000, 100_000_000];

/// A running server.
#[derive(Debug)]
pub struct Service {
    guard: Guard,
    /// Where it listens; port 0 when it is a Unix socket.
    pub address: SocketAddr,
    /// The Unix socket on which it listens.
    pub path: PathBuf,
    /// The `service.name` that the agent should find.
    pub name: &'static str,
    tls: bool,
    _folders: Vec<TempDir>,
}

/// A command, and what to call it.
struct Recipe {
    command: Command,
    name: &'static str,
    folders: Vec<TempDir>,
}

/// How long a server that is slow to start, or its client, may take.
const SLOW: Duration = Duration::from_secs(150);

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Service {
    /// Python's `http.server`, with a thread for each connection.
    ///
    /// # Errors
    /// When it does not start.
    pub fn python(host: IpAddr, more: &[&str]) -> Result<Self> {
        let script = paths::service("python/server.py");
        Self::on_port(host, |address| {
            let mut command = Command::new(python()?);
            command.arg(&script).args(host_and_port(address)).args(more);
            Ok(Recipe { command, name: "server", folders: Vec::new() })
        })
    }

    /// gunicorn with pre-forked workers, each with so many threads.
    ///
    /// # Errors
    /// When it does not start.
    pub fn gunicorn(workers: u32, threads: u32) -> Result<Self> {
        Self::on_port(LOCAL, |address| Ok(gunicorn(&address.to_string(), workers, threads)?.into()))
    }

    /// The same on a Unix socket.
    ///
    /// # Errors
    /// When it does not start.
    pub fn gunicorn_unix() -> Result<Self> {
        Self::on_path(|path| Ok(gunicorn(&format!("unix:{}", path.display()), 1, 4)?.into()))
    }

    /// Node's `http`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn node() -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(paths::program("node")?);
            command.arg(paths::service("node/server.js")).args(host_and_port(address));
            command.env("OTEL_SERVICE_NAME", "shop-node");
            Ok(Recipe { command, name: "shop-node", folders: Vec::new() })
        })
    }

    /// Node.js' `http2`, which asks another one first.
    ///
    /// # Errors
    /// When it does not start.
    pub fn node_http2(asked: Option<SocketAddr>) -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(paths::program("node")?);
            command.arg(paths::service("node/http2_chain.js")).args(host_and_port(address));
            command.args(asked.map(|asked| asked.to_string()));
            Ok(Recipe { command, name: "http2-node", folders: Vec::new() })
        })
    }

    /// Go's `net/http`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn go(host: IpAddr) -> Result<Self> {
        Self::on_port(host, |address| {
            let mut command = Command::new(paths::installed("go-server")?);
            command.arg("tcp").arg(address.to_string());
            Ok(Recipe { command, name: "go-server", folders: Vec::new() })
        })
    }

    /// A Go service that calls another one, itself: see `services/go/calls`. `name` says how it was linked; with `tls`, it calls by
    /// TLS.
    ///
    /// # Errors
    /// When it does not start.
    pub fn go_calls(name: &'static str, tls: bool) -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(paths::installed(name)?);
            command.arg(address.to_string()).args(tls.then_some("s"));
            Ok(Recipe { command, name, folders: Vec::new() })
        })
    }

    /// The same on a Unix socket.
    ///
    /// # Errors
    /// When it does not start.
    pub fn go_unix() -> Result<Self> {
        Self::on_path(|path| {
            let mut command = Command::new(paths::installed("go-server")?);
            command.arg("unix").arg(path);
            Ok(Recipe { command, name: "go-server", folders: Vec::new() })
        })
    }

    /// The same in a network namespace.
    ///
    /// # Errors
    /// When it does not start.
    pub fn go_in(namespace: &Namespace) -> Result<Self> {
        Self::on_port(namespace.inside.parse()?, |address| {
            let mut command = namespace.command(&paths::installed("go-server")?);
            command.arg("tcp").arg(address.to_string());
            Ok(Recipe { command, name: "go-server", folders: Vec::new() })
        })
    }

    /// The same on all addresses of the network namespace.
    ///
    /// # Errors
    /// When it does not start.
    pub fn go_everywhere_in(namespace: &Namespace) -> Result<Self> {
        Self::on_port(namespace.inside.parse()?, |address| {
            let mut command = namespace.command(&paths::installed("go-server")?);
            command.arg("tcp").arg(everywhere(address));
            Ok(Recipe { command, name: "go-server", folders: Vec::new() })
        })
    }

    /// nginx on all addresses of a network namespace, as a proxy.
    ///
    /// # Errors
    /// When it does not start.
    pub fn nginx_everywhere_in(namespace: &Namespace, upstream: SocketAddr) -> Result<Self> {
        Self::on_port(namespace.inside.parse()?, |address| {
            let recipe = nginx(&everywhere(address), Some(upstream))?;
            Ok(Recipe { command: namespace.inside(&recipe.command), ..recipe })
        })
    }

    /// Go's HTTP/2 without TLS, by prior knowledge and by upgrade.
    ///
    /// # Errors
    /// When it does not start.
    pub fn go_h2c() -> Result<Self> {
        Self::on_port(LOCAL, |address| go_http2("h2c", address))
    }

    /// gRPC in Go: see `services/http2`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn go_grpc() -> Result<Self> {
        Self::on_port(LOCAL, |address| go_http2("grpc", address))
    }

    /// Calls of calls by HTTP/2 in Go: see `services/http2`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn go_fan() -> Result<Self> {
        Self::on_port(LOCAL, |address| go_http2("fan", address))
    }

    /// gRPC-Web in Go, by HTTP/1.1: see `services/http2`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn go_grpc_web() -> Result<Self> {
        Self::on_port(LOCAL, |address| go_http2("web", address))
    }

    /// gRPC in Python: see `services/python/calls.py`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn python_grpc() -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(python()?);
            command.arg(paths::service("python/calls.py")).arg("serve").args(host_and_port(address));
            Ok(Recipe { command, name: "calls", folders: Vec::new() })
        })
    }

    /// The JDK's own server.
    ///
    /// # Errors
    /// When it does not start.
    pub fn java() -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(paths::program("java")?);
            command
                .arg("-Xmx256m")
                .arg("-cp")
                .arg(paths::installed("java")?)
                .arg("Server")
                .args(host_and_port(address));
            Ok(Recipe { command, name: "Server", folders: Vec::new() })
        })
    }

    /// Java's virtual threads, with some JDK that has them and an option for it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn java_virtual(java: &Path, option: &str) -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(java);
            command
                .args([option, "-Xmx64m", "-cp"])
                .arg(paths::installed("java")?)
                .arg("Virtual")
                .args(host_and_port(address));
            Ok(Recipe { command, name: "Virtual", folders: Vec::new() })
        })
    }

    /// Rust's hyper.
    ///
    /// # Errors
    /// When it does not start.
    pub fn hyper(host: IpAddr) -> Result<Self> {
        Self::on_port(host, |address| {
            let mut command = Command::new(paths::helper("hyper-server")?);
            command.args(host_and_port(address));
            Ok(Recipe { command, name: "hyper-server", folders: Vec::new() })
        })
    }

    /// nginx with one worker: files, and a proxy before `upstream`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn nginx(upstream: Option<SocketAddr>) -> Result<Self> {
        Self::on_port(LOCAL, |address| nginx(&address.to_string(), upstream))
    }

    /// The same by HTTP/2 without TLS.
    ///
    /// # Errors
    /// When it does not start.
    pub fn nginx_http2() -> Result<Self> {
        Self::on_port(LOCAL, |address| nginx(&format!("{address} http2"), None))
    }

    /// The same on a Unix socket.
    ///
    /// # Errors
    /// When it does not start.
    pub fn nginx_unix() -> Result<Self> {
        Self::on_path(|path| nginx(&format!("unix:{}", path.display()), None))
    }

    /// A Python program of `services/python` that takes HOST, PORT and a mode.
    ///
    /// # Errors
    /// When it does not start.
    pub fn script(file: &str, name: &'static str, mode: &str) -> Result<Self> {
        let script = paths::service("python").join(file);
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(python()?);
            command.arg(&script).args(host_and_port(address)).arg(mode);
            Ok(Recipe { command, name, folders: Vec::new() })
        })
    }

    /// A Python program of `services/python` that takes HOST and PORT, run by any interpreter.
    ///
    /// # Errors
    /// When it does not start.
    pub fn python_script(python: &Path, file: &str, name: &'static str) -> Result<Self> {
        let script = paths::service("python").join(file);
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(python);
            command.arg(&script).args(host_and_port(address));
            Ok(Recipe { command, name, folders: Vec::new() })
        })
    }

    /// A server over TLS, by the library of that kind.
    ///
    /// # Errors
    /// When it does not start.
    pub fn tls(kind: Kind, certificate: &Certificate) -> Result<Self> {
        let files = [certificate.certificate.as_os_str(), certificate.key.as_os_str()];
        let service = Self::on_port(LOCAL, |address| {
            let (mut command, name) = match kind {
                Kind::Sockets => {
                    let mut command = Command::new(python()?);
                    command.arg(paths::service("python/server.py")).args(host_and_port(address)).arg("--tls");
                    (command, "server")
                }
                Kind::Memory => {
                    let mut command = Command::new(python()?);
                    command.arg(paths::service("python/tls_asyncio.py")).args(host_and_port(address));
                    (command, "tls_asyncio")
                }
                Kind::Node | Kind::OldNode => {
                    let mut command = kind.node()?;
                    command.arg(paths::service("node/server.js")).args(host_and_port(address));
                    (command, "server")
                }
                Kind::Go => {
                    let mut command = Command::new(paths::installed("go-server")?);
                    command.arg("tcp").arg(address.to_string());
                    (command, "go-server")
                }
                Kind::Rustls | Kind::Rustls22 | Kind::Rustls21 => {
                    let mut command = Command::new(paths::installed(kind.service())?);
                    command.arg("server").args(host_and_port(address));
                    (command, kind.service())
                }
            };
            command.args(files);
            Ok(Recipe { command, name, folders: Vec::new() })
        })?;
        Ok(Self { tls: true, ..service })
    }

    /// nginx with one worker, over TLS 1.2 and 1.3: files.
    ///
    /// # Errors
    /// When it does not start.
    pub fn nginx_tls(certificate: &Certificate) -> Result<Self> {
        let (certificate, key) = (certificate.certificate.display(), certificate.key.display());
        let more = format!(
            "ssl backlog=4096; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key}; #"
        );
        let service = Self::on_port(LOCAL, |address| nginx(&format!("{address} {more}"), None))?;
        Ok(Self { tls: true, ..service })
    }

    fn on_port(host: IpAddr, recipe: impl FnOnce(SocketAddr) -> Result<Recipe>) -> Result<Self> {
        let address = SocketAddr::new(host, ports::free()?);
        let recipe = recipe(address)?;
        Self::run(recipe, address, PathBuf::new(), || TcpStream::connect(address).is_ok())
    }

    fn on_path(recipe: impl FnOnce(&Path) -> Result<Recipe>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("socket");
        let mut recipe = recipe(&path)?;
        recipe.folders.push(folder);
        let nowhere = SocketAddr::new(LOCAL, 0);
        Self::run(recipe, nowhere, path.clone(), || UnixStream::connect(&path).is_ok())
    }

    fn run(recipe: Recipe, address: SocketAddr, path: PathBuf, ready: impl Fn() -> bool) -> Result<Self> {
        let Recipe { mut command, name, folders } = recipe;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guard = Guard::start(&mut command)?;
        let mut ended = false;
        let patience = if UNHURRIED.contains(&name) { SLOW } else { PATIENCE };
        wait::until(patience, &format!("{name} to listen"), || {
            ended = matches!(guard.inner().try_wait(), Ok(Some(_)));
            (ended || ready()).then_some(())
        })?;
        anyhow::ensure!(!ended, "{name} ended at once: {command:?}");
        Ok(Self { guard, address, path, name, tls: false, _folders: folders })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.guard.pid()
    }

    /// Its process and all that it forked.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.guard.family()
    }

    /// What its spans should say of it.
    #[must_use]
    pub fn side(&self) -> Side {
        let tcp = self.address.port() > 0;
        Side {
            pids: self.pids(),
            service: self.name.to_owned(),
            peer: if tcp { self.address.ip().to_string() } else { String::new() },
            port: self.address.port(),
            tls: self.tls,
        }
    }
}

/// Servers that take long to listen.
const UNHURRIED: [&str; 4] = ["kafka", "cassandra", "mongodb", "rabbit"];

/// The class path of a server that `cargo xtask setup` has installed.
fn classes(name: &str) -> Result<String> {
    Ok(format!("{}/*", paths::installed(name)?.display()))
}

fn host_and_port(address: SocketAddr) -> [String; 2] {
    [address.ip().to_string(), address.port().to_string()]
}

/// The same port on all addresses.
fn everywhere(address: SocketAddr) -> String {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()).to_string()
}

/// The interpreter of the virtual environment, so that its packages are found.
fn python() -> Result<PathBuf> {
    paths::installed("venv/bin/python")
}

fn go_http2(what: &str, address: SocketAddr) -> Result<Recipe> {
    let mut command = Command::new(paths::installed("http2")?);
    command.arg(what).arg(address.to_string());
    Ok(Recipe { command, name: "http2", folders: Vec::new() })
}

/// A client that asks [`Service::go_fan`] for the numbers of a range, all at once on one connection.
///
/// # Errors
/// When it is not installed.
pub fn fan_client(address: SocketAddr, numbers: &Range<usize>) -> Result<Command> {
    let mut command = go_http2("askfan", address)?.command;
    command.args([numbers.start.to_string(), numbers.end.to_string()]);
    Ok(command)
}

/// A client that makes the calls of gRPC-Web that its input names.
///
/// # Errors
/// When it is not installed.
pub fn grpc_web_client(address: SocketAddr) -> Result<Command> {
    Ok(go_http2("callweb", address)?.command)
}

/// A client that makes the calls of gRPC that its input names: `http2 call`, or `calls.py call`.
///
/// # Errors
/// When it is not installed.
pub fn grpc_client(go: bool, address: SocketAddr) -> Result<Command> {
    let mut command = if go {
        Command::new(paths::installed("http2")?)
    } else {
        let mut python = Command::new(python()?);
        python.arg(paths::service("python/calls.py"));
        python
    };
    command.arg("call").arg(address.to_string());
    Ok(command)
}

struct Gunicorn(Command);

impl From<Gunicorn> for Recipe {
    fn from(gunicorn: Gunicorn) -> Self {
        Self { command: gunicorn.0, name: "wsgi", folders: Vec::new() }
    }
}

fn gunicorn(bind: &str, workers: u32, threads: u32) -> Result<Gunicorn> {
    let mut command = Command::new(paths::installed("venv/bin/gunicorn")?);
    command.args(["--bind", bind, "--workers", &workers.to_string(), "--threads", &threads.to_string()]);
    command.args(["--keep-alive", "60", "--no-sendfile", "--chdir"]).arg(paths::service("python")).arg("wsgi:app");
    Ok(Gunicorn(command))
}

fn nginx(listen: &str, upstream: Option<SocketAddr>) -> Result<Recipe> {
    let folder = tempfile::tempdir()?;
    let files = folder.path().join("files");
    fs::create_dir(&files)?;
    for size in FILES {
        fs::File::create(files.join(size.to_string()))?.set_len(size)?;
    }
    // Nobody listens on the discard port.
    let upstream = upstream.unwrap_or_else(|| SocketAddr::new(LOCAL, 9)).to_string();
    let template = fs::read_to_string(paths::service("nginx/nginx.conf"))?;
    let dir = folder.path().to_str().context("the temporary folder's name is not UTF-8")?.to_owned();
    let text = template.replace("{LISTEN}", listen).replace("{UPSTREAM}", &upstream).replace("{DIR}", &dir);
    let conf = folder.path().join("nginx.conf");
    fs::write(&conf, text)?;
    let mut command = Command::new(paths::program("nginx")?);
    command.arg("-p").arg(&dir).arg("-c").arg(&conf).arg("-e").arg(folder.path().join("error.log"));
    Ok(Recipe { command, name: "nginx", folders: vec![folder] })
}
