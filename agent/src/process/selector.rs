//! Which processes are traced. Ports are no part of it: the kernel side decides on them.

use std::collections::HashMap;

use super::{cgroup::container, facts::Facts, text::base};

/// A pattern in which `*` stands for any characters (also none, also `/`) and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// From its text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether the whole of `text` is like this.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let text: Vec<char> = text.chars().collect();
        let (mut p, mut t) = (0, 0);
        // Where the last `*` was, and how far it has been stretched: no need to go back to an earlier one.
        let mut star: Option<(usize, usize)> = None;
        while let Some(character) = text.get(t) {
            match (pattern.get(p), star) {
                (Some('*'), _) => {
                    star = Some((p, t));
                    p += 1;
                }
                (Some(c), _) if *c == '?' || c == character => {
                    p += 1;
                    t += 1;
                }
                (_, Some((at, stretched))) => {
                    star = Some((at, stretched + 1));
                    p = at + 1;
                    t = stretched + 1;
                }
                (_, None) => return false,
            }
        }
        pattern.iter().skip(p).all(|c| *c == '*')
    }
}

/// Which processes to trace: those that any of these lists names. Empty lists name every process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Process ids, with all that they start.
    pub pids: Vec<u32>,
    /// Executables: names (`nginx`), or, where there is a `/`, whole paths (`/usr/sbin/*`).
    pub executables: Vec<Pattern>,
    /// Command names (`/proc/PID/comm`). Only the first 15 bytes count, more are not known.
    pub commands: Vec<Pattern>,
    /// Beginnings of container ids, or names of containers where a control group holds them.
    pub containers: Vec<String>,
    /// Control groups by path, with those below them.
    pub cgroups: Vec<String>,
}

/// Whether a process is traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// No.
    #[default]
    No,
    /// It is, because of what it is; what it starts is judged by itself.
    This,
    /// It is, and so is everything that it starts.
    Family,
}

impl Choice {
    /// Whether it is traced.
    #[must_use]
    pub fn is_traced(self) -> bool {
        self != Self::No
    }
}

impl Selector {
    /// Names every process.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.pids.is_empty()
            && self.executables.is_empty()
            && self.commands.is_empty()
            && self.containers.is_empty()
            && self.cgroups.is_empty()
    }

    /// Whether what a process is decides, and not only whose child: then each exec must be judged anew.
    #[must_use]
    pub fn depends_on_programs(&self) -> bool {
        let others = Self { pids: Vec::new(), ..self.clone() };
        !others.is_everything()
    }

    /// Whether a process is traced, of which the parent was judged so. To be asked again after `exec`: a family's member stays one.
    #[must_use]
    pub fn decides(&self, facts: &Facts, parent: Choice) -> Choice {
        if parent == Choice::Family || self.pids.contains(&facts.tgid) {
            return Choice::Family;
        }
        let executable = || {
            let Some(path) = facts.executable.as_deref() else {
                return false;
            };
            self.executables
                .iter()
                .any(|pattern| pattern.matches(if pattern.0.contains('/') { path } else { base(path) }))
        };
        let command =
            || self.commands.iter().any(|pattern| pattern.matches(&facts.comm) || is_cut(&pattern.0, &facts.comm));
        let in_container = || {
            !self.containers.is_empty()
                && facts.cgroups.iter().filter_map(|path| container(path)).any(|found| {
                    let id = found.id.as_deref().unwrap_or_default();
                    self.containers.iter().any(|wanted| {
                        (!wanted.is_empty() && id.starts_with(wanted)) || found.name.as_ref() == Some(wanted)
                    })
                })
        };
        let in_cgroup = || self.cgroups.iter().any(|wanted| facts.cgroups.iter().any(|path| is_below(path, wanted)));
        if self.is_everything() || executable() || command() || in_container() || in_cgroup() {
            Choice::This
        } else {
            Choice::No
        }
    }

    /// Judges all processes of a scan; parents may come after their children. Those that are not traced are left out.
    #[must_use]
    pub fn select<'a>(&self, processes: impl IntoIterator<Item = &'a Facts>) -> HashMap<u32, Choice> {
        let all: HashMap<u32, &Facts> = processes.into_iter().map(|facts| (facts.tgid, facts)).collect();
        let family = |mut facts: &'a Facts| {
            // As many steps as there are processes, because what was read while processes came and went may run in a circle.
            for _ in 0..all.len() {
                match all.get(&facts.parent) {
                    Some(parent) if self.pids.contains(&parent.tgid) => return Choice::Family,
                    Some(parent) => facts = parent,
                    None => return Choice::No,
                }
            }
            Choice::No
        };
        let judged = all.values().map(|facts| {
            let parent = if self.pids.is_empty() { Choice::No } else { family(facts) };
            (facts.tgid, self.decides(facts, parent))
        });
        judged.filter(|(_, choice)| choice.is_traced()).collect()
    }
}

