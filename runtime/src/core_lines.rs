//! How long a cache line takes from one core to another: what every hop through a ring costs at least.
//!
//! Two threads, one on each core of a pair, hand a counter in one line to and fro; half of a round trip is told, as the median over batches of
//! 64 round trips. On a machine that does other things a batch in which a thread was taken away is longer, and the median passes it over.

use crate::placement::pin_here;
use serde::Serialize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Round trips that are timed together.
const BATCH: u32 = 64;
/// Time for a pair, at most and at least: where all pairs would take longer than is given, fewer cores are looked at.
const PAIR_TIME: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// Cores that are looked at, at most: 2,016 pairs.
pub const CORES_MAX: usize = 64;
/// How long a pair waits for its other half to be there at all. A thread that waits for a core gets one within milliseconds.
const PATIENCE: Duration = Duration::from_millis(200);
/// Looks at the line between two looks at the clock.
const SPINS: u32 = 4_096;

/// The line says that it is over.
const STOP: u32 = u32::MAX;
/// Nobody is there yet.
const ABSENT: u32 = u32::MAX - 1;

/// What was measured. The matrix is symmetric: a pair is measured once.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct CoreLines {
    /// The cores, in the order of rows and columns.
    pub cores: Vec<u32>,
    /// One way, ns; `null` on the diagonal, and where a thread could not be kept to its core or did not get to run.
    pub ns: Vec<Vec<Option<f64>>>,
    /// Cores beyond those that could be looked at in the time.
    pub left_out: usize,
}

impl CoreLines {
    /// The pairs that were measured, with their time: (first, second, ns), by index.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
        let row = |first: usize| (first + 1..self.cores.len()).map(move |second| (first, second));
        let all = (0..self.cores.len()).flat_map(row);
        all.filter_map(|(first, second)| Some((first, second, self.ns[first][second]?)))
    }

    /// Cores that lie close together: one by one the one whose farthest of those chosen is nearest, from the nearest pair on, as long as it is within `within`
    /// times that pair's. Rising; empty where nothing was measured. O(cores^3).
    #[must_use]
    pub fn close_together(&self, within: f64) -> Vec<u32> {
        let Some((first, second, least)) = self.pairs().min_by(|a, b| a.2.total_cmp(&b.2)) else { return Vec::new() };
        let mut chosen = vec![first, second];
        loop {
            let farthest = |core: usize| {
                let to = chosen.iter().map(|other| self.ns[core][*other].unwrap_or(f64::INFINITY));
                to.fold(0.0, f64::max)
            };
            let others = (0..self.cores.len()).filter(|core| !chosen.contains(core));
            let next = others.map(|core| (farthest(core), core)).min_by(|a, b| a.0.total_cmp(&b.0));
            match next {
                Some((ns, core)) if ns <= least * within => chosen.push(core),
                _ => break,
            }
        }
        let mut cores: Vec<u32> = chosen.into_iter().map(|core| self.cores[core]).collect();
        cores.sort_unstable();
        cores
    }
}

/// Measures every pair of `cores`, in some `time` at most. Uses two cores at a time, fully.
#[must_use]
pub fn measure(cores: &[u32], time: Duration) -> CoreLines {
    let (least, most) = PAIR_TIME;
    let pairs_of = |count: usize| (count * count.saturating_sub(1) / 2) as u32;
    let mut count = cores.len().min(CORES_MAX);
    while count > 2 && least * pairs_of(count) > time {
        count -= 1;
    }
    let each = (time / pairs_of(count).max(1)).clamp(least, most);
    let mut ns = vec![vec![None; count]; count];
    for first in 0..count {
        for second in first + 1..count {
            let took = pair([cores[first], cores[second]], each);
            (ns[first][second], ns[second][first]) = (took, took);
        }
    }
    CoreLines { cores: cores[..count].to_vec(), ns, left_out: cores.len() - count }
}

/// A line of its own, and the one beside it, which prefetchers take along.
#[repr(align(128))]
struct Line(AtomicU32);

/// One way between two cores, ns.
fn pair([first, second]: [u32; 2], time: Duration) -> Option<f64> {
    let line = Line(AtomicU32::new(ABSENT));
    thread::scope(|scope| {
        scope.spawn(|| follow(&line.0, second));
        scope.spawn(|| lead(&line.0, first, time)).join().unwrap_or_default()
    })
}

