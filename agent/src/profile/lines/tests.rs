//! Of programs that compilers of this machine have made, and of what was made of those by hand.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use proptest::prelude::*;

use super::*;

/// Line by line: `step` is inlined into `spin`, that into `work`, which calls `twice`.
const SOURCE: &str = "\
static inline __attribute__((always_inline)) long step(long x) {
    return x * x + (x >> 3);
}
static inline __attribute__((always_inline)) long spin(long x) {
    return
        step(x + 1);
}
__attribute__((noinline)) long work(long x) {
    return
        spin(x + 5);
}
int main(int count, char **words) {
    (void)words;
    return (int)work(count);
}
";

/// A program with debug information, in a folder of its own.
fn program(flags: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join("shape.c"), folder.path().join("shape"));
    fs::write(&source, SOURCE).unwrap();
    run(Command::new("gcc").args(["-O2", "-g"]).args(flags).arg("-o").arg(&path).arg(&source));
    (folder, path)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Positions in the file of all bytes of a function.
fn code(path: &Path, function: &str) -> Vec<u64> {
    use object::{ObjectSection as _, ObjectSymbol as _};
    let bytes = fs::read(path).unwrap();
    let object = object::File::parse(&*bytes).unwrap();
    let symbol = object.symbols().find(|symbol| symbol.name() == Ok(function)).unwrap();
    let section = object.section_by_index(symbol.section_index().unwrap()).unwrap();
    let start = symbol.address() - section.address() + section.file_range().unwrap().0;
    (start..start + symbol.size()).collect()
}

fn find_in(path: &Path, offsets: &[u64]) -> Result<Vec<Lines>, LinesError> {
    find(&File::open(path).unwrap(), path.to_str().unwrap(), &["/proc/self"], offsets)
}

/// Names and lines, the outermost first.
fn frames(lines: &Lines) -> Vec<(&str, u32)> {
    let line = |source: &Option<Source>| source.as_ref().map_or(0, |source| source.line);
    let own = (lines.name.as_deref().unwrap_or_default(), line(&lines.source));
    let inlined = lines.inlined.iter().map(|inlined| (&*inlined.name, line(&inlined.source)));
    std::iter::once(own).chain(inlined).collect()
}

/// Whether `work` has its lines, and what is inlined in it.
fn assert_known(found: &[Lines]) {
    let expected = [("work", 10), ("spin", 6), ("step", 2)];
    let deepest = found.iter().filter(|lines| frames(lines) == expected).count();
    assert!(deepest * 2 > found.len(), "{found:#?}");
    for lines in found {
        assert_eq!(lines.name.as_deref(), Some("work"));
        assert!(lines.source.as_ref().unwrap().file.ends_with("/shape.c"), "{lines:?}");
    }
}

#[test]
fn of_versions_and_compressed() {
    for flags in [&["-gdwarf-5"][..], &["-gdwarf-4"], &["-gdwarf-5", "-gz=zlib"], &["-gdwarf-4", "-no-pie", "-flto"]] {
        let (_folder, path) = program(flags);
        assert_known(&find_in(&path, &code(&path, "work")).unwrap());
    }
}

#[test]
fn positions_keep_their_order_and_may_be_nowhere() {
    let (_folder, path) = program(&[]);
    let work = code(&path, "work");
    let main = code(&path, "main");
    let found = find_in(&path, &[main[0], u64::MAX, work[0], 0, main[0]]).unwrap();
    let names: Vec<_> = found.iter().map(|lines| lines.name.as_deref()).collect();
    assert_eq!(names, [Some("main"), None, Some("work"), None, Some("main")]);
}

#[test]
fn in_a_separate_file() {
    for flags in [&["-Wl,--build-id=none"][..], &["-Wl,--build-id"]] {
        let (folder, path) = program(flags);
        let work = code(&path, "work");
        let separate = folder.path().join("shape.debug");
        run(Command::new("objcopy").arg("--only-keep-debug").arg(&path).arg(&separate));
        run(Command::new("objcopy").arg("--strip-all").arg(&path));
        assert!(matches!(find_in(&path, &work), Err(LinesError::Nothing)));
        run(Command::new("objcopy").current_dir(folder.path()).arg("--add-gnu-debuglink=shape.debug").arg(&path));
        assert_known(&find_in(&path, &work).unwrap());
        // Of another build: other bytes, and another id.
        let (_other, built) = program(&["-DOTHER", "-O3", "-Wl,--build-id=uuid"]);
        fs::copy(built, &separate).unwrap();
        assert!(matches!(find_in(&path, &work), Err(LinesError::Nothing)), "{flags:?}");
    }
}

