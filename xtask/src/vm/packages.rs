//! Fetches kernel images from Debian's archive through apt, without touching the machine's own package state: each suite
//! has a small apt configuration of its own below the target directory, whose mirror is the one that the machine uses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{kernels::Kernel, tool};

/// The keys that Debian signs its archive with, as its package `debian-archive-keyring` installs them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What a guest is booted with.
pub struct Boot {
    /// The kernel image.
    pub vmlinuz: PathBuf,
    /// A static busybox for the guest's architecture.
    pub busybox: PathBuf,
    /// The Debian package that the kernel comes from.
    pub package: String,
}

/// What `kernel` is booted with, fetched when it is not in `cache` yet, or when `refresh` asks for the newest.
///
/// # Errors
/// When the archive cannot be reached, or has no such kernel (any more).
pub fn fetch(kernel: &Kernel, cache: &Path, refresh: bool, mirror: Option<&str>) -> Result<Boot> {
    let folder = cache.join("kernels").join(kernel.name);
    let (vmlinuz, busybox, named) = (folder.join("vmlinuz"), folder.join("busybox"), folder.join("package"));
    // The name is written last, so where it is the rest is whole.
    if !refresh && let Ok(package) = fs::read_to_string(&named) {
        return Ok(Boot { vmlinuz, busybox, package });
    }
    let mirror = match mirror {
        Some(uri) => uri.to_owned(),
        None => machine_mirror()?,
    };
    let apt = Apt::new(kernel, cache, &mirror)?;
    let package = apt.newest(kernel)?;
    eprintln!("vm: {}: fetching {package} from {}", kernel.name, kernel.suite);
    fs::create_dir_all(&folder)?;
    apt.take("busybox-static", "busybox", &busybox)?;
    apt.take(&package, "vmlinuz", &vmlinuz)?;
    fs::write(named, &package)?;
    Ok(Boot { vmlinuz, busybox, package })
}

