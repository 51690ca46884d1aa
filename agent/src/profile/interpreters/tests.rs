//! Against real interpreters, as for asyncio: that of the machine, and those whose commands `GEOPHONE_TEST_PYTHON` lists, separated by
//! colons.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use geophone_ebpf::interpreter::{CPYTHON, check};

use super::*;

/// Says where code objects are, how they are checked, and which line is where in them.
const SCRIPT: &str = r"
import dis, os, sys
class Outer:
    def method(self, values):
        total = 0
        for value in values:
            if value:
                total += (value
                    * 2)
            else:
                total -= 1

        return total
def naïve_日本(): return [
    1,
    2]
def long():
    return 0
source = 'def made():\n' + '\n' * 300 + '    x = 1\n' + '    x = x + 1\n' * 5000 + '    return x\n'
space = {}
exec(compile(source, '/srv/ünïcode/made.py', 'exec'), space)
for function in (Outer.method, naïve_日本, long, space['made']):
    code = function.__code__
    name = getattr(code, 'co_qualname', code.co_name)
    lines = []
    for offset, line in dis.findlinestarts(code):
        lines.append('%d=%d' % (offset, line or 0))
    print(id(code), id(code.co_name), code.co_firstlineno, name, code.co_filename, ' '.join(lines), sep='|')
print(flush=True)
os.read(0, 1)
";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pythons() -> Vec<String> {
    let more = std::env::var("GEOPHONE_TEST_PYTHON").unwrap_or_default();
    let more = more.split(':').filter(|path| !path.is_empty()).map(str::to_owned);
    std::iter::once("/usr/bin/python3".to_owned()).chain(more).collect()
}

fn start(python: &str) -> Running {
    let mut words = python.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args(["-X", "utf8", "-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
    Running(command.spawn().unwrap_or_else(|error| panic!("{python}: {error}")))
}

#[test]
fn code_objects_are_read() {
    if cfg!(not(target_arch = "x86_64")) {
        return;
    }
    for python in pythons() {
        let mut running = start(&python);
        let output = BufReader::new(running.0.stdout.take().unwrap());
        let lines = output.lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect::<Vec<_>>();
        assert_eq!(lines.len(), 4, "{python}");
        let target = Target { pid: running.0.id(), proc: format!("/proc/{}", running.0.id()).into() };
        let image = Image::open(&target.proc.join("exe")).unwrap().unwrap();
        let program = python::Python.file(&image).unwrap().unwrap();
        let (Answer::Found(interpreter, mut reader) | Answer::SoFar(interpreter, mut reader)) =
            program.process(&target).unwrap()
        else {
            panic!("{python}: nothing");
        };
        assert_eq!(interpreter.kind, CPYTHON);
        for line in lines {
            let fields: Vec<&str> = line.split('|').collect();
            let number = |index: usize| fields[index].parse::<u64>().unwrap();
            let (address, first_line) = (number(0), number(2) as u32);
            let id = Id { address, check: check(first_line, number(1)) };
            let function = reader.function(id).unwrap_or_else(|| panic!("{python}: {line}"));
            assert_eq!((&*function.name, &*function.file), (fields[3], fields[4]), "{python}");
            assert_eq!(function.first_line, first_line);
            // Positions of frames are instructions in 3.10 only.
            let scale = if python.contains("3.10") { 2 } else { 1 };
            for start in fields[5].split(' ') {
                let (offset, line) = start.split_once('=').unwrap();
                let offset = offset.parse::<i32>().unwrap() / scale;
                let expected = line.parse::<u32>().unwrap();
                let found = function.lines.at(offset).unwrap_or_default();
                assert_eq!(found, expected, "{python}: {} at {offset}", fields[3]);
            }
            // Another one was there, and what is no code object.
            assert!(reader.function(Id { check: id.check ^ 1, ..id }).is_none());
            assert!(reader.function(Id { address: number(1), ..id }).is_none());
            assert!(reader.function(Id { address: 8, ..id }).is_none());
        }
    }
}

/// The whole way, but for the kernel side: asked for, read on the other thread, known, forgotten.
#[test]
fn functions_are_known_until_they_are_forgotten() {
    if cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let mut running = start("/usr/bin/python3");
    let mut output = BufReader::new(running.0.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let fields: Vec<&str> = line.split('|').collect();
    let number = |index: usize| fields[index].parse::<u64>().unwrap();
    let id = Id { address: number(0), check: check(number(2) as u32, number(1)) };
    let wrong = Id { check: id.check ^ 1, ..id };
    let mut functions = Functions::start(None).unwrap();
    functions.mapped(7, running.0.id(), false, None);
    assert!(functions.is_looking() && functions.is_busy());
    functions.keep(7, [id, wrong, id].into_iter());
    let start = Instant::now();
    while functions.get(7, id).is_none() && start.elapsed() < Duration::from_secs(30) {
        functions.settle(Duration::from_millis(10));
    }
    assert_eq!(&*functions.get(7, id).unwrap().name, "Outer.method");
    while functions.counts().gone == 0 && start.elapsed() < Duration::from_secs(30) {
        functions.settle(Duration::from_millis(10));
    }
    assert_eq!(functions.counts(), Counts { gone: 1, ..Counts::default() });
    assert!(functions.get(7, wrong).is_none() && functions.get(8, id).is_none() && !functions.is_looking());
    // Its memory is closed, what is known of it stays as long as it is needed.
    functions.ended(7);
    functions.forget(|serial| serial == 7);
    assert!(functions.get(7, id).is_some());
    functions.forget(|_| false);
    assert!(functions.get(7, id).is_none());
    running.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
}

#[test]
fn frames_come_out_as_they_went_in() {
    let words = [1 << 60 | LAST | 0x7f12_3456_7890, u64::from(-2i32 as u32) << 32 | 77, 1 << 60 | 8, 5 << 32, 99];
    let frames: Vec<Frame> = Frame::all(&words).collect();
    let frame = |address, check, position, is_last| Frame { function: Id { address, check }, position, is_last };
    assert_eq!(frames, [frame(0x7f12_3456_7890, 77, -2, true), frame(8, 0, 5, false)]);
}
