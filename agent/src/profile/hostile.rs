//! Tests: files that are enormous, or say so, and files that others put where a process's own is expected.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use object::{Object as _, ObjectSection as _, ReadCache};

use super::{
    files,
    interpreters::Functions,
    lines,
    maps::FileId,
    model::tests::resource,
    sample::{decode, tests::record},
    spaces::Spaces,
    stacks::Stacks,
    symbol_tables::{self, TablesError},
    symbols, unwind,
};
use crate::parts::{self, Parts};

/// Bytes of what is enormous; files have holes there.
const ENORMOUS: u64 = 5_000_000_000;

/// A program, in a folder of its own.
fn program() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join("small.c"), folder.path().join("small"));
    fs::write(&source, "int main(int count, char **words) { (void)words; return count - 1; }\n").unwrap();
    let built = Command::new("gcc").args(["-O2", "-g", "-o"]).arg(&path).arg(&source).status().unwrap();
    assert!(built.success());
    (folder, path)
}

/// Lets the header of a section say that it has so many bytes.
fn claim(path: &Path, name: &str, size: u64) {
    let bytes = fs::read(path).unwrap();
    let index = object::File::parse(&*bytes).unwrap().section_by_name(name).unwrap().index().0 as u64;
    let headers = u64::from_le_bytes(bytes[0x28..0x30].try_into().unwrap());
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&size.to_le_bytes(), headers + index * 64 + 32).unwrap();
}

/// How many rows a file has.
fn rows(path: &Path) -> usize {
    let file = File::open(path).unwrap();
    let cache = ReadCache::new(&file);
    unwind::compile(Parts::new(&cache, parts::USUAL)).map_or(0, |table| table.rows().len())
}

/// Position in the file of some code.
fn code(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    let object = object::File::parse(&*bytes).unwrap();
    object.section_by_name(".text").unwrap().file_range().unwrap().0
}

#[test]
fn a_program_of_five_gigabytes_is_like_any_other() {
    let (_folder, path) = program();
    let (before, at) = (rows(&path), code(&path));
    File::options().write(true).open(&path).unwrap().set_len(ENORMOUS).unwrap();
    let file = File::open(&path).unwrap();
    assert_eq!(rows(&path), before);
    assert!(before > 0 || cfg!(not(target_arch = "x86_64")));
    assert!(symbols::modules::build_id(&file).is_some() && symbol_tables::copy(&file).is_ok());
    assert!(lines::find(&file, path.to_str().unwrap(), &["/proc/self"], &[at]).is_ok());
}

#[test]
fn sections_that_say_they_are_enormous_are_not_read() {
    for section in [".symtab", ".strtab", ".eh_frame", ".debug_info", ".debug_str", ".note.gnu.build-id"] {
        let (_folder, path) = program();
        let (before, at) = (rows(&path), code(&path));
        claim(&path, section, ENORMOUS - 100_000);
        File::options().write(true).open(&path).unwrap().set_len(ENORMOUS).unwrap();
        let file = File::open(&path).unwrap();
        // Frame descriptions have another way in, by the program header.
        assert_eq!(rows(&path), before, "{section}");
        let is_table = [".symtab", ".strtab"].contains(&section);
        assert_eq!(matches!(symbol_tables::copy(&file), Err(TablesError::TooLarge)), is_table, "{section}");
        let found = lines::find(&file, path.to_str().unwrap(), &["/proc/self"], &[at]);
        // Whoever reads debug information reads the symbols, too.
        assert_eq!(found.is_err(), section.starts_with(".debug_") || section == ".symtab", "{section}: {found:?}");
        let _ = symbols::modules::build_id(&file);
    }
}

/// A process as `/proc` shows it, number 7 in its own namespace, with a root of its own.
fn process(user: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("status"), format!("Name:\tx\nUid:\t0\t{user}\t0\t0\nNSpid:\t4711\t7\n")).unwrap();
    fs::create_dir_all(folder.path().join("root/tmp")).unwrap();
    folder
}

#[test]
fn perf_maps_of_others_are_not_read() {
    let own = rustix::process::geteuid().as_raw();
    let folder = process(own);
    let map = folder.path().join("root/tmp/perf-7.map");
    assert!(files::perf_map(folder.path()).is_none(), "there is none");
    fs::write(&map, "1000 20 f\n").unwrap();
    assert!(files::perf_map(folder.path()).is_some());
    // Out of the namespace, whether the way there begins at its root or not.
    let outside = folder.path().join("outside");
    fs::write(&outside, "1000 20 secret\n").unwrap();
    for target in [outside.as_path(), Path::new("../../outside"), Path::new("/proc/self/root/etc/passwd")] {
        fs::remove_file(&map).unwrap();
        symlink(target, &map).unwrap();
        assert!(files::perf_map(folder.path()).is_none(), "{target:?}");
    }
    // What waits when it is opened, and what is no file.
    fs::remove_file(&map).unwrap();
    let fifo = Command::new("mkfifo").arg(&map).status().unwrap();
    assert!(fifo.success() && files::perf_map(folder.path()).is_none());
    fs::remove_file(&map).unwrap();
    fs::create_dir(&map).unwrap();
    assert!(files::perf_map(folder.path()).is_none());
    if own == 0 {
        fs::remove_dir(&map).unwrap();
        fs::write(&map, "1000 20 f\n").unwrap();
        std::os::unix::fs::chown(&map, Some(4711), None).unwrap();
        assert!(files::perf_map(folder.path()).is_none(), "another user's");
        let other = process(4711);
        let map = other.path().join("root/tmp/perf-7.map");
        fs::write(&map, "1000 20 f\n").unwrap();
        assert!(files::perf_map(other.path()).is_some(), "root's");
    }
}

