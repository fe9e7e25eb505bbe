//! When: arrival times of a trading day with bursts, exactly as many as asked for.
//!
//! The activity is `day(t) * burst(t)`. `day` is a U, `1 + 2 (2x - 1)^2` over the session's fraction x, plus the rush
//! at the open, `rush * e^(-x / 0.02)`; it is constant within each of 390 cells (the minutes of a session of 6.5 h).
//! `burst` is a two-state Markov process: calm (1) and burst (`factor`), for exponentially distributed times.
//!
//! Times come by time change: in the clock of the integrated activity the arrivals of such a process, given their
//! number, are uniform. So the integral over the session is found first, by running the burst process once; then the
//! process runs again from the same seed beside the arrivals, which are drawn in order as uniform order statistics: of
//! n points in (0, m], the least is at `m (1 - U^(1/n))`. Nothing is stored, whatever the number of events, and the
//! integral is in integers, so that the last arrival is inside the session by construction.

use super::config::{BURST_FACTOR_MAX, Burst, Config, DURATION_NS_MAX, OPEN_RUSH_MAX};
use super::prng::Prng;

/// Cells of the day, each of constant activity.
pub(super) const CELLS: usize = 390;
/// Activity of midday calm.
const ACTIVITY_ONE: u32 = 64;
/// Most activity: the first cell in a burst.
const ACTIVITY_MAX: u64 = (ACTIVITY_ONE * (3 + OPEN_RUSH_MAX) * BURST_FACTOR_MAX) as u64;
/// Fraction of the session after which the opening rush has fallen to 1/e.
const RUSH_FRACTION: f64 = 0.02;

const _: () = assert!(ACTIVITY_MAX.checked_mul(DURATION_NS_MAX).is_some(), "the integral of activity fits u64");

/// The arrival process of one session.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    draws: Prng,
    path: Path,
    /// Activity * ns between here and the session's end.
    left: u64,
}

impl Arrivals {
    /// The process of a checked configuration. O(bursts).
    pub(crate) fn new(config: &Config, draws: Prng, bursts: Prng) -> Self {
        let path = Path::new(config, bursts);
        let mut all = path.clone();
        let mut left = 0;
        while let Some(mass) = all.mass_left() {
            left += mass;
            all.next_segment();
        }
        Self { draws, path, left }
    }

    /// Moves on and gives the time of the next arrival, in ns from the session's start; times never fall, and are less
    /// than the session's length. `after` is the number of events since the last call (1 at the first), and `more` the number
    /// still to come: activity counts events, so that a message of many parts is followed by a longer pause.
    #[inline]
    pub(crate) fn next(&mut self, after: u64, more: u64) -> u64 {
        let (after, more) = (after.max(1) as f64, more as f64);
        // 1 - U^(after / (after + more)), in [0, 1), as a 64-bit fraction; the cast saturates.
        let fraction = -libm::expm1(libm::log(self.draws.unit()) * (after / (after + more)));
        let fraction = (fraction * 18_446_744_073_709_551_616.0) as u64;
        let step = ((u128::from(self.left) * u128::from(fraction)) >> 64) as u64;
        self.left -= step;
        self.path.walk(step)
    }

    /// Number of the burst that the last arrival fell in, from 1; `None` in calm.
    #[inline]
    pub(crate) fn burst(&self) -> Option<u64> {
        (self.path.sojourns.is_multiple_of(2) && self.path.factor > 1).then_some(self.path.sojourns / 2)
    }
}

/// A position on the activity's path, which is piecewise constant: segments end where a cell or a sojourn ends.
#[derive(Clone, Debug)]
struct Path {
    day: Box<[u32; CELLS]>,
    duration_ns: u64,
    burst: Burst,
    draws: Prng,
    /// Activity of the current sojourn relative to calm.
    factor: u32,
    /// Sojourns begun so far: odd = calm, even = burst.
    sojourns: u64,
    sojourn_end_ns: u64,
    cell: usize,
    /// The segment: `start_ns..end_ns`, of this activity; empty at the session's end.
    start_ns: u64,
    end_ns: u64,
    activity: u64,
    /// Activity * ns from the segment's start to the position.
    at: u64,
}

impl Path {
    fn new(config: &Config, draws: Prng) -> Self {
        let mut path = Self {
            day: day(config.open_rush),
            duration_ns: config.duration_ns,
            burst: config.burst,
            draws,
            factor: 1,
            sojourns: 0,
            sojourn_end_ns: 0,
            cell: 0,
            start_ns: 0,
            end_ns: 0,
            activity: 0,
            at: 0,
        };
        path.next_segment();
        path
    }

    fn cell_end_ns(&self) -> u64 {
        (u128::from(self.duration_ns) * (self.cell as u128 + 1) / CELLS as u128) as u64
    }

    fn next_segment(&mut self) {
        self.start_ns = self.end_ns;
        self.at = 0;
        if self.start_ns >= self.duration_ns {
            return;
        }
        while self.sojourn_end_ns <= self.start_ns {
            self.sojourns += 1;
            let calm = self.sojourns % 2 == 1;
            let mean = if calm { self.burst.calm_ns } else { self.burst.burst_ns };
            // At most 37 times the mean: no overflow, and at least 1 ns, so that this ends.
            let ns = (-libm::log(self.draws.unit()) * mean as f64) as u64;
            self.sojourn_end_ns += ns.max(1);
            self.factor = if calm { 1 } else { self.burst.factor };
        }
        while self.cell_end_ns() <= self.start_ns {
            self.cell += 1;
        }
        self.end_ns = self.sojourn_end_ns.min(self.cell_end_ns());
        self.activity = u64::from(self.day[self.cell]) * u64::from(self.factor);
    }

