//! Java: the name that a property gives, the jar, or the main class.

use super::{Program, base};

/// Options whose value is the next argument.
const WITH_VALUE: &[&str] = &[
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--add-exports",
    "--add-opens",
    "--add-reads",
    "--limit-modules",
    "--enable-native-access",
    "--source",
    "-d",
];

/// Properties and program arguments that name the service, most explicit first.
const NAMES: &[&str] = &["-Dotel.service.name=", "-Dspring.application.name=", "--spring.application.name="];

/// Main classes that are called like many others, and what they start.
const KNOWN: &[(&str, &str)] = &[
    ("org.apache.catalina.startup.Bootstrap", "tomcat"),
    ("org.apache.cassandra.service.CassandraDaemon", "cassandra"),
    ("org.apache.zookeeper.server.quorum.QuorumPeerMain", "zookeeper"),
    ("org.eclipse.jetty.start.Main", "jetty"),
    ("kafka.Kafka", "kafka"),
];

/// What Java runs, by the arguments after its own name.
pub(super) fn program(arguments: &[String]) -> Program {
    for prefix in NAMES {
        if let Some(name) = arguments.iter().find_map(|a| a.strip_prefix(prefix)).filter(|name| !name.is_empty()) {
            return Program::Named(name.to_owned());
        }
    }
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-jar" => {
                return rest.next().map_or(Program::Unknown, |path| Program::Named(jar(path).to_owned()));
            }
            "-m" | "--module" => {
                let Some(target) = rest.next() else { break };
                let (module, class) = target.split_once('/').unwrap_or((target, ""));
                return Program::Named(if class.is_empty() { module.to_owned() } else { main_class(class).to_owned() });
            }
            option if WITH_VALUE.contains(&option) => {
                rest.next();
            }
            option if option.starts_with('-') || option.starts_with('@') => {}
            // A file of source, run as it is.
            source if source.ends_with(".java") => {
                return Program::Named(base(source).trim_end_matches(".java").to_owned());
            }
            class => return Program::Named(main_class(class).to_owned()),
        }
    }
    Program::Unknown
}

/// `shop-1.2.3-SNAPSHOT.jar` is `shop`.
fn jar(path: &str) -> &str {
    let name = base(path);
    let stem = name.strip_suffix(".jar").or_else(|| name.strip_suffix(".war")).unwrap_or(name);
    let version = stem.match_indices('-').find(|(at, _)| stem.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit));
    match version {
        Some((at, _)) if at > 0 => stem.get(..at).unwrap_or(stem),
        _ => stem,
    }
}

/// The class without its package; the last part of the package where the class is called like everybody's.
fn main_class(class: &str) -> &str {
    if let Some((_, name)) = KNOWN.iter().find(|(known, _)| *known == class) {
        return name;
    }
    // Also `com/acme/Shop`, which the launcher takes.
    let (package, name) = class.rsplit_once(['.', '/']).unwrap_or(("", class));
    match name {
        "Main" | "App" | "Application" if !package.is_empty() => package.rsplit(['.', '/']).next().unwrap_or(package),
        name => name,
    }
}
