//! The time stamp counter, and what disturbs a measured thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A gap between two looks of a measured thread above which its slice is void, in nanoseconds (control C7).
pub const GAP_NS_MAX: u64 = 50_000;

/// Ticks of the time stamp counter (elsewhere: nanoseconds). Not fenced: it orders nothing and may drift by a few
/// instructions, which is why operations are stamped by the batch or the round trip, never one by one.
#[inline(always)]
#[must_use]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 processor has the instruction, and Linux leaves it enabled for user code.
        #[allow(unused_unsafe)]
        unsafe {
            core::arch::x86_64::_rdtsc()
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        use std::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// [`ticks`] after all that comes before, and before all that follows: brackets a batch of single-threaded work, whose last loads a
/// plain read would overtake by as much as the processor looks ahead. (Stores may still be on their way to the cache.)
#[inline(always)]
#[must_use]
pub fn ticks_fenced() -> u64 {
    fence();
    let ticks = ticks();
    fence();
    ticks
}

/// Waits until every instruction before has completed.
#[inline(always)]
fn fence() {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: SSE2 is part of x86-64.
        #[allow(unused_unsafe)]
        unsafe {
            core::arch::x86_64::_mm_lfence()
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::sync::atomic::fence(Ordering::SeqCst);
}

/// Length of a tick and cost of reading it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Nanoseconds of one tick.
    pub ns_per_tick: f64,
    /// Nanoseconds that a read of the counter takes: the least seen in a thousand back-to-back reads.
    pub read_ns: f64,
    /// The same for [`ticks_fenced`].
    pub fenced_read_ns: f64,
}

impl Clock {
    /// Measures the counter against the operating system's monotonic clock for `interval`.
    #[must_use]
    pub fn calibrate(interval: Duration) -> Self {
        let (start, start_ticks) = (Instant::now(), ticks());
        while start.elapsed() < interval {
            std::hint::spin_loop();
        }
        let (elapsed, elapsed_ticks) = (start.elapsed(), ticks() - start_ticks);
        let ns_per_tick = elapsed.as_nanos() as f64 / elapsed_ticks.max(1) as f64;
        let least = |read: fn() -> u64| {
            let differences = (0..1_000).map(|_| {
                let before = read();
                read() - before
            });
            differences.min().unwrap_or(0) as f64 * ns_per_tick
        };
        Self { ns_per_tick, read_ns: least(ticks), fenced_read_ns: least(ticks_fenced) }
    }

    /// Ticks as nanoseconds.
    #[must_use]
    pub fn ns(&self, ticks: u64) -> f64 {
        ticks as f64 * self.ns_per_tick
    }
}

/// Control C7: the largest time between two looks of one thread, in ticks. It runs inside the measured threads, as
/// every core that it could run on is measured.
#[derive(Clone, Copy, Debug)]
pub struct GapDetector {
    last: u64,
    largest: u64,
}

impl GapDetector {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { last: ticks(), largest: 0 }
    }

    /// Looks at the clock. Returns the ticks since the last look.
    #[inline(always)]
    pub fn look(&mut self) -> u64 {
        let now = ticks();
        let gap = now.wrapping_sub(self.last);
        self.last = now;
        self.largest = self.largest.max(gap);
        gap
    }

    /// Goes on from now: what lies before it was no gap, as the thread chose to sleep.
    #[inline]
    pub fn skip(&mut self) {
        self.last = ticks();
    }

    /// The largest gap so far, in ticks.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.largest
    }
}

/// What the system did to a thread while it was measured.
#[derive(Clone, Copy, Default, Debug)]
pub struct Disturbance {
    /// Times that the scheduler took the thread off its core.
    pub involuntary_switches: u64,
    /// Ticks (1/100 s) that the hypervisor took from the thread's core.
    pub steal: u64,
    /// Largest gap that control C7 saw, in nanoseconds.
    pub gap_ns: u64,
}

impl Disturbance {
    /// Whether a slice with this disturbance does not count.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.reasons().contains(&true)
    }

    /// Which of these it has: an involuntary switch, steal, a gap.
    #[must_use]
    pub fn reasons(&self) -> [bool; 3] {
        [self.involuntary_switches > 0, self.steal > 0, self.gap_ns > GAP_NS_MAX]
    }

    /// That of two threads.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            involuntary_switches: self.involuntary_switches + other.involuntary_switches,
            steal: self.steal + other.steal,
            gap_ns: self.gap_ns.max(other.gap_ns),
        }
    }
}

