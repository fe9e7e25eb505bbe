//! Latency over time, in fixed memory: how many events were due, how many were done, and how late, in each step of a run.
//!
//! A run of any length has [`STEPS`] steps at most: when it outgrows them, each two become one of twice the length. Steps begin at multiples of their
//! length on the run clock, so that the timelines of shards fall together. Latencies of a step are in cells as in HdrHistogram (Tene), with 3
//! bits: a percentile of a step is told within an eighth.

use crate::report::latency::BEYOND_MIN;
use serde::Serialize;

/// Steps of a timeline at most.
pub const STEPS: usize = 256;
/// Length of a step at first, ns.
const STEP_NS: u64 = 1 << 20;
/// Bits of a cell: 8 of them for each power of two.
const BITS: u32 = 3;
/// Cells up to 2^40 ns, 18 minutes; what is longer is in the last one.
const CELLS: usize = (40 - BITS as usize + 1) << BITS;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// Samples that were due in it, and those that were done in it.
    due: u64,
    done: u64,
    longest_ns: u64,
    cells: [u32; CELLS],
}

impl Step {
    const EMPTY: Self = Self { due: 0, done: 0, longest_ns: 0, cells: [0; CELLS] };

    fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.done += other.done;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.cells.iter_mut().zip(other.cells).for_each(|(cell, more)| *cell = cell.saturating_add(more));
    }

    /// The upper end of the cell that holds the sample of that rank; `None` with fewer than [`BEYOND_MIN`] samples beyond it.
    fn percentile(&self, parts: u64, of: u64) -> Option<u64> {
        let samples: u64 = self.cells.iter().map(|cell| u64::from(*cell)).sum();
        if u128::from(samples) * u128::from(of - parts) < u128::from(BEYOND_MIN) * u128::from(of) {
            return None;
        }
        let rank = (u128::from(samples) * u128::from(parts)).div_ceil(u128::from(of)).max(1) as u64;
        let mut before = 0;
        let cell = self.cells.iter().position(|cell| {
            before += u64::from(*cell);
            before >= rank
        })?;
        Some(highest_of(cell).min(self.longest_ns))
    }
}

#[inline]
fn cell_of(ns: u64) -> usize {
    let top = u64::BITS - 1 - (ns | 1).leading_zeros();
    let shift = top.saturating_sub(BITS);
    (((shift as usize) << BITS) + (ns >> shift) as usize).min(CELLS - 1)
}

fn highest_of(cell: usize) -> u64 {
    let shift = (cell >> BITS).saturating_sub(1) as u32;
    let mantissa = (cell - ((shift as usize) << BITS)) as u64;
    ((mantissa + 1) << shift) - 1
}

/// One step, told.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Point {
    /// Its beginning, ns since the first event was due.
    pub at_ns: u64,
    /// Samples due in it, in each second.
    #[serde(serialize_with = "crate::report::latency::one_decimal")]
    pub rate: f64,
    /// Samples that were due by its end and not done by then. An event that was done in the step that it was due in is in no backlog.
    pub backlog: u64,
    /// Median response of the samples due in it, ns, told within an eighth; `null` with fewer than 10 samples beyond it.
    pub p50: Option<u64>,
    /// 99th percentile, likewise.
    pub p99: Option<u64>,
    /// The longest, ns.
    pub max: Option<u64>,
}

/// See the [module](self). Nothing is allocated after [`Timeline::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    steps: Box<[Step]>,
    /// A step is 2^shift ns long; the first kept one is number `first`.
    shift: u32,
    first: Option<u64>,
    /// Steps that hold anything, from `first` on.
    len: usize,
}

impl Timeline {
    /// An empty timeline: 300 KiB.
    #[must_use]
    pub fn new() -> Self {
        let steps = vec![Step::EMPTY; STEPS].into_boxed_slice();
        Self { steps, shift: STEP_NS.trailing_zeros(), first: None, len: 0 }
    }

    /// A sample was due at `due_ns` of the run clock, and done `response_ns` later: [`Timeline::done`] counts that. O(1), and now and then O([`STEPS`]).
    #[inline]
    pub fn due(&mut self, due_ns: u64, response_ns: u64) {
        let due = self.step_of(due_ns);
        let step = &mut self.steps[due];
        step.due += 1;
        step.longest_ns = step.longest_ns.max(response_ns);
        let cell = &mut step.cells[cell_of(response_ns)];
        *cell = cell.saturating_add(1);
    }

