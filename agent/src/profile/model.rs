//! A profile whose addresses have names: what all outputs are made of.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hashbrown::HashMap;
use opentelemetry::trace::{SpanId, TraceId};

use crate::{protocol::Value, trace::Resource};

/// Said where a process has no name.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// A profile: of the whole time of sampling, or of one of the periods into which it is cut.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What was sampled.
    pub kind: Kind,
    /// When the period began.
    pub start: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Files and the like that code is in.
    pub modules: Vec<Module>,
    /// Places in code. Each is there once.
    pub locations: Vec<Location>,
    /// What was seen, each with how often.
    pub stacks: Vec<Stack>,
}

/// What is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What runs.
    OnCpu {
        /// Samples a second on each processor.
        frequency: u32,
    },
    /// What waits, each time it does.
    OffCpu {
        /// Shorter waits are left out.
        least: Duration,
    },
}

impl Kind {
    /// Nanoseconds that one sample stands for; `None` where each has its own time.
    #[must_use]
    pub fn period(self) -> Option<u64> {
        match self {
            Self::OnCpu { frequency } => Some(1_000_000_000 / u64::from(frequency.max(1))),
            Self::OffCpu { .. } => None,
        }
    }
}

/// Which request a thread was at work for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Its trace; valid.
    pub trace_id: TraceId,
    /// Its span; valid.
    pub span_id: SpanId,
    /// The span's name; empty where that is not known.
    pub endpoint: Arc<str>,
}

/// What code is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// A path as the process sees it, or `[kernel]`, `[vdso]`, `[jit]`.
    pub name: Arc<str>,
    /// The build id (GNU), where the file has one.
    pub build_id: Option<String>,
    /// Bytes of the file; 0 where there is none.
    pub size: u64,
}

/// Whose code it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Of a program or a library.
    Native,
    /// Made by the process itself, and named by it.
    Jit,
    /// Of the kernel.
    Kernel,
    /// A function of a Python program.
    Python,
}

/// The module of functions of Python programs.
pub const PYTHON: &str = "[python]";

/// A place in code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The function, or what can be said instead of its name.
    pub name: Arc<str>,
    /// Whose.
    pub owner: Owner,
    /// Index in [`Profile::modules`].
    pub module: Option<usize>,
    /// Position in the module's file; in the kernel and in code that a process has made, the address; 0 in an interpreted function.
    pub address: u64,
    /// The line that the function begins in; 0 where it is not known.
    pub first_line: u32,
    /// Where the function is at that place in its source, where that is known.
    pub source: Option<Source>,
    /// The functions that were inlined there, as far as is known: each into the one before it, the first into the function itself.
    pub inlined: Vec<Inlined>,
}

/// A line of a source file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The file's path, as the compiler has written it.
    pub file: Arc<str>,
    /// From 1; 0 where it is not known.
    pub line: u32,
}

/// A function whose code became part of another one's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inlined {
    /// The function.
    pub name: Arc<str>,
    /// Where it is in its source: what runs there, or the call of what was inlined into it.
    pub source: Option<Source>,
}

impl Location {
    /// The functions that are there in the source, the innermost first: those that were inlined, and the one that they are in.
    pub fn functions(&self) -> impl DoubleEndedIterator<Item = (&Arc<str>, Option<&Source>)> {
        let inlined = self.inlined.iter().rev().map(|inlined| (&inlined.name, inlined.source.as_ref()));
        inlined.chain(std::iter::once((&self.name, self.source.as_ref())))
    }

    /// Where an interpreted function begins: file and line. There is nothing else that tells it from another one of its name.
    fn beginning(&self) -> Option<(&str, u32)> {
        let source = self.source.as_ref().filter(|_| self.owner == Owner::Python)?;
        Some((&source.file, self.first_line))
    }
}

/// How a stack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Where nobody called: with what every program or thread begins with.
    Whole,
    /// With another function: whoever called it is not known.
    Open,
    /// After as many frames as are looked at, at most.
    Cut,
    /// The kernel could not read it.
    Failed,
}

/// A stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    /// The process, as its spans describe it. Processes that are one to spans share it (the same `Arc`).
    pub resource: Arc<Resource>,
    /// The process.
    pub tgid: u32,
    /// The thread's name.
    pub thread: Arc<str>,
    /// The request that the thread was at work for; `None` where it was for none, or it is not known for which.
    pub link: Option<Link>,
    /// Indices in [`Profile::locations`], the innermost first.
    pub frames: Vec<usize>,
    /// How it ends.
    pub end: End,
    /// Samples; waits, where those are sampled.
    pub count: u64,
    /// Nanoseconds that they stand for: counted, or measured for waits.
    pub nanos: u64,
}

impl Stack {
    /// `service.name` of the process.
    #[must_use]
    pub fn service(&self) -> &str {
        service_name(&self.resource)
    }
}

