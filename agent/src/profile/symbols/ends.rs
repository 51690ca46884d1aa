//! Whether a stack is whole.

use crate::profile::{
    model::{End, Location, Owner},
    spaces::Space,
    stacks,
};

/// Functions in which programs and threads begin: a stack that was walked by frame pointers and ends with one of them is whole. `main`
/// too, because who calls it (in libc) has no frame pointer.
const ROOTS: &[&str] = &[
    "_start",
    "main",
    "__libc_start_main",
    "__libc_start_call_main",
    "start_thread",
    "clone",
    "clone3",
    "__clone",
    "__clone3",
    "runtime.goexit",
    "runtime.mstart",
    "runtime.mstart1",
    "runtime.rt0_go",
    "runtime.main",
];

/// How many of the outermost frames are looked at for one of those.
const OUTERMOST: usize = 3;

/// How a stack ends, whose frames have these locations.
pub(super) fn end(stack: &stacks::Stack, space: &Space, frames: &[usize], locations: &[Location]) -> End {
    if stack.ends.cut {
        return End::Cut;
    }
    let is_thread_of_kernel = space.is_bare() && stack.user().is_empty();
    if is_thread_of_kernel && !stack.kernel().is_empty() {
        return End::Whole;
    }
    if stack.ends.failed || frames.is_empty() {
        return End::Failed;
    }
    if stack.ends.complete {
        return End::Whole;
    }
    let is_root = |location: &Location| {
        let name = location.name.split('@').next().unwrap_or_default();
        location.owner == Owner::Native && ROOTS.contains(&name.strip_suffix(".abi0").unwrap_or(name))
    };
    // What lies outside of those is libc, which often has neither frame pointers nor names.
    let mut outermost = frames.iter().rev().take(OUTERMOST).filter_map(|index| locations.get(*index));
    if outermost.any(is_root) { End::Whole } else { End::Open }
}
