//! `geophone doctor`: what this kernel offers and this process may do, what is missing, and which feature that costs. Looks, and
//! changes nothing; loads no program but the one that [`injection`] tries.

mod inject;
mod kernel;
mod machine;
mod report;
mod rights;
mod system;

use serde::Serialize;

pub use inject::injection;
pub use machine::{Btf, Machine};
pub use report::{json, print, text};

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Worth knowing, and costs nothing.
    Note,
    /// Tracing works, but the feature named in [`Check::needed_for`] does not, or not as well.
    Degraded,
    /// `geophone run` cannot work.
    Fatal,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What is there.
    pub found: String,
    /// What needs it.
    pub needed_for: &'static str,
    /// What to do; empty when there is nothing to be done.
    pub remedy: String,
}

impl Check {
    fn new(name: &'static str, needed_for: &'static str, verdict: Verdict, found: impl Into<String>) -> Self {
        Self { name, verdict, found: found.into(), needed_for, remedy: String::new() }
    }

    fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

/// Why `geophone run` cannot work here, as one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot trace on this host: {name}: {found}; {remedy}", name = .0.name, found = .0.found, remedy = .0.remedy)]
pub struct Problem(pub Check);

/// The checks, what matters most first.
const CHECKS: &[fn(&Machine) -> Check] = &[
    kernel::release,
    rights::tracing,
    rights::user_namespace,
    kernel::btf,
    kernel::lockdown,
    kernel::capture,
    kernel::connections,
    kernel::uprobes,
    rights::memory,
    rights::processes,
    rights::pid_namespace,
    kernel::jit,
    system::processors,
    rights::seccomp,
    rights::network,
    system::cgroup2,
    system::bpffs,
    system::perf,
];

/// Looks at everything.
#[must_use]
pub fn examine(machine: &Machine) -> Vec<Check> {
    CHECKS.iter().map(|check| check(machine)).collect()
}

/// Whether `geophone run` can work, by what was found.
#[must_use]
pub fn is_ready(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.verdict != Verdict::Fatal)
}

/// Looks at what `geophone run` cannot do without, before anything is loaded.
///
/// # Errors
/// Every reason why it cannot work, the most important first.
pub fn preflight(machine: &Machine) -> Result<(), Vec<Problem>> {
    let problems: Vec<_> =
        examine(machine).into_iter().filter(|check| check.verdict == Verdict::Fatal).map(Problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

#[cfg(test)]
mod tests;
