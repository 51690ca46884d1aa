//! Profiles to Pyroscope: by its own service `push.v1.PusherService/Push` (Connect, protobuf over HTTP), or, for older servers and others
//! that speak that, by `/ingest`. Both carry pprof.
//!
//! <https://github.com/grafana/pyroscope/blob/main/api/push/v1/push.proto>,
//! <https://grafana.com/docs/pyroscope/latest/reference-server-api/>

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use prost::Message;
use rand::RngExt as _;
use reqwest::Url;

use super::Part;
use crate::{
    export::{
        deliver::{Answer, Carrier},
        otlp::{
            self,
            config::{Config, ConfigError},
            http::HttpClient,
        },
        retry::{Failure, Retry, http_status},
        stats::FailureKind,
    },
    profile::{Kind, Profile, model::service_name, output::pprof},
    protocol::Value,
    trace::Resource,
};

/// Attributes of resources that become labels, with `_` for what labels may not have: by these beginnings. Few enough values, so that a
/// profile can be asked for by them.
const LABELS: &[&str] = &["service.", "deployment.", "host.name", "container.name", "k8s."];
/// Ids of instances are as many as there are processes.
const TOO_MANY: &[&str] = &["service.instance.id", "k8s.pod.uid"];

/// How a server takes profiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Api {
    /// `push.v1.PusherService/Push`
    #[default]
    Push,
    /// `/ingest`, as pprof
    Ingest,
}

impl Api {
    /// What is behind the server's URL.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Push => "push.v1.PusherService/Push",
            Self::Ingest => "ingest",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Push => "application/proto",
            Self::Ingest => "application/octet-stream",
        }
    }
}

/// A Pyroscope server.
#[derive(Debug)]
pub struct Pyroscope {
    api: Api,
    client: HttpClient,
    endpoint: String,
}

impl Pyroscope {
    /// Of these settings, whose endpoint has the API's path already. Connects when there is something to send.
    ///
    /// # Errors
    /// The settings for TLS are not valid.
    pub fn new(config: &Config, api: Api) -> Result<Self, ConfigError> {
        let client = HttpClient::new(config, api.content_type())?.with_statuses(status);
        Ok(Self { api, client, endpoint: otlp::shown(&config.endpoint) })
    }
}

/// Servers say 500 when an ingester is away for a moment, so that all of those are worth another try.
fn status(status: u16, retry_after: Option<&str>) -> (FailureKind, Retry) {
    match (status, http_status(status, retry_after)) {
        (408 | 409 | 500.., (FailureKind::Refused, _)) => (FailureKind::Busy, Retry::Backoff),
        (_, other) => other,
    }
}

impl Carrier for Pyroscope {
    type Item = Part;
    type Request = (Url, Bytes);

    fn name(&self) -> &str {
        &self.endpoint
    }

    fn request(&self, items: &[Part]) -> io::Result<(Url, Bytes)> {
        let mut url = self.client.endpoint().clone();
        let body = match self.api {
            Api::Push => self.client.body(push(items)?.encode_to_vec())?,
            // A request for each: see `Api::batch`.
            Api::Ingest => {
                let Some(part) = items.first() else {
                    return Ok((url, Bytes::new()));
                };
                query(&mut url, part);
                self.client.body(pprof(&part.profile().part(part.stacks()))?)?
            }
        };
        Ok((url, body))
    }

    async fn send(&self, (url, body): (Url, Bytes)) -> Result<Answer, Failure> {
        self.client.send(url, body).await?;
        Ok(Answer::Accepted { rejected: 0, message: String::new() })
    }
}

impl Api {
    /// Profiles in one request, at most.
    #[must_use]
    pub fn batch(self) -> usize {
        match self {
            Self::Push => 1024,
            Self::Ingest => 1,
        }
    }
}

/// All parts, those of one profile with the same labels in one pprof.
fn push(parts: &[Part]) -> io::Result<PushRequest> {
    let mut groups: BTreeMap<(BTreeMap<String, String>, *const Profile), Vec<&Part>> = BTreeMap::new();
    for part in parts {
        if let Some(resource) = part.resource() {
            let key = (labels(resource, part.profile().kind), Arc::as_ptr(part.profile()));
            groups.entry(key).or_default().push(part);
        }
    }
    let mut series = Vec::new();
    for ((labels, _), parts) in groups {
        let Some(first) = parts.first() else {
            continue;
        };
        let stacks = parts.iter().flat_map(|part| part.stacks());
        let raw_profile = pprof(&first.profile().part(stacks))?;
        let labels = labels.into_iter().map(|(name, value)| LabelPair { name, value }).collect();
        let id = format!("{:032x}", rand::rng().random::<u128>());
        series.push(RawProfileSeries { labels, samples: vec![RawSample { raw_profile, id }] });
    }
    Ok(PushRequest { series })
}

fn pprof(profile: &Profile) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pprof::write_for_requests(profile, &mut bytes)?;
    Ok(bytes)
}

