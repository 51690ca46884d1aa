//! Profiles out: to receivers of OTLP and to Pyroscope, by the same queues and retries as spans. Files are `profile::output`'s.

mod encode;
pub mod pyroscope;

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use self::pyroscope::{Api, Pyroscope};
use super::{
    Limits, Outputs, RetryPolicy, StartError,
    otlp::config::Config,
    signal::{Item, Signal},
};
use crate::{
    profile::{
        Profile,
        model::{Location, Stack},
    },
    trace::Resource,
};

/// About how many bytes of a profile are sent at a time; receivers take 4 MiB by default.
const PART: usize = 512 << 10;

/// Where profiles go. What is handed to it is sent in the background; see [`Outputs`].
pub type Sink = Outputs<Part>;

/// What a profile says of one process, or a part of it where that is much. Counters of outputs count these.
#[derive(Clone, Debug)]
pub struct Part {
    profile: Arc<Profile>,
    /// Indices of stacks, all of one resource; not empty.
    stacks: Vec<usize>,
    bytes: usize,
}

impl Part {
    /// A profile in parts.
    #[must_use]
    pub fn of(profile: Profile) -> Vec<Self> {
        let profile = Arc::new(profile);
        let mut order: Vec<(*const Resource, usize)> =
            profile.stacks.iter().enumerate().map(|(index, stack)| (Arc::as_ptr(&stack.resource), index)).collect();
        order.sort_unstable();
        let mut parts = Vec::new();
        for group in order.chunk_by(|a, b| a.0 == b.0) {
            let empty = || Self { profile: Arc::clone(&profile), stacks: Vec::new(), bytes: 0 };
            let (mut part, mut seen) = (empty(), HashSet::new());
            for (_, index) in group {
                let Some(stack) = profile.stacks.get(*index) else {
                    continue;
                };
                if part.bytes >= PART {
                    parts.push(std::mem::replace(&mut part, empty()));
                    seen.clear();
                }
                let new = stack.frames.iter().filter(|frame| seen.insert(**frame));
                let names: usize = new.filter_map(|frame| profile.locations.get(*frame)).map(size).sum();
                part.bytes += size_of::<Stack>() + stack.thread.len() + stack.frames.len() * 4 + names;
                part.stacks.push(*index);
            }
            parts.push(part);
        }
        parts
    }

    /// The profile that it is of.
    #[must_use]
    pub fn profile(&self) -> &Arc<Profile> {
        &self.profile
    }

    /// Its stacks; not empty, and all of one resource.
    pub fn stacks(&self) -> impl Iterator<Item = &Stack> {
        self.stacks.iter().filter_map(|index| self.profile.stacks.get(*index))
    }

    /// The process.
    fn resource(&self) -> Option<&Arc<Resource>> {
        self.stacks().next().map(|stack| &stack.resource)
    }
}

/// About how many bytes a location takes.
fn size(location: &Location) -> usize {
    location.functions().map(|(name, source)| name.len() + source.map_or(0, |source| source.file.len()) + 64).sum()
}

impl Item for Part {
    const NAME: &'static str = "profiles";

    fn weight(&self) -> usize {
        size_of::<Self>() + self.bytes
    }
}

impl Signal for Part {
    const VARIABLES: &'static str = "PROFILES";
    const PATH: &'static str = "v1development/profiles";
    const METHOD: &'static str = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
    const REJECTED: &'static str = "rejectedProfiles";

    fn encode(items: &[Self], out: &mut Vec<u8>) {
        encode::request(items, out);
    }
}

impl Limits {
    /// Fit for profiles: those of some minutes of a busy host.
    #[must_use]
    pub fn of_profiles() -> Self {
        Self { spans: 8192, bytes: 32 << 20, batch_spans: 1024, batch_bytes: 2 << 20, ..Self::default() }
    }
}

impl Sink {
    /// Adds a Pyroscope server. Does not wait for it: it need not be there. The endpoint of `config` has the API's path.
    ///
    /// # Errors
    /// The settings for TLS are not valid.
    pub fn add_pyroscope(
        &mut self,
        config: &Config,
        api: Api,
        limits: Limits,
        retry: RetryPolicy,
    ) -> Result<(), StartError> {
        let limits = Limits { batch_spans: api.batch(), ..limits };
        self.add("pyroscope", Pyroscope::new(config, api)?, limits, retry);
        Ok(())
    }

    /// Hands a profile to every output. Never waits.
    pub fn hand_over(&self, profile: Profile) {
        self.send(&mut Part::of(profile));
    }
}

/// Each value once, by its index. The first entry of every table of OTLP's dictionary stands for nothing.
struct Table<K, V> {
    indices: HashMap<K, i32>,
    values: Vec<V>,
}

impl<K: std::hash::Hash + Eq, V: Default> Table<K, V> {
    fn new() -> Self {
        Self { indices: HashMap::new(), values: vec![V::default()] }
    }

    fn index(&mut self, key: K, value: impl FnOnce() -> V) -> i32 {
        *self.indices.entry(key).or_insert_with(|| {
            self.values.push(value());
            i32::try_from(self.values.len() - 1).unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::tests::{example, resource};

    #[test]
    fn each_process_is_a_part() {
        let mut profile = example();
        let mut other = profile.stacks[0].clone();
        other.resource = resource("other");
        profile.stacks.insert(1, other);
        let parts = Part::of(profile);
        let mut sizes: Vec<_> = parts.iter().map(|part| (part.stacks().count(), part.weight() > 0)).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [(1, true), (3, true)]);
        for part in &parts {
            let resource = part.resource().unwrap();
            assert!(part.stacks().all(|stack| Arc::ptr_eq(&stack.resource, resource)));
        }
    }

    #[test]
    fn what_is_much_goes_in_parts() {
        let mut profile = example();
        let stack = profile.stacks[0].clone();
        profile.stacks = (0..10_000).map(|count| Stack { count, frames: vec![0; 100], ..stack.clone() }).collect();
        let parts = Part::of(profile);
        assert!(parts.len() > 5 && parts.iter().all(|part| part.bytes < PART + 1024), "{}", parts.len());
        let mut counts: Vec<_> = parts.iter().flat_map(Part::stacks).map(|stack| stack.count).collect();
        counts.sort_unstable();
        assert!(counts.into_iter().eq(0..10_000), "each stack is in one of them");
    }

    #[test]
    fn nothing_is_no_part() {
        let mut profile = example();
        profile.stacks.clear();
        assert!(Part::of(profile).is_empty());
    }
}
