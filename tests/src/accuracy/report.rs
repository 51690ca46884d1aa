//! Measurements as a table in Markdown.

use super::measure::Measurement;
use super::stacks::Stack;

/// The head of the table.
#[must_use]
pub fn head() -> String {
    "| stack | at once | requests | whole traces right | parents right | wrong | missing | spans seen | links: right (wrong) | agent µs/request | requests/s |\n\
     | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |"
        .to_owned()
}

/// A row of it.
#[must_use]
pub fn row(measured: &Measurement) -> String {
    let Measurement { stack, concurrency, score, rate, agent_micros, .. } = measured;
    let parents = score.parents();
    let mut links: Vec<_> = score.links.iter().collect();
    links.sort_by_key(|(_, link)| std::cmp::Reverse(link.right + link.wrong));
    let links: Vec<String> = links
        .into_iter()
        .map(|(name, link)| match link.wrong {
            0 => format!("{name} {}", link.right),
            wrong => format!("{name} {} ({wrong})", link.right),
        })
        .collect();
    format!(
        "| {stack} | {concurrency} | {} | {} | {} | {} | {} | {} of {} | {} | {agent_micros:.0} | {rate:.0} |",
        score.requests,
        percent(score.whole, score.requests),
        percent(score.right, parents),
        percent(score.wrong, parents),
        percent(score.missing, parents),
        score.seen,
        score.expected,
        links.join(", "),
    )
}

/// What the row has no room for; empty when there is nothing.
#[must_use]
pub fn notes(measured: &Measurement) -> Vec<String> {
    let counts = [
        ("requests failed", measured.failed),
        ("spans doubled", measured.score.doubled),
        ("spans that belong to nothing that was sent", measured.score.stray),
        ("events lost by the agent", measured.lost),
    ];
    let mut notes: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{}, {} at once: {what}: {count}", measured.stack, measured.concurrency))
        .collect();
    notes.extend_from_slice(&measured.said);
    notes
}

/// What the stacks are.
#[must_use]
pub fn legend(stacks: &[&Stack]) -> String {
    let lines: Vec<String> = stacks.iter().map(|stack| format!("- `{}`: {}", stack.name, stack.about)).collect();
    lines.join("\n")
}

/// A share in percent, never rounded up to all nor down to nothing.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    if part == whole {
        "100 %".to_owned()
    } else if part == 0 {
        "0 %".to_owned()
    } else {
        format!("{:.2} %", share.clamp(0.01, 99.99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::score::{Link, Score};

    #[test]
    fn shares_are_not_rounded_to_all_or_nothing() {
        assert_eq!(percent(0, 0), "-");
        assert_eq!(percent(0, 9), "0 %");
        assert_eq!(percent(9, 9), "100 %");
        assert_eq!(percent(99_999, 100_000), "99.99 %");
        assert_eq!(percent(1, 100_000), "0.01 %");
        assert_eq!(percent(1, 3), "33.33 %");
    }

    #[test]
    fn rows_say_what_gave_wrong_parents() {
        let mut score = Score {
            requests: 4,
            whole: 1,
            expected: 36,
            seen: 35,
            right: 20,
            wrong: 2,
            missing: 10,
            ..Score::default()
        };
        score.links.insert("thread".into(), Link { right: 15, wrong: 0 });
        score.links.insert("time".into(), Link { right: 5, wrong: 2 });
        let measured = Measurement {
            stack: "go".into(),
            concurrency: 16,
            score,
            failed: 1,
            said: vec!["request 7: reset".into()],
            rate: 100.4,
            agent_micros: 55.5,
            lost: 0,
        };
        assert_eq!(
            row(&measured),
            "| go | 16 | 4 | 25.00 % | 62.50 % | 6.25 % | 31.25 % | 35 of 36 | thread 15, time 5 (2) | 56 | 100 |"
        );
        assert_eq!(notes(&measured), ["go, 16 at once: requests failed: 1", "request 7: reset"]);
        assert_eq!(
            head().lines().next().map(|line| line.matches('|').count()),
            Some(row(&measured).matches('|').count())
        );
    }
}
