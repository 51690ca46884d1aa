//! Profiles → `ExportProfilesServiceRequest`, those of all processes in one request, which share one dictionary. The bytes are the same
//! for gRPC and HTTP.
//!
//! By `opentelemetry/proto/profiles/v1development/profiles.proto` as the crate opentelemetry-proto has it; the Collector 0.156 has the same
//! fields.

use std::{sync::Arc, time::UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::profiles::v1development::ExportProfilesServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, any_value},
    profiles::v1development as proto,
    resource::v1 as resource,
};
use prost::Message as _;
use rand::RngExt as _;

use super::{Part, Table};
use crate::{
    export::otlp,
    profile::{
        Kind, Link, Profile,
        model::{Location, Module, Owner, Stack},
    },
    trace::Resource,
};

/// Appends the request that carries the profiles. Those of one process are put under one resource.
pub fn request(parts: &[Part], out: &mut Vec<u8>) {
    let mut order: Vec<(*const Resource, &Part)> =
        parts.iter().filter_map(|part| Some((Arc::as_ptr(part.resource()?), part))).collect();
    order.sort_by_key(|(resource, _)| *resource);
    let mut dictionary = Dictionary::new();
    let mut resource_profiles = Vec::new();
    for group in order.chunk_by(|a, b| a.0 == b.0) {
        let Some(described) = group.first().and_then(|(_, part)| part.resource()) else {
            continue;
        };
        let scope = InstrumentationScope {
            name: otlp::SCOPE.to_owned(),
            version: otlp::VERSION.to_owned(),
            ..InstrumentationScope::default()
        };
        let profiles = group.iter().map(|(_, part)| profile(part, &mut dictionary)).collect();
        resource_profiles.push(proto::ResourceProfiles {
            resource: Some(of(described)),
            scope_profiles: vec![proto::ScopeProfiles { scope: Some(scope), profiles, schema_url: String::new() }],
            schema_url: String::new(),
        });
    }
    let request = ExportProfilesServiceRequest { resource_profiles, dictionary: Some(dictionary.finish()) };
    out.reserve(request.encoded_len());
    // A vector has room.
    let _ = request.encode(out);
}

/// A resource, exactly as spans have it.
fn of(described: &Resource) -> resource::Resource {
    let mut bytes = Vec::new();
    otlp::encode_resource(described, &mut bytes);
    resource::Resource::decode(&*bytes).unwrap_or_default()
}

