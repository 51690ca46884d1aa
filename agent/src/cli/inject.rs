//! Flags: writing contexts into requests.

use rand::{TryRng as _, rngs::SysRng};
use thiserror::Error;

use crate::process::{Pattern, Selector};

#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Contexts in requests")]
pub struct InjectArgs {
    /// Write a `traceparent` header into the HTTP/1 and HTTP/2 requests of these processes, of those that are traced, so that who serves them joins the
    /// trace: exe=PATTERN, command=PATTERN, container=ID, cgroup=PATH or pid=PID, each as the flag of that name. Only on connections without
    /// TLS that are opened from now on, and not into requests that carry a context or are signed. What is sent and received on such a
    /// connection costs more. Refused where a test at start finds that the kernel breaks sockets
    #[arg(long, value_name = "KIND=VALUE", value_delimiter = ',', value_parser = selected)]
    inject_headers: Vec<Selected>,
    /// Write them also where the kernel answers FIONREAD wrongly on such connections: programs that ask how many bytes wait to be read
    /// (nginx as a proxy, Java, .NET, Ruby) may hang, or take a connection for closed. For programs that are known not to ask, and for tests
    #[arg(long, requires = "inject_headers")]
    inject_unsafe: bool,
}

/// One of the processes that are named.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Selected {
    Pid(u32),
    Executable(String),
    Command(String),
    Container(String),
    Cgroup(String),
}

/// What is no selector.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
enum SelectorError {
    #[error("say which processes: exe=PATTERN, command=PATTERN, container=ID, cgroup=PATH or pid=PID")]
    Kind,
    #[error("a process id is a number above 0")]
    Pid,
}

fn selected(text: &str) -> Result<Selected, SelectorError> {
    let (kind, value) = text.split_once('=').filter(|(_, value)| !value.is_empty()).ok_or(SelectorError::Kind)?;
    let value = value.to_owned();
    Ok(match kind {
        "pid" => Selected::Pid(value.parse().ok().filter(|pid| *pid != 0).ok_or(SelectorError::Pid)?),
        "exe" => Selected::Executable(value),
        "command" => Selected::Command(value),
        "container" => Selected::Container(value),
        "cgroup" => Selected::Cgroup(value),
        _ => return Err(SelectorError::Kind),
    })
}

impl InjectArgs {
    /// Into whose requests contexts are written, and also where that breaks something; `None`: into nobody's.
    pub fn check(&self) -> Option<(Selector, bool)> {
        let mut selector = Selector::default();
        for selected in &self.inject_headers {
            match selected {
                Selected::Pid(pid) => selector.pids.push(*pid),
                Selected::Executable(pattern) => selector.executables.push(Pattern::new(pattern)),
                Selected::Command(pattern) => selector.commands.push(Pattern::new(pattern)),
                Selected::Container(id) => selector.containers.push(id.clone()),
                Selected::Cgroup(path) => selector.cgroups.push(path.clone()),
            }
        }
        // A selector that names nothing means everything.
        (!selector.is_everything()).then_some((selector, self.inject_unsafe))
    }
}

/// What trace ids are made of.
pub(super) fn key() -> std::io::Result<[u32; 4]> {
    let next = || SysRng.try_next_u32().map_err(std::io::Error::other);
    Ok([next()?, next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_named_by_kind() {
        assert_eq!(selected("exe=python*"), Ok(Selected::Executable("python*".into())));
        assert_eq!(selected("cgroup=/a=b"), Ok(Selected::Cgroup("/a=b".into())));
        assert_eq!(selected("pid=7"), Ok(Selected::Pid(7)));
        assert_eq!(selected("pid=0"), Err(SelectorError::Pid));
        for bad in ["", "nginx", "exe=", "name=x"] {
            assert_eq!(selected(bad), Err(SelectorError::Kind), "{bad}");
        }
    }

    #[test]
    fn nobody_is_chosen_by_default() {
        assert_eq!(InjectArgs::default().check(), None);
        let both = ["exe=a", "command=b"].map(|text| selected(text).unwrap());
        let args = InjectArgs { inject_headers: both.into(), inject_unsafe: true };
        let (selector, unsafe_too) = args.check().unwrap();
        assert!(unsafe_too && selector.executables.len() == 1 && selector.commands.len() == 1);
    }
}
