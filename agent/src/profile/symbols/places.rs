//! The places that the frames of stacks are at, each once: in files, in the kernel, in code that a process has made, in interpreted functions.

use std::sync::Arc;

use geophone_ebpf::interpreter::ADDRESS;
use hashbrown::HashMap;

use crate::profile::{
    interpreters::{Frame, Functions},
    maps::{FileId, Mapped, Mapping},
    spaces::Space,
    stacks::{self, SpaceId},
};

/// Where an address is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    File(FileId, u64),
    Kernel(u64),
    /// Code that a process has made.
    Made(SpaceId, u64),
    /// Code that the kernel puts into processes.
    Given(Arc<str>),
    /// In an interpreted function.
    Interpreted(Interpreted),
    /// In one that is not known.
    Nameless,
    Unknown,
}

/// A line of an interpreted function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Interpreted {
    pub(super) name: Arc<str>,
    pub(super) file: Arc<str>,
    pub(super) first_line: u32,
    pub(super) line: u32,
}

/// Each place once.
#[derive(Default)]
pub(super) struct Places {
    indices: HashMap<Place, usize>,
    /// With the path that the file has for one of the processes.
    pub(super) all: Vec<(Place, Option<Arc<str>>)>,
    /// Processes that have mapped a file, each with the path that it has there.
    pub(super) users: HashMap<FileId, Vec<(u32, Arc<str>)>>,
}

/// Processes of a file that are remembered.
const USERS: usize = 4;

impl Places {
    fn index(&mut self, place: Place, path: Option<&Arc<str>>) -> usize {
        *self.indices.entry(place).or_insert_with_key(|place| {
            self.all.push((place.clone(), path.cloned()));
            self.all.len() - 1
        })
    }

    fn used(&mut self, file: FileId, tgid: u32, path: &Arc<str>) {
        let users = self.users.entry(file).or_default();
        if users.len() < USERS && users.iter().all(|(known, _)| *known != tgid) {
            users.push((tgid, Arc::clone(path)));
        }
    }
}

/// The places of a stack's frames, the innermost first.
pub(super) fn frames(stack: &stacks::Stack, space: &Space, functions: &Functions, places: &mut Places) -> Vec<usize> {
    // What is on a stack is where a call returns to: the call itself is before that, and may be the last instruction of a function.
    let call = |depth: usize, address: u64| address.wrapping_sub(u64::from(depth > 0));
    let mut indices = Vec::with_capacity(stack.kernel().len() + stack.user().len());
    for (depth, address) in stack.kernel().iter().enumerate() {
        indices.push(places.index(Place::Kernel(call(depth, *address)), None));
    }
    let mut interpreted = stack.interpreted();
    let mut is_code = true;
    for (depth, word) in stack.user().iter().enumerate() {
        if *word > ADDRESS {
            for _ in 0..word & ADDRESS {
                run(&mut interpreted, space, functions, places, &mut indices);
            }
            continue;
        }
        let address = call(depth, *word);
        let mapping = space.find(address);
        // A caller must be code: where there is none, the frame pointers that led there were none, and what follows is no caller either.
        is_code &= depth == 0 || mapping.is_some();
        if is_code {
            indices.push(native(stack.space, space.tgid, mapping, address, places));
        }
    }
    // The functions that evaluate these were not met on the stack: it was not walked as far as that.
    while run(&mut interpreted, space, functions, places, &mut indices) {}
    indices
}

fn native(space: SpaceId, tgid: u32, mapping: Option<&Mapping>, address: u64, places: &mut Places) -> usize {
    match mapping.map(|mapping| (mapping, &mapping.what)) {
        Some((mapping, Mapped::File { id, path })) => {
            places.used(*id, tgid, path);
            places.index(Place::File(*id, address - mapping.start + mapping.offset), Some(path))
        }
        Some((_, Mapped::Kernel(name))) => places.index(Place::Given(name.clone()), None),
        Some((_, Mapped::Anonymous)) => places.index(Place::Made(space, address), None),
        None => places.index(Place::Unknown, None),
    }
}

/// Adds the frames of an interpreter that one of its functions evaluates. Returns whether there are any.
fn run(
    frames: &mut impl Iterator<Item = Frame>,
    space: &Space,
    functions: &Functions,
    places: &mut Places,
    indices: &mut Vec<usize>,
) -> bool {
    for frame in frames {
        let place = match functions.get(space.serial, frame.function) {
            Some(function) => Place::Interpreted(Interpreted {
                name: Arc::clone(&function.name),
                file: Arc::clone(&function.file),
                first_line: function.first_line,
                line: function.line(frame.position),
            }),
            None => Place::Nameless,
        };
        indices.push(places.index(place, None));
        if frame.is_last {
            return true;
        }
    }
    false
}