/// Labels of a resource, `service_name` and `__name__` among them.
fn labels(resource: &Resource, kind: Kind) -> BTreeMap<String, String> {
    let is_label = |key: &str| LABELS.iter().any(|start| key.starts_with(start)) && !TOO_MANY.contains(&key);
    let texts = resource.attributes.0.iter().filter_map(|(key, value)| match value {
        Value::Text(text) if is_label(key) && !text.is_empty() => Some((label_name(key), text.to_string())),
        _ => None,
    });
    let mut labels: BTreeMap<String, String> = texts.collect();
    labels.insert("service_name".to_owned(), service_name(resource).to_owned());
    let name = match kind {
        Kind::OnCpu { .. } => "process_cpu",
        Kind::OffCpu { .. } => "off_cpu",
    };
    labels.insert("__name__".to_owned(), name.to_owned());
    labels
}

fn label_name(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// `?name=SERVICE{LABEL=VALUE,...}&from=...`
fn query(url: &mut Url, part: &Part) {
    let Some(resource) = part.resource() else {
        return;
    };
    let profile = part.profile();
    let mut labels = labels(resource, profile.kind);
    labels.remove("__name__");
    let service = labels.remove("service_name").unwrap_or_default();
    // What has a meaning in this notation.
    let clean = |text: &str| text.replace(['{', '}', ',', '='], "_");
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:".contains(c);
    let service: String = service.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={}", clean(value))).collect();
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs().to_string();
    url.query_pairs_mut()
        .append_pair("name", &format!("{service}{{{}}}", pairs.join(",")))
        .append_pair("from", &seconds(profile.start))
        .append_pair("until", &seconds(profile.start + profile.duration))
        .append_pair("format", "pprof")
        .append_pair("spyName", "geophone");
    if let Kind::OnCpu { frequency } = profile.kind {
        url.query_pairs_mut().append_pair("sampleRate", &frequency.to_string());
    }
}

/// `push.v1.PushRequest`.
#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<RawProfileSeries>,
}

/// `push.v1.RawProfileSeries`.
#[derive(Clone, PartialEq, Message)]
struct RawProfileSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelPair>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<RawSample>,
}

/// `push.v1.RawSample`.
#[derive(Clone, PartialEq, Message)]
struct RawSample {
    #[prost(bytes = "vec", tag = "1")]
    raw_profile: Vec<u8>,
    #[prost(string, tag = "2")]
    id: String,
}

/// `types.v1.LabelPair`.
#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::tests::example;

    /// The profile of a process with this resource.
    fn parts(attributes: &[(&'static str, &str)]) -> Vec<Part> {
        let mut resource = Resource::default();
        attributes.iter().for_each(|(key, value)| resource.attributes.push(key, *value));
        let (resource, mut profile) = (Arc::new(resource), example());
        profile.stacks.iter_mut().for_each(|stack| stack.resource = Arc::clone(&resource));
        Part::of(profile)
    }

    const ATTRIBUTES: [(&str, &str); 5] = [
        ("service.name", "shop {1}"),
        ("service.instance.id", "1234"),
        ("host.name", "a,b=c"),
        ("process.command", "shop --secret"),
        ("k8s.pod.name", "shop-1"),
    ];

    #[test]
    fn only_what_has_few_values_is_a_label() {
        let request = push(&parts(&ATTRIBUTES)).unwrap();
        let [series] = request.series.as_slice() else { panic!("{request:?}") };
        let labels: Vec<_> = series.labels.iter().map(|label| (&*label.name, &*label.value)).collect();
        assert_eq!(
            labels,
            [
                ("__name__", "process_cpu"),
                ("host_name", "a,b=c"),
                ("k8s_pod_name", "shop-1"),
                ("service_name", "shop {1}")
            ]
        );
        assert_eq!((series.samples.len(), series.samples[0].id.len()), (1, 32));
    }

    #[test]
    fn names_for_ingest_cannot_be_misread() {
        let mut url = Url::parse("http://h:4040/ingest").unwrap();
        query(&mut url, &parts(&ATTRIBUTES)[0]);
        let pairs: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(pairs["name"], "shop__1_{host_name=a_b_c,k8s_pod_name=shop-1}");
        assert_eq!((&*pairs["from"], &*pairs["until"], &*pairs["sampleRate"]), ("1000", "1010", "100"));
    }

    #[test]
    fn processes_of_a_service_are_one_series() {
        let attributes = [("service.name", "shop")];
        let profile = |kind| {
            let mut profile = parts(&attributes).pop().unwrap().profile().as_ref().clone();
            let other = parts(&attributes).pop().unwrap().profile().stacks[0].clone();
            profile.stacks.push(other);
            Part::of(Profile { kind, ..profile })
        };
        let running = profile(Kind::OnCpu { frequency: 99 });
        assert_eq!(running.len(), 2, "two processes");
        let waiting = profile(Kind::OffCpu { least: Duration::ZERO });
        let request = push(&[running, waiting].concat()).unwrap();
        assert_eq!(request.series.len(), 2);
    }

    #[test]
    fn statuses_that_may_pass() {
        for (code, is_retried) in
            [(408, true), (409, true), (429, true), (500, true), (503, true), (400, false), (401, false)]
        {
            assert_eq!(status(code, None).1 != Retry::Never, is_retried, "{code}");
        }
        assert_eq!(status(503, Some("7")).1, Retry::After(Duration::from_secs(7)));
        assert_eq!(status(413, None).0, FailureKind::TooLarge);
    }
}
