//! How interpreters with short options find their script: enough of `getopt` to step over options and their values.

/// Which short options (letters, which may be joined: `-um`) and long options take a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syntax {
    /// Letters whose value is the rest of the argument or, when there is none, the next one.
    pub value: &'static str,
    /// Letters whose value, if any, is the rest of the argument.
    pub attached: &'static str,
    /// Letters after which code follows: there is no script.
    pub code: &'static str,
    /// The letter whose value names what runs (Python's `-m`).
    pub named: Option<char>,
    /// Long options whose value is the next argument.
    pub long_value: &'static [&'static str],
}

/// What an interpreter was told to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// The first argument that is no option.
    Script {
        /// It.
        path: &'a str,
        /// What comes after it.
        rest: &'a [String],
    },
    /// The value of the option `named`.
    Option {
        /// It.
        value: &'a str,
        /// What comes after it.
        rest: &'a [String],
    },
}

impl Syntax {
    /// No option takes a value.
    pub(super) const EMPTY: Self = Self { value: "", attached: "", code: "", named: None, long_value: &[] };

    /// What is run; `None` when that is code in an argument, or standard input.
    pub(super) fn target<'a>(&self, arguments: &'a [String]) -> Option<Target<'a>> {
        let mut rest = arguments;
        while let Some((argument, after)) = rest.split_first() {
            rest = after;
            if argument == "--" {
                let (path, rest) = rest.split_first()?;
                return Some(Target::Script { path, rest });
            }
            if argument.starts_with("--") {
                if matches!(argument.as_str(), "--eval" | "--print") {
                    return None;
                }
                if self.long_value.contains(&argument.as_str()) {
                    rest = rest.split_first()?.1;
                }
                continue;
            }
            let Some(letters) = argument.strip_prefix('-') else {
                return Some(Target::Script { path: argument, rest });
            };
            if letters.is_empty() {
                return None;
            }
            for (position, letter) in letters.char_indices() {
                let value = letters.get(position + letter.len_utf8()..).unwrap_or_default();
                if self.code.contains(letter) {
                    return None;
                }
                let named = self.named == Some(letter);
                if named || self.value.contains(letter) {
                    let mut taken = value;
                    if value.is_empty() {
                        let (next, after) = rest.split_first()?;
                        (taken, rest) = (next, after);
                    }
                    if named {
                        return Some(Target::Option { value: taken, rest });
                    }
                    break;
                }
                if self.attached.contains(letter) {
                    break;
                }
            }
        }
        None
    }
}