/// The `service.name` of a resource.
#[must_use]
pub fn service_name(resource: &Resource) -> &str {
    match resource.attributes.get("service.name") {
        Some(Value::Text(name)) => name,
        _ => UNKNOWN_SERVICE,
    }
}

/// How often a function was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The function.
    pub name: Arc<str>,
    /// Whose.
    pub owner: Owner,
    /// The module's name, of interpreted functions their file and line; empty where it is not known.
    pub module: Arc<str>,
    /// What was seen of the function itself: see [`Profile::weight`].
    pub own: u64,
    /// What was seen of it and of what it called.
    pub total: u64,
}

impl Profile {
    /// All samples.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.stacks.iter().map(|stack| stack.count).sum()
    }

    /// Nanoseconds that all samples stand for.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        self.stacks.iter().fold(0, |sum, stack| sum.saturating_add(stack.nanos))
    }

    /// What a stack counts among others: samples of what runs, microseconds of what waits.
    #[must_use]
    pub fn weight(&self, stack: &Stack) -> u64 {
        match self.kind {
            Kind::OnCpu { .. } => stack.count,
            Kind::OffCpu { .. } => stack.nanos.div_ceil(1000),
        }
    }

    /// What all stacks count.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.stacks.iter().fold(0, |sum, stack| sum.saturating_add(self.weight(stack)))
    }

    /// Samples whose stack ends in this way.
    #[must_use]
    pub fn ending(&self, end: End) -> u64 {
        self.stacks.iter().filter(|stack| stack.end == end).map(|stack| stack.count).sum()
    }

    /// A stack's locations, the innermost first.
    pub fn frames<'a>(&'a self, stack: &'a Stack) -> impl DoubleEndedIterator<Item = &'a Location> {
        stack.frames.iter().filter_map(|index| self.locations.get(*index))
    }

    /// The same profile with some of its stacks only, and with what they need.
    #[must_use]
    pub fn part<'a>(&self, stacks: impl Iterator<Item = &'a Stack>) -> Self {
        let (mut locations, mut modules) = (Kept::default(), Kept::default());
        let stacks = stacks.map(|stack| {
            let frames = stack.frames.iter().filter_map(|frame| locations.index(*frame, &self.locations)).collect();
            Stack { frames, ..stack.clone() }
        });
        let stacks = stacks.collect();
        for location in &mut locations.all {
            location.module = location.module.and_then(|module| modules.index(module, &self.modules));
        }
        Self { modules: modules.all, locations: locations.all, stacks, ..*self }
    }

    /// The functions that took most of the time themselves, at most `count` of them. Of waits, those of the processes: a function waits
    /// itself when it has asked the kernel to.
    #[must_use]
    pub fn top(&self, count: usize) -> Vec<Row> {
        // A function of a module, whatever the place in it.
        type Key<'a> = (&'a str, Owner, Option<usize>, Option<(&'a str, u32)>);
        let mut rows: HashMap<Key<'_>, (u64, u64, u64)> = HashMap::new();
        for (round, stack) in (1..).zip(&self.stacks) {
            let weight = self.weight(stack);
            // All waits end in the kernel's scheduler; which function waits is what says something.
            let is_waiting = matches!(self.kind, Kind::OffCpu { .. });
            let skipped = |location: &&Location| is_waiting && location.owner == Owner::Kernel;
            let frames = self.frames(stack).skip_while(skipped);
            let functions = frames.flat_map(|location| location.functions().map(move |(name, _)| (name, location)));
            for (depth, (name, location)) in functions.enumerate() {
                let key = (&**name, location.owner, location.module, location.beginning());
                let (own, total, seen) = rows.entry(key).or_default();
                *own += if depth == 0 { weight } else { 0 };
                // Functions that call themselves count once.
                if *seen != round {
                    *seen = round;
                    *total += weight;
                }
            }
        }
        let mut rows: Vec<Row> = rows
            .into_iter()
            .map(|((name, owner, module, beginning), (own, total, _))| Row {
                name: name.into(),
                owner,
                module: match beginning {
                    Some((file, line)) => format!("{file}:{line}").into(),
                    None => {
                        module.and_then(|index| self.modules.get(index)).map(|m| m.name.clone()).unwrap_or_default()
                    }
                },
                own,
                total,
            })
            .collect();
        rows.sort_by(|a, b| (b.own, b.total, &a.name).cmp(&(a.own, a.total, &b.name)));
        rows.truncate(count);
        rows
    }
}

/// Entries of a table that are kept, each once.
struct Kept<T> {
    indices: HashMap<usize, usize>,
    all: Vec<T>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { indices: HashMap::new(), all: Vec::new() }
    }
}

