//! The machine that a run is on: what the kernel tells of cores, clocks, memory and limits.
//!
//! Every fact is read on its own and may be missing, with the reason ([`Unknown`]): containers hide files, and kernels
//! differ. Nothing here fails and nothing is changed. Files are read below a root, so that tests can bring their own
//! trees; what only a system call tells is asked by [`Limits::ask`].

use rustix::process::{Resource, getrlimit};
use rustix::thread::sched_getaffinity;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Most bytes that are read of one file; what is longer is cut. `/proc/stat` of a machine with 1,024 cores has 300 KB.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Highest core number that is believed. Linux has a bound of 8,192 cores.
const CORE_MAX: u32 = 1 << 16;

/// A fact that could not be read, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unknown(pub String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown ({})", self.0)
    }
}

/// A fact, or why it is not known.
pub type Fact<T> = Result<T, Unknown>;

/// What the machine is, as far as it tells.
#[derive(Clone, PartialEq, Debug)]
pub struct Machine {
    /// Model name of the processor.
    pub cpu: Fact<String>,
    /// Whether the time stamp counter runs at one rate in all power states (`constant_tsc` and `nonstop_tsc`).
    pub tsc_invariant: Fact<bool>,
    /// Whether a hypervisor runs the machine.
    pub virtualised: Fact<bool>,
    /// Cores that are online, rising.
    pub online: Fact<Vec<u32>>,
    /// Cores that the scheduler keeps free (`isolcpus`), rising.
    pub isolated: Fact<Vec<u32>>,
    /// Cores without a periodic tick while one task runs (`nohz_full`), rising.
    pub nohz_full: Fact<Vec<u32>>,
    /// Groups of cores that share one physical core, each rising; one entry each.
    pub smt: Fact<Vec<Vec<u32>>>,
    /// Cores by NUMA node.
    pub numa: Fact<BTreeMap<u32, Vec<u32>>>,
    /// CPU time that the cgroups grant, in cores; `None` = no quota.
    pub quota: Fact<Option<f64>>,
    /// Kernel release.
    pub kernel: Fact<String>,
    /// Clock source in use.
    pub clocksource: Fact<String>,
    /// Clock sources that there are.
    pub clocksources: Fact<Vec<String>>,
    /// Frequency governors of the online cores, each once.
    pub governors: Fact<Vec<String>>,
    /// Whether the processor may raise its frequency above the nominal one.
    pub turbo: Fact<bool>,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub transparent_huge_pages: Fact<String>,
    /// Huge pages that are set aside.
    pub huge_pages: Fact<u64>,
    /// `kernel.io_uring_disabled`: 0 = for all, 1 = for the privileged and one group, 2 = for none.
    pub io_uring_disabled: Fact<u32>,
    /// Largest share of one core's time that the hypervisor has taken since the machine started, 0 to 1.
    pub steal_share: Fact<f64>,
    /// What the system calls told.
    pub limits: Limits,
}

/// What only system calls tell of this process.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// Cores that the scheduler may run this thread on, rising.
    pub affinity: Fact<Vec<u32>>,
    /// Bytes that this process may lock in memory; `None` = no limit.
    pub memlock_bytes: Option<u64>,
    /// Whether `io_uring_setup` works.
    pub io_uring: Result<(), IoUringRefused>,
}

impl Limits {
    /// Asks the kernel.
    #[must_use]
    pub fn ask() -> Self {
        Self { affinity: affinity(), memlock_bytes: getrlimit(Resource::Memlock).current, io_uring: probe_io_uring() }
    }
}

/// Why the kernel gives no io_uring, by its error number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IoUringRefused {
    /// The kernel is older than 5.1 or built without it, or a seccomp filter says so.
    #[error("io_uring_setup is not there (ENOSYS): an old kernel, or a seccomp filter that hides it")]
    NotThere,
    /// `kernel.io_uring_disabled`, or a seccomp filter as most container engines have it.
    #[error("io_uring_setup is not permitted (EPERM): kernel.io_uring_disabled, or a container's seccomp filter")]
    NotPermitted,
    /// The locked-memory limit is used up.
    #[error("no memory for io_uring (ENOMEM): the locked-memory limit (ulimit -l) is used up")]
    NoMemory,
    /// Something else.
    #[error("io_uring_setup fails with error {0}")]
    Other(i32),
}

