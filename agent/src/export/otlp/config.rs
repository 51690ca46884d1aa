//! Settings of an OTLP output: `OTEL_EXPORTER_OTLP_*` variables and flags, raw and checked.
//!
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::{fs, path::PathBuf, time::Duration};

use opentelemetry_otlp as otlp;
use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use thiserror::Error;

use crate::export::signal::Signal;

/// Settings as they were given: by variables, or by flags.
#[derive(Clone, Default)]
pub struct RawConfig {
    /// Where to send to.
    pub endpoint: Option<RawEndpoint>,
    /// `grpc` or `http/protobuf`.
    pub protocol: Option<String>,
    /// `key=value,key=value`, values percent-encoded.
    pub headers: Option<String>,
    /// `gzip` or `none`.
    pub compression: Option<String>,
    /// Milliseconds, or with a unit (`10s`).
    pub timeout: Option<String>,
    /// File with the certificates (PEM) that the receiver's must be signed by.
    pub certificate: Option<PathBuf>,
    /// File with this side's certificate (PEM).
    pub client_certificate: Option<PathBuf>,
    /// File with its private key (PEM).
    pub client_key: Option<PathBuf>,
    /// `true` or `false`: no TLS for a gRPC endpoint without a scheme.
    pub insecure: Option<String>,
}

/// An endpoint as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawEndpoint {
    /// For all signals: over HTTP, the signal's path is appended.
    Base(String),
    /// For this signal: used as it is.
    Signal(String),
}

impl RawEndpoint {
    fn names_grpc_port(&self) -> bool {
        let (Self::Base(text) | Self::Signal(text)) = self;
        text.trim().trim_end_matches('/').ends_with(":4317")
    }
}

impl RawConfig {
    /// What the variables say. An empty one is as good as none; the one for the signal goes before the one for all signals.
    pub fn from_env<T: Signal>(var: impl Fn(&str) -> Option<String>) -> Self {
        let var = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let own = |suffix: &str| var(&format!("OTEL_EXPORTER_OTLP_{}_{suffix}", T::VARIABLES));
        let either = |suffix: &str| own(suffix).or_else(|| var(&format!("OTEL_EXPORTER_OTLP_{suffix}")));
        Self {
            endpoint: own("ENDPOINT")
                .map(RawEndpoint::Signal)
                .or_else(|| var(otlp::OTEL_EXPORTER_OTLP_ENDPOINT).map(RawEndpoint::Base)),
            protocol: either("PROTOCOL"),
            headers: either("HEADERS"),
            compression: either("COMPRESSION"),
            timeout: either("TIMEOUT"),
            certificate: either("CERTIFICATE").map(PathBuf::from),
            client_certificate: either("CLIENT_CERTIFICATE").map(PathBuf::from),
            client_key: either("CLIENT_KEY").map(PathBuf::from),
            insecure: either("INSECURE"),
        }
    }

    /// These settings, and those of `other` where there are none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            endpoint: self.endpoint.or(other.endpoint),
            protocol: self.protocol.or(other.protocol),
            headers: self.headers.or(other.headers),
            compression: self.compression.or(other.compression),
            timeout: self.timeout.or(other.timeout),
            certificate: self.certificate.or(other.certificate),
            client_certificate: self.client_certificate.or(other.client_certificate),
            client_key: self.client_key.or(other.client_key),
            insecure: self.insecure.or(other.insecure),
        }
    }
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to send to: the whole URL for HTTP, scheme and authority for gRPC.
    pub endpoint: Url,
    /// Over what.
    pub protocol: Protocol,
    /// To send with every request. Their values are marked as sensitive.
    pub headers: HeaderMap,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// For one request.
    pub timeout: Duration,
    /// For `https` endpoints.
    pub tls: Tls,
}

/// What OTLP is carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf in HTTP requests.
    Http,
}

/// Contents of the files for TLS (PEM), read but not parsed.
#[derive(Clone, Default)]
pub struct Tls {
    /// Certificates to trust; without, those of the system.
    pub roots: Option<Vec<u8>>,
    /// This side's certificate chain and private key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (roots, identity) = (self.roots.is_some(), self.identity.is_some());
        f.debug_struct("Tls").field("roots", &roots).field("identity", &identity).finish()
    }
}

