//! pprof: what `go tool pprof` and most profile viewers read, a gzipped protocol buffer.
//! Format: <https://github.com/google/pprof/blob/main/proto/profile.proto>
//!
//! Addresses of locations are positions in the files of their mappings, so that the same code of several processes is one.

use std::{
    io::{self, Write},
    time::UNIX_EPOCH,
};

use flate2::{Compression, write::GzEncoder};
use hashbrown::HashMap;
use prost::Message;

use crate::profile::{
    model::{Kind, Owner, Profile, Stack},
    pprof::{Function, Label, Line, Location, Mapping, Pprof, Sample, ValueType},
};

/// Writes a profile.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, to: impl Write) -> io::Result<()> {
    zipped(&encode(profile, &labels), to)
}

/// Writes a profile for a server that makes a series of each combination of labels, and is told apart whose it is: only requests are
/// labels.
///
/// # Errors
/// Those of the writer.
pub fn write_for_requests(profile: &Profile, to: impl Write) -> io::Result<()> {
    zipped(&encode(profile, &labels_of_request), to)
}

fn zipped(pprof: &Pprof, to: impl Write) -> io::Result<()> {
    let mut gzip = GzEncoder::new(to, Compression::default());
    gzip.write_all(&pprof.encode_to_vec())?;
    gzip.finish()?;
    Ok(())
}

/// Strings by their index, each once; the first is empty.
struct Strings {
    all: Vec<String>,
    indices: HashMap<String, i64>,
}

impl Strings {
    fn new() -> Self {
        Self { all: vec![String::new()], indices: HashMap::from([(String::new(), 0)]) }
    }

    fn index(&mut self, text: &str) -> i64 {
        *self.indices.entry_ref(text).or_insert_with(|| {
            self.all.push(text.to_owned());
            number(self.all.len() as u64 - 1)
        })
    }
}

/// What protocol buffers have as `int64`: what does not fit is as much as there can be.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn encode(profile: &Profile, labels: &dyn Fn(&Stack, &mut Strings) -> Vec<Label>) -> Pprof {
    let mut strings = Strings::new();
    let mut value = |name: &str, unit: &str| ValueType { r#type: strings.index(name), unit: strings.index(unit) };
    let (samples, time) = match profile.kind {
        Kind::OnCpu { .. } => (value("samples", "count"), value("cpu", "nanoseconds")),
        Kind::OffCpu { .. } => (value("waits", "count"), value("off_cpu", "nanoseconds")),
    };
    let mapping = (1u64..).zip(&profile.modules).map(|(id, module)| Mapping {
        id,
        memory_start: 0,
        // The kernel and what processes have made have addresses and no file.
        memory_limit: if module.size == 0 { u64::MAX } else { module.size },
        filename: strings.index(&module.name),
        build_id: strings.index(module.build_id.as_deref().unwrap_or_default()),
        has_functions: true,
    });
    let mapping = mapping.collect();
    let mut functions: HashMap<(i64, i64, u32, Owner, u64), u64> = HashMap::new();
    let mut function = Vec::new();
    let location = (1u64..).zip(&profile.locations).map(|(id, location)| {
        let mapping_id = location.module.map_or(0, |index| index as u64 + 1);
        let module = location.module.and_then(|index| profile.modules.get(index));
        let lines = location.functions().map(|(name, source)| {
            let name = strings.index(name);
            // Where the source is not known, what the function is in says more than nothing.
            let file = source.map(|source| &source.file).or(module.map(|module| &module.name));
            let filename = file.map_or(0, |file| strings.index(file));
            let key = (name, filename, location.first_line, location.owner, mapping_id);
            let function_id = *functions.entry(key).or_insert_with(|| {
                let id = function.len() as u64 + 1;
                let start_line = location.first_line.into();
                function.push(Function { id, name, system_name: name, filename, start_line });
                id
            });
            Line { function_id, line: source.map_or(0, |source| source.line.into()) }
        });
        Location { id, mapping_id, address: location.address, line: lines.collect() }
    });
    let location = location.collect();
    let sample = profile.stacks.iter().map(|stack| Sample {
        location_id: stack.frames.iter().map(|index| *index as u64 + 1).collect(),
        value: vec![number(stack.count), number(stack.nanos)],
        label: labels(stack, &mut strings),
    });
    let sample = sample.collect();
    let nanos = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    Pprof {
        sample_type: vec![samples, time],
        sample,
        mapping,
        location,
        function,
        time_nanos: profile.start.duration_since(UNIX_EPOCH).map(nanos).unwrap_or_default(),
        duration_nanos: nanos(profile.duration),
        period_type: profile.kind.period().map(|_| time),
        period: number(profile.kind.period().unwrap_or_default()),
        default_sample_type: time.r#type,
        string_table: strings.all,
    }
}

