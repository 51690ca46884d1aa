//! Applications behind nginx that it asks by another protocol than HTTP.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{LOCAL, Recipe, Service, nginx};
use crate::paths;

impl Service {
    /// PHP-FPM, which runs `services/php/shop.php`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn php_fpm() -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let folder = tempfile::tempdir()?;
            let (config, log) = (folder.path().join("fpm.conf"), folder.path().join("fpm.log"));
            let text = format!(
                "[global]\nerror_log = {}\ndaemonize = no\n[www]\nuser = www-data\nlisten = {address}\n\
                 pm = static\npm.max_children = 2\n",
                log.display()
            );
            fs::write(&config, text)?;
            let mut command = Command::new(php_fpm()?);
            command.arg("-y").arg(config).arg("-F");
            Ok(Recipe { command, name: "php-fpm", folders: vec![folder] })
        })
    }

    /// uWSGI, which runs `services/python/wsgi.py`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn uwsgi() -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let mut command = Command::new(paths::program("uwsgi-core")?);
            command.args(["--plugin", "python3", "--master", "--processes", "1", "--die-on-term"]);
            command
                .args(["--socket", &address.to_string(), "--module", "wsgi:app", "--chdir"])
                .arg(paths::service("python"));
            Ok(Recipe { command, name: "uwsgi-core", folders: Vec::new() })
        })
    }

    /// nginx before such an application: everything goes there, by `fastcgi` or `uwsgi`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn nginx_before(protocol: &str, application: SocketAddr) -> Result<Self> {
        // It is read by another user.
        let script = paths::service("php/shop.php");
        Self::on_port(LOCAL, |address| {
            let folder = tempfile::tempdir()?;
            let dir = folder.path().to_str().context("the temporary folder's name is not UTF-8")?.to_owned();
            let copy = folder.path().join("shop.php");
            fs::copy(script, &copy)?;
            fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            let template = fs::read_to_string(paths::service("nginx/gateway.conf"))?;
            let text = template
                .replace("{LISTEN}", &address.to_string())
                .replace("{PROTOCOL}", protocol)
                .replace("{UPSTREAM}", &application.to_string())
                .replace("{DIR}", &dir);
            let config = folder.path().join("nginx.conf");
            fs::write(&config, text)?;
            let mut command = Command::new(paths::program("nginx")?);
            command.args(["-p", &dir]).arg("-c").arg(config).arg("-e").arg(folder.path().join("error.log"));
            Ok(Recipe { command, name: "nginx", folders: vec![folder] })
        })
    }
}

impl Service {
    /// nginx that expects to be told by the PROXY protocol for whom it is asked: `/fixed/`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn nginx_behind_proxies() -> Result<Self> {
        Self::on_port(LOCAL, |address| nginx(&format!("{address} proxy_protocol"), None))
    }

    /// HAProxy, which passes on what it is sent as it is, after a header of the PROXY protocol: `send-proxy` or `send-proxy-v2`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn haproxy(header: &str, server: SocketAddr) -> Result<Self> {
        Self::on_port(LOCAL, |address| {
            let folder = tempfile::tempdir()?;
            let config = folder.path().join("haproxy.cfg");
            let text = format!(
                "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
                 listen front\n bind {address}\n server back {server} {header}\n"
            );
            fs::write(&config, text)?;
            let mut command = Command::new(paths::program("haproxy")?);
            command.arg("-db").arg("-f").arg(config);
            Ok(Recipe { command, name: "haproxy", folders: vec![folder] })
        })
    }
}

/// PHP-FPM has its version in its name.
fn php_fpm() -> Result<PathBuf> {
    let programs = fs::read_dir("/usr/sbin").context("/usr/sbin")?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_fpm = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("php-fpm"));
    programs.filter(is_fpm).max().context("PHP-FPM is not installed: run `cargo xtask setup` first")
}
