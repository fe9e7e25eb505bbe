//! What on this machine will spoil a measurement, and the command that would mend it.
//!
//! [`examine`] is a pure function of the facts ([`crate::machine`]) and of what was looked at: idle loops ([`crate::jitter`]) and lines between cores
//! ([`crate::core_lines`]). [`text`] prints its answer, [`json`] gives it as one object on one line. Nothing is changed on the machine.
//!
//! Each item has a *score*, 0 to 100: 100 as it should be, 50 where it works at a price, 0 where it spoils measurements; what is a share of time or a ratio is
//! in between by how much it is. What could not be read has none.

use crate::core_lines::CoreLines;
use crate::jitter::{CoreProbe, GAP_NS};
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

/// Share of the time to the farthest core that the nearest takes, below which it matters which cores a run has: beyond twice lies another cache or socket.
const APART_MIN: f64 = 0.5;

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
    /// The same as a number, 0 to 100; `null` = could not be read.
    pub score: Option<u8>,
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

/// What was looked at beside the facts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Looked {
    /// What busy loops on the cores saw; none = nobody has looked.
    pub idle: Vec<CoreProbe>,
    /// How far the cores lie apart; `None` = nobody has looked.
    pub lines: Option<CoreLines>,
}

/// The answer of `doctor`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Diagnosis {
    /// Always `tapeline`.
    pub tool: &'static str,
    /// Version of the build.
    pub version: &'static str,
    /// The verb: `doctor`.
    pub command: &'static str,
    /// Mean of the scores of all items that have one, 0 to 100; `null` = none has.
    pub score: Option<u8>,
    /// What was looked at, in a fixed order.
    pub items: Vec<Item>,
    /// The driver of a run.
    pub driver: Driver,
    /// What a busy loop on each core saw; empty = nobody has looked.
    pub idle_cores: Vec<CoreProbe>,
    /// How far the cores lie apart; `null` = nobody has looked.
    pub core_to_core: Option<CoreLines>,
}