/// Installs those of `packages` whose program is missing; each is a pair of program and Debian package.
///
/// # Errors
/// When apt-get fails, for example because we are not root.
pub fn ensure_installed(packages: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> =
        packages.iter().filter(|(program, _)| !is_program(program)).map(|&(_, package)| package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("vm: installing {}", missing.join(" "));
    let install = |packages: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends"]);
        tool(command.args(packages).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    // The package lists of a fresh machine are empty or old; they are fetched only when the first try fails.
    if install(&missing).is_err() {
        tool(Command::new("apt-get").args(["-qq", "update"]))?;
        install(&missing).with_context(|| format!("cannot install {}: are you root?", missing.join(" ")))?;
    }
    Ok(())
}

fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// The address of Debian's archive in the configuration of this machine.
fn machine_mirror() -> Result<String> {
    let format = "$(ORIGIN) $(LABEL) $(REPO_URI)";
    let targets = tool(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    archive_of(&targets).context("apt's sources have no Debian archive: run `apt-get update`, or pass --mirror URI")
}

/// The first Debian archive in `targets`, lines of origin, label and address. Security updates are an archive of their own,
/// with another label.
fn archive_of(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| line.strip_prefix("Debian Debian ")).map(str::to_owned)
}

/// apt with a state of its own, which knows one suite and one architecture.
struct Apt {
    folder: PathBuf,
    config: PathBuf,
}

impl Apt {
    fn new(kernel: &Kernel, cache: &Path, mirror: &str) -> Result<Self> {
        let arch = kernel.arch.debian();
        let folder = cache.join("apt").join(format!("{}-{arch}", kernel.suite));
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("archives/partial"))?;
        let signed = if Path::new(KEYRING).exists() { format!(" signed-by={KEYRING}") } else { String::new() };
        let source = format!("deb [arch={arch} target=Packages{signed}] {mirror} {} main\n", kernel.suite);
        fs::write(folder.join("sources.list"), source)?;
        fs::write(folder.join("status"), "")?;
        let config = folder.join("apt.conf");
        let quoted = folder.display();
        fs::write(
            &config,
            format!(
                "Dir::State \"{quoted}\";\nDir::State::lists \"{quoted}/lists\";\nDir::State::status \"{quoted}/status\";\n\
                 Dir::Cache \"{quoted}\";\nDir::Etc::sourcelist \"{quoted}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
                 APT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\nAPT::Sandbox::User \"root\";\n\
                 Acquire::Languages \"none\";\n#clear APT::Update::Post-Invoke-Success;\n"
            ),
        )?;
        let apt = Self { folder, config };
        tool(&mut apt.command("apt-get", &["-qq", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).args(args);
        command
    }

    fn newest(&self, kernel: &Kernel) -> Result<String> {
        let names = tool(&mut self.command("apt-cache", &["pkgnames", "linux-"]))?;
        newest(kernel.series, kernel.arch.debian(), names.lines())
            .map(str::to_owned)
            .with_context(|| format!("{} has no kernel {} for {}", kernel.suite, kernel.series, kernel.arch.debian()))
    }

    /// Downloads `package` and keeps of it only the file whose name is `name`, or begins so and goes on with a version.
    fn take(&self, package: &str, name: &str, to: &Path) -> Result<()> {
        let scratch = self.folder.join("scratch");
        // It exists when an earlier run was interrupted.
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir(&scratch)?;
        tool(self.command("apt-get", &["-qq", "download", package]).current_dir(&scratch))?;
        let archive = fs::read_dir(&scratch)?.next().context("apt-get downloaded nothing")??.path();
        let unpacked = scratch.join("unpacked");
        tool(Command::new("dpkg").arg("-x").args([&archive, &unpacked]))?;
        let file = find(&unpacked, name)?.with_context(|| format!("{package} has no {name}"))?;
        fs::rename(file, to)?;
        fs::remove_dir_all(&scratch)?;
        Ok(())
    }
}

/// The package with the newest image of `series` among `names`. From 7.2 on the image is in `linux-binary-*`, and
/// `linux-image-*` only depends on it. Variants (`-cloud-amd64`, `-rt-amd64`, `-unsigned`, `-dbg`) are left out.
fn newest<'a>(series: &str, arch: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let version = |name: &'a str| {
        let (binary, rest) = match name.strip_prefix("linux-binary-") {
            Some(rest) => (true, rest),
            None => (false, name.strip_prefix("linux-image-")?),
        };
        let version = rest.strip_suffix(arch)?.strip_suffix('-')?;
        let after = version.strip_prefix(series)?;
        let variant = version.split('-').skip(1).any(|part| part.parse::<u32>().is_err());
        if variant || !after.starts_with(['.', '-', '+']) {
            return None;
        }
        let numbers: Vec<u32> =
            version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
        Some((numbers, binary))
    };
    names.filter_map(|name| Some((version(name)?, name))).max().map(|(_, name)| name)
}

/// The regular file called `name`, or `name-VERSION`, below `folder`. Where it is differs between suites: `boot` or
/// `usr/lib/modules/VERSION`, `bin` or `usr/bin`.
fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let found = entry.file_name();
            let rest = found.to_str().and_then(|found| found.strip_prefix(name));
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
                return Ok(Some(entry.path()));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest_of(series: &str, names: &[&'static str]) -> Option<&'static str> {
        newest(series, "amd64", names.iter().copied())
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let names =
            ["linux-image-6.12.94+deb13-amd64", "linux-image-6.12.107+deb13-amd64", "linux-image-6.1.0-50-amd64"];
        assert_eq!(newest_of("6.12", &names), Some(names[1]));
        assert_eq!(newest_of("6.1", &names), Some(names[2]));
        let names = ["linux-image-6.12.90+deb12-amd64", "linux-image-6.12.90+deb12.1-amd64"];
        assert_eq!(newest_of("6.12", &names), Some(names[1]));
    }

    #[test]
    fn the_image_is_in_the_binary_package_where_there_is_one() {
        let names = ["linux-binary-7.2.12+deb14-amd64", "linux-image-7.2.12+deb14-amd64"];
        assert_eq!(newest_of("7.2", &names), Some(names[0]));
    }

    #[test]
    fn variants_and_other_packages_are_not_taken() {
        let names = [
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-50-rt-amd64",
            "linux-image-6.1.0-50-amd64-dbg",
            "linux-image-6.1.0-50-arm64",
            "linux-headers-6.1.0-50-amd64",
            "linux-image-amd64",
        ];
        assert_eq!(newest_of("6.1", &names), None);
    }

    #[test]
    fn the_security_archive_is_not_taken_for_the_archive() {
        let targets = "Debian Debian-Security http://mirror/debian-security/\nDebian Debian http://mirror/debian/\n";
        assert_eq!(archive_of(targets).as_deref(), Some("http://mirror/debian/"));
        assert_eq!(archive_of("Example Example http://mirror/example/\n"), None);
    }
}
