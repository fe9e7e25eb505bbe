//! Time that the machine took from a busy loop.
//!
//! A pinned loop that polls without waiting sees its own clock go on in small steps. A step over the threshold is a
//! *gap*: an interrupt, another thread, a hypervisor. [`GapDetector`] counts gaps, and remembers the last ones, so that
//! samples that were due in one can be told from those that the engine made late. [`idle_probe`] looks while there is nothing to do: `doctor` does,
//! and each core of a paced run before it begins.
//!
//! ```
//! use tapeline_runtime::jitter::GapDetector;
//! let mut gaps = GapDetector::new(50_000, 0);
//! gaps.observe(1_000);
//! gaps.observe(81_000); // 80 us later
//! assert_eq!((gaps.count(), gaps.total()), (1, 80_000));
//! assert!(gaps.covers(5_000) && !gaps.covers(81_001));
//! ```

use serde::Serialize;
use std::time::{Duration, Instant};

/// A step of a busy loop's clock over this many ns is a gap. A batch of 64 events takes a shard less than half of it,
/// a timer interrupt a tenth; another thread's time slice takes twenty times as long or more.
pub const GAP_NS: u64 = 50_000;

/// Gaps that a detector remembers for [`GapDetector::covers`].
pub const GAPS_KEPT: usize = 64;

/// Counts the gaps in one loop. Its unit is the caller's: ticks of a counter or ns, the same in all calls.
///
/// Made once per loop, by the thread that runs it; 1 KiB, never allocates.
///
/// Work that may by itself take longer than the threshold is not a gap: end it with [`GapDetector::resume`]. A gap that
/// falls into such work is not seen here; steal time and involuntary switches tell of it.
#[derive(Clone, Debug)]
pub struct GapDetector {
    /// A longer step is a gap.
    threshold: u64,
    /// Latest observation.
    last: u64,
    /// First observation.
    first: u64,
    /// Gaps so far.
    count: u64,
    /// Their sum.
    total: u64,
    /// The longest of them.
    longest: u64,
    /// End of the latest gap; 0 = none yet.
    latest_end: u64,
    /// Time that was skipped by [`GapDetector::resume`].
    skipped: u64,
    /// The last gaps as (start, end); gap i is at `i % GAPS_KEPT`.
    kept: [(u64, u64); GAPS_KEPT],
}

impl GapDetector {
    /// A detector that takes steps over `threshold` for gaps, beginning at `now`.
    #[must_use]
    pub fn new(threshold: u64, now: u64) -> Self {
        Self {
            threshold,
            last: now,
            first: now,
            count: 0,
            total: 0,
            longest: 0,
            latest_end: 0,
            skipped: 0,
            kept: [(0, 0); GAPS_KEPT],
        }
    }

    /// The loop runs at `now`. Returns whether it had been kept from running since the last call. O(1): a subtraction
    /// and two comparisons where there is no gap. A clock that stands still or goes back makes no gap.
    #[inline]
    pub fn observe(&mut self, now: u64) -> bool {
        let step = now.saturating_sub(self.last);
        self.last = self.last.max(now);
        if step > self.threshold {
            self.gap(now - step, now);
            return true;
        }
        false
    }

    /// The loop goes on at `now`; what was since the last call was its own work or a wait of its own choice, however long.
    #[inline]
    pub fn resume(&mut self, now: u64) {
        self.skipped += now.saturating_sub(self.last);
        self.last = self.last.max(now);
    }

    #[cold]
    #[inline(never)]
    fn gap(&mut self, start: u64, end: u64) {
        self.kept[(self.count % GAPS_KEPT as u64) as usize] = (start, end);
        self.count += 1;
        self.total += end - start;
        self.longest = self.longest.max(end - start);
        self.latest_end = end;
    }

    /// Whether `at` lies in one of the last [`GAPS_KEPT`] gaps, both ends included. One comparison for anything later
    /// than the latest gap, a walk over the kept gaps for the rest.
    #[inline]
    #[must_use]
    pub fn covers(&self, at: u64) -> bool {
        at <= self.latest_end && self.covers_slow(at)
    }