/// Answers every odd number with the next one, until it is over.
fn follow(line: &AtomicU32, core: u32) {
    if !pin_here(core) {
        line.store(STOP, Ordering::Release);
        return;
    }
    // Synchronises with nothing but the leader's look; where that has gone already, its word stands.
    if line.compare_exchange(ABSENT, 0, Ordering::AcqRel, Ordering::Acquire).is_err() {
        return;
    }
    loop {
        match line.load(Ordering::Acquire) {
            STOP => return,
            // Where the leader has lost its patience meanwhile, its word stands.
            turn if turn % 2 == 1 => {
                let _ = line.compare_exchange(turn, turn + 1, Ordering::Release, Ordering::Relaxed);
            }
            _ => std::hint::spin_loop(),
        }
    }
}

/// Times batches until the time is over; however it ends, the other one ends, too.
fn lead(line: &AtomicU32, core: u32, time: Duration) -> Option<f64> {
    let is_pinned = pin_here(core);
    let begun = Instant::now();
    let mut batches: Vec<f64> = Vec::with_capacity(1_024);
    let mut turn = 0;
    let is_there = is_pinned && wait(line, turn, begun + PATIENCE);
    let mut goes_on = is_there;
    while goes_on && begun.elapsed() < time + PATIENCE && batches.len() < batches.capacity() {
        let from = Instant::now();
        for _ in 0..BATCH {
            line.store(turn + 1, Ordering::Release);
            turn += 2;
            goes_on &= wait(line, turn, from + PATIENCE);
            if !goes_on {
                break;
            }
        }
        if goes_on {
            batches.push(from.elapsed().as_nanos() as f64 / f64::from(2 * BATCH));
        }
        // The first batch moves the line, and whatever goes with it, for the first time.
        goes_on &= batches.len() < 2 || begun.elapsed() < time;
    }
    line.store(STOP, Ordering::Release);
    let told = batches.get(1..).filter(|batches| !batches.is_empty())?;
    crate::lab::stats::median(told)
}

/// Waits for `turn`; false when the time is over, or the other one has gone.
fn wait(line: &AtomicU32, turn: u32, until: Instant) -> bool {
    loop {
        for _ in 0..SPINS {
            match line.load(Ordering::Acquire) {
                STOP => return false,
                now if now == turn => return true,
                _ => std::hint::spin_loop(),
            }
        }
        if Instant::now() > until {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(cores: Vec<u32>, ns: impl Fn(u32, u32) -> f64) -> CoreLines {
        let row = |a: &u32| cores.iter().map(|b| (a != b).then(|| ns(*a.min(b), *a.max(b)))).collect();
        CoreLines { ns: cores.iter().map(row).collect(), cores, left_out: 0 }
    }

    #[test]
    fn cores_that_lie_close_together_are_found() {
        // Two sockets: even and odd.
        let lines = known((0..8).collect(), |a, b| if (a + b) % 2 == 0 { 50.0 + f64::from(b) } else { 140.0 });
        assert_eq!(lines.close_together(1.5), [0, 2, 4, 6]);
        assert_eq!(lines.close_together(9.0), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(lines.pairs().count(), 28);
        assert_eq!(CoreLines::default().close_together(2.0), [0u32; 0]);
    }

    /// Of this machine nothing is asserted but that it ends in time, with sane numbers where threads got to run.
    #[test]
    fn pairs_of_this_machine_are_measured_in_time() {
        let allowed = crate::machine::Machine::here().limits.affinity.unwrap_or_default();
        let begun = Instant::now();
        let lines = measure(&allowed, Duration::from_millis(50));
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        assert_eq!(lines.cores.len() + lines.left_out, allowed.len());
        assert_eq!(lines.ns.len(), lines.cores.len());
        for (first, second, ns) in lines.pairs() {
            assert!(ns > 0.5 && ns < 1e9 && lines.ns[second][first] == Some(ns), "{lines:?}");
        }
    }

    #[test]
    fn what_takes_too_long_is_left_out_and_who_is_not_there_is_not_waited_for() {
        // No machine of a test has these cores.
        let cores: Vec<u32> = (5_000..5_100).collect();
        let lines = measure(&cores, Duration::from_millis(20));
        assert_eq!((lines.cores.len(), lines.left_out, lines.pairs().count()), (6, 94, 0), "15 pairs of 1 ms");
        assert_eq!(measure(&[], Duration::from_secs(1)), CoreLines::default());
        assert_eq!(measure(&[0], Duration::ZERO).ns, [[None]]);
    }
}
