//! Slices of work on one thread: nanoseconds per operation, by phase.
//!
//! Work is a loop of *phases*: what is measured, in batches, and between them what makes the next batch possible and is
//! not measured. A batch is bracketed by two fenced reads of the time stamp counter, whose own cost is taken off.

use crate::clock::{Clock, Disturbance, GapDetector, Watch, pin, ticks_fenced};
use crate::duel::{Entry, Length, Options, Role, Slice};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// What was measured of one phase.
#[derive(Clone, Copy, Default, Debug)]
struct Phase {
    ticks: u64,
    operations: u64,
    batches: u64,
    /// Ticks of the longest batch.
    longest: u64,
    /// Whether a batch may stall by itself, so that a long one says nothing about the machine.
    may_stall: bool,
}

/// Measures the phases of a slice.
#[derive(Clone, Debug)]
pub struct Meter {
    phases: Vec<Phase>,
}

impl Meter {
    /// For `phases` phases.
    #[must_use]
    pub fn new(phases: usize) -> Self {
        Self { phases: vec![Phase::default(); phases] }
    }

    /// Runs and measures a batch of `phase`. Its operations are added by [`Meter::count`].
    #[inline(always)]
    pub fn time<R>(&mut self, phase: usize, work: impl FnOnce() -> R) -> R {
        let start = ticks_fenced();
        let result = work();
        let taken = ticks_fenced().wrapping_sub(start);
        let phase = &mut self.phases[phase];
        phase.ticks += taken;
        phase.batches += 1;
        phase.longest = phase.longest.max(taken);
        result
    }

    /// Adds operations to `phase`.
    #[inline(always)]
    pub fn count(&mut self, phase: usize, operations: usize) {
        self.phases[phase].operations += operations as u64;
    }

    /// Says that a batch of `phase` may stall by itself: the rule on gaps (C7) does not hold for it.
    pub fn may_stall(&mut self, phase: usize) {
        self.phases[phase].may_stall = true;
    }

    /// Nanoseconds per operation of each phase; NaN where there was none.
    #[must_use]
    pub fn values(&self, clock: &Clock) -> Vec<f64> {
        let per_operation = |phase: &Phase| {
            let ns = (clock.ns(phase.ticks) - phase.batches as f64 * clock.fenced_read_ns).max(0.0);
            if phase.operations == 0 { f64::NAN } else { ns / phase.operations as f64 }
        };
        self.phases.iter().map(per_operation).collect()
    }

    /// The longest time by which a batch exceeded the mean of its phase, ns: what control C7 saw. The mean is taken
    /// off because a batch of a slow contender may well take the 50 µs by itself.
    #[must_use]
    pub fn gap_ns(&self, clock: &Clock) -> u64 {
        let excess = |phase: &Phase| match phase.batches {
            0 => 0.0,
            _ if phase.may_stall => 0.0,
            batches => clock.ns(phase.longest) - clock.ns(phase.ticks) / batches as f64,
        };
        self.phases.iter().map(excess).fold(0.0, f64::max) as u64
    }
}

/// Runs `step` again and again for a slice, a fifth of a slice of warm-up apart.
pub fn slice(options: &Options, phases: usize, mut step: impl FnMut(&mut Meter)) -> Slice {
    options.single_core().map(pin);
    let length = options.single_slice();
    let mut run = |length: Duration| {
        let mut meter = Meter::new(phases);
        let start = Instant::now();
        loop {
            step(&mut meter);
            if start.elapsed() >= length {
                break meter;
            }
        }
    };
    run(length / 5);
    let watch = Watch::start(options.single_core());
    let meter = run(length);
    let disturbance = watch.stop(&GapDetector::start(), &options.clock);
    let disturbance = Disturbance { gap_ns: meter.gap_ns(&options.clock), ..disturbance };
    Slice { values: meter.values(&options.clock), disturbance }
}

/// A contender whose state is built before its first slice and lives on from slice to slice.
pub fn entry<'a, S: 'a>(
    name: &'static str,
    role: Role,
    options: &'a Options,
    phases: usize,
    build: impl Fn() -> S + 'a,
    step: impl Fn(&mut S, &mut Meter) + 'a,
) -> Entry<'a> {
    let state = RefCell::new(None);
    let run = move || {
        let mut state = state.borrow_mut();
        let state = state.get_or_insert_with(&build);
        slice(options, phases, |meter| step(state, meter))
    };
    Entry { name, role, length: Length::Chosen, run: Box::new(run) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_without_operations_has_no_value_and_a_long_batch_is_a_gap() {
        let clock = Clock { ns_per_tick: 1.0, read_ns: 1.0, fenced_read_ns: 10.0 };
        let mut meter = Meter::new(2);
        meter.phases[0] = Phase { ticks: 1_010, operations: 100, batches: 1, longest: 1_010, may_stall: false };
        assert_eq!(meter.values(&clock)[0], 10.0, "the clock's own cost is taken off");
        assert!(meter.values(&clock)[1].is_nan());
        assert_eq!(meter.gap_ns(&clock), 0, "one batch is its own mean");
        meter.phases[0] = Phase { ticks: 200_000, operations: 64, batches: 4, longest: 140_000, may_stall: false };
        assert_eq!(meter.gap_ns(&clock), 90_000);
        meter.may_stall(0);
        assert_eq!(meter.gap_ns(&clock), 0);
    }

    #[test]
    fn state_lives_from_slice_to_slice() {
        let options = Options::check();
        let built = std::cell::Cell::new(0);
        let build = || {
            built.set(built.get() + 1);
            0u64
        };
        let entry = entry("test", Role::Ours, &options, 1, build, |state, meter| {
            *state += 1;
            meter.time(0, || ());
            meter.count(0, 1);
        });
        assert!((entry.run)().values[0] >= 0.0 && (entry.run)().values[0].is_finite());
        assert_eq!(built.get(), 1);
    }
}