/// Asks the kernel for a ring of two entries and drops it again.
///
/// # Errors
/// Why the kernel refuses.
pub fn probe_io_uring() -> Result<(), IoUringRefused> {
    io_uring::IoUring::new(2).map(drop).map_err(|error| refusal(&error))
}

fn refusal(error: &io::Error) -> IoUringRefused {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::NOSYS) => IoUringRefused::NotThere,
        Some(Errno::PERM | Errno::ACCESS) => IoUringRefused::NotPermitted,
        Some(Errno::NOMEM) => IoUringRefused::NoMemory,
        other => IoUringRefused::Other(other.map_or(0, Errno::raw_os_error)),
    }
}

/// Cores that the scheduler may run this thread on, rising.
///
/// # Errors
/// What the kernel says.
pub fn affinity() -> Fact<Vec<u32>> {
    let set = sched_getaffinity(None).map_err(|error| Unknown(format!("sched_getaffinity: {error}")))?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).map(|core| core as u32).collect())
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        Self::read(Path::new("/"), Limits::ask())
    }

    /// The machine whose `proc` and `sys` are below `root`.
    #[must_use]
    pub fn read(root: &Path, limits: Limits) -> Self {
        let tree = Tree { root };
        let cpuinfo = tree.text("proc/cpuinfo");
        let flag = |names: &[&str]| {
            let flags = cpuinfo_value(cpuinfo.as_deref(), "flags")?;
            Ok(names.iter().all(|name| flags.split_whitespace().any(|flag| flag == *name)))
        };
        let online = tree.cores("sys/devices/system/cpu/online");
        let smt = online.clone().and_then(|online| tree.smt(&online));
        let governors = online.clone().and_then(|online| tree.governors(&online));
        Self {
            cpu: cpuinfo_value(cpuinfo.as_deref(), "model name").map(str::to_owned),
            tsc_invariant: flag(&["constant_tsc", "nonstop_tsc"]),
            virtualised: flag(&["hypervisor"]),
            isolated: tree.cores("sys/devices/system/cpu/isolated"),
            nohz_full: tree.cores("sys/devices/system/cpu/nohz_full"),
            smt,
            numa: tree.numa(),
            quota: tree.quota(),
            kernel: tree.line("proc/sys/kernel/osrelease"),
            clocksource: tree.line("sys/devices/system/clocksource/clocksource0/current_clocksource"),
            clocksources: tree
                .line("sys/devices/system/clocksource/clocksource0/available_clocksource")
                .map(|line| line.split_whitespace().map(str::to_owned).collect()),
            governors,
            turbo: tree.turbo(),
            transparent_huge_pages: tree
                .line("sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|line| chosen(&line)),
            huge_pages: tree.number("proc/sys/vm/nr_hugepages"),
            io_uring_disabled: tree.number("proc/sys/kernel/io_uring_disabled"),
            steal_share: tree.steal_share(),
            online,
            limits,
        }
    }

    /// Cores that this process may really use: those of its affinity, or as many as the quota grants, rounded down;
    /// at least 1.
    #[must_use]
    pub fn cores_usable(&self) -> usize {
        let allowed = match (&self.limits.affinity, &self.online) {
            (Ok(affinity), _) => affinity.len(),
            (Err(_), Ok(online)) => online.len(),
            (Err(_), Err(_)) => 1,
        };
        let granted = match self.quota {
            Ok(Some(cores)) => cores as usize,
            _ => usize::MAX,
        };
        allowed.min(granted).max(1)
    }

    /// What could not be read of that which bears on a measurement, each with why: for the notes of a verdict.
    #[must_use]
    pub fn unread(&self) -> Vec<String> {
        fn of<T>(name: &str, fact: &Fact<T>) -> Option<String> {
            fact.as_ref().err().map(|why| format!("{name}: {}", why.0))
        }
        [
            of("governor", &self.governors),
            of("turbo", &self.turbo),
            of("clock source", &self.clocksource),
            of("isolated cores", &self.isolated),
            of("cgroup quota", &self.quota),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Time that the hypervisor took from each core since the machine started, in ns, by core. The kernel counts it in ticks
/// of `ticks_per_second` ([`ticks_per_second`]): 10 ms on most machines.
///
/// # Errors
/// When `proc/stat` below `root` cannot be read or has no such column.
pub fn steal_ns(root: &Path, ticks_per_second: u64) -> Fact<BTreeMap<u32, u64>> {
    let ns = |ticks: u64| {
        let ns = u128::from(ticks) * 1_000_000_000 / u128::from(ticks_per_second.max(1));
        u64::try_from(ns).unwrap_or(u64::MAX)
    };
    Ok(Tree { root }.core_times()?.into_iter().map(|(core, times)| (core, ns(times[STEAL]))).collect())
}

/// Ticks of `proc/stat` per second.
#[must_use]
pub fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second()
}

/// How often the calling thread was switched out against its will since it started.
///
/// # Errors
/// When `proc/thread-self/status` below `root` cannot be read or does not tell.
pub fn involuntary_switches(root: &Path) -> Fact<u64> {
    const NAME: &str = "nonvoluntary_ctxt_switches:";
    let status = Tree { root }.text("proc/thread-self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(NAME));
    line.and_then(|value| value.trim().parse().ok())
        .ok_or_else(|| Unknown(format!("no {NAME} in /proc/thread-self/status")))
}

/// Column of `proc/stat` that holds steal.
const STEAL: usize = 7;
/// Deepest nesting of cgroups that is looked at.
const GROUPS_MAX: usize = 64;

/// Files below a root.
#[derive(Clone, Copy)]
struct Tree<'a> {
    root: &'a Path,
}

impl Tree<'_> {
    /// All of a file, up to a bound, with bytes that are not UTF-8 replaced.
    fn text(&self, path: &str) -> Fact<String> {
        let mut bytes = Vec::new();
        File::open(self.root.join(path))
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes))
            .map_err(|error| Unknown(format!("/{path}: {}", because(&error))))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The only line of a file, trimmed; an empty file is an empty line.
    fn line(&self, path: &str) -> Fact<String> {
        self.text(path).map(|text| text.trim().to_owned())
    }

    fn number<T: std::str::FromStr>(&self, path: &str) -> Fact<T> {
        let line = self.line(path)?;
        line.parse().map_err(|_| Unknown(format!("/{path}: not a number: {line:?}")))
    }

    fn cores(&self, path: &str) -> Fact<Vec<u32>> {
        parse_cores(&self.line(path)?).map_err(|why| Unknown(format!("/{path}: {why}")))
    }

    /// Ticks of each core since the machine started: user nice system idle iowait irq softirq steal. (The two columns
    /// that follow, of guests, are in user and nice already.)
    fn core_times(&self) -> Fact<BTreeMap<u32, [u64; STEAL + 1]>> {
        let stat = self.text("proc/stat")?;
        let mut cores = BTreeMap::new();
        for line in stat.lines() {
            let mut words = line.split_ascii_whitespace();
            // "cpu" alone is the sum.
            let core = words.next().and_then(|name| name.strip_prefix("cpu")).and_then(|core| core.parse::<u32>().ok());
            let times: Option<Vec<u64>> = words.take(STEAL + 1).map(|ticks| ticks.parse().ok()).collect();
            if let (Some(core), Some(Ok(times))) = (core, times.map(<[u64; STEAL + 1]>::try_from)) {
                cores.insert(core, times);
            }
        }
        if cores.is_empty() { Err(Unknown("/proc/stat has no steal column".to_owned())) } else { Ok(cores) }
    }

    fn steal_share(&self) -> Fact<f64> {
        let share = |times: &[u64; STEAL + 1]| {
            let all: u128 = times.iter().map(|&ticks| u128::from(ticks)).sum();
            if all == 0 { 0.0 } else { times[STEAL] as f64 / all as f64 }
        };
        Ok(self.core_times()?.values().map(share).fold(0.0, f64::max))
    }

    fn smt(&self, online: &[u32]) -> Fact<Vec<Vec<u32>>> {
        let mut groups = Vec::new();
        for core in online {
            let group = self.cores(&format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"))?;
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        Ok(groups)
    }

    fn governors(&self, online: &[u32]) -> Fact<Vec<String>> {
        let mut governors = Vec::new();
        for core in online {
            let governor = self.line(&format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"))?;
            if !governors.contains(&governor) {
                governors.push(governor);
            }
        }
        Ok(governors)
    }

    fn numa(&self) -> Fact<BTreeMap<u32, Vec<u32>>> {
        let nodes = self.cores("sys/devices/system/node/online")?;
        nodes
            .into_iter()
            .map(|node| Ok((node, self.cores(&format!("sys/devices/system/node/node{node}/cpulist"))?)))
            .collect()
    }

    /// Intel's switch says "no turbo", the others' "boost".
    fn turbo(&self) -> Fact<bool> {
        let no_turbo: Fact<u32> = self.number("sys/devices/system/cpu/intel_pstate/no_turbo");
        match no_turbo {
            Ok(off) => Ok(off == 0),
            Err(_) => self.number::<u32>("sys/devices/system/cpu/cpufreq/boost").map(|on| on != 0),
        }
    }

    /// The smallest quota of this process's cgroups and of those above them, in both versions.
    fn quota(&self) -> Fact<Option<f64>> {
        let cgroups = self.text("proc/self/cgroup")?;
        let mut found = false;
        let mut malformed = None;
        let mut smallest: Option<f64> = None;
        for line in cgroups.lines() {
            // hierarchy-ID:controllers:path; version 2 has neither number nor controllers.
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let version_1 = controllers.split(',').any(|controller| controller == "cpu");
            if !version_1 && !controllers.is_empty() {
                continue;
            }
            let mounts: &[&str] = if version_1 {
                &["sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"]
            } else {
                &["sys/fs/cgroup", "sys/fs/cgroup/unified"]
            };
            for mount in mounts {
                for group in groups_above(mount, path) {
                    let quota = if version_1 { self.quota_1(&group) } else { self.quota_2(&group) };
                    match quota {
                        Ok(quota) => {
                            found = true;
                            smallest = match (smallest, quota) {
                                (Some(a), Some(b)) => Some(a.min(b)),
                                (a, b) => a.or(b),
                            };
                        }
                        // No such file is what most groups say.
                        Err(why) if has_quota_file(&self.root.join(&group)) => malformed = Some(why),
                        Err(_) => {}
                    }
                }
            }
        }
        if let (false, Some(why)) = (found, malformed) {
            return Err(why);
        }
        // A root group of version 2 has no file and no quota, so that finding none is an answer where it was looked for.
        if found || self.root.join("sys/fs/cgroup").is_dir() {
            Ok(smallest)
        } else {
            Err(Unknown("no /sys/fs/cgroup".to_owned()))
        }
    }

    fn quota_1(&self, group: &Path) -> Fact<Option<f64>> {
        let group = group.to_string_lossy();
        let quota: i64 = self.number(&format!("{group}/cpu.cfs_quota_us"))?;
        let period: i64 = self.number(&format!("{group}/cpu.cfs_period_us"))?;
        Ok((quota > 0 && period > 0).then(|| quota as f64 / period as f64))
    }

    fn quota_2(&self, group: &Path) -> Fact<Option<f64>> {
        let path = format!("{}/cpu.max", group.to_string_lossy());
        let line = self.line(&path)?;
        let mut words = line.split_ascii_whitespace();
        let (quota, period) = (words.next().unwrap_or(""), words.next().unwrap_or("100000"));
        if quota == "max" {
            return Ok(None);
        }
        match (quota.parse::<u64>(), period.parse::<u64>()) {
            (Ok(quota), Ok(period)) if period > 0 => Ok(Some(quota as f64 / period as f64)),
            _ => Err(Unknown(format!("/{path}: not a quota: {line:?}"))),
        }
    }
}

fn has_quota_file(group: &Path) -> bool {
    group.join("cpu.max").exists() || group.join("cpu.cfs_quota_us").exists()
}

/// `mount` joined with `path` and with each group above it, the mount itself last. Names that would lead out of the
/// mount end the walk: a process in another cgroup namespace sees such paths.
fn groups_above(mount: &str, path: &str) -> Vec<PathBuf> {
    let names: Vec<&str> =
        path.split('/').filter(|name| !name.is_empty()).take_while(|name| *name != "..").take(GROUPS_MAX).collect();
    (0..=names.len())
        .rev()
        .map(|depth| names[..depth].iter().fold(PathBuf::from(mount), |at, name| at.join(name)))
        .collect()
}

/// The value of the first line of that name.
fn cpuinfo_value<'a>(cpuinfo: Result<&'a str, &Unknown>, name: &str) -> Fact<&'a str> {
    cpuinfo
        .map_err(Clone::clone)?
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
        .ok_or_else(|| Unknown(format!("/proc/cpuinfo has no {name:?}")))
}

/// The word in brackets: `always [madvise] never`.
fn chosen(line: &str) -> Fact<String> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
        .map(str::to_owned)
        .ok_or_else(|| Unknown(format!("no choice in {line:?}")))
}