#[test]
fn of_an_enormous_perf_map_the_beginning_is_read() {
    let path = tempfile::NamedTempFile::new().unwrap();
    fs::write(path.path(), "1000 20 first\n").unwrap();
    path.as_file().set_len(ENORMOUS).unwrap();
    assert_eq!(symbols::read(path.as_file()).unwrap().find(0x1000), Some("first"));
}

#[test]
fn of_ten_thousand_processes_those_without_room_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut spaces = Spaces::new(folder.path());
    let found = (1..=10_000).filter(|tgid| spaces.of(*tgid, 0, || false, || resource("x")).is_some()).count();
    assert_eq!((found, spaces.dropped()), (8192, 10_000 - 8192));
    // Those that are known stay so; those that end make room.
    assert!(spaces.of(1, 1, || false, || resource("x")).is_some());
    spaces.ended(1);
    spaces.forget_ended(std::iter::empty());
    assert!(
        spaces.of(9_999, 1, || false, || resource("x")).is_some()
            && spaces.of(1, 1, || false, || resource("x")).is_none()
    );
    assert!(spaces.files().get(FileId { device: 0, inode: 1 }).is_none());
}

/// Whoever may write to a library can cut it off at any moment, also while its names are looked up.
#[test]
fn a_file_that_is_cut_off_meanwhile_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("7/root")).unwrap();
    let library = folder.path().join("7/root/library");
    let bytes = fs::read("/proc/self/exe").unwrap();
    fs::write(&library, &bytes).unwrap();
    let (start, inode) = (0x10_0000, std::os::unix::fs::MetadataExt::ino(&fs::metadata(&library).unwrap()));
    let maps = format!("{start:x}-{:x} r-xp 00000000 00:01 {inode} /library\n", start + bytes.len() as u64);
    fs::write(folder.path().join("7/maps"), maps).unwrap();
    let mut spaces = Spaces::new(folder.path());
    let space = spaces.of(7, 0, || false, || resource("x")).unwrap();
    let address = start + function(&bytes);
    let record = record(7, "x", 0, &[], &[address]);
    spaces.keep(space, [address].into_iter(), 0);
    let mut stacks = Stacks::default();
    assert!(stacks.add(space, &decode(&record).unwrap(), None, 1));
    let functions = Functions::start(None).unwrap();
    let name = || {
        let mut known = symbols::Known::default();
        let (_, locations, stacks) = symbols::resolve(&stacks, &spaces, &functions, &mut known);
        (locations[stacks[0].frames[0]].name.to_string(), known.unread())
    };
    let is_over = AtomicBool::new(false);
    let unread = thread::scope(|scope| {
        scope.spawn(|| {
            let file = File::options().write(true).open(&library).unwrap();
            // The tables are behind all else.
            let half = bytes.len() / 2;
            // Whole for long enough to be looked at, and not for long enough to be done with.
            for whole in [3, 7, 15, 30, 60, 120, 250].into_iter().cycle() {
                file.set_len(half as u64).unwrap();
                thread::sleep(Duration::from_millis(1));
                file.write_all_at(&bytes[half..], half as u64).unwrap();
                if is_over.load(Relaxed) {
                    break;
                }
                thread::sleep(Duration::from_millis(whole));
            }
        });
        let begin = Instant::now();
        let mut unread = 0;
        while unread == 0 || begin.elapsed() < Duration::from_secs(3) {
            unread += name().1;
            assert!(begin.elapsed() < Duration::from_secs(60), "it was never seen cut off");
        }
        is_over.store(true, Relaxed);
        unread
    });
    assert!(unread > 0);
    assert_eq!(name(), ("geophone_profile_hostile_symbol".to_owned(), 0), "it is whole again");
}

/// Found by its symbol above.
#[unsafe(no_mangle)]
extern "C" fn geophone_profile_hostile_symbol(x: u64) -> u64 {
    std::hint::black_box(x) + 2
}

/// Where in this program's file that function is.
fn function(bytes: &[u8]) -> u64 {
    let address = geophone_profile_hostile_symbol as extern "C" fn(u64) -> u64 as usize as u64;
    let own = crate::profile::maps::parse(&fs::read_to_string("/proc/self/maps").unwrap());
    let mapping = crate::profile::maps::find(&own, address).unwrap();
    let offset = address - mapping.start + mapping.offset;
    assert!(offset < bytes.len() as u64);
    offset
}
