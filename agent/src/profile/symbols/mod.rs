//! Addresses become names, after sampling: by the symbol tables of files, the kernel's list of symbols, and perf maps. Where lines are
//! wanted, debug information says what was inlined, too; without it, inlined functions are part of what they were inlined into.

mod ends;
pub(super) mod modules;
mod places;

use std::{
    fs::File,
    io::{Read as _, Seek as _},
    os::fd::AsRawFd as _,
    path::PathBuf,
    sync::Arc,
};

use blazesym::{
    MaybeDefault,
    symbolize::{
        Input, Symbolizer,
        source::{Elf, Kernel, Source},
    },
};
use hashbrown::{HashMap, HashSet};

use self::{
    ends::end,
    modules::Modules,
    places::{Interpreted, Place, Places, frames},
};
use super::{
    files::Files,
    interpreters::Functions,
    lines::{self, Lines, LinesError},
    maps::FileId,
    model::{Inlined, Location, Module, Owner, PYTHON, Source as Line, Stack},
    perf_map::PerfMap,
    spaces::Spaces,
    stacks::{SpaceId, Stacks},
    symbol_tables::{self, TablesError},
};

/// Bytes of a perf map that are read.
const PERF_MAP: u64 = 64 << 20;
/// Said of code about which nothing is known.
const UNKNOWN: &str = "[unknown]";

/// Names that are kept from one profile to the next.
const KEPT: usize = 1 << 17;

/// What was found for earlier profiles of the same time of sampling: most code is met again in each.
#[derive(Debug, Default)]
pub struct Known {
    names: HashMap<Place, Name>,
    build_ids: HashMap<FileId, Option<String>>,
    /// Whether lines are looked for.
    has_lines: bool,
    unread: u64,
}

/// What a place is called.
#[derive(Clone, Debug, PartialEq)]
struct Name {
    name: Arc<str>,
    source: Option<Line>,
    inlined: Vec<Inlined>,
}

impl Name {
    fn plain(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), source: None, inlined: Vec::new() }
    }

    fn at(self, owner: Owner, module: Option<usize>, address: u64) -> Location {
        let Self { name, source, inlined } = self;
        Location { name, owner, module, address, first_line: 0, source, inlined }
    }
}

impl Known {
    /// Of nothing yet. `has_lines`: debug information is looked for and read, which takes time.
    #[must_use]
    pub fn new(has_lines: bool) -> Self {
        Self { has_lines, ..Self::default() }
    }

    /// How often tables of symbols or debug information of a file were too large, or broken.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// Forgets files that are not open any more: others may get their numbers.
    pub fn forget_closed(&mut self, files: &Files) {
        self.names.retain(|place, _| match place {
            Place::File(id, _) => files.get(*id).is_some(),
            _ => true,
        });
        self.build_ids.retain(|id, _| files.get(*id).is_some());
        if self.names.len() > KEPT {
            self.names.clear();
        }
    }
}

/// Names everything.
#[must_use]
pub fn resolve(
    stacks: &Stacks,
    spaces: &Spaces,
    functions: &Functions,
    known: &mut Known,
) -> (Vec<Module>, Vec<Location>, Vec<Stack>) {
    let mut places = Places::default();
    let mut resolved = Vec::new();
    for (stack, weight) in stacks.iter() {
        if let Some(space) = spaces.get(stack.space) {
            let frames = frames(stack, space, functions, &mut places);
            resolved.push((stack, space, frames, weight));
        }
    }
    let (modules, locations) = names(&places, spaces, known);
    let stacks = resolved.into_iter().map(|(stack, space, frames, weight)| Stack {
        resource: Arc::clone(&space.resource),
        tgid: space.tgid,
        link: stack.link.clone(),
        thread: String::from_utf8_lossy(stack.comm.split(|byte| *byte == 0).next().unwrap_or_default()).into(),
        end: end(stack, space, &frames, &locations),
        frames,
        count: weight.count,
        nanos: weight.nanos,
    });
    let stacks = stacks.collect();
    (modules, locations, stacks)
}