    /// Activity * ns from the position to the segment's end; `None` at the session's end.
    fn mass_left(&self) -> Option<u64> {
        (self.start_ns < self.duration_ns).then(|| (self.end_ns - self.start_ns) * self.activity - self.at)
    }

    /// Moves on by `mass` and gives the time there.
    #[inline]
    fn walk(&mut self, mut mass: u64) -> u64 {
        while let Some(left) = self.mass_left() {
            if mass < left {
                self.at += mass;
                return self.start_ns + self.at / self.activity;
            }
            mass -= left;
            self.next_segment();
        }
        debug_assert!(false, "Invariant: every step is less than what is left of the session");
        self.duration_ns - 1
    }
}

/// Activity of each cell in calm.
fn day(rush: f64) -> Box<[u32; CELLS]> {
    let mut day = Box::new([0; CELLS]);
    for (cell, activity) in day.iter_mut().enumerate() {
        let x = (cell as f64 + 0.5) / CELLS as f64;
        let from_noon = 2.0 * x - 1.0;
        let shape = 1.0 + 2.0 * from_noon * from_noon + rush * libm::exp(-x / RUSH_FRACTION);
        *activity = (shape * f64::from(ACTIVITY_ONE)) as u32;
    }
    day
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(config: &Config) -> Arrivals {
        Arrivals::new(config, Prng::new(config.seed, 1), Prng::new(config.seed, 2))
    }

    fn times(config: &Config) -> Vec<u64> {
        let mut arrivals = arrivals(config);
        (0..config.events).map(|i| arrivals.next(1, config.events - i)).collect()
    }

    #[test]
    fn times_rise_and_stay_inside_the_session_whatever_the_parameters() {
        for seed in 0..40 {
            for (events, duration_ns, factor) in
                [(1, 1_000_000, 64), (2, 1_000_000, 1), (3_000, 1_000_000, 64), (500, DURATION_NS_MAX, 64)]
            {
                let burst = Burst { factor, calm_ns: duration_ns / 7 + 1_000, burst_ns: 1_000, focus_percent: 0 };
                let config = Config { seed, events, duration_ns, burst, open_rush: 16.0, ..Config::default() };
                config.check().unwrap();
                let times = times(&config);
                assert!(times.is_sorted(), "seed {seed}");
                assert!(*times.last().unwrap() < duration_ns, "seed {seed}");
            }
        }
    }

    #[test]
    fn without_rush_and_bursts_the_counts_are_those_of_the_u() {
        let burst = Burst { factor: 1, ..Burst::default() };
        let config = Config { seed: 5, events: 200_000, open_rush: 0.0, burst, ..Config::default() };
        let mut tenth = [0u32; 10];
        for at in times(&config) {
            tenth[(at * 10 / config.duration_ns) as usize] += 1;
        }
        for (i, &seen) in tenth.iter().enumerate() {
            // The integral of 1 + 2 (2x - 1)^2 over the tenth, in closed form; 5/3 over all.
            let (a, b) = (i as f64 / 10.0, (i as f64 + 1.0) / 10.0);
            let integral = |x: f64| x + (2.0 * x - 1.0) * (2.0 * x - 1.0) * (2.0 * x - 1.0) / 3.0;
            let expected = (integral(b) - integral(a)) / (5.0 / 3.0) * 200_000.0;
            // At most 163 is one standard deviation; activities are cut to 1/64. Fixed seed.
            assert!((f64::from(seen) - expected).abs() < 800.0, "tenth {i}: {seen}, expected {expected}");
        }
    }

    #[test]
    fn gaps_of_a_flat_stretch_are_exponential() {
        // Mid session in calm: mean = standard deviation for exponential gaps.
        let burst = Burst { factor: 1, ..Burst::default() };
        let config = Config { seed: 9, events: 400_000, open_rush: 0.0, burst, ..Config::default() };
        let (from, to) = (config.duration_ns / 100 * 49, config.duration_ns / 100 * 51);
        let times: Vec<u64> = times(&config).into_iter().filter(|t| (from..to).contains(t)).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let variance = gaps.iter().map(|gap| (gap - mean) * (gap - mean)).sum::<f64>() / n;
        // About 4,800 gaps: the ratio's standard deviation is near sqrt(2 / n) = 0.02.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.08, "cv {}", variance.sqrt() / mean);
    }

    #[test]
    fn bursts_are_busier_than_calm_by_their_factor() {
        let config = Config { seed: 3, events: 300_000, ..Config::default() };
        let mut arrivals = arrivals(&config);
        let mut path = arrivals.path.clone();
        // What the process itself says: share of the integral that lies in bursts.
        let (mut in_burst, mut all) = (0u64, 0u64);
        while let Some(mass) = path.mass_left() {
            all += mass;
            in_burst += if path.sojourns.is_multiple_of(2) { mass } else { 0 };
            path.next_segment();
        }
        assert_eq!(all, arrivals.left);
        let (mut seen, mut last) = (0u64, 0);
        for i in 0..config.events {
            arrivals.next(1, config.events - i);
            if let Some(number) = arrivals.burst() {
                seen += 1;
                assert!(number >= last);
                last = number;
            }
        }
        let (share, seen) = (in_burst as f64 / all as f64, seen as f64 / config.events as f64);
        assert!((share - seen).abs() < 0.005, "{seen} of the events in bursts, {share} of the activity");
        // 12 * 4 ms against 80 ms: 0.375; some 240 sojourns of each sort in a session vary it.
        assert!((0.25..0.50).contains(&share), "{share}");
        assert!(last > 150, "{last} bursts");
    }
}