    #[cold]
    fn covers_slow(&self, at: u64) -> bool {
        self.gaps().any(|(start, end)| start <= at && at <= end)
    }

    /// The last gaps as (start, end), latest first.
    pub fn gaps(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let oldest = self.count.saturating_sub(GAPS_KEPT as u64);
        (oldest..self.count).rev().map(|index| self.kept[(index % GAPS_KEPT as u64) as usize])
    }

    /// Gaps so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Time in gaps so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The longest gap so far.
    #[must_use]
    pub fn longest(&self) -> u64 {
        self.longest
    }

    /// Time watched so far: from the beginning to the last call, without what [`GapDetector::resume`] skipped.
    #[must_use]
    pub fn watched(&self) -> u64 {
        self.last - self.first - self.skipped
    }

    /// Whether gaps were forgotten, so that [`GapDetector::covers`] may miss one.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.count > GAPS_KEPT as u64
    }
}

/// What a busy loop that did nothing saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct IdleProbe {
    /// Time watched, ns.
    pub watched_ns: u64,
    /// Gaps over [`GAP_NS`].
    pub gaps: u64,
    /// Their sum, ns.
    pub gap_ns: u64,
    /// The longest, ns.
    pub longest_ns: u64,
}

impl IdleProbe {
    /// Share of the time that the loop was kept from running, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.watched_ns == 0 { 0.0 } else { self.gap_ns as f64 / self.watched_ns as f64 }
    }
}

/// Spins on the calling thread for `duration` and reports the gaps that it saw. Pin the thread first.
#[must_use]
pub fn idle_probe(duration: Duration) -> IdleProbe {
    let start = Instant::now();
    idle_probe_on(|| u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX), duration)
}

/// What one core saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct CoreProbe {
    /// The core; `null` = the thread was kept to none.
    pub core: Option<u32>,
    /// What a busy loop there saw.
    #[serde(flatten)]
    pub probe: IdleProbe,
}

