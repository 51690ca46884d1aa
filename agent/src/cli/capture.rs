//! How it is captured: flags that `run` and `demo` share.

use std::sync::Arc;

use clap::Args;

use super::{CliError, select::SelectArgs};
use crate::{
    bpf::{FrontEnd, Options},
    conn,
    protocol::{Shared, http::Routes},
    trace::{ClockSample, Tracer},
};

/// How connections are captured and understood.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Capture")]
pub struct CaptureArgs {
    /// Where bytes are seen; by default the cheaper one that this kernel offers
    #[arg(long, value_enum)]
    capture: Option<FrontEnd>,
    /// Bytes copied from the beginning of each call; more is asked for by itself where a message's head is longer
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..=16384))]
    capture_bytes: u32,
    /// Size of each processor's ring buffer, in KiB, rounded up to a power of two; default: 4096, less with very many processors
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    ring_size: Option<u32>,
    /// Connections that are kept track of at a time
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(16..=4_194_304))]
    max_connections: u32,
    /// A route of yours, such as /users/{id}/orders/{order} or /static/*; the first that matches a path names its spans
    #[arg(long, value_name = "PATTERN")]
    route: Vec<String>,
    /// Name client spans by route too, and set url.template
    #[arg(long)]
    client_routes: bool,
    /// Do not take the same id, in the path or query of a request and of a call made meanwhile, for a sign that one has caused the other
    #[arg(long)]
    no_value_links: bool,
    /// Make spans too of what an OpenTelemetry SDK (or another one) in a service makes spans of and is seen to send them; by default they
    /// are left out, and what belongs to them hangs under the SDK's own
    #[arg(long)]
    keep_sdk_spans: bool,
    /// Do not read what is encrypted: no probes in TLS libraries; what stays unread is listed at the end
    #[arg(long)]
    pub no_tls: bool,
    /// Measure for how long threads run for each request, and what they wait for: geophone.cpu.time and geophone.wait.* of its span,
    /// where a thread serves it from beginning to end; costs 0.1 us at each context switch of this host, and 0.5 us at those of traced threads
    #[arg(long)]
    usage: bool,
    /// Ports where DNS is spoken by UDP, four at most; where --port is given, it is those
    #[arg(long, value_name = "PORT", value_delimiter = ',', action = clap::ArgAction::Set, num_args = 1..=4, default_values_t = [53], value_parser = clap::value_parser!(u16).range(1..))]
    dns_port: Vec<u16>,
    /// Let the kernel programs say on standard error what they decide
    #[arg(long)]
    pub debug_kernel: bool,
}

impl CaptureArgs {
    /// Where datagrams are lookups: as for the kernel side.
    pub fn dns_ports(&self) -> &[u16] {
        &self.dns_port
    }

    /// What the kernel side is loaded with.
    pub fn options(&self, select: &SelectArgs, selective: bool, report_exec: bool) -> Options {
        Options {
            front_end: self.capture,
            capture: self.capture_bytes,
            ring_bytes: self.ring_size.map(|kib| kib.saturating_mul(1024)),
            max_connections: self.max_connections,
            selective,
            report_exec,
            ports: select.port.clone(),
            dns_ports: std::array::from_fn(|i| self.dns_port.get(i).copied().unwrap_or_default()),
            debug: self.debug_kernel,
            sampling: None,
            usage: self.usage,
            greets: false,
            contexts: None,
            inject: None,
        }
    }

    /// What the connection stage is bounded by.
    pub fn limits(&self) -> conn::Limits {
        conn::Limits { connections: self.max_connections as usize, ..conn::Limits::default() }
    }

    /// What makes spans, by clocks that show this.
    pub fn tracer(&self, clock: ClockSample) -> Result<Tracer, CliError> {
        let mut tracer = Tracer::new(clock)
            .map_err(|error| CliError::System { what: "random numbers", error: std::io::Error::other(error) })?;
        if self.keep_sdk_spans {
            tracer.keep_sdk_spans();
        }
        Ok(tracer)
    }

    /// What the protocol stage is configured with.
    pub fn shared(&self) -> Result<Arc<Shared>, CliError> {
        Ok(Arc::new(Shared {
            capture: self.capture_bytes,
            routes: Routes::new(self.route.iter().map(String::as_str))?,
            client_templates: self.client_routes,
            link_values: !self.no_value_links,
            ..Shared::default()
        }))
    }
}