/// What is wrong with the settings of an OTLP output.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not a URL that can be sent to. Of OTLP or of Pyroscope, as the settings are.
    #[error("endpoint `{endpoint}` is not valid: {reason}; give it as http://HOST:PORT or https://HOST:PORT")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// Not a protocol that is supported.
    #[error("OTLP protocol `{0}` is not supported: use `grpc` or `http/protobuf`")]
    Protocol(String),
    /// Not a list of headers. Says the name at most: values are secrets.
    #[error("header {0}: give headers as `name=value,name=value`, values percent-encoded")]
    Header(String),
    /// Not a compression that is supported.
    #[error("OTLP compression `{0}` is not supported: use `gzip` or `none`")]
    Compression(String),
    /// Not a time.
    #[error("timeout `{0}` is not valid: give milliseconds, or a time with its unit such as `10s`, above zero")]
    Timeout(String),
    /// Neither `true` nor `false`.
    #[error("OTLP setting `insecure` is `{0}`: use `true` or `false`")]
    Insecure(String),
    /// A file that cannot be read.
    #[error("{what} `{path}` cannot be read: {error}")]
    File {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// One of two that only make sense together.
    #[error("client certificate and client key must be given together")]
    HalfIdentity,
    /// The files are not what TLS needs.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl Config {
    /// Checks settings of a signal's output, and reads the files that they name.
    ///
    /// # Errors
    /// Whatever [`ConfigError`] lists.
    pub fn new<T: Signal>(raw: RawConfig) -> Result<Self, ConfigError> {
        let protocol = match raw.protocol.as_deref().map(str::trim) {
            // The specification's default is HTTP. Who names the port that is gRPC's by convention, and no protocol, means gRPC.
            None if raw.endpoint.as_ref().is_some_and(RawEndpoint::names_grpc_port) => Protocol::Grpc,
            None | Some(otlp::OTEL_EXPORTER_OTLP_PROTOCOL_HTTP_PROTOBUF) => Protocol::Http,
            Some(otlp::OTEL_EXPORTER_OTLP_PROTOCOL_GRPC) => Protocol::Grpc,
            Some(other) => return Err(ConfigError::Protocol(other.to_owned())),
        };
        let insecure = match raw.insecure.as_deref().map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(ConfigError::Insecure(other.to_owned())),
        };
        let gzip = match raw.compression.as_deref().map(str::trim) {
            None | Some("none") => false,
            Some("gzip") => true,
            Some(other) => return Err(ConfigError::Compression(other.to_owned())),
        };
        let identity = match (raw.client_certificate, raw.client_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                Some((read("client certificate", certificate)?, read("client key", key)?))
            }
            _ => return Err(ConfigError::HalfIdentity),
        };
        Ok(Self {
            endpoint: endpoint(raw.endpoint, protocol, insecure, T::PATH)?,
            protocol,
            headers: headers(raw.headers.as_deref().unwrap_or_default())?,
            gzip,
            timeout: timeout(raw.timeout.as_deref())?,
            tls: Tls { roots: raw.certificate.map(|path| read("certificate", path)).transpose()?, identity },
        })
    }
}

fn read(what: &'static str, path: PathBuf) -> Result<Vec<u8>, ConfigError> {
    fs::read(&path).map_err(|error| ConfigError::File { what, path, error })
}

fn endpoint(raw: Option<RawEndpoint>, protocol: Protocol, insecure: bool, path: &str) -> Result<Url, ConfigError> {
    let default = match protocol {
        Protocol::Grpc => "http://localhost:4317",
        Protocol::Http => "http://localhost:4318",
    };
    let (text, is_base) = match raw {
        None => (default.to_owned(), true),
        Some(RawEndpoint::Base(text)) => (text, true),
        Some(RawEndpoint::Signal(text)) => (text, false),
    };
    let text = text.trim();
    let error = |reason: &str| ConfigError::Endpoint { endpoint: text.to_owned(), reason: reason.to_owned() };
    let mut url = match (text.contains("://"), protocol) {
        (true, _) => Url::parse(text),
        // gRPC allows `host:port`; whether it means TLS is said apart.
        (false, Protocol::Grpc) => Url::parse(&format!("{}://{text}", if insecure { "http" } else { "https" })),
        (false, Protocol::Http) => return Err(error("it has no scheme")),
    }
    .map_err(|reason| error(&reason.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(error("its scheme is neither http nor https"));
    }
    if !url.has_host() {
        return Err(error("it has no host"));
    }
    match protocol {
        Protocol::Grpc => url.set_path(""),
        Protocol::Http if is_base => {
            let path = format!("{}/{path}", url.path().trim_end_matches('/'));
            url.set_path(&path);
        }
        Protocol::Http => {}
    }
    Ok(url)
}

fn headers(text: &str) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| ConfigError::Header("has no `=`".into()))?;
        let wrong = |what: &str| ConfigError::Header(format!("`{}` {what}", name.trim()));
        let parsed =
            HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong("is not a name that HTTP allows"))?;
        let value = percent_decode(value.trim()).ok_or_else(|| wrong("has a broken percent-encoding"))?;
        let mut value = HeaderValue::from_bytes(&value).map_err(|_| wrong("has a value that HTTP does not allow"))?;
        value.set_sensitive(true);
        headers.append(parsed, value);
    }
    Ok(headers)
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' { digit(bytes.next())? << 4 | digit(bytes.next())? } else { byte });
    }
    Some(decoded)
}

