//! Folded text: one line for each stack, the outermost first, with how often it was seen, or for how many microseconds it waited. What flame graph tools read.
//! As they expect it, functions of the kernel end in `_[k]`, those that a process has compiled while it runs in `_[j]`. Where lines are
//! known, they are part of the name: `burn (burn.c:12)`; of functions of Python programs, file and line are where they begin.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use crate::profile::model::{Owner, Profile, Source, Stack};

/// Writes a profile.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, mut to: impl Write) -> io::Result<()> {
    for (line, count) in lines(profile) {
        writeln!(to, "{line} {count}")?;
    }
    Ok(())
}

/// The lines, sorted, each with what it counts: see [`Profile::weight`].
pub fn lines(profile: &Profile) -> BTreeMap<String, u64> {
    let mut lines = BTreeMap::new();
    for stack in &profile.stacks {
        *lines.entry(line(profile, stack)).or_default() += profile.weight(stack);
    }
    lines
}

fn line(profile: &Profile, stack: &Stack) -> String {
    let mut line = String::new();
    push(&mut line, stack.service());
    let frames = profile.frames(stack).rev();
    for (name, source, location) in frames.flat_map(|location| {
        let functions = location.functions().rev();
        functions.map(move |(name, source)| (name, source, location))
    }) {
        line.push(';');
        match source {
            // By where it begins: each of its lines as a frame of its own would hide it.
            Some(Source { file, .. }) if location.owner == Owner::Python => {
                push(&mut line, &label(name, file, location.first_line));
            }
            Some(Source { file, line: number }) => push(&mut line, &label(name, file, *number)),
            None => push(&mut line, name),
        }
        line.push_str(match location.owner {
            Owner::Native | Owner::Python => "",
            Owner::Jit => "_[j]",
            Owner::Kernel => "_[k]",
        });
    }
    line
}

/// A name with its file and a line. What is before the last slash would only make the graph unreadable.
pub fn label(name: &str, file: &str, line: u32) -> String {
    format!("{name} ({}:{line})", file.rsplit('/').next().unwrap_or_default())
}

fn push(line: &mut String, name: &str) {
    line.extend(cleaned(name));
}

/// A name without what has a meaning in this format.
pub fn clean(name: &str) -> String {
    cleaned(name).collect()
}

fn cleaned(name: &str) -> impl Iterator<Item = char> {
    name.chars().map(|c| match c {
        ';' => ':',
        c if c.is_control() => ' ',
        c => c,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::tests::{example, with_lines};

    #[test]
    fn lines_and_inlined_functions_are_frames() {
        let lines = lines(&with_lines());
        let stack = "shop;main (shop.c:40);heavy (shop.c:30);spin (shop.c:20);step (shop.c:10)";
        assert_eq!(lines.get(&format!("{stack};do_syscall_64_[k]")), Some(&1), "{lines:?}");
        assert_eq!(lines.get("shop;main (shop.c:40);light"), Some(&1));
    }

    #[test]
    fn one_line_for_each_stack() {
        let mut profile = example();
        profile.locations[2].name = "light<a; b>\n".into();
        // Another thread of the same service: the same line.
        let mut other = profile.stacks[0].clone();
        other.thread = "other".into();
        profile.stacks.push(other);
        let mut text = Vec::new();
        write(&profile, &mut text).unwrap();
        let expected = "shop;main;heavy;do_syscall_64_[k] 1\nshop;main;heavy;heavy 4\nshop;main;light<a: b>  1\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