/// A command that is longer than the kernel keeps it, and without wildcards.
fn is_cut(wanted: &str, comm: &str) -> bool {
    comm.len() == 15 && wanted.len() > 15 && wanted.starts_with(comm)
}

/// The path itself or one below it; with or without the mount point of control groups before it.
fn is_below(path: &str, wanted: &str) -> bool {
    let wanted = wanted.strip_prefix("/sys/fs/cgroup").unwrap_or(wanted).trim_matches('/');
    let path = path.trim_start_matches('/');
    path.strip_prefix(wanted).is_some_and(|rest| wanted.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(tgid: u32, parent: u32, exe: &str, comm: &str, cgroup: &str) -> Facts {
        Facts {
            tgid,
            parent,
            executable: Some(exe.into()),
            comm: comm.into(),
            cgroups: vec![cgroup.into()],
            ..Facts::default()
        }
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("nginx", "nginx", true),
            ("nginx", "nginx2", false),
            ("python*", "python3.11", true),
            ("python*", "python", true),
            ("*/bin/*", "/usr/bin/x", true),
            ("a?c", "añc", true),
            ("a?c", "ac", false),
            ("*a*b*c", "xxaxxbxxbxxc", true),
            ("*a*b*c", "xxaxxbxxbxx", false),
            ("", "", true),
            ("", "a", false),
            ("**", "", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_made_of_a_text_matches_it(text in "[a-c]{0,12}", stars in proptest::collection::vec(0_usize..13, 0..4)) {
            let mut pattern = text.clone();
            for at in stars {
                pattern.insert(at.min(pattern.len()), '*');
            }
            prop_assert!(Pattern::new(pattern).matches(&text));
            let longer = Pattern::new(format!("{text}?"));
            prop_assert!(!longer.matches(&text));
        }
    }

    #[test]
    fn empty_is_everything() {
        assert_eq!(Selector::default().decides(&Facts::default(), Choice::No), Choice::This);
    }

    #[test]
    fn any_list_selects() {
        let id = "ab".repeat(32);
        let all = Selector {
            pids: vec![10],
            executables: vec![Pattern::new("ngin?"), Pattern::new("/opt/*")],
            commands: vec![Pattern::new("curl"), Pattern::new("a-very-long-command")],
            containers: vec!["abab".into(), "web".into(), String::new()],
            cgroups: vec!["/sys/fs/cgroup/system.slice/shop.service/".into()],
        };
        let chosen = |f: Facts| all.decides(&f, Choice::No);
        assert_eq!(chosen(facts(10, 1, "/bin/x", "x", "/")), Choice::Family);
        assert_eq!(chosen(facts(11, 1, "/usr/sbin/nginx", "x", "/")), Choice::This);
        assert_eq!(chosen(facts(11, 1, "/opt/a/b", "x", "/")), Choice::This);
        assert_eq!(chosen(facts(11, 1, "/bin/x", "curl", "/")), Choice::This);
        assert_eq!(chosen(facts(11, 1, "/bin/x", "a-very-long-com", "/")), Choice::This);
        assert_eq!(chosen(facts(11, 1, "/bin/x", "x", &format!("/docker/{id}"))), Choice::This);
        assert_eq!(chosen(facts(11, 1, "/bin/x", "x", "/lxc/web")), Choice::This);
        assert_eq!(chosen(facts(11, 1, "/bin/x", "x", "/system.slice/shop.service/a")), Choice::This);
        assert_eq!(chosen(facts(11, 1, "/bin/x", "x", "/system.slice/shop.service2")), Choice::No);
        assert_eq!(chosen(facts(11, 1, "/usr/opt/x", "curl2", "/lxc/web2")), Choice::No);
        assert_eq!(all.decides(&facts(11, 1, "/bin/x", "x", "/"), Choice::This), Choice::No);
        assert_eq!(all.decides(&facts(11, 1, "/bin/x", "x", "/"), Choice::Family), Choice::Family);
    }

    #[test]
    fn children_of_a_pid_are_found_in_any_order() {
        let selector = Selector { pids: vec![10], ..Selector::default() };
        let list = [
            facts(12, 11, "/x", "x", "/"),
            facts(11, 10, "/x", "x", "/"),
            facts(10, 1, "/x", "x", "/"),
            facts(13, 1, "/x", "x", "/"),
        ];
        let mut found: Vec<_> = selector.select(&list).into_iter().collect();
        found.sort_by_key(|(tgid, _)| *tgid);
        assert_eq!(found, [(10, Choice::Family), (11, Choice::Family), (12, Choice::Family)]);
        // Parents in a circle.
        let circle = [facts(20, 21, "/x", "x", "/"), facts(21, 20, "/x", "x", "/")];
        assert!(selector.select(&circle).is_empty());
    }
}
