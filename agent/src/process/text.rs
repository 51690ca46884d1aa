//! Text that a process chose for itself, made fit to be shown: bounded, one line, no control characters.

/// The first `max` bytes of `text`, cut between characters, with control characters replaced by spaces and the ends trimmed.
pub(super) fn clean(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = text.get(..end).unwrap_or_default();
    cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// The same for bytes; what is not UTF-8 becomes U+FFFD. The result may be longer than `max` by these replacements.
pub(super) fn clean_bytes(bytes: &[u8], max: usize) -> String {
    let cut = bytes.get(..max).unwrap_or(bytes);
    clean(&String::from_utf8_lossy(cut), max.saturating_mul(3))
}

/// The last component of a path.
pub(super) fn base(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_characters() {
        assert_eq!(clean("añb", 2), "a");
        assert_eq!(clean("añb", 3), "añ");
        assert_eq!(clean(" a\nb\u{7f} ", 100), "a b");
    }

    #[test]
    fn takes_any_bytes() {
        assert_eq!(clean_bytes(b"a\xffb", 10), "a\u{fffd}b");
        assert_eq!(clean_bytes(&[0xff; 10], 2), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn finds_the_last_component() {
        for (path, expected) in [("/usr/bin/nginx", "nginx"), ("nginx", "nginx"), ("/a/b/", "b"), ("/", "/"), ("", "")]
        {
            assert_eq!(base(path), expected, "{path}");
        }
    }
}