impl<T: Clone> Kept<T> {
    /// The new index of an entry of `from`.
    fn index(&mut self, index: usize, from: &[T]) -> Option<usize> {
        if let Some(known) = self.indices.get(&index) {
            return Some(*known);
        }
        self.all.push(from.get(index)?.clone());
        self.indices.insert(index, self.all.len() - 1);
        Some(self.all.len() - 1)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A service that has only a name.
    pub(crate) fn resource(name: &str) -> Arc<Resource> {
        let mut resource = Resource::default();
        resource.attributes.push("service.name", name);
        Arc::new(resource)
    }

    /// `main` calls `heavy` (3 samples) and `light` (1), and `heavy` calls itself; once, the kernel is at work for it.
    pub(crate) fn example() -> Profile {
        let resource = resource("shop");
        let location = |name: &str, owner, module, address| Location {
            name: name.into(),
            owner,
            module,
            address,
            first_line: 0,
            source: None,
            inlined: Vec::new(),
        };
        let stack = |frames: &[usize], count, end| Stack {
            resource: Arc::clone(&resource),
            tgid: 42,
            thread: "worker;1".into(),
            link: None,
            frames: frames.to_vec(),
            end,
            count,
            nanos: count * 10_000_000,
        };
        Profile {
            kind: Kind::OnCpu { frequency: 100 },
            start: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000),
            duration: Duration::from_secs(10),
            modules: vec![
                Module { name: "/opt/shop".into(), build_id: Some("abcd".into()), size: 0x5000 },
                Module { name: "[kernel]".into(), build_id: None, size: 0 },
            ],
            locations: vec![
                location("main", Owner::Native, Some(0), 0x1000),
                location("heavy", Owner::Native, Some(0), 0x2000),
                location("light", Owner::Native, Some(0), 0x3000),
                location("do_syscall_64", Owner::Kernel, Some(1), 0xffff_ffff_8100_0000),
            ],
            stacks: vec![
                stack(&[1, 1, 0], 2, End::Whole),
                stack(&[3, 1, 0], 1, End::Whole),
                stack(&[2, 0], 1, End::Open),
            ],
        }
    }

    /// The same, where `heavy` is known by its lines, and has `spin` and, in that, `step` inlined.
    pub(crate) fn with_lines() -> Profile {
        let mut profile = example();
        let source = |line| Some(Source { file: "/src/shop.c".into(), line });
        let inlined = |name: &str, line| Inlined { name: name.into(), source: source(line) };
        profile.locations[0].source = source(40);
        profile.locations[1].source = source(30);
        profile.locations[1].inlined = vec![inlined("spin", 20), inlined("step", 10)];
        profile
    }

    #[test]
    fn inlined_functions_are_functions() {
        let top: Vec<_> =
            with_lines().top(10).into_iter().map(|row| (row.name.to_string(), row.own, row.total)).collect();
        let row = |name: &str, own, total| (name.to_owned(), own, total);
        let expected =
            [row("step", 2, 3), row("do_syscall_64", 1, 1), row("light", 1, 1), row("main", 0, 4), row("heavy", 0, 3)];
        assert_eq!((&top[..5], top[5].clone()), (expected.as_slice(), row("spin", 0, 3)));
    }

    #[test]
    fn functions_count_once_in_each_stack() {
        let profile = example();
        let top: Vec<_> = profile.top(10).into_iter().map(|row| (row.name.to_string(), row.own, row.total)).collect();
        let row = |name: &str, own, total| (name.to_owned(), own, total);
        assert_eq!(top, [row("heavy", 2, 3), row("do_syscall_64", 1, 1), row("light", 1, 1), row("main", 0, 4)]);
        assert_eq!(profile.top(1).len(), 1);
        assert_eq!((profile.samples(), profile.ending(End::Whole), profile.ending(End::Open)), (4, 3, 1));
    }

    #[test]
    fn waits_count_by_their_time() {
        let mut profile = example();
        profile.kind = Kind::OffCpu { least: Duration::from_millis(1) };
        for (stack, nanos) in profile.stacks.iter_mut().zip([7_000_000, 1, 1_500]) {
            stack.nanos = nanos;
        }
        let top: Vec<_> = profile.top(3).into_iter().map(|row| (row.name.to_string(), row.own, row.total)).collect();
        let row = |name: &str, own, total| (name.to_owned(), own, total);
        assert_eq!(top, [row("heavy", 7_001, 7_001), row("light", 2, 2), row("main", 0, 7_003)]);
        assert_eq!((profile.samples(), profile.total(), profile.nanos()), (4, 7_003, 7_001_501));
        assert_eq!((profile.kind.period(), example().kind.period()), (None, Some(10_000_000)));
    }

    #[test]
    fn a_part_has_what_it_needs() {
        let profile = example();
        let part = profile.part(profile.stacks.iter().skip(2));
        let names: Vec<_> = part.locations.iter().map(|location| &*location.name).collect();
        assert_eq!((names, part.modules.len()), (vec!["light", "main"], 1));
        assert_eq!((&*part.stacks[0].frames, part.stacks.len()), ([0, 1].as_slice(), 1));
        let whole = profile.part(profile.stacks.iter());
        assert_eq!((whole.modules.len(), whole.locations.len(), whole.samples()), (2, 4, 4));
        assert_eq!(whole.top(9), profile.top(9));
    }
}
