//! What is said on the terminal at the end: the functions that took most of the time, and what became of the samples.

use std::{
    io::{self, Write},
    time::Duration,
};

use super::{
    collect::Counts,
    interpreters,
    model::{End, Kind, Owner, Profile},
};

/// Functions in the table.
const ROWS: usize = 20;
/// Characters of a name.
const NAME: usize = 60;

/// Writes the table of functions.
///
/// # Errors
/// Those of the writer.
pub fn top(profile: &Profile, to: &mut impl Write) -> io::Result<()> {
    let all = profile.total();
    if all == 0 {
        return Ok(());
    }
    let rows = profile.top(ROWS);
    let names: Vec<String> = rows.iter().map(|row| cut(&row.name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default().max("function".len());
    writeln!(to, "{:>7}  {:>7}  {:width$}  in", "self", "total", "function")?;
    for (row, name) in rows.iter().zip(&names) {
        let share = |count: u64| format!("{:.1}%", count as f64 * 100.0 / all as f64);
        let module = match row.owner {
            Owner::Native | Owner::Jit => row.module.rsplit('/').next().unwrap_or_default(),
            Owner::Kernel => "kernel",
            Owner::Python => row.module.rsplit('/').next().unwrap_or_default(),
        };
        writeln!(to, "{:>7}  {:>7}  {name:width$}  {}", share(row.own), share(row.total), cut(module))?;
    }
    Ok(())
}

/// Writes what became of the samples: one line, and one for what was lost, if anything was.
///
/// # Errors
/// Those of the writer.
pub fn summary(profile: &Profile, counts: Counts, to: &mut impl Write) -> io::Result<()> {
    let seconds = profile.duration.as_secs_f64();
    let samples = profile.samples();
    let (what, nothing) = match profile.kind {
        Kind::OnCpu { .. } => ("samples".to_owned(), "no samples in {}: nothing that was chosen ran on a processor"),
        Kind::OffCpu { .. } => {
            let time = Duration::from_micros(profile.total());
            (
                format!("waits of {:.3} s altogether", time.as_secs_f64()),
                "nothing that was chosen waited for long enough in {}",
            )
        }
    };
    if samples == 0 {
        writeln!(to, "{}", nothing.replace("{}", &format!("{seconds:.1} s")))?;
    } else {
        writeln!(
            to,
            "{samples} {what} in {seconds:.1} s: {} stacks whole, {} without their outermost callers, {} cut at {} frames, \
             {} unreadable",
            profile.ending(End::Whole),
            profile.ending(End::Open),
            profile.ending(End::Cut),
            counts.walks.bound(),
            profile.ending(End::Failed),
        )?;
    }
    let Counts { taken: _, linked, lost, dropped, evicted, unread, undecodable, unseen, unseen_time, walks, functions } =
        counts;
    if linked != 0 {
        writeln!(to, "taken for requests: {linked} of them")?;
    }
    let walks = walks.to_string();
    if !walks.is_empty() {
        writeln!(to, "walking stacks: {walks}")?;
    }
    if functions != interpreters::Counts::default() {
        let interpreters::Counts { refused, gone, dropped } = functions;
        writeln!(
            to,
            "interpreted functions without names: {gone} (gone before they were read), {dropped} (no room); interpreters that are not \
             understood: in {refused} processes"
        )?;
    }
    if evicted != 0 {
        writeln!(
            to,
            "rows for walking stacks made twice or left out for want of room: those of {evicted} files that nobody ran"
        )?;
    }
    if unread != 0 {
        writeln!(to, "without names or lines: {unread} files whose tables are too large, or broken (said above)")?;
    }
    if unseen != 0 {
        writeln!(
            to,
            "left out: {unseen} waits of {:.3} s altogether, so as not to look at too many stacks (choose fewer processes, or a longer \
             --off-cpu-min)",
            unseen_time.as_secs_f64()
        )?;
    }
    if lost + dropped + undecodable != 0 {
        writeln!(
            to,
            "lost: {lost} (no room on their way), {dropped} (too many stacks or processes), {undecodable} (undecodable)"
        )?;
    }
    Ok(())
}

/// Names can be as long as types are, and hold what terminals obey.
pub(super) fn cut(name: &str) -> String {
    let clean = name.chars().map(|c| if c.is_control() { ' ' } else { c });
    if name.chars().count() <= NAME { clean.collect() } else { clean.take(NAME - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::model::tests::example;

    #[test]
    fn the_table_has_shares() {
        let mut profile = example();
        profile.locations[2].name = format!("evil\u{1b}[2J{}", "x".repeat(200)).into();
        let mut text = Vec::new();
        top(&profile, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["50.0%", "75.0%", "heavy", "shop"]);
        assert!(lines.iter().all(|line| !line.contains('\u{1b}') && line.chars().count() < 100));
        assert!(text.contains("do_syscall_64") && text.contains("kernel"));
    }

    #[test]
    fn nothing_and_losses_are_said() {
        let mut profile = example();
        let say = |profile: &Profile, counts| {
            let mut text = Vec::new();
            summary(profile, counts, &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let text = say(&profile, Counts { taken: 4, ..Counts::default() });
        assert_eq!(
            text,
            "4 samples in 10.0 s: 3 stacks whole, 1 without their outermost callers, 0 cut at 127 frames, 0 unreadable\n"
        );
        let text = say(&profile, Counts { taken: 4, lost: 7, ..Counts::default() });
        assert!(text.ends_with("lost: 7 (no room on their way), 0 (too many stacks or processes), 0 (undecodable)\n"));
        profile.stacks.clear();
        assert!(say(&profile, Counts::default()).starts_with("no samples"));
    }
}
