//! Reads [`Facts`] out of `/proc`, each file up to a bound, because a process decides what is in them.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
};

use procfs::{
    FromRead, ProcError,
    process::{Process, Stat},
};

use super::{
    facts::Facts,
    program::{CommandLine, Program, program},
    text::{clean, clean_bytes},
};

/// Class paths of Java are long, and what is run comes after them.
const ARGUMENTS: u64 = 256 << 10;
/// What the kernel allows one variable, twice; variables after that are not looked at.
const ENVIRONMENT: u64 = 256 << 10;
/// One variable's value.
const VARIABLE: usize = 16 << 10;
/// `/proc/PID/cgroup`.
const CGROUPS: u64 = 64 << 10;
/// `PATH_MAX`.
const PATH: usize = 4096;

/// Why nothing could be read of a process.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It has ended (or its pid is not one of the namespace in which `/proc` was mounted).
    #[error("process {0} is gone")]
    Gone(u32),
    /// Anything else.
    #[error("process {0}: {1}")]
    Io(u32, io::Error),
}

/// A `/proc` file system.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

impl Default for Proc {
    fn default() -> Self {
        Self::new("/proc")
    }
}

impl Proc {
    /// The file system mounted at `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Everything that can be read of a process. What its owner or the kernel refuses is left empty.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when there is no such process.
    pub fn facts(&self, tgid: u32) -> Result<Facts, ReadError> {
        let process = self.open(tgid)?;
        // What vanishes first comes first: of a process that has ended but was not yet waited for, only the last ones remain.
        let executable = process.exe().ok().map(|path| {
            let path = path.to_string_lossy();
            clean(path.strip_suffix(" (deleted)").unwrap_or(&path), PATH)
        });
        let arguments = arguments(&process);
        let directory = process.cwd().ok().map(|path| path.to_string_lossy().into_owned());
        let mut facts = Facts { tgid, ..Facts::default() };
        variables(&process, &mut facts);
        facts.cgroups = cgroups(&process);
        facts.netns = fs::read_link(self.root.join(tgid.to_string()).join("ns/net"))
            .ok()
            .and_then(|link| link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok());
        // The seal: as `process` is still there, every path above was this process's too.
        let stat = stat(&process, tgid)?;
        facts.parent = u32::try_from(stat.ppid).unwrap_or(0);
        facts.start = stat.starttime;
        facts.comm = clean(&stat.comm, 15 * 3);
        if executable.is_some() || !arguments.is_empty() {
            let line = CommandLine {
                executable: executable.as_deref(),
                arguments: &arguments,
                directory: directory.as_deref(),
            };
            match program(&line) {
                Program::Named(name) => facts.program = Some(name),
                Program::LikeParent => facts.like_parent = true,
                Program::Unknown => {}
            }
        }
        facts.executable = executable;
        facts.command = arguments.first().map(|first| command(first)).filter(|c| !c.is_empty());
        Ok(facts)
    }

    /// When a process started, in clock ticks since boot: two processes with one pid differ in it.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when there is no such process.
    pub fn start(&self, tgid: u32) -> Result<u64, ReadError> {
        Ok(stat(&self.open(tgid)?, tgid)?.starttime)
    }

    /// Every process that there is now. One that ends meanwhile is left out.
    pub fn all(&self) -> impl Iterator<Item = (u32, Facts)> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| {
            let tgid = entry.file_name().to_str()?.parse().ok()?;
            Some((tgid, self.facts(tgid).ok()?))
        })
    }

    fn open(&self, tgid: u32) -> Result<Process, ReadError> {
        Process::new_with_root(self.root.join(tgid.to_string())).map_err(|e| failed(tgid, e))
    }
}

fn stat(process: &Process, tgid: u32) -> Result<Stat, ReadError> {
    let file = process.open_relative("stat").map_err(|e| failed(tgid, e))?;
    let mut said = Vec::new();
    file.take(4096).read_to_end(&mut said).map_err(|e| failed(tgid, ProcError::Io(e, None)))?;
    // What reads it takes for granted that the name is in parentheses, as the kernel has it.
    let at = |wanted: u8| said.iter().position(|byte| *byte == wanted);
    if at(b'(').zip(said.iter().rposition(|byte| *byte == b')')).is_some_and(|(begin, end)| end < begin) {
        return Err(failed(tgid, ProcError::Other("the process's name is not in parentheses".to_owned())));
    }
    Stat::from_read(&*said).map_err(|e| failed(tgid, e))
}

