//! Any bytes as a table of lines of Python's, of each kind, and as the memory of a process that a code object is read from.

#![no_main]

use std::{cell::RefCell, fs::File, io::Write as _, os::unix::fs::FileExt as _};

use geophone::{
    profile::interpreters::{
        Id,
        python::{code::Code, lines::Table},
    },
    runtime::memory::Memory,
};
use geophone_ebpf::interpreter::check;
use libfuzzer_sys::fuzz_target;

const KINDS: [Table; 3] = [Table::Deltas, Table::Ranges, Table::Locations];
/// From a type to its name.
const TYPE_NAME: u64 = 24;

fuzz_target!(|data: &[u8]| {
    let [at, kind, first, rest @ ..] = data else { return };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let lines = kind.lines(u32::from(*first), rest);
    for position in [i32::MIN, -1, 0, 1, 2, i32::MAX] {
        let _ = lines.at(position);
    }
    code(kind, u64::from(*at) * 8, rest);
});

thread_local! {
    /// In the place of memory.
    static MEMORY: RefCell<File> = RefCell::new(memory());
}

fn memory() -> File {
    let path = format!("/dev/shm/geophone-fuzz-{}", std::process::id());
    let file = File::options().read(true).write(true).create_new(true).open(&path).expect("a file in memory");
    std::fs::remove_file(&path).expect("its name is not needed");
    file
}

/// Reads the code object at an address; its type and its check are what they must be.
fn code(kind: Table, address: u64, bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(8).max(address as usize + 64), 0);
    let kind_at = bytes.len() as u64;
    bytes.extend([0; TYPE_NAME as usize]);
    bytes.extend((kind_at + TYPE_NAME + 8).to_ne_bytes());
    bytes.extend(b"code\0\0\0\0");
    let at = address as usize;
    bytes[at + 8..at + 16].copy_from_slice(&kind_at.to_ne_bytes());
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let check = check(word(at + 24) as u32, word(at + 32));
    let code =
        Code { line: 24, name: 32, qualified: 40, file: 48, table: 56, kind, tp_name: TYPE_NAME, text: 40, bytes: 32 };
    MEMORY.with_borrow_mut(|file| {
        file.set_len(0).expect("an empty file");
        file.write_all_at(&bytes, 0).and_then(|()| file.flush()).expect("room in memory");
        let memory = Memory::from_file(file.try_clone().expect("a descriptor"));
        let function = code.read(&memory, Id { address, check });
        assert!(function.is_none_or(|function| function.bytes() < 4 << 20), "bounded");
    });
}
