//! Figures: medians, and rows of Markdown.

/// The middle one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(low), at(high))
}

/// The lowest one: of work that is always the same, what was disturbed least.
pub fn lowest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

/// `lowest to highest`, for showing how much the rounds differ.
pub fn spread(values: &[f64], digits: usize) -> String {
    let low = lowest(values);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{low:.digits$} to {high:.digits$}")
}

/// The head of a table: texts are aligned left, and all others right.
pub fn head(texts: &[&str], figures: &[&str]) {
    println!("| {} | {} |", texts.join(" | "), figures.join(" | "));
    println!("|{}{}", " --- |".repeat(texts.len()), " ---: |".repeat(figures.len()));
}

/// A row.
pub fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

/// 1234567 as `1,234,567`.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && digit != '-' {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn numbers() {
        assert_eq!(thousands(1_234_567.2), "1,234,567");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(spread(&[2.0, 1.0, 3.0], 1), "1.0 to 3.0");
    }
}
