//! Python: scripts, `-m MODULE`, and the servers that are given an application (`gunicorn shop.wsgi:app`).

use super::{
    Program, stem,
    syntax::{Syntax, Target},
};
use crate::process::text::base;

const SYNTAX: Syntax =
    Syntax { value: "WX", code: "c", named: Some('m'), long_value: &["--check-hash-based-pycs"], ..Syntax::EMPTY };

/// What Python runs, by the arguments after its own name.
pub(super) fn program(arguments: &[String], directory: Option<&str>) -> Program {
    // A worker process of `multiprocessing`, and its helpers: `-c "from multiprocessing.spawn import spawn_main; ..."`.
    if arguments.iter().any(|a| a == "--multiprocessing-fork" || a.starts_with("from multiprocessing.")) {
        return Program::LikeParent;
    }
    match SYNTAX.target(arguments) {
        Some(Target::Option { value: module, rest }) => {
            // `-m flask.cli`, `-m uvicorn`: the tool is the package.
            let package = module.split('.').next().unwrap_or(module);
            let name =
                served(package, rest).unwrap_or_else(|| module.strip_suffix(".__main__").unwrap_or(module).to_owned());
            Program::Named(name)
        }
        Some(Target::Script { path, rest }) => {
            Program::Named(served(base(path), rest).unwrap_or_else(|| stem(path, directory)))
        }
        None => Program::Unknown,
    }
}

/// The application that a server was told to run; `None` when it is no server, or is told elsewhere (in a configuration file).
fn served(tool: &str, arguments: &[String]) -> Option<String> {
    match tool {
        "gunicorn" | "uvicorn" | "hypercorn" | "granian" | "daphne" | "waitress-serve" | "uwsgi" => {
            let exact = arguments.iter().find(|a| is_reference(a));
            // Without `:name` a server looks for `application`. Only certain where no option can have taken it as its value.
            let bare = || {
                let (last, before) = arguments.split_last()?;
                let alone = before.last().is_none_or(|option| !option.starts_with('-') || option.contains('='));
                (alone && is_module(last)).then_some(last)
            };
            exact.or_else(bare).map(|reference| application(reference))
        }
        "celery" | "flask" | "quart" | "dramatiq" => {
            let mut arguments = arguments.iter();
            while let Some(argument) = arguments.next() {
                if matches!(argument.as_str(), "-A" | "--app") {
                    return arguments.next().map(|app| application(app));
                }
                if let Some(app) = argument.strip_prefix("--app=") {
                    return Some(application(app));
                }
            }
            None
        }
        _ => None,
    }
}

/// The name of an application `package.module:callable`: its module, without a last part that every application has.
pub(super) fn application(reference: &str) -> String {
    let module = reference.split(':').next().unwrap_or(reference);
    let mut module = module.strip_suffix(".py").unwrap_or(module);
    while let Some((package, last)) = module.rsplit_once('.') {
        if package.is_empty() || !matches!(last, "wsgi" | "asgi" | "main" | "app" | "application" | "server") {
            break;
        }
        module = package;
    }
    module.to_owned()
}

/// `package.module:callable`, and no address (`localhost:8000`, `unix:path`).
fn is_reference(text: &str) -> bool {
    let Some((module, callable)) = text.split_once(':') else {
        return false;
    };
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '(' | ')');
    is_module(module)
        && !matches!(module, "unix" | "fd" | "tcp" | "http" | "https")
        && callable.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && callable.chars().all(name)
}

fn is_module(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    text.split('.').all(part)
}
