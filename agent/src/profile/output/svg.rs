//! An interactive flame graph in one file: click to zoom, search, no network needed.

use std::io::{self, Write};

use inferno::flamegraph::{self, Options, Palette, color::MultiPalette};

use super::folded;
use crate::profile::{
    Difference, Part,
    model::{Kind, Profile},
};

/// Writes a profile.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, mut to: impl Write) -> io::Result<()> {
    let mut lines: Vec<String> =
        folded::lines(profile).into_iter().map(|(line, count)| format!("{line} {count}")).collect();
    if lines.is_empty() {
        // An empty graph is an error to the library, and a graph that says so is better than no file.
        lines.push("no samples 1".to_owned());
    }
    let mut options = Options::default();
    // Colours by the marks at the ends of names: the kernel, compiled while it runs, and all else.
    options.colors = Palette::Multi(MultiPalette::Java);
    let (samples, seconds) = (profile.samples(), profile.duration.as_secs_f64());
    let (title, subtitle) = match profile.kind {
        Kind::OnCpu { frequency } => (
            "On-CPU flame graph",
            format!("{samples} samples in {seconds:.1} s, {frequency} a second on each processor"),
        ),
        Kind::OffCpu { least } => {
            options.count_name = "us".to_owned();
            ("Off-CPU flame graph", format!("{samples} waits of at least {least:?} in {seconds:.1} s"))
        }
    };
    options.title = title.to_owned();
    options.subtitle = Some(subtitle);
    options.deterministic = true;
    options.no_sort = true;
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut to)
}

/// Writes a part of a profile.
///
/// # Errors
/// Those of the writer.
pub fn part(part: &Part, mut to: impl Write) -> io::Result<()> {
    let mut lines = part.lines();
    if lines.is_empty() {
        lines.push("no samples 1".to_owned());
    }
    let mut options = Options::default();
    options.colors = Palette::Multi(MultiPalette::Java);
    options.subtitle = Some(format!("{} samples", part.samples()));
    options.deterministic = true;
    options.no_sort = true;
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut to)
}

/// Writes a difference: as wide as it is after, red where it has become more, blue where less. What is not there any more is not in it.
///
/// # Errors
/// Those of the writer.
pub fn difference(difference: &Difference, mut to: impl Write) -> io::Result<()> {
    let mut lines = difference.lines();
    let (before, after) = difference.samples();
    if after == 0 {
        lines = vec!["no samples 1 1".to_owned()];
    }
    let mut options = Options::default();
    options.title = "Difference flame graph".to_owned();
    options.subtitle = Some(format!("{after} samples, red: more than in the {before} before, blue: less"));
    options.deterministic = true;
    options.no_sort = true;
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{diff, model::tests::example};

    fn svg(profile: &Profile) -> String {
        let mut bytes = Vec::new();
        write(profile, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn has_every_function_with_its_share() {
        let text = svg(&example());
        assert!(text.contains("<svg") && text.trim_end().ends_with("</svg>"));
        assert!(text.contains("<title>heavy (3 samples, 75.00%)</title>"), "{text}");
        assert!(text.contains("<title>main (4 samples, 100.00%)</title>"));
        assert!(text.contains("4 samples in 10.0 s"));
    }

    #[test]
    fn hostile_names_stay_text() {
        let mut profile = example();
        profile.locations[1].name = "</title><script>alert(1)</script>\u{0}".into();
        assert!(!svg(&profile).contains("<script>alert"));
    }

    #[test]
    fn what_has_become_more_is_red() {
        let svg = |of: &Difference| {
            let mut bytes = Vec::new();
            difference(of, &mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let text = svg(&diff::tests::example());
        assert!(text.contains("<title>write (50 samples, 50.00%; +25.00%)</title>"), "{text}");
        assert!(text.contains("100 samples, red: more than in the 40 before"), "{text}");
        assert!(svg(&Difference::default()).contains("no samples"));
    }

    #[test]
    fn nothing_gives_a_file_that_says_so() {
        let mut profile = example();
        profile.stacks.clear();
        assert!(svg(&profile).contains("no samples"));
    }
}