/// Watches the calling thread from [`Watch::start`] to [`Watch::stop`].
#[derive(Debug)]
pub struct Watch {
    core: Option<usize>,
    switches: u64,
    steal: u64,
}

impl Watch {
    /// Starts to watch the calling thread, which is pinned to `core` if that is known.
    #[must_use]
    pub fn start(core: Option<usize>) -> Self {
        Self { core, switches: involuntary_switches(), steal: core.map_or(0, steal) }
    }

    /// What happened since.
    #[must_use]
    pub fn stop(self, gap: &GapDetector, clock: &Clock) -> Disturbance {
        Disturbance {
            involuntary_switches: involuntary_switches() - self.switches,
            steal: self.core.map_or(0, steal).saturating_sub(self.steal),
            gap_ns: clock.ns(gap.largest()) as u64,
        }
    }
}

/// Involuntary context switches of the calling thread; 0 where /proc does not tell.
fn involuntary_switches() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Steal ticks of one core so far; 0 where /proc does not tell.
fn steal(core: usize) -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|line| line.split_whitespace().nth(7)?.parse().ok()).unwrap_or(0)
}

/// Cores that the process may run on, in order.
#[must_use]
pub fn allowed_cores() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// The two cores for a duel of two threads: the first that is allowed, and the first other one that is no hyperthread of it and
/// shares its last cache; where there is none, the first that is no hyperthread of it, or else the second that is allowed.
#[must_use]
pub fn two_cores() -> Vec<usize> {
    let shares = |core: usize, file: &str| {
        let path = format!("/sys/devices/system/cpu/cpu{core}/{file}");
        std::fs::read_to_string(path).map(|list| in_cpu_list(&list)).unwrap_or_default()
    };
    let allowed = allowed_cores();
    let Some(&first) = allowed.first() else { return allowed };
    let siblings = shares(first, "topology/thread_siblings_list");
    let near = shares(first, "cache/index3/shared_cpu_list");
    let others = || allowed[1..].iter().copied();
    let apart = |core: &usize| !siblings.contains(core);
    let second = others().find(|core| apart(core) && near.contains(core)).or_else(|| others().find(apart));
    std::iter::once(first).chain(second.or_else(|| others().next())).collect()
}

/// The cores of a list as Linux writes it: `0-2,8`.
fn in_cpu_list(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.trim().parse().ok()?..=to.trim().parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// Pins the calling thread. Returns whether it worked.
pub fn pin(core: usize) -> bool {
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return false;
    }
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).is_ok()
}

/// Waits inside a measured loop: spins, and after a long time yields, so that a run on one core ends too.
#[derive(Clone, Debug)]
pub struct Waiter<'a> {
    failures: u32,
    gone: &'a AtomicBool,
}

impl<'a> Waiter<'a> {
    /// Polls without success before the thread yields: far more than any hop takes between two running threads.
    const SPINS: u32 = 100_000;

    /// A waiter that gives up when `gone` is set.
    #[must_use]
    pub fn new(gone: &'a AtomicBool) -> Self {
        Self { failures: 0, gone }
    }

    /// After a poll that failed.
    ///
    /// # Panics
    /// When the other thread has panicked.
    #[inline(always)]
    pub fn failed(&mut self) {
        self.failures += 1;
        if self.failures == Self::SPINS {
            self.failures = 0;
            assert!(!self.gone.load(Ordering::Relaxed), "the other thread has failed");
            std::thread::yield_now();
        }
    }
}

/// Sets a flag when its thread unwinds, so that the other thread does not wait for ever.
#[derive(Debug)]
pub struct Farewell<'a>(pub &'a AtomicBool);

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read_as_linux_writes_them() {
        assert_eq!(in_cpu_list("0-2,8\n"), [0, 1, 2, 8]);
        assert_eq!(in_cpu_list("5\n"), [5]);
        assert!(in_cpu_list("\n").is_empty());
    }

    #[test]
    fn a_duel_has_two_different_cores_where_there_are_two() {
        let (cores, allowed) = (two_cores(), allowed_cores());
        assert_eq!(cores.len(), allowed.len().min(2));
        assert!(cores.iter().all(|core| allowed.contains(core)) && (cores.len() < 2 || cores[0] != cores[1]));
    }
}
