//! Folded text: one line for each stack, the outermost first, with how often it was seen, or for how many microseconds it waited. What flame graph tools read.
//! As they expect it, functions of the kernel end in `_[k]`, those that a process has compiled while it runs in `_[j]`.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use crate::profile::model::{Location, Owner, Profile, Stack};

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
    for Location { name, owner, .. } in profile.frames(stack).rev() {
        line.push(';');
        push(&mut line, name);
        line.push_str(match owner {
            Owner::Native => "",
            Owner::Jit => "_[j]",
            Owner::Kernel => "_[k]",
        });
    }
    line
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
    use crate::profile::model::tests::example;

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