fn profile(part: &Part, dictionary: &mut Dictionary) -> proto::Profile {
    let profile = part.profile();
    let (sample_type, period) = match profile.kind {
        Kind::OnCpu { .. } => (("samples", "count"), profile.kind.period()),
        Kind::OffCpu { .. } => (("off_cpu", "nanoseconds"), None),
    };
    let samples = part.stacks().map(|stack| dictionary.sample(profile, stack)).collect();
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    proto::Profile {
        sample_type: Some(dictionary.value_type(sample_type)),
        samples,
        time_unix_nano: profile.start.duration_since(UNIX_EPOCH).map(nanos).unwrap_or_default(),
        duration_nano: nanos(profile.duration),
        period_type: period.map(|_| dictionary.value_type(("cpu", "nanoseconds"))),
        period: period.map(signed).unwrap_or_default(),
        profile_id: rand::rng().random::<[u8; 16]>().to_vec(),
        ..proto::Profile::default()
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A place in one of the profiles of a request.
type Place = (*const Profile, usize);

/// What a location is: its mapping, its functions with their lines, its address.
type Spot = (i32, Vec<(i32, i64)>, u64);

/// What the profiles of a request share.
struct Dictionary {
    strings: Table<String, String>,
    attributes: Table<(i32, String), proto::KeyValueAndUnit>,
    mappings: Table<(Arc<str>, Option<String>), proto::Mapping>,
    functions: Table<(i32, i32, i64), proto::Function>,
    locations: Table<Spot, proto::Location>,
    stacks: Table<Vec<i32>, proto::Stack>,
    links: Table<([u8; 16], [u8; 8]), proto::Link>,
    /// Locations of profiles that were met before.
    known: hashbrown::HashMap<Place, i32>,
}

impl Dictionary {
    fn new() -> Self {
        let mut strings = Table::new();
        strings.indices.insert(String::new(), 0);
        let mut stacks = Table::new();
        stacks.indices.insert(Vec::new(), 0);
        Self {
            strings,
            attributes: Table::new(),
            mappings: Table::new(),
            functions: Table::new(),
            locations: Table::new(),
            stacks,
            links: Table::new(),
            known: hashbrown::HashMap::new(),
        }
    }

    fn finish(self) -> proto::ProfilesDictionary {
        proto::ProfilesDictionary {
            mapping_table: self.mappings.values,
            location_table: self.locations.values,
            function_table: self.functions.values,
            link_table: self.links.values,
            string_table: self.strings.values,
            attribute_table: self.attributes.values,
            stack_table: self.stacks.values,
        }
    }

    fn string(&mut self, text: &str) -> i32 {
        match self.strings.indices.get(text) {
            Some(index) => *index,
            None => self.strings.index(text.to_owned(), || text.to_owned()),
        }
    }

    fn value_type(&mut self, (name, unit): (&str, &str)) -> proto::ValueType {
        proto::ValueType { type_strindex: self.string(name), unit_strindex: self.string(unit) }
    }

    fn attribute(&mut self, key: &str, value: &str) -> i32 {
        let key_strindex = self.string(key);
        self.attributes.index((key_strindex, value.to_owned()), || proto::KeyValueAndUnit {
            key_strindex,
            value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
            unit_strindex: 0,
        })
    }

    fn sample(&mut self, profile: &Arc<Profile>, stack: &Stack) -> proto::Sample {
        let locations: Vec<i32> = stack.frames.iter().map(|frame| self.location(profile, *frame)).collect();
        let stack_index = self.stacks.index(locations.clone(), || proto::Stack { location_indices: locations });
        let mut attribute_indices = vec![self.attribute("thread.name", &stack.thread)];
        if let Some(link) = stack.link.as_ref().filter(|link| !link.endpoint.is_empty()) {
            attribute_indices.push(self.attribute("endpoint", &link.endpoint));
        }
        proto::Sample {
            stack_index,
            attribute_indices,
            link_index: stack.link.as_ref().map_or(0, |link| self.link(link)),
            values: vec![signed(match profile.kind {
                Kind::OnCpu { .. } => stack.count,
                Kind::OffCpu { .. } => stack.nanos,
            })],
            timestamps_unix_nano: Vec::new(),
        }
    }

    fn link(&mut self, link: &Link) -> i32 {
        let (trace, span) = (link.trace_id.to_bytes(), link.span_id.to_bytes());
        self.links.index((trace, span), || proto::Link { trace_id: trace.to_vec(), span_id: span.to_vec() })
    }

    fn location(&mut self, profile: &Arc<Profile>, index: usize) -> i32 {
        let place = (Arc::as_ptr(profile), index);
        if let Some(known) = self.known.get(&place) {
            return *known;
        }
        let found = profile.locations.get(index).map_or(0, |location| {
            let module = location.module.and_then(|index| profile.modules.get(index));
            self.new_location(location, module)
        });
        self.known.insert(place, found);
        found
    }

    fn new_location(&mut self, location: &Location, module: Option<&Module>) -> i32 {
        let mapping_index = module.map_or(0, |module| self.mapping(module));
        let lines = location.functions().map(|(name, source)| {
            let name = self.string(name);
            let file = source.map(|source| &source.file).or(module.map(|module| &module.name));
            let file = file.map_or(0, |file| self.string(file));
            let start_line = location.first_line.into();
            let function_index = self.functions.index((name, file, start_line), || proto::Function {
                name_strindex: name,
                system_name_strindex: name,
                filename_strindex: file,
                start_line,
            });
            proto::Line { function_index, line: source.map_or(0, |source| source.line.into()), column: 0 }
        });
        let lines: Vec<proto::Line> = lines.collect();
        let kind = match location.owner {
            Owner::Native => Some("native"),
            Owner::Kernel => Some("kernel"),
            Owner::Python => Some("cpython"),
            // The conventions know runtimes, and which one has made it is not known.
            Owner::Jit => None,
        };
        let attribute_indices = kind.map(|kind| self.attribute("profile.frame.type", kind)).into_iter().collect();
        let functions = lines.iter().map(|line| (line.function_index, line.line)).collect();
        let key = (mapping_index, functions, location.address);
        self.locations.index(key, || proto::Location {
            mapping_index,
            address: location.address,
            lines,
            attribute_indices,
        })
    }

    fn mapping(&mut self, module: &Module) -> i32 {
        let filename_strindex = self.string(&module.name);
        let build_id = module.build_id.as_deref();
        let attribute = build_id.map(|id| self.attribute("process.executable.build_id.gnu", id));
        self.mappings.index((Arc::clone(&module.name), module.build_id.clone()), || proto::Mapping {
            memory_start: 0,
            // The kernel and what processes have made have addresses and no file.
            memory_limit: if module.size == 0 { u64::MAX } else { module.size },
            file_offset: 0,
            filename_strindex,
            attribute_indices: attribute.into_iter().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::tests::{example, with_lines};

    fn decoded(parts: &[Part]) -> ExportProfilesServiceRequest {
        let mut bytes = Vec::new();
        request(parts, &mut bytes);
        ExportProfilesServiceRequest::decode(&*bytes).unwrap()
    }

    #[test]
    fn profiles_share_a_dictionary() {
        let link = Link { trace_id: 7u128.into(), span_id: 9u64.into(), endpoint: "GET /".into() };
        let mut profile = example();
        profile.stacks[1].link = Some(link);
        let mut waits = example();
        waits.kind = Kind::OffCpu { least: std::time::Duration::ZERO };
        waits.stacks.truncate(1);
        let parts: Vec<Part> = [profile, waits].into_iter().flat_map(Part::of).collect();
        let request = decoded(&parts);
        let dictionary = request.dictionary.unwrap();
        let text = |index: i32| dictionary.string_table[index as usize].as_str();
        assert_eq!(text(0), "");
        assert_eq!(dictionary.stack_table[0], proto::Stack::default());
        assert_eq!(dictionary.link_table[0], proto::Link::default());
        // What both have is there once.
        assert_eq!((dictionary.location_table.len(), dictionary.stack_table.len()), (5, 4));
        assert_eq!((dictionary.function_table.len(), dictionary.mapping_table.len()), (5, 3));
        let profiles: Vec<_> = request.resource_profiles.iter().flat_map(|of| &of.scope_profiles[0].profiles).collect();
        let of = |kind: &str| {
            let is_it = |profile: &&&proto::Profile| text(profile.sample_type.unwrap().type_strindex) == kind;
            (*profiles.iter().find(is_it).unwrap()).clone()
        };
        let (running, waiting) = (of("samples"), of("off_cpu"));
        assert_eq!((running.period, waiting.period, waiting.period_type), (10_000_000, 0, None));
        assert_eq!(waiting.samples[0].values, [20_000_000]);
        assert_eq!(running.samples.iter().map(|sample| sample.values[0]).collect::<Vec<_>>(), [2, 1, 1]);
        let linked = &running.samples[1];
        let link = &dictionary.link_table[linked.link_index as usize];
        assert_eq!((link.trace_id.last(), link.span_id.last()), (Some(&7), Some(&9)));
        assert_eq!(linked.attribute_indices.len(), 2);
        assert!(running.samples[0].link_index == 0 && running.profile_id.len() == 16);
        let names = dictionary.stack_table[linked.stack_index as usize].location_indices.iter().map(|index| {
            let line = dictionary.location_table[*index as usize].lines[0];
            text(dictionary.function_table[line.function_index as usize].name_strindex)
        });
        assert_eq!(names.collect::<Vec<_>>(), ["do_syscall_64", "heavy", "main"]);
    }

    #[test]
    fn inlined_functions_are_lines_of_their_location() {
        let parts: Vec<Part> = Part::of(with_lines()).into_iter().collect();
        let dictionary = decoded(&parts).dictionary.unwrap();
        let text = |index: i32| dictionary.string_table[index as usize].as_str();
        let lines = dictionary.location_table.iter().map(|location| {
            let line = |line: &proto::Line| {
                let function = dictionary.function_table[line.function_index as usize];
                (text(function.name_strindex), text(function.filename_strindex), line.line)
            };
            location.lines.iter().map(line).collect::<Vec<_>>()
        });
        let file = "/src/shop.c";
        assert!(lines.clone().any(|lines| lines == [("step", file, 10), ("spin", file, 20), ("heavy", file, 30)]));
        assert!(lines.clone().any(|lines| lines == [("light", "/opt/shop", 0)]));
    }

    #[test]
    fn nothing_is_an_empty_request() {
        assert!(decoded(&[]).resource_profiles.is_empty());
    }
}
