//! Real receivers of OTLP: Jaeger and the OpenTelemetry Collector, each with an account of what arrived.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::child::Guard;
use crate::span::Span;
use crate::wait::PATIENCE;
use crate::{paths, ports, wait};

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    _guard: Guard,
    folder: TempDir,
    /// Takes OTLP over gRPC.
    pub grpc: u16,
    /// Takes OTLP over HTTP.
    pub http: u16,
    /// Answers queries; 0 where there are none.
    pub query: u16,
}

impl Receiver {
    /// Jaeger, with its store in memory.
    ///
    /// # Errors
    /// When it does not start.
    pub fn jaeger() -> Result<Self> {
        Self::start("jaeger", include_str!("../receivers/jaeger/config.yaml"), &[])
    }

    /// The Collector, which writes what it gets to a file.
    ///
    /// # Errors
    /// When it does not start.
    pub fn collector() -> Result<Self> {
        Self::start("collector", include_str!("../receivers/collector/config.yaml"), &[])
    }

    /// The Collector, taking profiles.
    ///
    /// # Errors
    /// When it does not start.
    pub fn collector_of_profiles() -> Result<Self> {
        let config = include_str!("../receivers/collector/profiles.yaml");
        Self::start("collector", config, &["--feature-gates=service.profilesSupport"])
    }

    fn start(program: &str, template: &str, arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (grpc, http, query) = (ports::free()?, ports::free()?, ports::free()?);
        let more = [ports::free()?, ports::free()?, ports::free()?];
        let out = folder.path().join("spans.json");
        let mut text = template
            .replace("{GRPC}", &grpc.to_string())
            .replace("{HTTP}", &http.to_string())
            .replace("{QUERY}", &query.to_string())
            .replace("{FILE}", &out.to_string_lossy());
        for (i, port) in more.iter().enumerate() {
            text = text.replace(&format!("{{PORT{i}}}"), &port.to_string());
        }
        let config = folder.path().join("config.yaml");
        fs::write(&config, text)?;
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(paths::installed(program)?);
        // Neither is to send spans of its own to its default port.
        command.env("OTEL_TRACES_SAMPLER", "always_off");
        command.arg("--config").arg(&config).args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut guard = Guard::start(&mut command)?;
        let mut ended = false;
        wait::until(PATIENCE, &format!("{program} to listen"), || {
            ended = matches!(guard.inner().try_wait(), Ok(Some(_)));
            let up = [grpc, http].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok());
            (ended || up).then_some(())
        })?;
        if ended {
            bail!("{program} ended at once:\n{}", fs::read_to_string(folder.path().join("log"))?);
        }
        Ok(Self { _guard: guard, folder, grpc, http, query })
    }

    /// All spans that the Collector has written to its file.
    ///
    /// # Errors
    /// When the file is not what the Collector documents.
    pub fn written(&self) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        for document in self.documents()? {
            collect(&document, &mut spans)?;
        }
        Ok(spans)
    }

    /// All that the Collector has written to its file: a document of OTLP/JSON for each request.
    ///
    /// # Errors
    /// When the file is not what the Collector documents.
    pub fn documents(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.folder.path().join("spans.json")).unwrap_or_default();
        // The last line may still be in the making.
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// All spans of a service that Jaeger's query API gives back.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn queried(&self, service: &str) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        // Far enough into the past and the future for any test.
        let times = "query.start_time_min=2020-01-01T00:00:00Z&query.start_time_max=2100-01-01T00:00:00Z";
        let target = format!("/api/v3/traces?query.service_name={service}&query.num_traces=50000&{times}");
        match get(self.query, &target)? {
            // No trace of such a service, yet.
            None => {}
            Some(answer) => collect(answer.get("result").context("no result")?, &mut spans)?,
        }
        Ok(spans)
    }
}

/// The spans of an OTLP/JSON document.
fn collect(document: &Value, spans: &mut Vec<Span>) -> Result<()> {
    for resource in list(document, "resourceSpans") {
        let attributes = flat(&resource["resource"])?;
        for span in list(resource, "scopeSpans").iter().flat_map(|scope| list(scope, "spans")) {
            spans.push(from_otlp(span, &attributes)?);
        }
    }
    Ok(())
}

pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// OTLP's list of attributes as a flat map.
fn flat(owner: &Value) -> Result<BTreeMap<String, Value>> {
    let mut map = BTreeMap::new();
    for attribute in list(owner, "attributes") {
        let key = attribute["key"].as_str().context("an attribute without a key")?;
        let known = map.insert(key.to_owned(), plain(&attribute["value"])?);
        ensure!(known.is_none(), "attribute {key} twice");
    }
    Ok(map)
}

/// OTLP/JSON's `AnyValue` as the value that it stands for.
pub(crate) fn plain(value: &Value) -> Result<Value> {
    let (kind, inner) = value.as_object().and_then(|map| map.iter().next()).context("an empty attribute value")?;
    Ok(match kind.as_str() {
        "intValue" => Value::from(inner.as_str().context("an intValue is a string")?.parse::<i64>()?),
        "arrayValue" => Value::from(list(inner, "values").iter().map(plain).collect::<Result<Vec<_>>>()?),
        _ => inner.clone(),
    })
}

fn from_otlp(span: &Value, resource: &BTreeMap<String, Value>) -> Result<Span> {
    let text = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
    let kind = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
    let status = ["UNSET", "OK", "ERROR"];
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
    Ok(Span {
        trace_id: text("traceId"),
        span_id: text("spanId"),
        parent_span_id: text("parentSpanId"),
        kind: (*kind.get(number(&span["kind"])).context("an unknown kind")?).to_owned(),
        name: text("name"),
        start_time_unix_nano: text("startTimeUnixNano"),
        end_time_unix_nano: text("endTimeUnixNano"),
        status: (*status.get(span.pointer("/status/code").map_or(0, number)).context("an unknown status")?).to_owned(),
        attributes: flat(span)?,
        resource: resource.clone(),
        links: list(span, "links").to_vec(),
        trace_state: text("traceState"),
    })
}

/// A GET request of JSON on loopback; `None` when the server answers 404.
fn get(port: u16, target: &str) -> Result<Option<Value>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    match head.split(' ').nth(1) {
        Some("200") => serde_json::from_str(body).map(Some).with_context(|| format!("{target}: not JSON: {body}")),
        Some("404") => Ok(None),
        _ => bail!("{target}: {answer}"),
    }
}