/// [`idle_probe`] on each of these cores, all at the same time, as a run takes them; on the calling thread where there are none.
#[must_use]
pub fn idle_probes(cores: &[u32], duration: Duration) -> Vec<CoreProbe> {
    if cores.is_empty() {
        return vec![CoreProbe { core: None, probe: idle_probe(duration) }];
    }
    std::thread::scope(|scope| {
        let look = |core: u32| {
            move || CoreProbe {
                core: Some(core).filter(|core| crate::placement::pin_here(*core)),
                probe: idle_probe(duration),
            }
        };
        let threads: Vec<_> = cores.iter().map(|core| scope.spawn(look(*core))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// As [`idle_probe`], on a clock in ns that starts anywhere. It ends once the clock says so: a clock that stands still
/// never lets it end.
pub(crate) fn idle_probe_on(mut clock: impl FnMut() -> u64, duration: Duration) -> IdleProbe {
    let start = clock();
    let end = start.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    let mut gaps = GapDetector::new(GAP_NS, start);
    loop {
        let now = clock();
        gaps.observe(now);
        if now >= end {
            break;
        }
    }
    IdleProbe { watched_ns: gaps.watched(), gaps: gaps.count(), gap_ns: gaps.total(), longest_ns: gaps.longest() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The obvious detector: keeps everything.
    #[derive(Default)]
    struct Naive {
        last: u64,
        gaps: Vec<(u64, u64)>,
    }

    impl Naive {
        fn step(&mut self, now: u64, threshold: u64, own_work: bool) {
            if now > self.last {
                if !own_work && now - self.last > threshold {
                    self.gaps.push((self.last, now));
                }
                self.last = now;
            }
        }
    }

    fn xorshift(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn agrees_with_a_naive_twin() {
        for seed in 1..=50u64 {
            let mut random = seed;
            let threshold = xorshift(&mut random) % 100;
            let mut gaps = GapDetector::new(threshold, 0);
            let mut naive = Naive::default();
            let mut now = 0u64;
            for step in 0..2_000 {
                now = match xorshift(&mut random) % 20 {
                    0 => now.saturating_sub(xorshift(&mut random) % 300), // clocks of two cores may differ
                    1 => now + xorshift(&mut random) % 1_000,
                    _ => now + xorshift(&mut random) % 30,
                };
                let own_work = xorshift(&mut random).is_multiple_of(10);
                let before = naive.gaps.len();
                naive.step(now, threshold, own_work);
                if own_work {
                    gaps.resume(now);
                } else {
                    let seen = gaps.observe(now);
                    assert_eq!(seen, naive.gaps.len() > before, "seed {seed}, step {step}");
                }
                assert_eq!(gaps.count(), naive.gaps.len() as u64, "seed {seed}, step {step}");
                assert_eq!(gaps.total(), naive.gaps.iter().map(|(start, end)| end - start).sum::<u64>());
                assert_eq!(gaps.longest(), naive.gaps.iter().map(|(start, end)| end - start).max().unwrap_or(0));
                let kept = &naive.gaps[naive.gaps.len().saturating_sub(GAPS_KEPT)..];
                assert!(gaps.gaps().eq(kept.iter().rev().copied()), "seed {seed}, step {step}");
                assert_eq!(gaps.overflowed(), naive.gaps.len() > GAPS_KEPT);
                let at = now.saturating_sub(xorshift(&mut random) % 2_000) + 5;
                let covered = kept.iter().any(|&(start, end)| start <= at && at <= end);
                assert_eq!(gaps.covers(at), covered, "seed {seed}, step {step}, at {at}");
            }
        }
    }

    #[test]
    fn exactly_the_threshold_is_no_gap() {
        let mut gaps = GapDetector::new(GAP_NS, 7);
        assert!(!gaps.observe(7 + GAP_NS));
        assert!(gaps.observe(7 + 2 * GAP_NS + 1));
        assert_eq!((gaps.count(), gaps.watched()), (1, 2 * GAP_NS + 1));
        assert!(!gaps.covers(0), "before the first gap");
    }

    #[test]
    fn works_at_the_end_of_the_clock() {
        let mut gaps = GapDetector::new(10, u64::MAX - 100);
        assert!(gaps.observe(u64::MAX));
        assert!(!gaps.observe(0), "a clock that goes back makes no gap");
        assert_eq!(gaps.total(), 100);
        assert!(gaps.covers(u64::MAX));
    }

    #[test]
    fn what_was_skipped_is_not_watched() {
        let mut gaps = GapDetector::new(10, 0);
        gaps.observe(5);
        gaps.resume(1_000);
        gaps.observe(1_010);
        assert_eq!((gaps.count(), gaps.watched()), (0, 15));
    }

    #[test]
    fn the_probe_reports_what_its_clock_did() {
        let times = [100, 1_000, 2_000, 102_000, 103_000, 200_000, 300_000];
        let mut next = times.into_iter();
        let probe = idle_probe_on(|| next.next().expect("the probe ends at 200,100"), Duration::from_nanos(200_000));
        assert_eq!(probe, IdleProbe { watched_ns: 299_900, gaps: 3, gap_ns: 297_000, longest_ns: 100_000 });
        assert!((probe.share() - 297.0 / 299.9).abs() < 1e-12);
        assert_eq!(IdleProbe::default().share(), 0.0);
    }

    #[test]
    fn every_core_is_looked_at() {
        let allowed = crate::machine::Machine::here().limits.affinity.unwrap_or_default();
        let probes = idle_probes(&allowed, Duration::from_millis(2));
        assert_eq!(probes.len(), allowed.len().max(1));
        assert!(probes.iter().zip(&allowed).all(|(probe, core)| probe.core == Some(*core)), "{probes:?}");
        assert!(probes.iter().all(|probe| probe.probe.watched_ns >= 2_000_000));
    }

    #[test]
    fn the_probe_ends_on_the_real_clock() {
        let probe = idle_probe(Duration::from_millis(2));
        assert!(probe.watched_ns >= 2_000_000);
        assert!(probe.gap_ns <= probe.watched_ns && probe.longest_ns <= probe.gap_ns);
    }
}