    /// So many samples, of which [`Timeline::due`] has told before, were done at `done_ns`. As `due`.
    #[inline]
    pub fn done(&mut self, done_ns: u64, samples: u64) {
        let done = self.step_of(done_ns);
        self.steps[done].done += samples;
    }

    /// Index of the step that holds `at_ns`. What is before the first step counts there.
    #[inline]
    fn step_of(&mut self, at_ns: u64) -> usize {
        let Some(first) = self.first else { return self.begin(at_ns) };
        let index = (at_ns >> self.shift).saturating_sub(first);
        if index >= STEPS as u64 {
            return self.outgrow(at_ns);
        }
        self.len = self.len.max(index as usize + 1);
        index as usize
    }

    #[cold]
    fn begin(&mut self, at_ns: u64) -> usize {
        // One step earlier, as the first event to be done is seldom the first that was due.
        self.first = Some((at_ns >> self.shift).saturating_sub(1));
        self.step_of(at_ns)
    }

    #[cold]
    fn outgrow(&mut self, at_ns: u64) -> usize {
        while (at_ns >> self.shift).saturating_sub(self.first.unwrap_or(0)) >= STEPS as u64 {
            self.widen();
        }
        self.step_of(at_ns)
    }

    /// Each two steps become one.
    fn widen(&mut self) {
        let first = self.first.unwrap_or(0);
        for index in 0..self.len {
            let to = ((first + index as u64) / 2 - first / 2) as usize;
            let step = std::mem::replace(&mut self.steps[index], Step::EMPTY);
            self.steps[to].add(&step);
        }
        self.len = if self.len == 0 { 0 } else { ((first + self.len as u64 - 1) / 2 - first / 2) as usize + 1 };
        (self.first, self.shift) = (Some(first / 2), self.shift + 1);
    }

    /// Adds another shard's timeline on the same clock.
    pub fn add(&mut self, other: &Self) {
        if other.first.is_none() {
            return;
        }
        let mut other = other.clone();
        if self.first.is_none() {
            *self = other;
            return;
        }
        while other.shift < self.shift {
            other.widen();
        }
        while self.shift < other.shift {
            self.widen();
        }
        // Both begin where the earlier one does, in steps long enough for the later one to end.
        loop {
            let (mine, theirs) = (self.first.unwrap_or(0), other.first.unwrap_or(0));
            let begin = mine.min(theirs);
            let end = (mine + self.len as u64).max(theirs + other.len as u64);
            if end - begin > STEPS as u64 {
                self.widen();
                other.widen();
                continue;
            }
            let mut sum = Self { shift: self.shift, first: Some(begin), len: (end - begin) as usize, ..Self::new() };
            for (from, line) in [(mine, &*self), (theirs, &other)] {
                for (index, step) in line.steps[..line.len].iter().enumerate() {
                    sum.steps[(from - begin) as usize + index].add(step);
                }
            }
            *self = sum;
            return;
        }
    }

    /// Length of a step, ns.
    #[must_use]
    pub const fn step_ns(&self) -> u64 {
        1 << self.shift
    }

    /// When the first step with a sample begins, ns on the run clock; 0 without samples.
    #[must_use]
    pub fn first_due_ns(&self) -> u64 {
        let begin = self.steps[..self.len].iter().position(|step| step.due + step.done > 0).unwrap_or(0);
        self.first.map_or(0, |first| (first + begin as u64) << self.shift)
    }

