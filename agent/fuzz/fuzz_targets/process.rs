//! Whatever a process says of itself: command line, environment, control groups, names; by themselves, and read out of `/proc`.

#![no_main]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use arbitrary::Arbitrary;
use geophone::process::{CommandLine, Facts, Host, Proc, Program, container, program, resource, service_name, unit};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Said<'a> {
    comm: &'a str,
    executable: Option<&'a str>,
    directory: Option<&'a str>,
    arguments: Vec<String>,
    cgroup: &'a str,
    service_name: Option<&'a str>,
    attributes: Option<&'a str>,
    files: Option<[&'a [u8]; 4]>,
}

/// A `/proc` of one process, where files cost nothing.
fn proc() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let temporary = std::env::temp_dir();
        let root =
            if memory.is_dir() { memory } else { &temporary }.join(format!("geophone-fuzz-{}", std::process::id()));
        fs::create_dir_all(root.join("7")).expect("a folder for the files of a process");
        root
    })
}

fn check(facts: &Facts) {
    let name = service_name(facts);
    assert!(!name.is_empty() && name.len() <= 255, "a service has a name, of bounded length");
    assert!(!name.chars().any(char::is_control), "a name is one line");
    let resource = resource(facts, &Host::default());
    let mut keys: Vec<_> = resource.attributes.0.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    assert!(keys.is_sorted_by(|a, b| a < b), "a resource has each attribute once");
}

fuzz_target!(|said: Said<'_>| {
    let line = CommandLine { executable: said.executable, arguments: &said.arguments, directory: said.directory };
    let program = program(&line);
    if let Program::Named(name) = &program {
        assert!(!name.is_empty() && name.len() <= 128, "a program has a name, of bounded length");
    }
    if let Some(container) = container(said.cgroup) {
        assert!(container.id.is_some() || container.name.is_some(), "a container has an id or a name");
    }
    assert_ne!(unit(said.cgroup).as_deref(), Some(""), "a unit has a name");
    check(&Facts {
        tgid: 7,
        comm: said.comm.to_owned(),
        executable: said.executable.map(str::to_owned),
        program: match program {
            Program::Named(name) => Some(name),
            _ => None,
        },
        otel_service_name: said.service_name.map(str::to_owned),
        otel_resource_attributes: said.attributes.map(str::to_owned),
        cgroups: vec![said.cgroup.to_owned()],
        ..Facts::default()
    });
    if let Some(files) = said.files {
        let root = proc();
        for (name, bytes) in ["cmdline", "environ", "cgroup", "stat"].into_iter().zip(files) {
            fs::write(root.join("7").join(name), bytes).expect("a file of a process");
        }
        if let Ok(facts) = Proc::new(root).facts(7) {
            check(&facts);
        }
    }
});
