//! What other programs read in the same files: each function of libraries that are there, row by row.

use std::process::Command;

use geophone_ebpf::unwind::{
    AT_FP, END, FP_AT_CFA, FP_AT_FP, FP_LOST, FP_SAME, FROM_FP, FROM_SP, NONE, PLT, Rule, SIGNAL, UNSUPPORTED,
};
use object::read::ReadCache;

use super::{Table, compile};

/// What differs and what was compared.
#[derive(Debug, Default)]
struct Outcome {
    rows: usize,
    ends: usize,
    unsupported: usize,
    different: Vec<String>,
}

/// Whether a rule is what a line of `readelf` says: the CFA, the frame pointer, the return address.
fn agrees(rule: Rule, cfa: &str, fp: Option<&str>, returns: &str) -> bool {
    let offset = |text: &str| text.get(3..).and_then(|offset| offset.parse::<i64>().ok());
    let cfa_agrees = match rule.kind() {
        FROM_SP => cfa.starts_with("rsp") && offset(cfa) == Some(rule.offset()),
        FROM_FP => cfa.starts_with("rbp") && offset(cfa) == Some(rule.offset()),
        AT_FP | PLT | SIGNAL => cfa == "exp",
        END => return returns == "u",
        // Other registers, a return address somewhere else, or part of a word.
        UNSUPPORTED => {
            let is_usual = cfa.starts_with("rsp") || cfa.starts_with("rbp");
            return !is_usual || returns != "c-8" || offset(cfa).is_some_and(|offset| offset % 8 != 0);
        }
        _ => false,
    };
    let fp_agrees = match (rule.fp(), fp) {
        _ if rule.kind() == SIGNAL => fp == Some("exp"),
        (FP_SAME, fp) => matches!(fp, None | Some("u" | "s")),
        (FP_AT_CFA, Some(fp)) => fp.strip_prefix('c').and_then(|fp| fp.parse().ok()) == Some(rule.fp_offset()),
        (FP_AT_FP, fp) => fp == Some("exp"),
        (FP_LOST, fp) => fp == Some("u"),
        _ => false,
    };
    cfa_agrees && fp_agrees && returns == if rule.kind() == SIGNAL { "exp" } else { "c-8" }
}

fn compare(path: &str, table: &Table) -> Outcome {
    let output = Command::new("readelf").args(["-W", "--debug-dump=frames-interp", path]).output().unwrap();
    // It fails when a file has hand-written descriptions that it does not like, and says the rest of them all the same.
    let text = String::from_utf8_lossy(&output.stdout);
    let mut outcome = Outcome::default();
    let mut columns: Vec<&str> = Vec::new();
    let mut lines = text.lines().peekable();
    // Rows of what is common to functions are no rows of a function.
    let mut is_function = false;
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, _, _, "CIE", ..] => is_function = false,
            [_, _, _, "FDE", ..] => {
                is_function = true;
                let end = words.last().and_then(|word| word.rsplit("..").next()).unwrap();
                let end = u64::from_str_radix(end, 16).unwrap();
                outcome.ends += usize::from(table.find(end - 1).kind() == NONE);
            }
            ["LOC", names @ ..] => columns = names.to_vec(),
            [place, values @ ..] if is_function && place.len() == 16 && values.len() == columns.len() => {
                let address = u64::from_str_radix(place, 16).unwrap();
                // A place that is left at once.
                if lines.peek().is_some_and(|next| next.starts_with(place)) {
                    continue;
                }
                let value = |name| columns.iter().position(|column| *column == name).map(|at| values[at]);
                let (cfa, returns) = (value("CFA").unwrap(), value("ra").unwrap());
                let rule = table.find(address);
                outcome.rows += 1;
                outcome.unsupported += usize::from(rule.kind() == UNSUPPORTED);
                if !agrees(rule, cfa, value("rbp"), returns) {
                    outcome.different.push(format!("{line}: {rule:x?} {} {}", rule.kind(), rule.offset()));
                }
            }
            _ => {}
        }
    }
    outcome
}

/// This program, and what is code in a Python process that has loaded some more: C, C++, Rust and hand-written parts.
fn files() -> Vec<String> {
    let own = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let print = "import ctypes, ssl\nctypes.CDLL('libstdc++.so.6')\n\
                 print(*{line.split()[-1] for line in open('/proc/self/maps') if '/' in line and ' r-xp ' in line}, sep='\\n')";
    let mut files = vec![own];
    match Command::new("python3").args(["-c", print]).output() {
        Ok(output) if output.status.success() => {
            files.extend(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned));
        }
        // At least libc, which this program has.
        _ => {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            let libc = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
            files.extend(libc.filter(|path| path.contains("/libc.so")).take(1).map(str::to_owned));
        }
    }
    files
}

#[test]
fn rows_are_what_readelf_says() {
    if cfg!(not(target_arch = "x86_64")) || Command::new("readelf").arg("--version").output().is_err() {
        return;
    }
    let files = files();
    assert!(files.len() >= 2, "{files:?}");
    let mut all = 0;
    for path in files {
        let file = std::fs::File::open(&path).unwrap();
        let started = std::time::Instant::now();
        let table = compile(&ReadCache::new(&file)).unwrap();
        let took = started.elapsed();
        let outcome = compare(&path, &table);
        println!(
            "{path}: {} rows here, {} there, {} unsupported, {} malformed, in {took:?}",
            table.rows().len(),
            outcome.rows,
            outcome.unsupported,
            table.malformed()
        );
        all += outcome.rows;
        let first: Vec<_> = outcome.different.iter().take(10).collect();
        assert!(outcome.different.is_empty(), "{path}: {} of {}: {first:#?}", outcome.different.len(), outcome.rows);
        // The most are in the assembler of OpenSSL: a word on the stack, and an offset from that.
        assert!(outcome.unsupported * 50 <= outcome.rows, "{path}: {} unsupported", outcome.unsupported);
        assert_eq!(outcome.ends, 0, "{path}: functions whose last byte has no row");
    }
    assert!(all > 20_000, "{all} rows were compared");
}
