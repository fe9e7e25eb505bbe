//! Many timers due at once: what each poll costs.

use super::{Population, Timers};
use crate::clock::{Disturbance, GapDetector, Watch, pin};
use crate::duel::{Options, Slice};
use crate::single::Meter;
use crate::stats::percentile;
use std::time::Duration;

/// Metrics of a slice: of all firing, then of single polls.
pub(super) const METRICS: [&str; 5] = ["fire_ns", "poll_p50", "poll_worst", "worst/p50", "poll_p99"];

/// Timers that a poll should fire.
const LIMIT: usize = 64;
/// Passes over the same timers.
const PASSES: usize = 3;
/// About what a timer takes in a slice: built and fired in every pass.
pub(super) const TIMER: Duration = Duration::from_nanos(1_000);
const TEN_MINUTES_NS: u64 = 600_000_000_000;

/// One slice: the same timers built and fired in [`PASSES`] passes, of which those that the machine disturbed are left out.
pub(super) fn slice<T: Timers>(options: &Options, timers: usize) -> Slice {
    options.single_core().map(pin);
    let mut least: Vec<f64> = Vec::new();
    let mut disturbed: Option<Disturbance> = None;
    for _ in 0..PASSES {
        let mut population = Population::<T>::new(timers, options.seed);
        let mut polls = Vec::with_capacity(least.len());
        population.jump(TEN_MINUTES_NS);
        let watch = Watch::start(options.single_core());
        while !population.is_empty() {
            // One batch in a meter of its own: the time of this poll.
            let mut meter = Meter::new(1);
            let fired = population.fire_due(LIMIT, Some((&mut meter, 0)));
            if fired > 0 {
                polls.push((meter.values(&options.clock)[0] * fired as f64, fired));
            } else {
                meter.count(0, 1);
                polls.push((meter.values(&options.clock)[0], 0));
            }
        }
        let disturbance = watch.stop(&GapDetector::start(), &options.clock);
        assert_eq!(polls.iter().map(|(_, fired)| fired).sum::<usize>(), timers, "every timer fires");
        if disturbance.is_void() && !options.is_check() {
            disturbed = Some(disturbance);
            continue;
        }
        let times = polls.iter().map(|(ns, _)| *ns);
        if least.is_empty() {
            least = times.collect();
        } else {
            assert_eq!(least.len(), polls.len(), "every pass does the same work");
            least.iter_mut().zip(times).for_each(|(least, ns)| *least = least.min(ns));
        }
    }
    let total: f64 = least.iter().sum();
    let mut sorted = least.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |p: f64| percentile(&sorted, p).unwrap_or(f64::NAN);
    let disturbance = if least.is_empty() { disturbed.unwrap_or_default() } else { Disturbance::default() };
    Slice { values: vec![total / timers as f64, at(0.5), at(1.0), at(1.0) / at(0.5), at(0.99)], disturbance }
}
