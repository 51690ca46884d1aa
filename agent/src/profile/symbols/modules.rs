//! The files that code is in, each once, and what linkers tell them by.

use std::{fs::File, sync::Arc};

use hashbrown::HashMap;
use object::{Object as _, read::ReadCache};

use crate::{
    parts::{self, Parts},
    profile::{maps::FileId, model::Module},
};

/// Bytes of a build id that are kept; linkers make 8 to 32.
const BUILD_ID: usize = 64;

/// Each module once.
#[derive(Default)]
pub(super) struct Modules {
    pub(super) all: Vec<Module>,
    files: HashMap<FileId, usize>,
    names: HashMap<Arc<str>, usize>,
}

impl Modules {
    /// One that is no file.
    pub(super) fn named(&mut self, name: &Arc<str>) -> usize {
        *self.names.entry_ref(name).or_insert_with(|| {
            self.all.push(Module { name: name.clone(), build_id: None, size: 0 });
            self.all.len() - 1
        })
    }

    /// A file, with its build id.
    pub(super) fn file(
        &mut self,
        id: FileId,
        name: &Arc<str>,
        file: Option<&File>,
        build_ids: &mut HashMap<FileId, Option<String>>,
    ) -> usize {
        *self.files.entry(id).or_insert_with(|| {
            let build_id = file.and_then(|file| build_ids.entry(id).or_insert_with(|| build_id(file)).clone());
            self.all.push(Module {
                name: name.clone(),
                build_id,
                size: file.and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.len()),
            });
            self.all.len() - 1
        })
    }
}

/// The GNU build id of an ELF file, in hexadecimal.
pub(in crate::profile) fn build_id(file: &File) -> Option<String> {
    let cache = ReadCache::new(file);
    let file = object::File::parse(Parts::new(&cache, parts::USUAL)).ok()?;
    let id = file.build_id().ok()??;
    let id = id.get(..id.len().min(BUILD_ID))?;
    Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
}
