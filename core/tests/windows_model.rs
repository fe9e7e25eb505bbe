//! Sliding windows against a twin that keeps every value, compared after every call.

use proptest::prelude::*;
use std::collections::VecDeque;
use tapeline_core::testing::{CountingAlloc, PrintOnPanic, Prng, without_allocation};
use tapeline_core::units::UnixNanos;
use tapeline_core::windows::{Precision, Series, SeriesId, Window, Windows};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

const SERIES: [Series<'static>; 4] = [
    Series::of_counts("events"),
    Series::with_percentiles("service_ns", Precision { bits: 5, value_max: 1 << 40 }),
    Series::with_percentiles("hop_ns", Precision { bits: 0, value_max: u64::MAX }),
    Series::with_percentiles("depth", Precision { bits: 7, value_max: 999 }),
];

/// Of few cells, so that all of them can be checked after each operation.
const SMALL: [Series<'static>; 4] = [
    Series::of_counts("events"),
    Series::with_percentiles("service_ns", Precision { bits: 1, value_max: 5_000 }),
    Series::with_percentiles("hop_ns", Precision { bits: 0, value_max: u64::MAX }),
    Series::with_percentiles("depth", Precision { bits: 2, value_max: 999 }),
];

/// The documented length of a step, by division.
fn step_ns(window: Window) -> u64 {
    [1_000_000_000, 10_000_000_000, 60_000_000_000][window as usize] / 20
}

#[derive(Default)]
struct Seen {
    read: u64,
    empty: u64,
    idle: u64,
    beyond: u64,
    backward: u64,
    percentiles: u64,
    crowded: u64,
    restarts: u64,
}

struct Pair {
    windows: Windows,
    series: &'static [Series<'static>],
    /// By series: (time, value), none older than the longest window.
    values: Vec<VecDeque<(u64, u64)>>,
    now: u64,
    backward: u64,
}

impl Pair {
    fn new(series: &'static [Series<'static>], start: u64) -> Self {
        let windows = Windows::new(series).unwrap();
        Self { windows, series, values: vec![VecDeque::new(); series.len()], now: start, backward: 0 }
    }

    /// The windows as they are after their bytes were read again.
    fn restart(&mut self) {
        let mut bytes = Vec::new();
        self.windows.snapshot(&mut bytes);
        self.windows = Windows::restore(self.series, &bytes).expect("its own snapshot");
    }

    fn record(&mut self, series: usize, value: u64, at: u64) {
        let first = self.values.iter().all(VecDeque::is_empty) && self.backward == 0;
        self.backward += u64::from(at < self.now && !first);
        self.now = if first { at } else { self.now.max(at) };
        let id = SeriesId(series as u32);
        assert!(without_allocation(|| self.windows.record(id, value, UnixNanos(at))));
        let values = &mut self.values[series];
        values.push_back((self.now, value));
        while values.front().is_some_and(|(at, _)| self.now - at > 70_000_000_000) {
            values.pop_front();
        }
        assert_eq!(self.windows.backward(), self.backward);
    }

    fn compare(&self, series: usize, window: Window, now: u64, seen: &mut Seen) {
        let id = SeriesId(series as u32);
        let now = now.max(self.now);
        let reading = without_allocation(|| self.windows.read(id, window, UnixNanos(now))).unwrap();
        let step = step_ns(window);
        let from = (now / step * step).saturating_sub(19 * step);
        assert_eq!((reading.from.0, reading.covered_ns), (from, now - from));
        assert!(reading.covered_ns < window.ns() && (reading.covered_ns >= window.ns() / 20 * 19 || from == 0));
        let (mut count, mut sum, mut min, mut max) = (0, 0, u64::MAX, 0);
        // Times rise: the newest are at the back.
        for (_, value) in self.values[series].iter().rev().take_while(|(at, _)| *at >= from) {
            (count, sum, min, max) = (count + 1, sum + u128::from(*value), min.min(*value), max.max(*value));
        }
        min = if count == 0 { 0 } else { min };
        assert_eq!(reading.count, count, "series {series} {window:?} at {now}");
        assert_eq!((reading.sum, reading.min, reading.max), (sum, min, max));
        seen.read += 1;
        seen.empty += u64::from(count == 0);
        seen.crowded += u64::from(count > 20);
    }

    fn compare_percentiles(&self, series: usize, window: Window, quantiles: [u32; 3], seen: &mut Seen) {
        let id = SeriesId(series as u32);
        let now = UnixNanos(self.now);
        let got = without_allocation(|| self.windows.percentiles(id, window, now, quantiles));
        let reading = self.windows.read(id, window, now).unwrap();
        let Some(Precision { bits, value_max }) = self.series[series].precision.filter(|_| reading.count > 0) else {
            assert_eq!(got, None);
            return;
        };
        let inside = self.values[series].iter().filter(|(at, _)| *at >= reading.from.0);
        let mut sorted: Vec<u64> = inside.map(|(_, value)| *value).collect();
        sorted.sort_unstable();
        for (quantile, got) in quantiles.into_iter().zip(got.expect("it has values")) {
            // Nearest rank.
            let rank = (u128::from(quantile) * sorted.len() as u128).div_ceil(1_000_000).max(1) as usize;
            let truth = sorted[rank - 1];
            assert!(truth <= got && got <= reading.max, "{truth} {got} {}", reading.max);
            if truth <= value_max {
                assert!(u128::from(got - truth) << bits <= u128::from(truth), "{truth} is given as {got}");
                assert!(truth >= 2 << bits || got == truth, "small values are exact: {truth} {got}");
            } else {
                assert_eq!(got, reading.max, "beyond the range only the maximum is known");
            }
        }
        seen.percentiles += 1;
    }
}

