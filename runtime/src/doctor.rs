//! What on this machine will spoil a measurement, and the command that would mend it.
//!
//! [`examine`] is a pure function of the facts ([`crate::machine`]) and of a look at an idle loop ([`crate::jitter`]);
//! [`text`] prints its answer, [`json`] gives it as one object on one line. Nothing is changed on the machine.

use crate::jitter::{GAP_NS, IdleProbe};
use crate::machine::{Fact, IoUringRefused, Limits, Machine};
use crate::report::text::{core_list, duration};
use serde::Serialize;
use std::fmt::Write as _;

/// Bytes that one glommio executor locks in memory: what glommio 0.9 asks of `ulimit -l`.
pub const MEMLOCK_EXECUTOR_BYTES: u64 = 512 * 1024;
/// What raises the limit on locked memory.
const MEND_MEMLOCK: &str = "ulimit -l unlimited, or `* - memlock unlimited` in /etc/security/limits.conf";
/// Share of an idle core's time in gaps above which measuring on it is hopeless: what makes a run invalid.
const GAP_SHARE_BAD: f64 = crate::report::verdict::SHARE_MAX;
/// Share of a core's time stolen since the machine started that deserves a word.
const STEAL_SHARE_NOTABLE: f64 = 0.000_1;

/// How an item stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Good,
    /// Works, at the price of higher or less steady latencies.
    CouldBeBetter,
    /// Will spoil measurements, or keeps something from working.
    Bad,
    /// Could not be read.
    Unknown,
}

impl State {
    /// Words for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::CouldBeBetter => "could be better",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Item {
    /// What it is.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// What was read.
    pub value: String,
    /// The command, or the change to the machine, that would mend it; `null` when there is nothing to mend.
    pub mend: Option<String>,
}

/// The driver that a run on this machine gets unless told otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Driver {
    /// `glommio` or `threads`.
    pub name: &'static str,
    /// Why.
    pub why: String,
}

/// The answer of `doctor`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnosis {
    /// Always `tapeline`.
    pub tool: &'static str,
    /// Version of the build.
    pub version: &'static str,
    /// The verb: `doctor`.
    pub command: &'static str,
    /// What was looked at, in a fixed order.
    pub items: Vec<Item>,
    /// The driver of a run.
    pub driver: Driver,
}

/// What of `machine` bears on latencies, and what a busy loop on one of its cores saw, where one was run.
#[must_use]
pub fn examine(machine: &Machine, idle: Option<&IdleProbe>) -> Diagnosis {
    let mut items = vec![io_uring(machine), memlock(machine), cores(machine), clock(machine), isolated(machine)];
    items.extend([governor(machine), turbo(machine), smt(machine), huge_pages(machine), steal(machine)]);
    items.extend(idle.map(gaps));
    Diagnosis {
        tool: "tapeline",
        version: env!("CARGO_PKG_VERSION"),
        command: "doctor",
        items,
        driver: driver(machine),
    }
}

/// The driver for all usable cores of `machine`: glommio where it can run, else threads.
#[must_use]
pub fn driver(machine: &Machine) -> Driver {
    match refusal(&machine.limits, machine.cores_usable()) {
        None => Driver { name: "glommio", why: "io_uring works".to_owned() },
        Some(why) => Driver { name: "threads", why },
    }
}

/// Why so many glommio executors cannot run under `limits`; `None` when they can.
#[must_use]
pub fn refusal(limits: &Limits, executors: usize) -> Option<String> {
    let needed = MEMLOCK_EXECUTOR_BYTES.saturating_mul(executors as u64);
    match (&limits.io_uring, limits.memlock_bytes) {
        (Err(refused), _) => Some(refused.to_string()),
        (Ok(()), Some(bytes)) if bytes < needed => Some(format!(
            "io_uring works, but {} may be locked and executors need {}",
            bytes_text(bytes),
            bytes_text(needed)
        )),
        (Ok(()), _) => None,
    }
}

/// The diagnosis as lines: state, name, value; then what would mend it. The driver comes last.
#[must_use]
pub fn text(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for item in &diagnosis.items {
        let _ = writeln!(text, "{:<16}{:<16}{}", item.state.words(), item.name, item.value);
        if let Some(mend) = &item.mend {
            let _ = writeln!(text, "{:<16}{:<16}-> {mend}", "", "");
        }
    }
    let _ = writeln!(text, "driver: {} because {}", diagnosis.driver.name, diagnosis.driver.why);
    text
}

/// The diagnosis as one line of JSON, without a line feed.
#[must_use]
pub fn json(diagnosis: &Diagnosis) -> String {
    serde_json::to_string(diagnosis).expect("a diagnosis has text keys only and writes to memory")
}

