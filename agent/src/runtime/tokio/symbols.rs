//! What a program's symbols say of tokio, in both ways in which Rust writes names into them.

use object::{
    elf::{PT_TLS, SHT_SYMTAB, STT_FUNC, STT_TLS},
    read::elf::{FileHeader as _, ProgramHeader as _, Sym as _},
};

use super::super::{Image, Refusal};

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    pub address: u64,
    pub size: u64,
}

/// What there is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// tokio's thread-local context: from the thread pointer, and its size.
    pub context: (i64, u64),
    /// Functions that do no more than to note which task runs.
    pub setters: Vec<Function>,
    /// Those that a task's waker calls, with the task.
    pub wakes: Vec<Function>,
    /// Those that take a new task as their second argument.
    pub spawns: Vec<Function>,
}

/// What a symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Context,
    Setter,
    Wake,
    Spawn,
}

/// Schedulers that a program has: those of several threads, of one, of a local set, each maybe several times.
const MOST: usize = 16;

impl Symbols {
    /// Those of a file; `None` where tokio is not in it, or its symbols are not.
    pub fn of(image: &Image) -> Result<Option<Self>, Refusal> {
        image.elf(|elf| {
            let table = elf.sections.symbols(elf.endian, elf.data, SHT_SYMTAB)?;
            let mut found = Self::default();
            let mut contexts = Vec::new();
            for symbol in table.iter() {
                let kind = symbol.st_type();
                if kind != STT_FUNC && kind != STT_TLS {
                    continue;
                }
                let Ok(name) = symbol.name(elf.endian, table.strings()) else {
                    continue;
                };
                let Some(meaning) = meaning(name, kind == STT_TLS) else {
                    continue;
                };
                let function = Function { address: symbol.st_value(elf.endian), size: symbol.st_size(elf.endian) };
                match meaning {
                    Meaning::Context => contexts.push(function),
                    Meaning::Setter => found.setters.push(function),
                    Meaning::Wake => found.wakes.push(function),
                    Meaning::Spawn => found.spawns.push(function),
                }
            }
            let context = match contexts[..] {
                [] => return Ok(None),
                [context] => context,
                _ => return Err(Refusal::Malformed("it has tokio more than once")),
            };
            if found.wakes.is_empty() || found.spawns.len() + found.wakes.len() > MOST {
                return Err(Refusal::Malformed("its symbols are not those of one tokio"));
            }
            let headers = elf.header.program_headers(elf.endian, elf.data)?;
            let tls = headers.iter().find(|header| header.p_type(elf.endian) == PT_TLS);
            let tls = tls.ok_or(Refusal::Malformed("it has no thread-local memory"))?;
            let (size, align) = (tls.p_memsz(elf.endian), tls.p_align(elf.endian).max(1));
            // The thread-local memory of an executable ends at the thread pointer (x86_64).
            let below = size.checked_next_multiple_of(align).and_then(|size| size.checked_sub(context.address));
            let below = below.and_then(|below| i64::try_from(below).ok());
            found.context = (-below.ok_or(Refusal::Malformed("its thread-local memory has no end"))?, context.size);
            Ok(Some(found))
        })
    }
}

/// What a symbol's name means, mangled in the older way (`_ZN..17h..E`) or in the newer one (`_R..`).
fn meaning(name: &[u8], thread_local: bool) -> Option<Meaning> {
    let name = std::str::from_utf8(name).ok().filter(|name| name.contains("tokio"))?;
    if thread_local {
        return name.contains("5tokio7runtime7context7CONTEXT").then_some(Meaning::Context);
    }
    // Not what is inside of it, such as its closures.
    let is = |path: &str| {
        let rest = name.rsplit_once(path).map(|(_, rest)| rest);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("17h") || rest.starts_with('.'))
    };
    if is("5tokio7runtime7context19set_current_task_id") || (name.contains("TaskIdGuard") && is("4drop")) {
        Some(Meaning::Setter)
    } else if is("5tokio7runtime4task5waker11wake_by_ref") || is("5tokio7runtime4task5waker11wake_by_val") {
        Some(Meaning::Wake)
    } else if name.contains("5tokio7runtime4task4list") && is("10bind_inner")
        || name.contains("5tokio7runtime8blocking4pool") && is("7Spawner10spawn_task")
    {
        Some(Meaning::Spawn)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_both_ways() {
        let known = [
            ("_ZN5tokio7runtime7context19set_current_task_id17hc1f0ffae81f1f3a7E", Meaning::Setter),
            ("_RNvNtNtCs5Xb_5tokio7runtime7context19set_current_task_id", Meaning::Setter),
            (
                "_ZN81_$LT$tokio..runtime..task..core..TaskIdGuard$u20$as$u20$core..ops..drop..Drop$GT$4drop17h89ea78f11e88004eE",
                Meaning::Setter,
            ),
            ("_ZN5tokio7runtime4task5waker11wake_by_val17h59d1114bfe964cfcE", Meaning::Wake),
            ("_RNvNtNtNtCs5Xb_5tokio7runtime4task5waker11wake_by_ref.llvm.123", Meaning::Wake),
            (
                "_ZN5tokio7runtime4task4list19OwnedTasks$LT$S$GT$10bind_inner17h6e799d479b35305cE.llvm.3454749488933866358",
                Meaning::Spawn,
            ),
            ("_ZN5tokio7runtime8blocking4pool7Spawner10spawn_task17h6e799d479b35305cE", Meaning::Spawn),
        ];
        for (name, expected) in known {
            assert_eq!(meaning(name.as_bytes(), false), Some(expected), "{name}");
        }
        let context = "_RNvNCNKNvNtNtCs5Xb_5tokio7runtime7context7CONTEXT0s_023___RUST_STD_INTERNAL_VAL";
        assert_eq!(meaning(context.as_bytes(), true), Some(Meaning::Context));
        let others = [
            "_ZN5tokio7runtime4park11wake_by_ref17hc73b9fffc37342eeE.llvm.3408440314855784597",
            "_ZN5tokio7runtime4task5waker11wake_by_val28_$u7b$$u7b$closure$u7d$$u7d$17h59d1114bfe964cfcE",
            "_ZN4core3ptr13drop_in_place17h59d1114bfe964cfcE",
            "tokio\u{fffd}",
        ];
        for name in others {
            assert_eq!(meaning(name.as_bytes(), false), None, "{name}");
        }
    }
}
