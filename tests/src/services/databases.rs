//! Databases.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{LOCAL, Recipe, SLOW, Service, classes, host_and_port, python};
use crate::tls::Certificate;
use crate::wait::PATIENCE;
use crate::{child, paths, ports, wait};

impl Service {
    /// PostgreSQL, with a database and a superuser that are both called `shop`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn postgres() -> Result<Self> {
        let folder = owned_by("postgres")?;
        let data = folder.path().join("data");
        call(as_user("postgres", &postgres_program("initdb")?).args(["-A", "trust", "-U", "shop", "-D"]).arg(&data))?;
        let service = Self::on_port(LOCAL, |address| {
            let mut command = as_user("postgres", &postgres_program("postgres")?);
            command.arg("-D").arg(&data).args(["-p", &address.port().to_string(), "-c", "fsync=off", "-k"]);
            command.arg(folder.path());
            Ok(Recipe { command, name: "postgres", folders: vec![folder] })
        })?;
        // It listens before it answers.
        wait::until(PATIENCE, "PostgreSQL to answer", || service.psql("postgres", &["SELECT 1"]).ok())?;
        service.psql("postgres", &["CREATE DATABASE shop"])?;
        Ok(service)
    }

    /// Lets `psql` send commands, each in a query of its own; returns what it printed.
    ///
    /// # Errors
    /// When it does not run.
    pub fn psql(&self, database: &str, commands: &[&str]) -> Result<String> {
        let mut command = Command::new(paths::program("psql")?);
        command
            .args(["-X", "-q", "-U", "shop", "-d", database, "-h", "127.0.0.1", "-p"])
            .arg(self.address.port().to_string());
        command.args(commands.iter().flat_map(|text| ["-c", text]));
        command.stderr(Stdio::null());
        child::output(&mut command, PATIENCE)
    }

    /// Redis.
    ///
    /// # Errors
    /// When it does not start.
    pub fn redis() -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let folder = tempfile::tempdir()?;
            let mut command = Command::new(paths::program("redis-server")?);
            command.args(["--bind", "127.0.0.1", "--save", "", "--port", &address.port().to_string(), "--dir"]);
            command.arg(folder.path());
            Ok(Recipe { command, name: "redis-server", folders: vec![folder] })
        })
    }

    /// Memcached.
    ///
    /// # Errors
    /// When it does not start.
    pub fn memcached() -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(paths::program("memcached")?);
            command.args(["-u", "nobody", "-l", &address.ip().to_string(), "-p", &address.port().to_string()]);
            Ok(Recipe { command, name: "memcached", folders: Vec::new() })
        })
    }

    /// Something that talks to MongoDB's real clients.
    ///
    /// # Errors
    /// When it does not start.
    pub fn mongodb() -> Result<Self> {
        let classes = classes("mongodb")?;
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(paths::program("java")?);
            command.args(["-Xmx256m", "-cp", &classes]).arg(paths::service("java/Mongo.java"));
            command.args(host_and_port(address));
            Ok(Recipe { command, name: "mongodb", folders: Vec::new() })
        })
    }

    /// Cassandra.
    ///
    /// # Errors
    /// When it does not start.
    pub fn cassandra() -> Result<Self> {
        let classes = classes("cassandra")?;
        Self::on_port(LOCAL, |address| {
            let folder = tempfile::tempdir()?;
            let config = folder.path().join("cassandra.yaml");
            let dir = folder.path().to_string_lossy();
            let text = fs::read_to_string(paths::service("java/cassandra.yaml"))?;
            let text = text.replace("{PORT}", &address.port().to_string()).replace("{DIR}", &dir);
            fs::write(&config, text.replace("{STORAGE}", &ports::free()?.to_string()))?;
            let mut command = Command::new(paths::program("java")?);
            command.arg("-Xmx700m").arg(format!("@{}", paths::service("java/cassandra.options").display()));
            command.arg(format!("-Dcassandra.config=file://{}", config.display()));
            command.arg(format!("-Dcassandra.storagedir={dir}"));
            command.args(["-cp", &classes, "org.apache.cassandra.service.CassandraDaemon"]);
            Ok(Recipe { command, name: "cassandra", folders: vec![folder] })
        })
    }

    /// ClickHouse.
    ///
    /// # Errors
    /// When it does not start.
    pub fn clickhouse() -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let folder = tempfile::tempdir()?;
            let config = folder.path().join("config.xml");
            let text = fs::read_to_string(paths::service("clickhouse.xml"))?;
            let text = text.replace("{PORT}", &address.port().to_string());
            fs::write(&config, text.replace("{DIR}", &folder.path().to_string_lossy()))?;
            let mut command = Command::new(paths::program("clickhouse-server")?);
            command.arg(format!("--config-file={}", config.display())).current_dir(folder.path());
            Ok(Recipe { command, name: "clickhouse", folders: vec![folder] })
        })
    }

    /// What stands for SQL Server: it speaks TDS with real clients.
    ///
    /// # Errors
    /// When it does not start.
    pub fn mssql() -> Result<Self> {
        Self::python_script(Path::new("python3"), "tds.py", "tds")
    }

    /// moto: what stands for services of AWS.
    ///
    /// # Errors
    /// When it does not start.
    pub fn aws() -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(paths::installed("venv/bin/moto_server")?);
            let [host, port] = host_and_port(address);
            command.args(["-H", &host, "-p", &port]);
            Ok(Recipe { command, name: "moto_server", folders: Vec::new() })
        })
    }

    /// Lets a client write and read: see `services/python/stores.py`.
    ///
    /// # Errors
    /// When it does not run, or reads something else than what was written.
    pub fn store(&self, protocol: &str) -> Result<()> {
        let mut command = Command::new(python()?);
        command.arg(paths::service("python/stores.py")).arg(protocol).args(host_and_port(self.address));
        child::output(&mut command, SLOW).map(drop)
    }

    /// MariaDB, with a database `shop` and a user `app` whose password is `pw`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn mariadb() -> Result<Self> {
        Self::mariadb_with(None)
    }

    /// The same, which turns to TLS when a client asks for that.
    ///
    /// # Errors
    /// When it does not start.
    pub fn mariadb_tls(certificate: &Certificate) -> Result<Self> {
        Self::mariadb_with(Some(certificate))
    }

    fn mariadb_with(certificate: Option<&Certificate>) -> Result<Self> {
        let folder = owned_by("mysql")?;
        let data = format!("--datadir={}", folder.path().join("data").display());
        let install = paths::program("mariadb-install-db")?;
        call(Command::new(install).args(["--no-defaults", "--user=mysql", "--skip-test-db"]).arg(&data))?;
        let socket = folder.path().join("sock");
        let service = Self::on_port(LOCAL, |address| {
            let mut command = Command::new(paths::program("mariadbd")?);
            command.args(["--no-defaults", "--user=mysql", "--bind-address=127.0.0.1"]).arg(&data);
            command.arg(format!("--port={}", address.port())).arg(format!("--socket={}", socket.display()));
            if let Some(Certificate { certificate, key, .. }) = certificate {
                // They are read by another user, whose folder this is.
                for (flag, file) in [("--ssl-cert", certificate), ("--ssl-key", key)] {
                    let own = folder.path().join(flag);
                    fs::copy(file, &own)?;
                    fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
                    command.arg(format!("{flag}={}", own.display()));
                }
            }
            Ok(Recipe { command, name: "mariadbd", folders: vec![folder] })
        })?;
        let sql = "CREATE DATABASE shop; CREATE USER 'app'@'%' IDENTIFIED BY 'pw'; GRANT ALL ON *.* TO 'app'@'%'";
        call(Command::new(paths::program("mariadb")?).arg("--no-defaults").arg("-S").arg(&socket).args(["-e", sql]))?;
        Ok(service)
    }
}

/// A folder of this user's.
fn owned_by(user: &str) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    call(Command::new("chown").arg(user).arg(folder.path()))?;
    Ok(folder)
}

/// A program run as somebody else.
fn as_user(user: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]).arg(program);
    command
}

/// A program of PostgreSQL's server, which is in no usual folder.
fn postgres_program(name: &str) -> Result<PathBuf> {
    let versions =
        fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed: run `cargo xtask setup` first")?;
    let mut found: Vec<_> = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name))).collect();
    found.retain(|path| path.is_file());
    found.sort();
    found.pop().with_context(|| format!("there is no {name} in /usr/lib/postgresql"))
}

/// Runs a command that has nothing to say.
fn call(command: &mut Command) -> Result<()> {
    child::output(command.stderr(Stdio::null()), PATIENCE).map(drop)
}