/// An item of which the fact is known.
fn item(name: &'static str, state: State, value: impl Into<String>, mend: Option<&str>) -> Item {
    Item { name, state, value: value.into(), mend: mend.map(str::to_owned) }
}

/// The item that `known` makes of a fact, or an unknown one.
fn of<T>(name: &'static str, fact: &Fact<T>, known: impl FnOnce(&T) -> Item) -> Item {
    match fact {
        Ok(value) => known(value),
        Err(why) => item(name, State::Unknown, why.to_string(), None),
    }
}

fn io_uring(machine: &Machine) -> Item {
    const NAME: &str = "io_uring";
    match (&machine.limits.io_uring, &machine.io_uring_disabled) {
        (Ok(()), _) => item(NAME, State::Good, "works", None),
        (Err(refused @ IoUringRefused::NoMemory), _) => {
            item(NAME, State::CouldBeBetter, refused.to_string(), Some(MEND_MEMLOCK))
        }
        (Err(refused), Ok(setting @ 1..)) => item(
            NAME,
            State::CouldBeBetter,
            format!("{refused}; kernel.io_uring_disabled is {setting}"),
            Some("sudo sysctl kernel.io_uring_disabled=0"),
        ),
        (Err(refused), _) => item(
            NAME,
            State::CouldBeBetter,
            refused.to_string(),
            Some(
                "in a container: run it with a seccomp profile that allows io_uring_setup, io_uring_enter, io_uring_register",
            ),
        ),
    }
}

fn memlock(machine: &Machine) -> Item {
    const NAME: &str = "locked memory";
    let needed = MEMLOCK_EXECUTOR_BYTES.saturating_mul(machine.cores_usable() as u64);
    match machine.limits.memlock_bytes {
        None => item(NAME, State::Good, "no limit", None),
        Some(bytes) if bytes >= needed => item(NAME, State::Good, format!("limit {}", bytes_text(bytes)), None),
        Some(bytes) => item(
            NAME,
            State::CouldBeBetter,
            format!("limit {}, glommio needs {}", bytes_text(bytes), bytes_text(needed)),
            Some(MEND_MEMLOCK),
        ),
    }
}

fn cores(machine: &Machine) -> Item {
    const NAME: &str = "cores";
    let affinity = match &machine.limits.affinity {
        Ok(cores) => cores,
        Err(why) => return item(NAME, State::Unknown, why.to_string(), None),
    };
    let online = machine.online.as_ref().map_or_else(|_| "?".to_owned(), |online| online.len().to_string());
    let mut value = format!("{} of {online} online: {}", affinity.len(), core_list(affinity));
    match &machine.quota {
        Ok(None) => value.push_str(", no quota"),
        Ok(Some(quota)) => {
            let _ = write!(value, ", quota {quota:.2}");
            if *quota < affinity.len() as f64 {
                // A quota stops every thread of the group for the rest of the period, whatever core it is on.
                let mend = "raise the quota to the number of cores (docker run --cpus, Kubernetes limits.cpu), or pin by cpuset";
                return item(NAME, State::Bad, value, Some(mend));
            }
        }
        Err(why) => {
            let _ = write!(value, ", quota {why}");
        }
    }
    if affinity.len() < 2 {
        return item(NAME, State::CouldBeBetter, value, Some("give it two cores: one for the source, one for a shard"));
    }
    item(NAME, State::Good, value, None)
}

fn clock(machine: &Machine) -> Item {
    const NAME: &str = "clock source";
    of(NAME, &machine.clocksource, |source| {
        let available = machine.clocksources.as_ref().is_ok_and(|sources| sources.iter().any(|other| other == "tsc"));
        let mend = "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource";
        match (source.as_str(), machine.tsc_invariant.as_ref()) {
            ("tsc", Ok(false)) => {
                item(NAME, State::CouldBeBetter, "tsc, which is not invariant on this processor", None)
            }
            ("tsc" | "arch_sys_counter", _) => item(NAME, State::Good, source.as_str(), None),
            _ if available => item(NAME, State::CouldBeBetter, format!("{source}, tsc is available"), Some(mend)),
            _ => item(NAME, State::CouldBeBetter, format!("{source}: reading it may take a system call"), None),
        }
    })
}