#[test]
fn of_rust() {
    let own = std::env::current_exe().unwrap();
    let name = "geophone_lines_test_symbol";
    let offset = code(&own, name)[0];
    std::hint::black_box(geophone_lines_test_symbol(1));
    let found = find_in(&own, &[offset]).unwrap();
    let source = found[0].source.clone().unwrap();
    assert!(source.file.ends_with("agent/src/profile/lines/tests.rs"), "{found:?}");
    assert_eq!(source.line, LINE + 2);
    // Where there are tables of lines only, the functions that nothing was inlined into have no names but their symbols.
    assert!(found[0].name.as_deref().is_none_or(|found| found == name), "{found:?}");
}

const LINE: u32 = line!();
#[unsafe(no_mangle)]
extern "C" fn geophone_lines_test_symbol(x: u64) -> u64 {
    std::hint::black_box(x) + 1
}

/// What takes a byte in the file takes a hundred in memory: 1 GiB of memory for these.
/// A function that ends behind the last address there is, which a fuzzer has found: its unit says nothing, and the file is read on.
#[test]
fn addresses_that_overflow_are_passed_over() {
    let file: &[u8] = include_bytes!("../../../fuzz/seeds/lines/overflow");
    let addresses = [0, 0x40_1000, 0x40_1004, 0x40_1010, 0x40_1020, u64::MAX];
    assert_eq!(look_up(file, &addresses).unwrap().len(), addresses.len());
}

#[test]
fn tables_that_are_too_large_are_refused() {
    for (table, flags) in [(".debug_line", "-gdwarf-5"), (".debug_abbrev", "-gdwarf-5")] {
        let (folder, path) = program(&[flags]);
        let work = code(&path, "work");
        let part = folder.path().join("part");
        run(Command::new("objcopy").arg(format!("--dump-section={table}={}", part.display())).arg(&path));
        let mut bytes = fs::read(&part).unwrap();
        if table == ".debug_line" {
            // The first unit's, of which nothing else is kept: lengths, version, sizes, then the tables.
            let count = 12u32 << 20;
            let mut header = vec![1, 1, 1, 0xfb, 14, 1];
            // No folders; files have a name, which is one byte.
            header.extend([0, 0, 1, 1, 0x25]);
            header.extend([count | 0x80, count >> 7 | 0x80, count >> 14 | 0x80, count >> 21].map(|part| part as u8));
            header.resize(header.len() + count as usize, 0);
            bytes = Vec::new();
            bytes.extend((header.len() as u32 + 8).to_le_bytes());
            bytes.extend([5, 0, 8, 0]);
            bytes.extend((header.len() as u32).to_le_bytes());
            bytes.extend(header);
        } else {
            // The end of the table is where more of it is.
            while bytes.last() == Some(&0) {
                bytes.pop();
            }
            bytes.extend([0, 0]);
            // Numbers that are not in order are kept in a tree.
            for code in (1000..1_000_000u32).rev() {
                bytes.extend([code | 0x80, code >> 7 | 0x80, code >> 14].map(|part| part as u8));
                bytes.extend([0x2e, 0, 0, 0]);
            }
            bytes.push(0);
        }
        fs::write(&part, bytes).unwrap();
        run(Command::new("objcopy").arg(format!("--update-section={table}={}", part.display())).arg(&path));
        let found = find_in(&path, &work);
        assert!(matches!(found, Err(LinesError::TooLarge)), "{table}: {found:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Bytes of the debug information are wrong: something is said or not, and nothing breaks.
    #[test]
    fn wrong_bytes_break_nothing(wrong in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200)) {
        use object::ObjectSection as _;
        let (_folder, path) = program(&[]);
        let mut bytes = fs::read(&path).unwrap();
        let work = code(&path, "work");
        let places: Vec<u64> = {
            let object = object::File::parse(&*bytes).unwrap();
            let debug = object.sections().filter(|section| section.name().is_ok_and(|name| name.starts_with(".debug_")));
            debug.filter_map(|section| section.file_range()).flat_map(|(start, size)| start..start + size).collect()
        };
        for (place, byte) in wrong {
            bytes[*place.get(&places) as usize] = byte;
        }
        fs::write(&path, bytes).unwrap();
        if let Ok(found) = find_in(&path, &work) {
            prop_assert_eq!(found.len(), work.len());
        }
    }
}
