//! What runs, judged by a command line: for an interpreter the script, module, jar or application that it was given, for everything
//! else the executable. A pure function, with what real command lines look like in its tests.

mod java;
mod python;
mod syntax;
mod title;

#[cfg(test)]
mod tests;

use super::text::{base, clean};
use syntax::{Syntax, Target};

/// A process's command line, and what is needed to understand it.
#[derive(Clone, Copy, Debug)]
pub struct CommandLine<'a> {
    /// Path of the executable, where it could be read.
    pub executable: Option<&'a str>,
    /// All arguments, the name it was called by first.
    pub arguments: &'a [String],
    /// The working directory, where it could be read. Names programs that are called `index.js` or `manage.py`.
    pub directory: Option<&'a str>,
}

/// What a command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// This runs.
    Named(String),
    /// A helper that runs what its parent runs (a worker started by Python's `multiprocessing`).
    LikeParent,
    /// Nothing can be said.
    Unknown,
}

/// The longest name given.
const LONGEST: usize = 128;

/// What runs in a process with this command line.
#[must_use]
pub fn program(line: &CommandLine<'_>) -> Program {
    if let Some((first, rest)) = line.arguments.split_first()
        && base(first) == "busybox"
        && !rest.is_empty()
    {
        // `busybox httpd -f`: the command comes second.
        return program(&CommandLine { arguments: rest, ..*line });
    }
    let called = line.arguments.first().map(|first| base(first).trim_start_matches('-'));
    let executable = match line.executable.map(base) {
        // One executable for many commands: which one is said by how it was called.
        Some("busybox" | "toybox" | "coreutils") => called.unwrap_or("busybox"),
        Some(name) => name,
        None => called.unwrap_or_default(),
    };
    let language = Language::of(executable);
    let found = match (language, line.arguments) {
        (Some(language), [first, rest @ ..]) => {
            let overwritten = called.and_then(Language::of).is_none() && (rest.is_empty() || first.contains(' '));
            if overwritten { title::program(first) } else { language.program(rest, line.directory) }
        }
        _ => Program::Unknown,
    };
    let found = match (found, language) {
        (Program::Unknown, Some(language)) => Program::Named(language.name().to_owned()),
        (Program::Unknown, None) => Program::Named(executable.to_owned()),
        (found, _) => found,
    };
    match found {
        Program::Named(name) => {
            let name = clean(&name, LONGEST);
            if name.is_empty() { Program::Unknown } else { Program::Named(name) }
        }
        other => other,
    }
}

/// What runs other people's programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Beam,
    Bun,
    Deno,
    Dotnet,
    Java,
    Lua,
    Node,
    Perl,
    Php,
    Python,
    Ruby,
    Shell,
}

impl Language {
    /// By the name of an executable, without the version that distributions append (`python3.11`, `php8.2`).
    fn of(executable: &str) -> Option<Self> {
        let name = executable.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
        Some(match name {
            "python" | "pypy" => Self::Python,
            "node" | "nodejs" => Self::Node,
            "java" => Self::Java,
            "ruby" | "jruby" | "truffleruby" => Self::Ruby,
            "php" | "php-cli" => Self::Php,
            "perl" => Self::Perl,
            "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" => Self::Shell,
            "deno" => Self::Deno,
            "bun" => Self::Bun,
            "dotnet" => Self::Dotnet,
            "lua" | "luajit" => Self::Lua,
            "beam.smp" => Self::Beam,
            _ => return None,
        })
    }

    /// What a process is called of which no more is known: without a version, so that an upgrade does not rename it.
    fn name(self) -> &'static str {
        match self {
            Self::Beam => "beam.smp",
            Self::Bun => "bun",
            Self::Deno => "deno",
            Self::Dotnet => "dotnet",
            Self::Java => "java",
            Self::Lua => "lua",
            Self::Node => "node",
            Self::Perl => "perl",
            Self::Php => "php",
            Self::Python => "python",
            Self::Ruby => "ruby",
            Self::Shell => "sh",
        }
    }

    /// What it runs, by the arguments after its own name.
    fn program(self, arguments: &[String], directory: Option<&str>) -> Program {
        let syntax = match self {
            Self::Python => return python::program(arguments, directory),
            Self::Java => return java::program(arguments),
            Self::Beam => return node_name(arguments),
            Self::Deno | Self::Bun => return after_command(arguments, directory),
            Self::Node => {
                if let Some(title) = arguments.iter().find_map(|a| a.strip_prefix("--title=")) {
                    return Program::Named(title.to_owned());
                }
                Syntax {
                    value: "rC",
                    code: "epi",
                    long_value: &["--require", "--import", "--loader", "--experimental-loader", "--conditions"],
                    ..Syntax::EMPTY
                }
            }
            Self::Ruby => Syntax { value: "ICEr", attached: "WKTx0", code: "e", ..Syntax::EMPTY },
            Self::Perl => Syntax { value: "I", attached: "MmDiVxlF0C", code: "eE", ..Syntax::EMPTY },
            Self::Php => Syntax { value: "dctSz", code: "rBRFE", named: Some('f'), ..Syntax::EMPTY },
            Self::Shell => {
                Syntax { value: "oO", code: "cs", long_value: &["--rcfile", "--init-file"], ..Syntax::EMPTY }
            }
            Self::Lua => Syntax { value: "l", code: "e", ..Syntax::EMPTY },
            Self::Dotnet => {
                let rest = match arguments.split_first() {
                    Some((first, rest)) if first == "exec" => rest,
                    _ => arguments,
                };
                return match rest.iter().find(|a| !a.starts_with('-')) {
                    Some(library) if library.ends_with(".dll") => Program::Named(stem(library, directory)),
                    _ => Program::Unknown,
                };
            }
        };
        match syntax.target(arguments) {
            Some(Target::Script { path, rest } | Target::Option { value: path, rest }) if self == Self::Ruby => {
                ruby(path, rest, directory)
            }
            Some(Target::Script { path, .. } | Target::Option { value: path, .. }) => {
                Program::Named(stem(path, directory))
            }
            None => Program::Unknown,
        }
    }
}