/// Why a file could not be read, without the number that the standard library adds.
fn because(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Cores of a list as the kernel prints and our flags take it (`0,2-5`), rising, each once. An empty list, and what the
/// kernel prints for none (`(null)`), is no core.
///
/// # Errors
/// What is wrong with it. Core numbers above 65,536 are refused before anything is allocated for them.
pub fn parse_cores(list: &str) -> Result<Vec<u32>, String> {
    let mut cores = parse_cores_in_order(list)?;
    cores.sort_unstable();
    Ok(cores)
}

/// As [`parse_cores`], in the order of the list; a core that is named again keeps its first place.
///
/// # Errors
/// As [`parse_cores`].
pub fn parse_cores_in_order(list: &str) -> Result<Vec<u32>, String> {
    let (mut cores, mut seen) = (Vec::new(), BTreeSet::new());
    for range in list.trim().split(',').map(str::trim).filter(|range| !range.is_empty() && *range != "(null)") {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| match text.trim().parse::<u32>() {
            Ok(core) if core <= CORE_MAX => Ok(core),
            Ok(core) => Err(format!("core {core} is above {CORE_MAX}")),
            Err(_) => Err(format!("not a core: {text:?}")),
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("a range that falls: {range:?}"));
        }
        cores.extend((first..=last).filter(|core| seen.insert(*core)));
    }
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores() {
        assert_eq!(parse_cores("0,2-5\n"), Ok(vec![0, 2, 3, 4, 5]));
        assert_eq!(parse_cores("3, 1 - 2,2"), Ok(vec![1, 2, 3]));
        assert_eq!(parse_cores_in_order("3, 1 - 2,2,0-4"), Ok(vec![3, 1, 2, 0, 4]));
        assert_eq!(parse_cores(""), Ok(vec![]));
        assert_eq!(parse_cores(" (null)\n"), Ok(vec![]));
        for bad in ["x", "1-", "-1", "5-2", "0-4294967295", "65537", "99999999999", "1-2-3"] {
            assert!(parse_cores(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn error_numbers_have_names() {
        use rustix::io::Errno;
        for (errno, refused) in [
            (Errno::NOSYS, IoUringRefused::NotThere),
            (Errno::PERM, IoUringRefused::NotPermitted),
            (Errno::NOMEM, IoUringRefused::NoMemory),
            (Errno::MFILE, IoUringRefused::Other(24)),
        ] {
            assert_eq!(refusal(&io::Error::from(errno)), refused);
        }
        assert_eq!(refusal(&io::Error::other("not from the kernel")), IoUringRefused::Other(0));
    }

    #[test]
    fn groups_stay_below_the_mount() {
        let groups = |path| groups_above("m", path);
        assert_eq!(groups("/a/b"), [PathBuf::from("m/a/b"), PathBuf::from("m/a"), PathBuf::from("m")]);
        assert_eq!(groups("/"), [PathBuf::from("m")]);
        assert_eq!(groups("/../../etc"), [PathBuf::from("m")]);
    }
}