/// The names of all places.
fn names(places: &Places, spaces: &Spaces, known: &mut Known) -> (Vec<Module>, Vec<Location>) {
    let mut modules = Modules::default();
    let build_ids = &mut known.build_ids;
    let mut locations: Vec<Location> = Vec::with_capacity(places.all.len());
    // What is symbolised in one go: index of the location, and address.
    let mut kernel = Vec::new();
    let mut files: HashMap<FileId, Vec<(usize, u64)>> = HashMap::new();
    let mut perf_maps: HashMap<SpaceId, Option<PerfMap>> = HashMap::new();
    for (index, (place, path)) in places.all.iter().enumerate() {
        let name = known.names.get(place).cloned();
        locations.push(match place {
            Place::Kernel(address) => {
                let module = modules.named(&"[kernel]".into());
                let name = name.unwrap_or_else(|| {
                    kernel.push((index, *address));
                    Name::plain("[kernel]")
                });
                name.at(Owner::Kernel, Some(module), *address)
            }
            Place::File(id, offset) => {
                let path = path.clone().unwrap_or_default();
                let name = name.unwrap_or_else(|| {
                    files.entry(*id).or_default().push((index, *offset));
                    let base = path.rsplit('/').next().unwrap_or_default();
                    Name::plain(format!("{base}+{offset:#x}"))
                });
                let module = modules.file(*id, &path, spaces.files().get(*id), build_ids);
                name.at(Owner::Native, Some(module), *offset)
            }
            Place::Made(space, address) => {
                let map = perf_maps.entry(*space).or_insert_with(|| read(spaces.get(*space)?.perf_map()?));
                let name = map.as_ref().and_then(|map| map.find(*address));
                let module = Some(modules.named(&"[jit]".into()));
                Name::plain(name.unwrap_or("[jit]")).at(Owner::Jit, module, *address)
            }
            Place::Given(name) => Name::plain(name.clone()).at(Owner::Native, Some(modules.named(name)), 0),
            Place::Interpreted(Interpreted { name, file, first_line, line }) => {
                let source = Some(Line { file: Arc::clone(file), line: *line });
                let name = Name { source, ..Name::plain(Arc::clone(name)) };
                let place = name.at(Owner::Python, Some(modules.named(&PYTHON.into())), 0);
                Location { first_line: *first_line, ..place }
            }
            Place::Nameless => Name::plain(PYTHON).at(Owner::Python, Some(modules.named(&PYTHON.into())), 0),
            Place::Unknown => Name::plain(UNKNOWN).at(Owner::Native, None, 0),
        });
    }
    let mut unnamed: HashSet<usize> = files.values().flatten().map(|(index, _)| *index).collect();
    let mut name = |source: &Source<'_>, wanted: Input<&[(usize, u64)]>| {
        // One for each file: it keeps what it has read.
        let symbolizer = Symbolizer::builder().enable_code_info(false).enable_inlined_fns(false).build();
        let addresses: Vec<u64> = wanted.into_inner().iter().map(|(_, address)| *address).collect();
        let symbols = symbolizer.symbolize(source, wanted.map(|_| addresses.as_slice())).unwrap_or_else(|error| {
            log::debug!("no symbols: {error}");
            Vec::new()
        });
        for (symbol, (index, _)) in symbols.iter().zip(wanted.into_inner()) {
            if let (Some(symbol), Some(location)) = (symbol.as_sym(), locations.get_mut(*index)) {
                location.name = symbol.name.as_ref().into();
                unnamed.remove(index);
            }
        }
    };
    if !kernel.is_empty() {
        let source = Kernel { vmlinux: MaybeDefault::None, debug_syms: false, ..Kernel::default() };
        name(&source.into(), Input::AbsAddr(&kernel));
    }
    for (id, wanted) in &files {
        if let Some(file) = spaces.files().get(*id) {
            let tables = match symbol_tables::copy(file) {
                Ok(tables) => tables,
                Err(TablesError::Other) => continue,
                Err(error) => {
                    let path = places.users.get(id).and_then(|users| users.first()).map_or("", |(_, path)| path);
                    log::warn!("no names of {path}: {error}");
                    known.unread += 1;
                    continue;
                }
            };
            let mut elf = Elf::new(path(&tables));
            elf.debug_syms = false;
            name(&elf.into(), Input::FileOffset(wanted));
        }
    }
    if known.has_lines {
        for (id, wanted) in &files {
            for ((index, _), lines) in wanted.iter().zip(lines_of(*id, wanted, places, spaces, &mut known.unread)) {
                if let Some(location) = locations.get_mut(*index) {
                    location.name =
                        lines.name.filter(|_| unnamed.contains(index)).unwrap_or(Arc::clone(&location.name));
                    (location.source, location.inlined) = (lines.source, lines.inlined);
                }
            }
        }
    }
    let new = files.values().flatten().chain(&kernel).map(|(index, _)| *index);
    known.names.extend(new.filter_map(|index| {
        // Of a file that could not be opened, another process may be able to open it.
        let (place, location) = (&places.all.get(index)?.0, locations.get(index)?.clone());
        let Location { name, source, inlined, .. } = location;
        let is_open = |place: &Place| !matches!(place, Place::File(id, _) if spaces.files().get(*id).is_none());
        is_open(place).then(|| (place.clone(), Name { name, source, inlined }))
    }));
    (modules.all, locations)
}

