//! Where spans go: flags that all commands share which make spans.

use std::{io, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use tokio::runtime::Handle;

use super::CliError;
use crate::{
    export::{
        Format, Layout, Limits, Outputs, RetryPolicy, Signal, WhenFull,
        otlp::config::{Config, RawConfig, RawEndpoint},
    },
    trace::Span,
};

/// A kind of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned lines for people
    Text,
    /// One JSON object a line for scripts
    Json,
    /// OTLP, to --endpoint
    Otlp,
    /// Nowhere: only the account at the end
    None,
}

/// How receivers of OTLP are reached: of spans and of profiles.
#[derive(Args, Clone, Debug, Default)]
pub struct OtlpArgs {
    /// OTLP receiver, such as http://localhost:4317 [env: OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// grpc or http/protobuf [env: OTEL_EXPORTER_OTLP_PROTOCOL]
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<String>,
    /// Sent with every request: key=value,key=value [env: OTEL_EXPORTER_OTLP_HEADERS]
    #[arg(long, value_name = "LIST")]
    headers: Option<String>,
    /// gzip or none [env: OTEL_EXPORTER_OTLP_COMPRESSION]
    #[arg(long, value_name = "METHOD")]
    compression: Option<String>,
    /// For one request, such as 10s [env: OTEL_EXPORTER_OTLP_TIMEOUT, in milliseconds]
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// Certificates (PEM) to trust instead of the system's [env: OTEL_EXPORTER_OTLP_CERTIFICATE]
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// This side's certificate (PEM) [env: OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE]
    #[arg(long, value_name = "FILE")]
    client_certificate: Option<PathBuf>,
    /// Its private key (PEM) [env: OTEL_EXPORTER_OTLP_CLIENT_KEY]
    #[arg(long, value_name = "FILE")]
    client_key: Option<PathBuf>,
}

impl OtlpArgs {
    /// What was given, together with the environment's variables for a signal.
    pub fn raw<T: Signal>(&self) -> RawConfig {
        let flags = RawConfig {
            endpoint: self.endpoint.clone().map(RawEndpoint::Base),
            protocol: self.protocol.clone(),
            headers: self.headers.clone(),
            compression: self.compression.clone(),
            timeout: self.timeout.clone(),
            certificate: self.certificate.clone(),
            client_certificate: self.client_certificate.clone(),
            client_key: self.client_key.clone(),
            insecure: None,
        };
        flags.or(RawConfig::from_env::<T>(|name| std::env::var(name).ok()))
    }

    /// Only how to trust, and to be trusted by, receivers.
    pub fn certificates(&self) -> RawConfig {
        RawConfig {
            certificate: self.certificate.clone(),
            client_certificate: self.client_certificate.clone(),
            client_key: self.client_key.clone(),
            ..RawConfig::default()
        }
    }

    /// An endpoint was given by its flag.
    pub fn has_endpoint(&self) -> bool {
        self.endpoint.is_some()
    }
}

/// Where spans go.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Where spans go; default: otlp when an endpoint is given by flag or variable, else text
    #[arg(long, short, value_enum, value_delimiter = ',')]
    output: Vec<Output>,
    #[command(flatten)]
    otlp: OtlpArgs,
    /// How long a span waits at most for others to be sent with
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    export_interval: Duration,
    /// Spans that wait at most to be sent; what comes when there are so many is dropped and counted
    #[arg(long, value_name = "SPANS", default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    export_queue: u32,
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct OutputSettings {
    outputs: Vec<Output>,
    otlp: Option<Config>,
    limits: Limits,
}

impl OutputArgs {
    /// How a receiver of OTLP is reached.
    pub fn receiver(&self) -> &OtlpArgs {
        &self.otlp
    }

    /// Checks what was given, together with the environment.
    pub fn check(&self, when_full: WhenFull) -> Result<OutputSettings, CliError> {
        let raw = self.otlp.raw::<Span>();
        let mut outputs = self.output.clone();
        if outputs.is_empty() {
            outputs.push(if raw.endpoint.is_some() { Output::Otlp } else { Output::Text });
        }
        let otlp = if outputs.contains(&Output::Otlp) {
            Some(Config::new::<Span>(raw).map_err(crate::export::StartError::from)?)
        } else {
            None
        };
        let limits = Limits {
            spans: self.export_queue as usize,
            // Two kibibytes a span, which few need.
            bytes: self.export_queue as usize * 2048,
            interval: self.export_interval,
            when_full,
            ..Limits::default()
        };
        Ok(OutputSettings { outputs, otlp, limits })
    }
}

impl OutputSettings {
    /// Starts the outputs.
    pub fn start(&self, runtime: &Handle) -> Result<Outputs, CliError> {
        let mut outputs = Outputs::new(runtime.clone());
        for output in &self.outputs {
            // People and scripts read line by line, and look at them now.
            let lines = Limits { interval: self.limits.interval.min(Duration::from_millis(100)), ..self.limits };
            let stdout = || Box::new(io::stdout());
            match (output, &self.otlp) {
                (Output::Text, _) => outputs.add_lines(Format::Text(Layout::of_stdout()), stdout(), lines)?,
                (Output::Json, _) => outputs.add_lines(Format::Json, stdout(), lines)?,
                (Output::Otlp, Some(config)) => outputs.add_otlp(config, self.limits, RetryPolicy::default())?,
                (Output::Otlp | Output::None, _) => {}
            }
        }
        Ok(outputs)
    }

    /// In words, for the line that says that it works.
    pub fn describe(&self) -> String {
        let words = self.outputs.iter().map(|output| match (output, &self.otlp) {
            (Output::Text, _) => "text".to_owned(),
            (Output::Json, _) => "JSON".to_owned(),
            (Output::Otlp, Some(config)) => format!("OTLP to {}", config.endpoint),
            (Output::Otlp | Output::None, _) => "no output".to_owned(),
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// A duration such as `30s`, `500ms` or `5m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error} (write it as 30s, 500ms or 5m)"))
}

/// The same, of something that happens again and again: at least a millisecond.
pub fn period(text: &str) -> Result<Duration, String> {
    let period = duration(text)?;
    if period < Duration::from_millis(1) { Err("at least 1ms".to_owned()) } else { Ok(period) }
}
