//! How to get from a virtual thread to the one that waits for it: by the owner of its scope, or by the future that it computes.

use std::collections::HashMap;

use geophone_ebpf::java::{
    CLASS_FUTURE, CONTAINER, CONTINUATION, NONE, OOP_BASE, OOP_MASK, OOP_SHIFT, OWNER, RUNS, TARGET, WAITER, WAITERS,
};

use super::{Values, classes::Classes, objects::Objects, tables::Tables};
use crate::runtime::{Refusal, memory::Memory};

/// Classes that are known already.
#[derive(Clone, Copy, Debug)]
pub struct Family<'a> {
    /// How others are read.
    pub classes: &'a Classes<'a>,
    /// `java.lang.Thread`
    pub thread: u64,
    /// `java.lang.VirtualThread`
    pub virtual_thread: u64,
}

/// Adds it as far as the classes are loaded; returns whether all that matter are.
///
/// # Errors
/// When memory is not mapped that should be, or the JVM does not publish something.
pub fn add(
    memory: &Memory,
    tables: &Tables,
    family: &Family<'_>,
    objects: &Objects,
    values: &mut Values,
) -> Result<bool, Refusal> {
    let top = family.classes.children(memory.word(tables.address_with("vmClasses", "::Object_klass")?)?)?;
    let references = objects.references;
    values.extend([(OOP_BASE, references.base), (OOP_SHIFT, references.shift), (OOP_MASK, references.mask)]);
    let owner = owner(family, &top)?;
    let future = future(family, objects, &top)?;
    let is_all = owner.is_some() && future.is_some();
    values.extend(owner.unwrap_or_else(|| vec![(CONTAINER, NONE)]));
    values.extend(future.unwrap_or_else(|| vec![(CONTINUATION, NONE)]));
    Ok(is_all)
}

fn owner(family: &Family<'_>, top: &HashMap<String, u64>) -> Result<Option<Values>, Refusal> {
    let Some(scope) = top.get("jdk/internal/vm/StackableScope") else {
        return Ok(None);
    };
    let container = family.classes.offset(family.thread, "container")?;
    let owner = family.classes.offset(*scope, "owner")?;
    Ok(container.zip(owner).map(|(container, owner)| vec![(CONTAINER, container), (OWNER, owner)]))
}

fn future(family: &Family<'_>, objects: &Objects, top: &HashMap<String, u64>) -> Result<Option<Values>, Refusal> {
    let classes = family.classes;
    let get = |name: &str| top.get(name).copied();
    let (Some(task), Some(node)) =
        (get("java/util/concurrent/FutureTask"), get("java/util/concurrent/FutureTask$WaitNode"))
    else {
        return Ok(None);
    };
    let futures = classes.children(task)?;
    let future = futures.get("java/util/concurrent/ThreadPerTaskExecutor$ThreadBoundFuture");
    // The continuation of a virtual thread, and what that runs, which runs the future.
    let (Some(future), Some(continuation), Some(runnable)) =
        (future, get("jdk/internal/vm/Continuation"), get("java/lang/VirtualThread$VThreadContinuation$1"))
    else {
        return Ok(None);
    };
    let fields = [
        (CONTINUATION, family.virtual_thread, "cont"),
        (TARGET, continuation, "target"),
        (RUNS, runnable, "val$task"),
        (WAITERS, task, "waiters"),
        (WAITER, node, "thread"),
    ];
    let mut values = vec![(CLASS_FUTURE, objects.value(*future))];
    for (index, class, field) in fields {
        let Some(offset) = classes.offset(class, field)? else {
            return Ok(None);
        };
        values.push((index, offset));
    }
    Ok(Some(values))
}