/// What debug information says of the places in a file.
fn lines_of(id: FileId, wanted: &[(usize, u64)], places: &Places, spaces: &Spaces, unread: &mut u64) -> Vec<Lines> {
    let users = places.users.get(&id).map(Vec::as_slice).unwrap_or_default();
    let (Some(file), Some((_, path))) = (spaces.files().get(id), users.first()) else {
        return Vec::new();
    };
    let offsets: Vec<u64> = wanted.iter().map(|(_, offset)| *offset).collect();
    let processes: Vec<PathBuf> = users.iter().map(|(tgid, _)| spaces.proc().join(tgid.to_string())).collect();
    lines::find(file, path, &processes, &offsets).unwrap_or_else(|error| {
        // Most libraries have none.
        if matches!(error, LinesError::Nothing) {
            log::debug!("no lines of {path}: {error}");
        } else {
            log::warn!("no lines of {path}: {error}");
            *unread += 1;
        }
        Vec::new()
    })
}

/// An open file's name: it may have no other any more, or one in another mount namespace.
fn path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Reads a perf map, from its beginning.
pub(super) fn read(mut file: &File) -> Option<PerfMap> {
    let mut text = Vec::new();
    // It was read before, for an earlier profile.
    file.rewind().ok()?;
    file.take(PERF_MAP).read_to_end(&mut text).ok()?;
    Some(PerfMap::parse(&text))
}

#[cfg(test)]
mod tests {
    use geophone_ebpf::interpreter::{LAST, RUN};

    use super::*;
    use crate::profile::{
        model::{End, tests::resource},
        sample::{decode, tests::record},
    };

    /// Found by its symbol below.
    #[unsafe(no_mangle)]
    extern "C" fn geophone_profile_test_symbol(x: u64) -> u64 {
        std::hint::black_box(x) + 1
    }

    #[test]
    fn names_code_of_this_process() {
        let own = std::process::id();
        let mut spaces = Spaces::new("/proc");
        let space = spaces.of(own, 0, || false, || resource("test")).unwrap();
        let function = geophone_profile_test_symbol as extern "C" fn(u64) -> u64 as usize as u64;
        // The innermost at the first byte of the function; the caller just behind its first byte.
        let bytes = record(own, "test", 0, &[], &[function, function + 1, 0x10, function]);
        let sample = decode(&bytes).unwrap();
        let mut stacks = Stacks::default();
        assert!(stacks.add(space, &sample, None, 10));
        spaces.keep(space, sample.user.addresses(), 0);
        let (mut known, functions) = (Known::default(), Functions::start(None).unwrap());
        let (modules, locations, resolved) = resolve(&stacks, &spaces, &functions, &mut known);
        let names: Vec<_> = resolved[0].frames.iter().map(|index| &*locations[*index].name).collect();
        assert_eq!(names, ["geophone_profile_test_symbol"; 2], "no caller is where no code is");
        assert_eq!(resolved[0].frames[0], resolved[0].frames[1], "the call is before the place that it returns to");
        assert_eq!((resolved[0].end, resolved[0].service()), (End::Open, "test"));
        assert_eq!((resolved[0].count, resolved[0].nanos), (1, 10));
        assert_eq!(*modules[0].name, *std::env::current_exe().unwrap().to_str().unwrap());
        assert!(modules[0].size > 0);
        // Once more, by what is known.
        assert_eq!(known.names.len(), 1);
        known.names.values_mut().for_each(|name| *name = Name::plain("known"));
        let (again, locations, _) = resolve(&stacks, &spaces, &functions, &mut known);
        assert_eq!((&*locations[0].name, again), ("known", modules));
        known.forget_closed(&Files::default());
        assert!(known.names.is_empty() && known.build_ids.is_empty());
    }

    #[test]
    fn interpreted_functions_come_where_they_were_evaluated() {
        let own = std::process::id();
        let mut spaces = Spaces::new("/proc");
        let space = spaces.of(own, 0, || false, || resource("test")).unwrap();
        let function = geophone_profile_test_symbol as extern "C" fn(u64) -> u64 as usize as u64;
        // Three runs, of one, two and one frames; the function that evaluates the third was not met.
        let interpreted = [1 << 60 | LAST | 8, 0, 1 << 60 | 16, 0, 1 << 60 | LAST | 24, 0, 1 << 60 | LAST | 32, 0];
        let user = [function, RUN | 1, function + 1, RUN | 1, function + 1];
        let words: Vec<u64> = interpreted.into_iter().chain(user).collect();
        let mut bytes = record(own, "test", 0, &[], &words);
        for (at, count) in [
            (std::mem::offset_of!(geophone_ebpf::record::Sample, interpreted), interpreted.len() / 2),
            (std::mem::offset_of!(geophone_ebpf::record::Sample, user), user.len()),
        ] {
            bytes[at..at + 4].copy_from_slice(&(count as u32).to_ne_bytes());
        }
        let mut stacks = Stacks::default();
        stacks.add(space, &decode(&bytes).unwrap(), None, 1);
        let functions = Functions::start(None).unwrap();
        let (_, locations, resolved) = resolve(&stacks, &spaces, &functions, &mut Known::default());
        let owners: Vec<_> = resolved[0].frames.iter().map(|index| locations[*index].owner).collect();
        let (native, python) = (Owner::Native, Owner::Python);
        assert_eq!(owners, [native, python, native, python, python, native, python]);
    }
}
