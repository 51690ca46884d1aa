//! Databases.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{LOCAL, Recipe, Service};
use crate::wait::PATIENCE;
use crate::{child, paths, wait};

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

    /// MariaDB, with a database `shop` and a user `app` whose password is `pw`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn mariadb() -> Result<Self> {
        let folder = owned_by("mysql")?;
        let data = format!("--datadir={}", folder.path().join("data").display());
        let install = paths::program("mariadb-install-db")?;
        call(Command::new(install).args(["--no-defaults", "--user=mysql", "--skip-test-db"]).arg(&data))?;
        let socket = folder.path().join("sock");
        let service = Self::on_port(LOCAL, |address| {
            let mut command = Command::new(paths::program("mariadbd")?);
            command.args(["--no-defaults", "--user=mysql", "--bind-address=127.0.0.1"]).arg(&data);
            command.arg(format!("--port={}", address.port())).arg(format!("--socket={}", socket.display()));
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