fn labels(stack: &Stack, strings: &mut Strings) -> Vec<Label> {
    let mut text = |key: &str, value: &str| Label { key: strings.index(key), str: strings.index(value), num: 0 };
    let mut labels = vec![text("service.name", stack.service()), text("thread.name", &stack.thread)];
    labels.push(Label { key: strings.index("process.pid"), str: 0, num: stack.tgid.into() });
    labels.extend(labels_of_request(stack, strings));
    labels
}

fn labels_of_request(stack: &Stack, strings: &mut Strings) -> Vec<Label> {
    let Some(link) = &stack.link else {
        return Vec::new();
    };
    let (trace, span) = (link.trace_id.to_string(), link.span_id.to_string());
    let texts = [("trace_id", &*trace), ("span_id", &*span), ("endpoint", &*link.endpoint)];
    let texts = texts.into_iter().filter(|(_, value)| !value.is_empty());
    texts.map(|(key, value)| Label { key: strings.index(key), str: strings.index(value), num: 0 }).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::profile::model::tests::{example, with_lines};

    #[test]
    fn a_location_has_a_line_for_each_inlined_function() {
        let pprof = encode(&with_lines(), &labels);
        let text = |index: i64| pprof.string_table[index as usize].as_str();
        let lines = |id: u64| {
            let location = pprof.location.iter().find(|location| location.id == id).unwrap();
            let function = |id| pprof.function.iter().find(|function| function.id == id).unwrap();
            let line = |line: &Line| {
                let function = function(line.function_id);
                (text(function.name), text(function.filename), line.line)
            };
            location.line.iter().map(line).collect::<Vec<_>>()
        };
        let file = "/src/shop.c";
        assert_eq!(
            lines(pprof.sample[0].location_id[0]),
            [("step", file, 10), ("spin", file, 20), ("heavy", file, 30)]
        );
        assert_eq!(lines(pprof.sample[2].location_id[0]), [("light", "/opt/shop", 0)]);
    }

    #[test]
    fn decodes_to_what_was_put_in() {
        let mut bytes = Vec::new();
        write(&example(), &mut bytes).unwrap();
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut plain).unwrap();
        let pprof = Pprof::decode(&*plain).unwrap();
        let text = |index: i64| pprof.string_table[index as usize].as_str();
        assert_eq!(text(0), "");
        let types: Vec<_> = pprof.sample_type.iter().map(|ty| (text(ty.r#type), text(ty.unit))).collect();
        assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
        assert_eq!((pprof.period, pprof.duration_nanos), (10_000_000, 10_000_000_000));
        assert_eq!(pprof.time_nanos, 1_000_000_000_000);
        let stacks = pprof.sample.iter().map(|sample| {
            let names = sample.location_id.iter().map(|id| {
                let location = pprof.location.iter().find(|location| location.id == *id).unwrap();
                let line = location.line[0].function_id;
                text(pprof.function.iter().find(|function| function.id == line).unwrap().name)
            });
            (names.collect::<Vec<_>>(), sample.value.clone())
        });
        let stacks: Vec<_> = stacks.collect();
        assert_eq!(stacks[0], (vec!["heavy", "heavy", "main"], vec![2, 20_000_000]));
        assert_eq!(stacks[1].0, ["do_syscall_64", "heavy", "main"]);
        let labels: Vec<_> =
            pprof.sample[0].label.iter().map(|label| (text(label.key), text(label.str), label.num)).collect();
        assert_eq!(labels, [("service.name", "shop", 0), ("thread.name", "worker;1", 0), ("process.pid", "", 42)]);
        for location in &pprof.location {
            let mapping = pprof.mapping.iter().find(|mapping| mapping.id == location.mapping_id).unwrap();
            assert!(mapping.memory_start <= location.address && location.address < mapping.memory_limit);
        }
        assert_eq!(text(pprof.mapping[0].build_id), "abcd");
    }
}