    /// The steps in order, from the first with a sample to the last. Where time stood still, steps without samples are among them.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        let steps = &self.steps[..self.len];
        let begin = steps.iter().position(|step| step.due + step.done > 0).unwrap_or(0);
        let seconds = self.step_ns() as f64 / 1e9;
        let (mut due, mut done) = (0u64, 0u64);
        steps[begin..]
            .iter()
            .enumerate()
            .map(|(index, step)| {
                due += step.due;
                done += step.done;
                Point {
                    at_ns: (index as u64) << self.shift,
                    rate: step.due as f64 / seconds,
                    backlog: due.saturating_sub(done),
                    p50: step.percentile(50, 100),
                    p99: step.percentile(99, 100),
                    max: (step.due > 0).then_some(step.longest_ns),
                }
            })
            .collect()
    }
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapeline_core::testing::for_seeds;

    /// Keeps every sample.
    #[derive(Default)]
    struct Naive(Vec<(u64, u64)>);

    impl Naive {
        fn check(&self, line: &Timeline, what: &str) {
            let points = line.points();
            assert!(points.len() <= STEPS, "{what}");
            let step = line.step_ns();
            let first = self.0.iter().map(|(due, _)| due / step).min().unwrap();
            let first = first.max(line.first.unwrap());
            assert_eq!(points.last().unwrap().backlog, 0, "{what}: all that was due is done");
            for (index, point) in points.iter().enumerate() {
                let at = first + index as u64;
                let inside = |ns: u64| (ns / step).max(first) == at;
                let mut responses: Vec<u64> =
                    self.0.iter().filter(|(due, _)| inside(*due)).map(|(due, done)| done - due).collect();
                responses.sort_unstable();
                let told = (point.rate * step as f64 / 1e9).round() as usize;
                assert_eq!((point.at_ns, told), (index as u64 * step, responses.len()), "{what}");
                assert_eq!(point.max, responses.last().copied(), "{what}");
                for (percentile, told) in [(50, point.p50), (99, point.p99)] {
                    let rank = (responses.len() * percentile).div_ceil(100).max(1);
                    let exact = responses.get(rank - 1).copied();
                    assert_eq!(told.is_some(), responses.len() * (100 - percentile) >= 1_000, "{what}: ten beyond it");
                    if let (Some(told), Some(exact)) = (told, exact) {
                        assert!(told >= exact && told - exact <= exact / 8 + 1, "{what}: {told} for {exact}");
                    }
                }
                let end = (at + 1) * step;
                let backlog = self.0.iter().filter(|(due, done)| *due < end && *done >= end).count();
                assert_eq!(point.backlog, backlog as u64, "{what}");
            }
        }
    }

    #[test]
    fn a_timeline_is_what_all_samples_together_say() {
        for_seeds(0..60, |seed, prng| {
            let (mut line, mut other, mut naive) = (Timeline::new(), Timeline::new(), Naive::default());
            let mut due = prng.log_uniform(40);
            let pause = 1 + prng.log_uniform(30);
            for _ in 0..prng.in_range(1..400) {
                due += prng.in_range(0..pause);
                let done = due + prng.log_uniform(32);
                let part = if prng.one_in(2) { &mut line } else { &mut other };
                part.due(due, done - due);
                part.done(done, 1);
                naive.0.push((due, done));
            }
            let mut sum = line.clone();
            sum.add(&other);
            naive.check(&sum, &format!("seed {seed}"));
            let mut turned = other;
            turned.add(&line);
            assert_eq!(turned.points(), sum.points(), "seed {seed}: in either order");
        });
    }

    #[test]
    fn a_stall_shows_where_it_was() {
        let mut line = Timeline::new();
        // An event each 10 us for a second; none is done between 400 and 500 ms.
        for event in 0..100_000u64 {
            let due = event * 10_000;
            let stalled = (400_000_000..500_000_000).contains(&due);
            let done = if stalled { 500_000_000 } else { due + 2_000 };
            line.due(due, done - due);
            line.done(done, 1);
        }
        let points = line.points();
        let at = |ms: u64| points[(ms * 1_000_000 / line.step_ns()) as usize];
        assert_eq!(at(300).p99, None, "a hundred samples a step: one is beyond");
        assert!(at(300).p50.unwrap() < 3_000 && at(600).p50.unwrap() < 3_000);
        assert!(at(410).max.unwrap() > 85_000_000 && at(490).backlog > 8_500);
        assert_eq!(at(300).backlog, 0);
        assert!((at(200).rate - 100_000.0).abs() < 500.0);
    }

    #[test]
    fn nothing_is_no_point() {
        assert_eq!(Timeline::new().points(), []);
    }

    #[test]
    fn documented_memory() {
        assert_eq!((STEPS * size_of::<Step>()) >> 10, 310);
    }
}