fn failed(tgid: u32, error: ProcError) -> ReadError {
    const ESRCH: i32 = 3; // what reading in the directory of a process says that has been waited for
    match error {
        ProcError::NotFound(_) => ReadError::Gone(tgid),
        ProcError::Io(e, _) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(ESRCH) => {
            ReadError::Gone(tgid)
        }
        ProcError::Io(e, _) => ReadError::Io(tgid, e),
        ProcError::PermissionDenied(_) => ReadError::Io(tgid, io::ErrorKind::PermissionDenied.into()),
        other => ReadError::Io(tgid, io::Error::other(other.to_string())),
    }
}

fn arguments(process: &Process) -> Vec<String> {
    let mut bytes = Vec::new();
    if let Ok(file) = process.open_relative("cmdline") {
        // An error half-way leaves what was read.
        let _ = file.take(ARGUMENTS).read_to_end(&mut bytes);
    }
    bytes
        .split(|b| *b == 0)
        .filter(|part| !part.is_empty())
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}

/// What the process calls itself. Of a title that it wrote there (`nginx: master process nginx -c ...`) only the first word, because
/// titles repeat arguments.
fn command(first: &str) -> String {
    let first = clean(first, 256);
    if first.starts_with('/') {
        return first;
    }
    first.split_whitespace().next().unwrap_or_default().trim_end_matches(':').to_owned()
}

/// Takes the two variables that say who a process is, and looks at no other: the rest holds secrets.
fn variables(process: &Process, facts: &mut Facts) {
    let Ok(file) = process.open_relative("environ") else {
        return;
    };
    let mut reader = BufReader::new(file.take(ENVIRONMENT));
    let mut variable = Vec::new();
    while let Ok(1..) = reader.read_until(0, &mut variable) {
        if let Some((name, value)) = variable.strip_suffix(&[0]).unwrap_or(&variable).split_once_byte(b'=') {
            match name {
                b"OTEL_SERVICE_NAME" => {
                    facts.otel_service_name = Some(clean_bytes(value, VARIABLE));
                }
                b"OTEL_RESOURCE_ATTRIBUTES" => {
                    facts.otel_resource_attributes = Some(clean_bytes(value, VARIABLE));
                }
                _ => {}
            }
        }
        variable.clear();
    }
}

/// `split_once` for bytes.
trait SplitOnce {
    fn split_once_byte(&self, byte: u8) -> Option<(&[u8], &[u8])>;
}

impl SplitOnce for [u8] {
    fn split_once_byte(&self, byte: u8) -> Option<(&[u8], &[u8])> {
        let at = self.iter().position(|b| *b == byte)?;
        Some((self.get(..at)?, self.get(at + 1..)?))
    }
}