fn run(seed: u64, of: &'static [Series<'static>], operations: usize, invariants_every: usize, seen: &mut Seen) {
    let _named = PrintOnPanic(format_args!("seed={seed}"));
    let mut prng = Prng::new(seed);
    let start = [0, 1 << 36, 1_700_000_000_000_000_000, u64::MAX - 400_000_000_000][prng.index(4)];
    let mut pair = Pair::new(of, start);
    // Nanoseconds between values: from crowded to sparse, changed now and then.
    let mut pace = 1 << 30;
    for operation in 0..operations {
        if prng.one_in(2_000) {
            pair.restart();
            seen.restarts += 1;
        }
        if prng.one_in(2_000) {
            pace = 1 << prng.in_range(28..38);
        }
        let later = match prng.index(100) {
            0..10 => 0,
            10..90 => prng.in_range(0..pace),
            // Onto the edge of a step, or just before it.
            90..97 => step_ns(Window::ALL[prng.index(3)]) - pair.now % step_ns(Window::S1) - prng.in_range(0..2),
            97 => {
                seen.idle += 1;
                prng.in_range(50_000_000_000..70_000_000_000)
            }
            _ if prng.one_in(50) => {
                seen.idle += 1;
                prng.log_uniform(50)
            }
            _ => 1,
        };
        if pair.now > u64::MAX - (1 << 52) && prng.one_in(1_000) || pair.now > u64::MAX - (1 << 38) {
            let start = [0, 5_000, 1_700_000_000_000_000_000][prng.index(3)];
            seen.backward += pair.backward;
            pair = Pair::new(of, start);
        }
        let at = if prng.one_in(40) {
            pair.now.saturating_sub(prng.log_uniform(40))
        } else {
            pair.now.saturating_add(later)
        };
        let series = prng.index(of.len());
        let value = match prng.index(10) {
            0 => prng.log_uniform(64),
            1 => 0,
            2 => prng.in_range(990..1_010),
            _ => prng.log_uniform(12),
        };
        pair.record(series, value, at);
        let window = Window::ALL[prng.index(3)];
        let ahead = if prng.one_in(4) { prng.log_uniform(37) } else { 0 };
        let read = if prng.one_in(2) { series } else { prng.index(of.len()) };
        pair.compare(read, window, pair.now.saturating_add(ahead), seen);
        if prng.one_in(32) {
            let mut quantiles = [0, 1, 2].map(|_| prng.index(1_000_001) as u32);
            quantiles.sort_unstable();
            if prng.one_in(4) {
                quantiles = [0, 500_000, 1_000_000];
            }
            pair.compare_percentiles(read, window, quantiles, seen);
        }
        if operation % invariants_every == 0 {
            pair.windows.assert_invariants();
        }
    }
    pair.windows.assert_invariants();
    for id in pair.windows.ids() {
        seen.beyond += pair.windows.totals(id).unwrap().beyond;
    }
    seen.backward += pair.backward;
}

impl Seen {
    fn assert_all_happened(&self, least: u64) {
        let all = [self.read, self.empty, self.idle, self.beyond, self.backward, self.percentiles, self.crowded];
        assert!(
            all.iter().all(|count| *count >= least),
            "read empty idle beyond backward percentiles crowded: {all:?}"
        );
        assert!(self.restarts > least / 100, "{} restarts", self.restarts);
    }
}

#[test]
fn agrees_with_its_twin_with_full_invariants_after_each_operation() {
    let mut seen = Seen::default();
    for seed in 0..50 {
        run(seed, &SMALL, 2_000, 1, &mut seen);
    }
    seen.assert_all_happened(300);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_first_half() {
    let mut seen = Seen::default();
    for seed in 100..150 {
        run(seed, &SERIES, 100_000, 4_096, &mut seen);
    }
    seen.assert_all_happened(10_000);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_second_half() {
    let mut seen = Seen::default();
    for seed in 150..200 {
        run(seed, &SERIES, 100_000, 4_096, &mut seen);
    }
    seen.assert_all_happened(10_000);
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test windows_model -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    let mut seen = Seen::default();
    for seed in 0..1_000 {
        run(1 << 32 | seed, &SERIES, 100_000, 4_096, &mut seen);
    }
    seen.assert_all_happened(100_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Shrinks to the fewest operations that break a rule.
    #[test]
    fn any_windows_agree_with_their_twin(seed in any::<u64>(), operations in 1usize..300) {
        run(seed, &SMALL, operations, 1, &mut Seen::default());
    }
}
