//! Profiles as OTLP/JSON has them, with their dictionary looked up.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::receivers::{list, plain};

/// A sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The resource of its process.
    pub resource: BTreeMap<String, Value>,
    /// What is counted, and in which unit.
    pub kind: (String, String),
    /// Nanoseconds that one stands for; 0 where there is none.
    pub period: i64,
    /// Functions, the outermost first, with the kinds of their frames.
    pub frames: Vec<(String, String)>,
    /// The file of each of them, and the line that ran; 0 where it is not known.
    pub sources: Vec<(String, i64)>,
    /// How many.
    pub value: i64,
    /// By name.
    pub attributes: BTreeMap<String, String>,
    /// Trace and span, in hexadecimal.
    pub link: Option<(String, String)>,
    /// When the profile began, and how long it took, in nanoseconds.
    pub time: (u64, u64),
}

/// All samples of a document.
///
/// # Errors
/// When it is not what the proto says, or its dictionary not what the specification says of first entries.
pub fn samples(document: &Value) -> Result<Vec<Sample>> {
    let dictionary = document.get("dictionary").context("no dictionary")?;
    for table in ["mappingTable", "locationTable", "functionTable", "linkTable", "attributeTable", "stackTable"] {
        let first = list(dictionary, table).first().with_context(|| format!("{table} is empty"))?;
        let is_zero = |value: &Value| match value {
            Value::String(text) => text.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            other => other.as_i64() == Some(0),
        };
        let zero = first.as_object().is_some_and(|map| map.values().all(is_zero));
        ensure!(zero, "the first entry of {table} is {first}");
    }
    let at = |table: &str, owner: &Value, index: &str| -> Result<Value> {
        let index = usize::try_from(number(owner.get(index)))?;
        list(dictionary, table).get(index).cloned().with_context(|| format!("{table} has no entry {index}"))
    };
    let text = |owner: &Value, index: &str| -> Result<String> {
        Ok(at("stringTable", owner, index)?.as_str().context("no text")?.to_owned())
    };
    ensure!(list(dictionary, "stringTable").first() == Some(&Value::from("")), "the first text is not empty");
    let entries = |table: &str, owner: &Value, indices: &str| -> Result<Vec<Value>> {
        list(owner, indices)
            .iter()
            .map(|index| {
                let index = usize::try_from(number(Some(index)))?;
                list(dictionary, table).get(index).cloned().with_context(|| format!("{table} has no entry {index}"))
            })
            .collect()
    };
    // The Collector puts texts of resources into the dictionary, too.
    let value_of = |value: &Value| match value.get("stringValueStrindex") {
        Some(_) => Ok(Value::from(text(value, "stringValueStrindex")?)),
        None => plain(value),
    };
    let resource_of = |owner: &Value| -> Result<BTreeMap<String, Value>> {
        let pair = |attribute: &Value| {
            let key = attribute.get("key").and_then(Value::as_str).map(str::to_owned);
            Ok((key.map_or_else(|| text(attribute, "keyStrindex"), Ok)?, value_of(&attribute["value"])?))
        };
        list(owner, "attributes").iter().map(pair).collect()
    };
    let attributes = |owner: &Value| -> Result<BTreeMap<String, String>> {
        let pair = |entry: &Value| {
            let value = value_of(&entry["value"])?.as_str().context("no text")?.to_owned();
            Ok((text(entry, "keyStrindex")?, value))
        };
        entries("attributeTable", owner, "attributeIndices")?.iter().map(pair).collect()
    };
    let mut samples = Vec::new();
    for of_process in list(document, "resourceProfiles") {
        let resource = resource_of(&of_process["resource"])?;
        let scopes = list(of_process, "scopeProfiles").iter();
        for profile in scopes.flat_map(|scope| list(scope, "profiles")) {
            let sample_type = &profile["sampleType"];
            let kind = (text(sample_type, "typeStrindex")?, text(sample_type, "unitStrindex")?);
            let time = (number(profile.get("timeUnixNano")), number(profile.get("durationNano")));
            for sample in list(profile, "samples") {
                let stack = at("stackTable", sample, "stackIndex")?;
                let (mut frames, mut sources) = (Vec::new(), Vec::new());
                for location in entries("locationTable", &stack, "locationIndices")? {
                    let line = list(&location, "lines").first().cloned().context("a location without a function")?;
                    let function = at("functionTable", &line, "functionIndex")?;
                    let name = text(&function, "nameStrindex")?;
                    sources.push((text(&function, "filenameStrindex")?, i64::try_from(number(line.get("line")))?));
                    frames.push((name, attributes(&location)?.remove("profile.frame.type").unwrap_or_default()));
                }
                frames.reverse();
                sources.reverse();
                let link = at("linkTable", sample, "linkIndex")?;
                let id = |name: &str| link.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                let [value] = list(sample, "values") else { anyhow::bail!("not one value: {sample}") };
                samples.push(Sample {
                    resource: resource.clone(),
                    kind: kind.clone(),
                    period: i64::try_from(number(profile.get("period")))?,
                    frames,
                    sources,
                    value: i64::try_from(number(Some(value)))?,
                    attributes: attributes(sample)?,
                    link: (number(sample.get("linkIndex")) != 0).then(|| (id("traceId"), id("spanId"))),
                    time: (time.0.try_into()?, time.1.try_into()?),
                });
            }
        }
    }
    Ok(samples)
}

/// A number, which JSON may have as text, or leave out when it is 0.
fn number(value: Option<&Value>) -> u128 {
    match value {
        Some(Value::String(text)) => text.parse().unwrap_or_default(),
        Some(value) => value.as_u64().unwrap_or_default().into(),
        None => 0,
    }
}
