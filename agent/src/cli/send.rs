//! Where profiles are sent, OTLP or Pyroscope: flags of `geophone profile`, and the account of what became of them.

use std::time::Duration;

use clap::Args;
use tokio::runtime::Handle;

use super::{
    CliError,
    output::{OtlpArgs, duration},
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
    /// Send the profile to a Pyroscope server, such as http://localhost:4040; user:password@ before the host becomes basic authentication
    #[arg(long, value_name = "URL")]
    pyroscope: Option<String>,
    /// How that server takes profiles
    #[arg(long, value_enum, value_name = "API", default_value_t)]
    pyroscope_api: Api,
    /// Sent to Pyroscope with every request: key=value,key=value (X-Scope-OrgID=TENANT)
    #[arg(long, value_name = "LIST")]
    pyroscope_headers: Option<String>,
    /// Send a profile each so often, such as 15s, until --duration is over or Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "output")]
    pub interval: Option<Duration>,
}

impl SendArgs {
    /// Whether profiles are sent anywhere.
    pub fn is_wanted(&self) -> bool {
        self.otlp || self.receiver.has_endpoint() || self.pyroscope.is_some()
    }

    /// Starts what sends them.
    pub fn start(&self, runtime: &Handle) -> Result<Sink, CliError> {
        let mut sink = Sink::new(runtime.clone());
        if self.otlp || self.receiver.has_endpoint() {
            let config = Config::new::<Part>(self.receiver.raw::<Part>()).map_err(StartError::from)?;
            sink.add_otlp(&config, Limits::of_profiles(), RetryPolicy::default())?;
        }
        if let Some(url) = &self.pyroscope {
            let endpoint = format!("{}/{}", url.trim().trim_end_matches('/'), self.pyroscope_api.path());
            let raw = RawConfig {
                endpoint: Some(RawEndpoint::Signal(endpoint)),
                protocol: Some("http/protobuf".to_owned()),
                headers: self.pyroscope_headers.clone(),
                // Certificates are the machine's matter; what else is given for OTLP is for that receiver.
                ..self.receiver.certificates()
            };
            let config = Config::new::<Part>(raw).map_err(StartError::from)?;
            sink.add_pyroscope(&config, self.pyroscope_api, Limits::of_profiles(), RetryPolicy::default())?;
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