fn cgroups(process: &Process) -> Vec<String> {
    let mut text = Vec::new();
    if let Ok(file) = process.open_relative("cgroup") {
        // As above.
        let _ = file.take(CGROUPS).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let mut found: Vec<(bool, &str)> = Vec::new();
    for line in text.lines() {
        // `hierarchy:controllers:path`; hierarchy 0 is version 2.
        let mut parts = line.splitn(3, ':');
        let (Some(hierarchy), Some(_), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if !found.iter().any(|(_, known)| *known == path) {
            found.push((hierarchy != "0", path));
        }
    }
    found.sort_by_key(|(old, _)| *old);
    found.into_iter().take(16).map(|(_, path)| clean(path, PATH)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A process in a made-up `/proc`.
    pub(in crate::process) fn fake(
        root: &std::path::Path,
        tgid: u32,
        parent: u32,
        start: u64,
        exe: &str,
        cmdline: &str,
    ) {
        let directory = root.join(tgid.to_string());
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("ns")).unwrap();
        symlink(exe, directory.join("exe")).unwrap();
        symlink("/srv/shop", directory.join("cwd")).unwrap();
        symlink("net:[4026531840]", directory.join("ns/net")).unwrap();
        fs::write(directory.join("cmdline"), cmdline.replace('|', "\0") + "\0").unwrap();
        fs::write(directory.join("environ"), "PATH=/bin\0OTEL_RESOURCE_ATTRIBUTES=a=b\0SECRET=x\0").unwrap();
        fs::write(directory.join("cgroup"), "1:name=systemd:/a\n0::/system.slice/x.scope\n2:cpu:/a\n").unwrap();
        let comm: String = exe.rsplit('/').next().unwrap().chars().take(15).collect();
        let zeros = "0 ".repeat(30);
        let stat = format!("{tgid} ({comm}) S {parent} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} {zeros}\n");
        fs::write(directory.join("stat"), stat).unwrap();
    }

    #[test]
    fn reads_a_process() {
        let root = tempfile::tempdir().unwrap();
        fake(root.path(), 42, 7, 1234, "/usr/bin/node (deleted)", "node|index.js|--password=x");
        let facts = Proc::new(root.path()).facts(42).unwrap();
        let expected = Facts {
            tgid: 42,
            parent: 7,
            start: 1234,
            comm: "node (deleted)".into(),
            executable: Some("/usr/bin/node".into()),
            command: Some("node".into()),
            program: Some("shop".into()),
            otel_resource_attributes: Some("a=b".into()),
            cgroups: vec!["/system.slice/x.scope".into(), "/a".into()],
            netns: Some(4_026_531_840),
            ..Facts::default()
        };
        assert_eq!(facts, expected);
        let kept = serde_json::to_string(&facts).unwrap();
        assert!(!kept.contains("password") && !kept.contains("SECRET"), "{kept}");
        assert_eq!(serde_json::from_str::<Facts>(&kept).unwrap(), facts);
    }

    /// No kernel says that; what reads it must not fail all the same.
    #[test]
    fn a_name_that_is_not_in_parentheses() {
        let root = tempfile::tempdir().unwrap();
        fake(root.path(), 42, 7, 1234, "/usr/bin/node", "node");
        fs::write(root.path().join("42/stat"), "42 )node( S 7 1 1").unwrap();
        assert!(matches!(Proc::new(root.path()).start(42), Err(ReadError::Io(42, _))));
    }

    #[test]
    fn a_title_is_cut() {
        for (first, expected) in [
            ("nginx: master process nginx -c /x", "nginx"),
            ("gunicorn: master [app:app]", "gunicorn"),
            ("/opt/My Shop/cart", "/opt/My Shop/cart"),
            ("node", "node"),
            (" ", ""),
        ] {
            assert_eq!(command(first), expected);
        }
    }

    #[test]
    fn reads_itself() {
        let facts = Proc::default().facts(std::process::id()).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(facts.executable.as_deref(), exe.to_str());
        assert_eq!(facts.parent, std::os::unix::process::parent_id());
        assert_eq!(facts.start, Proc::default().start(std::process::id()).unwrap());
        assert!(facts.netns.is_some() && facts.program.is_some());
        assert!(Proc::default().all().any(|(tgid, other)| tgid == std::process::id() && other.start == facts.start));
    }

    #[test]
    fn a_process_that_has_ended_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(matches!(Proc::default().facts(child.id()), Err(ReadError::Gone(_))));
        assert!(matches!(Proc::default().start(child.id()), Err(ReadError::Gone(_))));
    }

    #[test]
    fn hostile_files_are_bounded() {
        let root = tempfile::tempdir().unwrap();
        fake(root.path(), 42, 7, 1, "/bin/x", "x");
        let directory = root.path().join("42");
        fs::write(directory.join("cmdline"), [b'a'; 1 << 20]).unwrap();
        fs::write(directory.join("environ"), [b"OTEL_SERVICE_NAME=".as_slice(), &[0xff; 1 << 20]].concat()).unwrap();
        fs::write(directory.join("cgroup"), "0::/".to_owned() + &"y".repeat(1 << 20)).unwrap();
        let facts = Proc::new(root.path()).facts(42).unwrap();
        assert_eq!(facts.command.unwrap().len(), 256);
        assert!(facts.otel_service_name.unwrap().len() <= 3 * VARIABLE);
        assert!(facts.cgroups.iter().map(String::len).sum::<usize>() <= PATH);
    }

    #[test]
    fn what_is_missing_stays_empty() {
        let root = tempfile::tempdir().unwrap();
        fake(root.path(), 42, 7, 1, "/bin/x", "x");
        for file in ["exe", "cwd", "cmdline", "environ", "cgroup", "ns/net"] {
            fs::remove_file(root.path().join("42").join(file)).unwrap();
        }
        let facts = Proc::new(root.path()).facts(42).unwrap();
        assert_eq!(facts, Facts { tgid: 42, parent: 7, start: 1, comm: "x".into(), ..Facts::default() });
        fs::write(root.path().join("42/stat"), "42 (x").unwrap();
        assert!(matches!(Proc::new(root.path()).facts(42), Err(ReadError::Io(42, _))));
    }
}
