//! What stands before the services: a proxy with a port for each of them, and PHP-FPM, which is no server of HTTP itself.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::programs::{Kit, source};
use crate::paths;

/// A proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// nginx with two workers and kept connections to the services.
    Nginx,
    /// HAProxy with kept connections to the services.
    Haproxy,
}

/// One service behind a proxy.
#[derive(Clone, Debug)]
pub struct Behind {
    /// Its name.
    pub name: &'static str,
    /// Where the proxy listens for it.
    pub outer: u16,
    /// Where it listens itself.
    pub inner: u16,
    /// What its environment says, when it is a script.
    pub environment: Vec<(&'static str, String)>,
}

/// nginx, up to its servers.
const NGINX: &str = "daemon off;
user root;
worker_processes 2;
worker_rlimit_nofile 8192;
pid {DIR}/nginx.pid;
error_log {DIR}/nginx.log;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path {DIR}/body;
    proxy_temp_path {DIR}/proxy;
    fastcgi_temp_path {DIR}/fastcgi;
    uwsgi_temp_path {DIR}/uwsgi;
    scgi_temp_path {DIR}/scgi;
    keepalive_requests 1000000;
    keepalive_timeout 60s;
";

/// HAProxy, up to its servers.
const HAPROXY: &str = "global
    nbthread 2
    maxconn 8192
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    http-reuse safe
";

impl Front {
    /// What it needs.
    #[must_use]
    pub fn kit(self) -> Kit {
        match self {
            Self::Nginx => Kit::Nginx,
            Self::Haproxy => Kit::Haproxy,
        }
    }

    /// How to start it before services that speak HTTP, or before scripts.
    ///
    /// # Errors
    /// When it is not installed, or its configuration cannot be written.
    pub fn command(self, services: &[Behind], scripts: bool, folder: &Path) -> Result<Command> {
        let dir = folder.display().to_string();
        match self {
            Self::Nginx => {
                let mut text = NGINX.replace("{DIR}", &dir);
                for service in services {
                    nginx_server(&mut text, service, scripts)?;
                }
                text.push_str("}\n");
                let file = folder.join("nginx.conf");
                fs::write(&file, text)?;
                let mut command = Command::new(paths::program("nginx")?);
                command.args(["-p", &dir, "-e", &format!("{dir}/nginx.log"), "-c"]).arg(file);
                Ok(command)
            }
            Self::Haproxy => {
                let mut text = HAPROXY.to_owned();
                for Behind { name, outer, inner, .. } in services {
                    writeln!(
                        text,
                        "listen {name}\n    bind 127.0.0.1:{outer} backlog 1024\n    server {name} 127.0.0.1:{inner}"
                    )?;
                }
                let file = folder.join("haproxy.cfg");
                fs::write(&file, text)?;
                let mut command = Command::new(paths::program("haproxy")?);
                command.arg("-db").arg("-f").arg(file);
                Ok(command)
            }
        }
    }
}

fn nginx_server(text: &mut String, service: &Behind, scripts: bool) -> Result<()> {
    let Behind { name, outer, inner, .. } = service;
    writeln!(text, "    upstream {name} {{ server 127.0.0.1:{inner}; keepalive 256; }}")?;
    write!(text, "    server {{\n        listen 127.0.0.1:{outer} backlog=1024;\n        location / {{\n")?;
    if scripts {
        let script = source("php/index.php");
        write!(
            text,
            "            fastcgi_pass {name};\n            fastcgi_param SCRIPT_FILENAME {};\n            \
             fastcgi_param REQUEST_METHOD $request_method;\n            fastcgi_param REQUEST_URI $request_uri;\n",
            script.display()
        )?;
    } else {
        write!(
            text,
            "            proxy_http_version 1.1;\n            proxy_set_header Connection \"\";\n            \
             proxy_pass http://{name};\n"
        )?;
    }
    text.push_str("        }\n    }\n");
    Ok(())
}

/// How to start PHP-FPM: a pool for each service.
///
/// # Errors
/// When it is not installed, or its configuration cannot be written.
pub fn php_fpm(services: &[Behind], folder: &Path) -> Result<Command> {
    let mut text = format!("[global]\ndaemonize = no\nerror_log = {}/php-fpm.log\n", folder.display());
    for Behind { name, inner, environment, .. } in services {
        write!(
            text,
            "[{name}]\nuser = root\nlisten = 127.0.0.1:{inner}\nlisten.backlog = 1024\npm = static\n\
             pm.max_children = 16\n"
        )?;
        // An empty value is no value to PHP-FPM.
        for (variable, value) in environment.iter().filter(|(_, value)| !value.is_empty()) {
            writeln!(text, "env[{variable}] = \"{value}\"")?;
        }
    }
    let file = folder.join("php-fpm.conf");
    fs::write(&file, text)?;
    let program = ["php-fpm8.2", "php-fpm8.4", "php-fpm"].into_iter().find_map(|name| paths::program(name).ok());
    let mut command = Command::new(program.map_or_else(|| paths::program("php-fpm"), Ok)?);
    command.args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"]).arg(file);
    Ok(command)
}
