//! Where profiles are sent, OTLP or Pyroscope: flags of `geophone profile` and `geophone run`, and the account of what became of them.

use std::time::Duration;

use clap::Args;
use tokio::runtime::Handle;

use super::{
    CliError,
    output::{OtlpArgs, period},
};
use crate::export::{
    DropReason, Limits, RetryPolicy, StartError,
    otlp::config::{Config, RawConfig, RawEndpoint},
    profiles::{Part, Sink, pyroscope::Api},
};

/// Where profiles are sent.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sending")]
pub struct SendArgs {
    /// Send the profile by OTLP; implied by --endpoint
    #[arg(long)]
    otlp: bool,
    #[command(flatten)]
    receiver: OtlpArgs,
    #[command(flatten)]
    pyroscope: PyroscopeArgs,
    /// Send a profile each so often, such as 15s, until --duration is over or Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = period, conflicts_with = "output")]
    pub interval: Option<Duration>,
}

/// How a Pyroscope server is reached.
#[derive(Args, Clone, Debug, Default)]
pub struct PyroscopeArgs {
    /// Send the profile to a Pyroscope server, such as http://localhost:4040; user:password@ before the host becomes basic authentication
    #[arg(long, value_name = "URL")]
    pyroscope: Option<String>,
    /// How that server takes profiles
    #[arg(long, value_enum, value_name = "API", default_value_t)]
    pyroscope_api: Api,
    /// Sent to Pyroscope with every request: key=value,key=value (X-Scope-OrgID=TENANT)
    #[arg(long, value_name = "LIST")]
    pyroscope_headers: Option<String>,
}

/// Receivers of profiles, as they were given.
pub struct Receivers {
    otlp: Option<Config>,
    pyroscope: Option<(Config, Api)>,
}

impl SendArgs {
    /// Whether profiles are sent anywhere.
    pub fn is_wanted(&self) -> bool {
        self.otlp || self.receiver.has_endpoint() || self.pyroscope.is_given()
    }

    /// Checks what was given, together with the environment.
    pub fn check(&self) -> Result<Receivers, CliError> {
        Receivers::new(self.otlp || self.receiver.has_endpoint(), &self.receiver, &self.pyroscope)
    }
}

impl PyroscopeArgs {
    /// Whether there is such a server.
    pub fn is_given(&self) -> bool {
        self.pyroscope.is_some()
    }
}

impl Receivers {
    /// Checks what was given, together with the environment: one of OTLP, if that is wanted, and a Pyroscope server.
    pub fn new(otlp: bool, receiver: &OtlpArgs, pyroscope: &PyroscopeArgs) -> Result<Self, CliError> {
        let config = |raw| Config::new::<Part>(raw).map_err(StartError::from);
        let otlp = otlp.then(|| config(receiver.raw::<Part>())).transpose()?;
        let api = pyroscope.pyroscope_api;
        let server = pyroscope.pyroscope.as_ref().map(|url| {
            let endpoint = format!("{}/{}", url.trim().trim_end_matches('/'), api.path());
            config(RawConfig {
                endpoint: Some(RawEndpoint::Signal(endpoint)),
                protocol: Some("http/protobuf".to_owned()),
                headers: pyroscope.pyroscope_headers.clone(),
                // Certificates are the machine's matter; what else is given for OTLP is for that receiver.
                ..receiver.certificates()
            })
        });
        Ok(Self { otlp, pyroscope: server.transpose()?.map(|config| (config, api)) })
    }

    /// Starts what sends to them.
    pub fn start(&self, runtime: &Handle) -> Result<Sink, CliError> {
        let mut sink = Sink::new(runtime.clone());
        if let Some(config) = &self.otlp {
            sink.add_otlp(config, Limits::of_profiles(), RetryPolicy::default())?;
        }
        if let Some((config, api)) = &self.pyroscope {
            sink.add_pyroscope(config, *api, Limits::of_profiles(), RetryPolicy::default())?;
        }
        Ok(sink)
    }
}

/// Sends what still waits, for as long as `time` allows, and says what became of all. Whether all of it has arrived.
pub fn finish(sink: Sink, runtime: &Handle, time: Duration) -> bool {
    let stats = sink.stats();
    runtime.block_on(sink.shutdown(time));
    let mut is_whole = true;
    for (name, stats) in stats {
        let counts = stats.snapshot();
        is_whole &= counts.exported == counts.offered;
        let lost = DropReason::ALL.iter().zip(counts.dropped).filter(|(_, count)| *count != 0);
        let lost: String = lost.map(|(reason, count)| format!(", {count} lost ({})", reason.name())).collect();
        let why = counts.last_error.filter(|_| !lost.is_empty()).map(|error| format!(": {error}")).unwrap_or_default();
        anstream::eprintln!("sent by {name}: the profiles of {} processes{lost}{why}", counts.exported);
    }
    is_whole
}