fn isolated(machine: &Machine) -> Item {
    const NAME: &str = "isolated cores";
    of(NAME, &machine.isolated, |isolated| {
        if isolated.is_empty() {
            let mend = "kernel command line: isolcpus=managed_irq,domain,1-N nohz_full=1-N rcu_nocbs=1-N";
            return item(NAME, State::CouldBeBetter, "none: other threads may run on the measured cores", Some(mend));
        }
        let without_tick = machine.nohz_full.as_deref().unwrap_or_default();
        let ticking: Vec<u32> = isolated.iter().copied().filter(|core| !without_tick.contains(core)).collect();
        if ticking.is_empty() {
            item(NAME, State::Good, format!("{}, without a tick", core_list(isolated)), None)
        } else {
            let mend = format!("kernel command line: nohz_full={0} rcu_nocbs={0}", core_list(isolated));
            let value = format!("{}, with a tick on {}", core_list(isolated), core_list(&ticking));
            item(NAME, State::CouldBeBetter, value, Some(&mend))
        }
    })
}

fn governor(machine: &Machine) -> Item {
    const NAME: &str = "governor";
    of(NAME, &machine.governors, |governors| {
        let value = governors.join(", ");
        if governors.iter().all(|governor| governor == "performance") {
            item(NAME, State::Good, value, None)
        } else {
            item(NAME, State::CouldBeBetter, value, Some("sudo cpupower frequency-set -g performance"))
        }
    })
}

fn turbo(machine: &Machine) -> Item {
    const NAME: &str = "turbo";
    of(NAME, &machine.turbo, |&on| {
        if on {
            let mend = "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo (or echo 0 to cpufreq/boost)";
            item(NAME, State::CouldBeBetter, "on: the frequency depends on heat and on other cores", Some(mend))
        } else {
            item(NAME, State::Good, "off", None)
        }
    })
}

fn smt(machine: &Machine) -> Item {
    const NAME: &str = "core siblings";
    of(NAME, &machine.smt, |groups| {
        let shared: Vec<String> = groups.iter().filter(|group| group.len() > 1).map(|group| core_list(group)).collect();
        if shared.is_empty() {
            return item(NAME, State::Good, "none: each core is a physical one", None);
        }
        let first: Vec<u32> = groups.iter().filter_map(|group| group.first().copied()).collect();
        let mend = format!("use one of each group: --cores {}", core_list(&first));
        item(NAME, State::CouldBeBetter, format!("cores share a physical one: {}", shared.join(" ")), Some(&mend))
    })
}

fn huge_pages(machine: &Machine) -> Item {
    const NAME: &str = "huge pages";
    let set_aside = machine.huge_pages.as_ref().map_or_else(ToString::to_string, ToString::to_string);
    of(NAME, &machine.transparent_huge_pages, |mode| {
        let value = format!("transparent: {mode}, set aside: {set_aside}");
        match mode.as_str() {
            // The kernel then merges pages behind the engine's back, and stalls it while it does.
            "always" => {
                let mend = "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled";
                item(NAME, State::CouldBeBetter, value, Some(mend))
            }
            _ => item(NAME, State::Good, value, None),
        }
    })
}

fn steal(machine: &Machine) -> Item {
    const NAME: &str = "steal";
    of(NAME, &machine.steal_share, |&share| {
        let value = format!("{:.3} % of the worst core's time since the machine started", share * 100.0);
        let mend = "a machine, or an instance type, whose cores are not shared";
        if share > GAP_SHARE_BAD {
            item(NAME, State::Bad, value, Some(mend))
        } else if share > STEAL_SHARE_NOTABLE {
            item(NAME, State::CouldBeBetter, value, Some(mend))
        } else {
            item(NAME, State::Good, value, None)
        }
    })
}

fn gaps(idle: &IdleProbe) -> Item {
    const NAME: &str = "scheduler gaps";
    if idle.gaps == 0 {
        return item(
            NAME,
            State::Good,
            format!("none over {} in {}", duration(GAP_NS), duration(idle.watched_ns)),
            None,
        );
    }
    let value = format!(
        "{} over {} in {}, the longest {}, {:.3} % of the time",
        idle.gaps,
        duration(GAP_NS),
        duration(idle.watched_ns),
        duration(idle.longest_ns),
        idle.share() * 100.0
    );
    let state = if idle.share() > GAP_SHARE_BAD { State::Bad } else { State::CouldBeBetter };
    item(NAME, state, value, Some("stop what else runs, isolate the cores, move interrupts off them"))
}

/// Bytes in binary units, whole where they are.
fn bytes_text(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) if bytes.is_multiple_of(*size) => format!("{} {unit}", bytes / size),
        Some((unit, size)) => format!("{:.1} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes_text;

    #[test]
    fn bytes_have_units() {
        let texts = [0, 1023, 1024, 1536, 8 << 20, u64::MAX].map(bytes_text);
        assert_eq!(texts, ["0 bytes", "1023 bytes", "1 KiB", "1.5 KiB", "8 MiB", "17179869184.0 GiB"]);
    }
}