/// Ruby's scripts start servers: `bundle exec puma`, where Puma itself names the application by its directory.
fn ruby(path: &str, rest: &[String], directory: Option<&str>) -> Program {
    let mut tool = base(path);
    let mut rest = rest;
    while let ("bundle", [exec, next, after @ ..]) = (tool, rest) {
        if exec != "exec" {
            break;
        }
        (tool, rest) = (base(next), after);
    }
    match tool {
        "ruby" => Language::Ruby.program(rest, directory),
        "puma" | "pumactl" => {
            let tag = rest.iter().skip_while(|a| *a != "--tag").nth(1).map(String::as_str);
            let tag = tag.or_else(|| directory.and_then(named_directory));
            Program::Named(tag.unwrap_or("puma").to_owned())
        }
        "rails" | "rackup" | "unicorn" => {
            Program::Named(directory.and_then(named_directory).unwrap_or(tool).to_owned())
        }
        _ => Program::Named(stem(tool_path(path, tool), directory)),
    }
}

/// The path where the tool is the script itself, else the tool's name.
fn tool_path<'a>(path: &'a str, tool: &'a str) -> &'a str {
    if base(path) == tool { path } else { tool }
}

/// `deno run [OPTIONS] FILE`, `bun [run] FILE`.
fn after_command(arguments: &[String], directory: Option<&str>) -> Program {
    let script = arguments
        .iter()
        .find(|a| !a.starts_with('-') && [".ts", ".js", ".mjs", ".tsx", ".jsx"].iter().any(|e| a.ends_with(e)));
    script.map_or(Program::Unknown, |script| Program::Named(stem(script, directory)))
}

/// Erlang and Elixir: the name that the node has in its cluster, without the host.
fn node_name(arguments: &[String]) -> Program {
    let name = arguments.iter().skip_while(|a| !matches!(a.as_str(), "-sname" | "-name" | "--sname" | "--name")).nth(1);
    name.and_then(|name| name.split('@').next()).map_or(Program::Unknown, |name| Program::Named(name.to_owned()))
}

/// What scripts of languages end in.
const EXTENSIONS: &[&str] = &[
    "py", "pyc", "js", "mjs", "cjs", "ts", "mts", "tsx", "jsx", "rb", "ru", "pl", "psgi", "php", "phar", "sh", "bash",
    "lua", "dll", "jar",
];

/// Scripts that are called the same everywhere: the directory names them.
const ANY: &[&str] = &["index", "__main__", "__init__", "manage", "artisan"];

/// A script's name: without its directory and extension, except where only the directory says anything.
fn stem(path: &str, directory: Option<&str>) -> String {
    let name = base(path);
    let stem = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && EXTENSIONS.contains(&extension) => stem,
        _ => name,
    };
    if !ANY.contains(&stem) {
        return stem.to_owned();
    }
    let parent = path.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| !matches!(*parent, "" | "."));
    let named = parent
        .and_then(named_directory)
        .or_else(|| if path.starts_with('/') { None } else { directory.and_then(named_directory) });
    named.unwrap_or(stem).to_owned()
}

/// The last component of a directory that says what is in it.
fn named_directory(path: &str) -> Option<&str> {
    let says = |part: &&str| {
        !matches!(
            *part,
            "" | "."
                | ".."
                | "src"
                | "dist"
                | "lib"
                | "bin"
                | "build"
                | "out"
                | "public"
                | "current"
                | "web"
                | "server"
        )
    };
    path.rsplit('/').find(says).filter(|part| !matches!(*part, "tmp" | "root" | "home" | "opt" | "srv" | "usr" | "var"))
}
