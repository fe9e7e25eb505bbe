//! What a measurement ran on.

use crate::clock::{Clock, allowed_cores};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_string())
}

/// Versions of these packages in the lock file that this binary was built with.
fn versions(names: &[&str]) -> Value {
    let lock = include_str!("../../Cargo.lock");
    let version_of = |name: &str| {
        let at = lock.find(&format!("name = \"{name}\"\n"))?;
        lock[at..].lines().nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
    };
    names.iter().map(|name| (name.to_string(), json!(version_of(name)))).collect::<serde_json::Map<_, _>>().into()
}

/// The machine, the build and the command. What cannot be read is null.
#[must_use]
pub fn describe(clock: &Clock, cores: &[usize]) -> Value {
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpuinfo
            .lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| Some(line.split_once(':')?.1.trim().to_string()))
    };
    let per_core = |file: &str| -> Value {
        let values = cores.iter().map(|core| read(&format!("/sys/devices/system/cpu/cpu{core}/{file}")));
        values.collect::<Vec<_>>().into()
    };
    json!({
        "cpu": field("model name"),
        "hypervisor": field("flags").map(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "clocksource": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "tick_ns": clock.ns_per_tick,
        "tick_read_ns": clock.read_ns,
        "cores_allowed": allowed_cores(),
        "cores_used": cores,
        "smt_siblings": per_core("topology/thread_siblings_list"),
        "governor": per_core("cpufreq/scaling_governor"),
        "no_turbo": read("/sys/devices/system/cpu/intel_pstate/no_turbo"),
        "isolated": read("/sys/devices/system/cpu/isolated"),
        "load": read("/proc/loadavg"),
        "commit": output("git", &["rev-parse", "HEAD"]),
        "uncommitted_changes": output("git", &["status", "--porcelain"]).map(|text| text.lines().count()),
        "rustc": output("rustc", &["--version"]),
        "optimised": !cfg!(debug_assertions),
        "avx2": cfg!(target_feature = "avx2"),
        "peers": versions(&["rtrb", "nexus-queue", "disruptor", "crossbeam-channel", "yring"]),
        "command": std::env::args().collect::<Vec<_>>().join(" "),
    })
}