fn timeout(text: Option<&str>) -> Result<Duration, ConfigError> {
    let Some(text) = text.map(str::trim) else {
        return Ok(otlp::OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT);
    };
    let parsed = match text.parse() {
        Ok(millis) => Some(Duration::from_millis(millis)),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    parsed.filter(|timeout| !timeout.is_zero()).ok_or_else(|| ConfigError::Timeout(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{export::profiles::Part, trace::Span};

    fn env(vars: &[(&str, &str)]) -> RawConfig {
        let vars: HashMap<_, _> = vars.iter().copied().collect();
        RawConfig::from_env::<Span>(|name| vars.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn has_the_defaults_of_the_specification() {
        let config = Config::new::<Span>(env(&[])).unwrap();
        assert_eq!(config.endpoint.as_str(), "http://localhost:4318/v1/traces");
        assert_eq!(config.protocol, Protocol::Http);
        assert_eq!(config.timeout, Duration::from_secs(10));
        assert!(!config.gzip);
        let config = Config::new::<Span>(env(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")])).unwrap();
        assert_eq!(config.endpoint.as_str(), "http://localhost:4317/");
    }

    #[test]
    fn the_port_of_grpc_means_grpc_unless_something_else_is_said() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        assert_eq!(Config::new::<Span>(env(&[endpoint])).unwrap().protocol, Protocol::Grpc);
        let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        assert_eq!(Config::new::<Span>(env(&[endpoint, http])).unwrap().protocol, Protocol::Http);
        let other = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:14317x");
        assert!(Config::new::<Span>(env(&[other])).is_err());
    }

    #[test]
    fn appends_the_path_to_base_endpoints_only() {
        for (name, given, sent_to) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:1", "https://c:1/v1/traces"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1/otlp/", "http://c:1/otlp/v1/traces"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/in", "http://c:1/in"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1", "http://c:1/"),
        ] {
            assert_eq!(Config::new::<Span>(env(&[(name, given)])).unwrap().endpoint.as_str(), sent_to);
        }
    }

    #[test]
    fn grpc_endpoints_need_no_scheme() {
        for (endpoint, insecure, sent_to) in [
            ("c:1", "true", "http://c:1/"),
            ("c:1", "", "https://c:1/"),
            ("http://c:1", "false", "http://c:1/"),
            ("https://c:1", "true", "https://c:1/"),
        ] {
            let vars = [
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
                ("OTEL_EXPORTER_OTLP_INSECURE", insecure),
            ];
            assert_eq!(Config::new::<Span>(env(&vars)).unwrap().endpoint.as_str(), sent_to);
        }
    }

    #[test]
    fn traces_go_before_all_signals_and_flags_before_both() {
        let raw = env(&[
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ]);
        let flags = RawConfig { protocol: Some("http/protobuf".into()), ..RawConfig::default() };
        let config = Config::new::<Span>(flags.or(raw)).unwrap();
        assert!(config.gzip);
        assert_eq!(config.timeout, Duration::from_millis(2_500));
        assert_eq!(config.protocol, Protocol::Http);
    }

    #[test]
    fn reads_headers_and_keeps_them_secret() {
        let config = Config::new::<Span>(env(&[("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b%3D, X-Two=2,")])).unwrap();
        assert_eq!(config.headers.get("api-key").unwrap(), "a b=");
        assert_eq!(config.headers.get("x-two").unwrap(), "2");
        assert!(!format!("{config:?}").contains("a b="));
    }

    #[test]
    fn says_in_one_sentence_what_is_wrong() {
        for (name, value, part) in [
            ("ENDPOINT", "localhost:4318", "no scheme"),
            ("ENDPOINT", "ftp://x", "neither http nor https"),
            ("ENDPOINT", "http://", "not valid"),
            ("ENDPOINT", "http://x:99999", "port"),
            ("PROTOCOL", "http/json", "`grpc` or `http/protobuf`"),
            ("HEADERS", "secret", "no `=`"),
            ("HEADERS", "a b=secret", "`a b`"),
            ("HEADERS", "a=secret%0", "percent"),
            ("HEADERS", "a=secret%0a", "does not allow"),
            ("COMPRESSION", "zstd", "`gzip` or `none`"),
            ("TIMEOUT", "soon", "milliseconds"),
            ("TIMEOUT", "0", "above zero"),
            ("INSECURE", "maybe", "`true` or `false`"),
            ("CERTIFICATE", "/nonexistent/ca.pem", "/nonexistent/ca.pem"),
            ("CLIENT_KEY", "/nonexistent/key.pem", "together"),
        ] {
            let error =
                Config::new::<Span>(env(&[(&format!("OTEL_EXPORTER_OTLP_{name}"), value)])).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("secret") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn signals_have_their_own_variables_and_paths() {
        let vars = HashMap::from([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_PROFILES_HEADERS", "a=b"),
        ]);
        let raw = || RawConfig::from_env::<Part>(|name| vars.get(name).map(|value| (*value).to_owned()));
        let config = Config::new::<Part>(raw()).unwrap();
        assert_eq!(config.endpoint.as_str(), "http://c:1/v1development/profiles");
        assert!(!config.gzip && config.headers.len() == 1);
    }
}
