//! Whether contexts can be written into requests: tried, because no version says it.

use super::{Check, Verdict};
use crate::bpf::{InjectError, LoadError};

/// The check of `--inject-headers`, by what [`crate::bpf::test_injection`] found. Not among those of [`super::examine`], which only look.
#[must_use]
pub fn injection(found: &Result<(), LoadError>) -> Check {
    let needed_for = "writing contexts into requests (--inject-headers)";
    let name = "injection";
    match found {
        Ok(()) => Check::new(name, needed_for, Verdict::Ok, "sockets work as before"),
        Err(LoadError::Inject(InjectError::Broken { failure, .. })) => {
            Check::new(name, needed_for, Verdict::Note, "refused: sockets would break")
                .remedy(format!("on this kernel, {failure}; --inject-unsafe does it all the same"))
        }
        Err(LoadError::Inject(InjectError::Useless { failure, .. })) => {
            Check::new(name, needed_for, Verdict::Note, "does not work").remedy(format!("on this kernel, {failure}"))
        }
        Err(error) => {
            let error = error.to_string();
            let first = error.lines().next().unwrap_or_default().to_owned();
            Check::new(name, needed_for, Verdict::Note, "not known").remedy(first)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::InjectFailure;

    #[test]
    fn says_what_was_found() {
        assert_eq!(injection(&Ok(())).verdict, Verdict::Ok);
        let failure = InjectFailure::Fionread { found: 0, waiting: 1000 };
        let broken = injection(&Err(InjectError::Broken { release: "6.18".into(), failure }.into()));
        assert_eq!((broken.verdict, &*broken.found), (Verdict::Note, "refused: sockets would break"));
        assert!(broken.remedy.contains("FIONREAD answers 0") && broken.remedy.contains("--inject-unsafe"));
        let failure = InjectFailure::Header("nonsense".into());
        let useless = injection(&Err(InjectError::Useless { release: "6.18".into(), failure }.into()));
        assert!(!useless.remedy.contains("--inject-unsafe"));
    }
}