/// What of `machine`, and of what was looked at, bears on latencies.
#[must_use]
pub fn examine(machine: &Machine, looked: &Looked) -> Diagnosis {
    let mut items = vec![io_uring(machine), memlock(machine), cores(machine), clock(machine), isolated(machine)];
    items.extend([governor(machine), turbo(machine), smt(machine), huge_pages(machine), steal(machine)]);
    let worst = looked.idle.iter().max_by(|a, b| a.probe.share().total_cmp(&b.probe.share()));
    items.extend(worst.map(|worst| gaps(worst, looked.idle.len())));
    items.extend(looked.lines.as_ref().map(distance));
    let scores: Vec<u32> = items.iter().filter_map(|item| item.score).map(u32::from).collect();
    let score = (!scores.is_empty()).then(|| (scores.iter().sum::<u32>() / scores.len() as u32) as u8);
    Diagnosis {
        tool: "tapeline",
        version: env!("CARGO_PKG_VERSION"),
        command: "doctor",
        score,
        items,
        driver: driver(machine),
        idle_cores: looked.idle.clone(),
        core_to_core: looked.lines.clone(),
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

/// Cores of which the text has the matrix; of more it has the sum of it.
const SHOWN_MAX: usize = 24;

/// The diagnosis as lines: score, state, name, value; then what would mend it. Then how far the cores lie apart. The driver comes last.
#[must_use]
pub fn text(diagnosis: &Diagnosis) -> String {
    let mut text = String::from("score  state           item            what was found\n");
    let score = |score: Option<u8>| score.map_or_else(|| "-".to_owned(), |score| score.to_string());
    for item in &diagnosis.items {
        let _ = writeln!(text, "{:>5}  {:<16}{:<16}{}", score(item.score), item.state.words(), item.name, item.value);
        if let Some(mend) = &item.mend {
            let _ = writeln!(text, "{:>5}  {:<16}{:<16}-> {mend}", "", "", "");
        }
    }
    let known = diagnosis.items.iter().filter(|item| item.score.is_some()).count();
    let _ = writeln!(text, "{:>5}  of 100: the mean of {known} items", score(diagnosis.score));
    if let Some(lines) = diagnosis.core_to_core.as_ref().filter(|lines| (2..=SHOWN_MAX).contains(&lines.cores.len())) {
        let _ = write!(text, "\ncore to core, ns one way\n     ");
        lines.cores.iter().for_each(|core| _ = write!(text, "{core:>6}"));
        for (core, row) in lines.cores.iter().zip(&lines.ns) {
            let _ = write!(text, "\n{core:>5}");
            for ns in row {
                let _ = write!(text, "{:>6}", ns.map_or_else(|| "-".to_owned(), |ns| format!("{ns:.0}")));
            }
        }
        text.push_str("\n\n");
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
    let score = match state {
        State::Good => Some(100),
        State::CouldBeBetter => Some(50),
        State::Bad => Some(0),
        State::Unknown => None,
    };
    Item { name, state, score, value: value.into(), mend: mend.map(str::to_owned) }
}

/// 100 for nothing, 0 for `worst` and more.
fn graded(share: f64, worst: f64) -> Option<u8> {
    Some(((1.0 - share / worst) * 100.0).clamp(0.0, 100.0) as u8)
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
        let item = if share > GAP_SHARE_BAD {
            item(NAME, State::Bad, value, Some(mend))
        } else if share > STEAL_SHARE_NOTABLE {
            item(NAME, State::CouldBeBetter, value, Some(mend))
        } else {
            item(NAME, State::Good, value, None)
        };
        Item { score: graded(share, GAP_SHARE_BAD), ..item }
    })
}

/// The worst of so many cores.
fn gaps(worst: &CoreProbe, cores: usize) -> Item {
    const NAME: &str = "scheduler gaps";
    let idle = &worst.probe;
    let on = match worst.core {
        Some(core) if cores > 1 => format!(", on core {core}, the worst of {cores}"),
        Some(core) => format!(", on core {core}"),
        None => String::new(),
    };
    if idle.gaps == 0 {
        let on = if cores > 1 { format!(" on any of {cores} cores") } else { on };
        return item(
            NAME,
            State::Good,
            format!("none over {} in {}{on}", duration(GAP_NS), duration(idle.watched_ns)),
            None,
        );
    }
    let value = format!(
        "{} over {} in {}, the longest {}, {:.3} % of the time{on}",
        idle.gaps,
        duration(GAP_NS),
        duration(idle.watched_ns),
        duration(idle.longest_ns),
        idle.share() * 100.0
    );
    let state = if idle.share() > GAP_SHARE_BAD { State::Bad } else { State::CouldBeBetter };
    let found = item(NAME, state, value, Some("stop what else runs, isolate the cores, move interrupts off them"));
    Item { score: graded(idle.share(), GAP_SHARE_BAD), ..found }
}

/// How far the cores lie apart, the farthest pair against the nearest.
fn distance(lines: &CoreLines) -> Item {
    const NAME: &str = "core to core";
    let left_out = match lines.left_out {
        0 => String::new(),
        count => format!("; {count} more cores were not looked at"),
    };
    let nearest = lines.pairs().min_by(|a, b| a.2.total_cmp(&b.2));
    let farthest = lines.pairs().max_by(|a, b| a.2.total_cmp(&b.2));
    let (Some(nearest), Some(farthest)) = (nearest, farthest) else {
        let why = if lines.cores.len() < 2 {
            "there is one core"
        } else {
            "no thread could be kept to its core, or got to run"
        };
        return item(NAME, State::Unknown, format!("unknown ({why})"), None);
    };
    let of = |(first, second, ns): (usize, usize, f64)| {
        format!("{ns:.0} ns from core {} to core {}", lines.cores[first], lines.cores[second])
    };
    if lines.pairs().count() == 1 {
        return item(NAME, State::Good, of(nearest) + &left_out, None);
    }
    let value = format!("from {} to {}{left_out}", of(nearest), of(farthest));
    let ratio = nearest.2 / farthest.2;
    if ratio >= APART_MIN {
        return item(NAME, State::Good, value, None);
    }
    let mend =
        format!("use cores that lie close together: --cores {}", core_list(&lines.close_together(APART_MIN.recip())));
    let score = (ratio / APART_MIN * 100.0).clamp(0.0, 99.0) as u8;
    Item { score: Some(score), ..item(NAME, State::CouldBeBetter, value, Some(&mend)) }
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
