//! What it was measured on, and who runs where.

use std::{fs, process::Command};

/// Says when and on what machine this runs.
pub fn describe() -> String {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu_info = text("/proc/cpuinfo");
    let model = cpu_info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()))
        .unwrap_or(std::env::consts::ARCH);
    let virtual_machine = if cpu_info.contains(" hypervisor") { ", a virtual machine" } else { "" };
    let load = text("/proc/loadavg");
    let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    format!(
        "Measured on {}, Linux {}, {} × {model}{virtual_machine}; load averages at the beginning: {load}.",
        output("date", &["-u", "+%F %H:%M UTC"]),
        text("/proc/sys/kernel/osrelease").trim(),
        processors(),
    )
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// How many processors there are.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Where what is measured runs: the server, or what makes system calls.
pub const MEASURED: usize = 0;

/// Where a client runs that may take all it can get.
pub fn client() -> usize {
    1.min(processors() - 1)
}

/// Where the agent runs: alone if there are enough processors, else with the client.
pub fn agent() -> usize {
    2.min(processors() - 1)
}
