//! Real JVMs, where they are installed.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::*;

/// JDKs that come with a server to run: 18 and later.
fn javas() -> Vec<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten();
    let homes = installed.map(|entry| entry.path()).filter(|home| !home.is_symlink());
    homes.map(|home| home.join("bin/java")).filter(|java| java.exists()).collect()
}

fn looked_at(java: &Path, options: &[&str]) -> Option<Result<Answer, Refusal>> {
    let server = ["-m", "jdk.httpserver", "-b", "127.0.0.1", "-p", "0"];
    let mut command = Command::new(java);
    let mut jvm = command.args(options).args(server).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let target = Target { pid: jvm.id(), proc: PathBuf::from(format!("/proc/{}", jvm.id())) };
    let mut answer = None;
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(100));
        let has_ended = jvm.try_wait().unwrap().is_some();
        if has_ended {
            return None;
        }
        answer = Some(Known.process(&target));
        if matches!(
            answer,
            Some(Ok(Answer::Found(_) | Answer::SoFar(_)) | Err(Refusal::Version(_) | Refusal::Malformed(_)))
        ) {
            break;
        }
    }
    jvm.kill().unwrap();
    jvm.wait().unwrap();
    answer
}

#[test]
fn what_runs_on_the_threads_of_a_jvm_is_found() {
    for java in javas() {
        for options in [&[][..], &["-XX:-UseCompressedOops"], &["-XX:+UseParallelGC"], &["-XX:+UseShenandoahGC"]] {
            // It ends at once where there is no such server, or no such option.
            let Some(answer) = looked_at(&java, options) else {
                continue;
            };
            let Ok(Answer::Found(found) | Answer::SoFar(found)) = answer else {
                panic!("{} {options:?}: {answer:?}", java.display());
            };
            let at = |index: usize| found.runtime.at[index];
            assert_eq!(found.runtime.kind, RUNTIME_JAVA);
            assert_ne!(at(VTABLE), 0, "{options:?}");
            assert_ne!(at(CLASS_VIRTUAL), 0, "{options:?}");
            assert!((8..256).contains(&at(ID)), "{options:?}: {}", at(ID));
        }
        // Where objects cannot be read, newer ones have the id elsewhere.
        match looked_at(&java, &["-XX:+UseZGC"]) {
            Some(Ok(Answer::Found(found))) => assert_eq!(found.runtime.at[VTHREAD], NONE),
            Some(Err(Refusal::Version(_))) | None => {}
            Some(answer) => panic!("{}: {answer:?}", java.display()),
        }
    }
}
