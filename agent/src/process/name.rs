//! The service's name: of everything that could name it, what says most wins.

use super::{
    cgroup::{container, unit},
    environment,
    facts::Facts,
    text::clean,
};

/// What OpenTelemetry asks for where nothing is known.
pub(super) const UNKNOWN: &str = "unknown_service";
/// Longest name, in bytes.
const LONGEST: usize = 255;

/// `service.name` of a process, the first of these that there is:
///
/// 1. `OTEL_SERVICE_NAME`, then `service.name` in `OTEL_RESOURCE_ATTRIBUTES`, of the process's environment;
/// 2. the systemd service that it belongs to (but not cron's, ssh's and the like, which start anything);
/// 3. the name of its container, where it is known (an id is no name);
/// 4. what runs: script, module, jar, main class, executable;
/// 5. the command name;
/// 6. `unknown_service`.
///
/// All of them are the same for the workers of a pre-fork server.
#[must_use]
pub fn service_name(facts: &Facts) -> String {
    let explicit = || facts.otel_service_name.as_deref().and_then(environment::name);
    let attribute = || {
        let attributes = environment::attributes(facts.otel_resource_attributes.as_deref()?);
        attributes.into_iter().find(|(key, _)| key == "service.name").and_then(|(_, value)| environment::name(&value))
    };
    let service = || facts.cgroups.iter().find_map(|path| unit(path));
    let container = || facts.cgroups.iter().find_map(|path| container(path)?.name);
    let program = || facts.program.clone();
    // Cut off from a title (`gunicorn: maste`), it still begins with the program.
    let comm = || Some(clean(facts.comm.split(':').next().unwrap_or_default(), 15));
    let sources: [&dyn Fn() -> Option<String>; 6] = [&explicit, &attribute, &service, &container, &program, &comm];
    // Whatever it comes from: the escapes in a unit's name can hide line feeds.
    let fit = |name: String| Some(clean(&name, LONGEST)).filter(|name| !name.is_empty());
    sources.iter().find_map(|source| source().and_then(fit)).unwrap_or_else(|| UNKNOWN.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_most_wins() {
        let mut facts = Facts {
            comm: "python3".into(),
            program: Some("server".into()),
            cgroups: vec![
                "/machine.slice/systemd-nspawn@web.service/payload".into(),
                "/system.slice/shop.service".into(),
            ],
            otel_resource_attributes: Some("a=b,service.name=cart%201".into()),
            otel_service_name: Some(" checkout\n".into()),
            ..Facts::default()
        };
        assert_eq!(service_name(&facts), "checkout");
        facts.otel_service_name = Some(" ".into());
        assert_eq!(service_name(&facts), "cart 1");
        facts.otel_resource_attributes = Some("service.name=".into());
        assert_eq!(service_name(&facts), "shop");
        facts.cgroups.pop();
        assert_eq!(service_name(&facts), "web");
        facts.cgroups.clear();
        assert_eq!(service_name(&facts), "server");
        facts.program = None;
        assert_eq!(service_name(&facts), "python3");
        facts.comm = "gunicorn: maste".into();
        assert_eq!(service_name(&facts), "gunicorn");
        facts.comm.clear();
        assert_eq!(service_name(&facts), "unknown_service");
    }

    #[test]
    fn is_one_line_of_bounded_length_whatever_it_comes_from() {
        let name = |path: String| service_name(&Facts { cgroups: vec![path], ..Facts::default() });
        assert_eq!(name("/system.slice/a\\x0ab.service".to_owned()), "a b");
        assert_eq!(name("/system.slice/\\x0a.service".to_owned()), "unknown_service");
        assert_eq!(name(format!("/lxc/{}", "x".repeat(4000))).len(), 255);
    }

    #[test]
    fn is_bounded() {
        let facts = Facts { otel_service_name: Some("x".repeat(100_000)), ..Facts::default() };
        assert_eq!(service_name(&facts).len(), 255);
    }
}
