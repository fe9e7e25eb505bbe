//! What a measurement ran on.

use crate::clock::{Clock, allowed_cores};
use serde_json::{Value, json};
use std::fs;

/// The compiler that built this program.
pub const RUSTC: &str = env!("TAPELINE_BENCH_RUSTC");

/// The commit that this program was built of; `-dirty` when files had been changed.
pub const COMMIT: &str = env!("TAPELINE_BENCH_COMMIT");

/// Whether the program was built with the release profile: without debug assertions.
pub const IS_OPTIMISED: bool = !cfg!(debug_assertions);

/// Packages that ours is compared with.
const PEERS: &[&str] = &[
    "crossbeam-channel",
    "dary_heap",
    "disruptor",
    "foldhash",
    "hashbrown",
    "hierarchical_hash_wheel_timer",
    "keyed_priority_queue",
    "lru",
    "nexus-collections",
    "nexus-queue",
    "nexus-rt",
    "nexus-timer",
    "orx-priority-queue",
    "priority-queue",
    "quickheap",
    "rtrb",
    "tokio",
    "tokio-util",
    "yring",
];

/// The profile, and what the compiler was allowed to use of the processor, of what changes our code.
#[must_use]
pub fn target_features() -> String {
    let features = [
        (cfg!(target_feature = "sse4.2"), "sse4.2"),
        (cfg!(target_feature = "popcnt"), "popcnt"),
        (cfg!(target_feature = "avx"), "avx"),
        (cfg!(target_feature = "avx2"), "avx2"),
        (cfg!(target_feature = "bmi1"), "bmi1"),
        (cfg!(target_feature = "bmi2"), "bmi2"),
        (cfg!(target_feature = "fma"), "fma"),
        (cfg!(target_feature = "lzcnt"), "lzcnt"),
        (cfg!(target_feature = "avx512f"), "avx512f"),
    ];
    let on: Vec<&str> = features.iter().filter(|(is_on, _)| *is_on).map(|(_, name)| *name).collect();
    let profile = if IS_OPTIMISED { "release" } else { "debug" };
    format!("{profile} {} {}", std::env::consts::ARCH, on.join(" ")).trim_end().into()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_string())
}

/// Versions of these packages in the lock file that this binary was built with.
fn versions(names: &[&str]) -> Value {
    let lock = include_str!("../../Cargo.lock");
    // The workspace may have a package in several versions: the newest of those that the lock file names is ours.
    let version_of = |name: &str| {
        let at = lock.rfind(&format!("name = \"{name}\"\n"))?;
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
        "tick_fenced_read_ns": clock.fenced_read_ns,
        "cores_allowed": allowed_cores(),
        "cores_used": cores,
        "smt_siblings": per_core("topology/thread_siblings_list"),
        "governor": per_core("cpufreq/scaling_governor"),
        "no_turbo": read("/sys/devices/system/cpu/intel_pstate/no_turbo"),
        "isolated": read("/sys/devices/system/cpu/isolated"),
        "load": read("/proc/loadavg"),
        "commit": COMMIT,
        "rustc": RUSTC,
        "optimised": IS_OPTIMISED,
        "target_features": target_features(),
        "peers": if cfg!(feature = "peers") { versions(PEERS) } else { Value::Null },
        "command": std::env::args().collect::<Vec<_>>().join(" "),
    })
}
