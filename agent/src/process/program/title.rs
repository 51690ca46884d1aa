//! Titles that a program wrote over its arguments (`setproctitle`): then there is one argument, and it is prose.

use super::{Program, python::application};

/// What a title names: `gunicorn: worker [shop.wsgi:app]`, `puma 5.6.5 (tcp://0.0.0.0:9292) [shop]`, `npm run start`.
pub(super) fn program(title: &str) -> Program {
    let word = title.split([' ', ':', '[']).next().unwrap_or_default();
    let tag = title
        .trim_end()
        .strip_suffix(']')
        .and_then(|t| t.rsplit_once('['))
        .map(|(_, tag)| tag)
        .filter(|tag| !tag.is_empty());
    match (word, tag) {
        ("gunicorn", Some(tag)) => Program::Named(application(tag)),
        ("puma", Some(tag)) => Program::Named(tag.to_owned()),
        ("", _) => {
            // `[celeryd: celery@host:MainProcess]`
            let inner = title.trim_start_matches('[');
            let word = inner.split([' ', ':', ']']).next().unwrap_or_default();
            if word.is_empty() { Program::Unknown } else { Program::Named(word.to_owned()) }
        }
        (word, _) => Program::Named(super::base(word).to_owned()),
    }
}
