//! What each handler was called for, how long it took, and what it failed on.

use super::Named;
use serde::Serialize;
use std::borrow::Cow;
use tapeline_core::bus::HandlerStats;
use tapeline_core::shard::TimedBatches;
use tapeline_core::timing::HandlerTime;

/// One handler. Sums over the shards.
///
/// Times are told from the calls that were stamped (see [`tapeline_core::timing`]): those of one batch in 128, or all of them where the
/// handler has a budget.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct HandlerReport {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Calls, for events, retries and timers.
    pub calls: u64,
    /// Calls that were stamped.
    pub timed_calls: u64,
    /// Time in all of its calls, ns: the mean of those that were stamped, times `calls`; `null` = none was stamped.
    pub time_ns: Option<u64>,
    /// Mean time of a stamped call, ns; `null` = none was stamped.
    pub mean_ns: Option<f64>,
    /// The longest stamped call, ns; `null` = none was stamped.
    pub longest_ns: Option<u64>,
    /// Its part of the time in which its shards handled events, 0 to 1; `null` = none was measured.
    pub share: Option<f64>,
    /// What one call may take, ns; `null` = no budget.
    pub budget_ns: Option<u64>,
    /// Calls that took longer than that.
    pub overruns: u64,
    /// Calls that asked for a retry or gave up.
    pub failed: u64,
    /// Calls that panicked.
    pub panicked: u64,
    /// Of those that failed or panicked, calls whose state had no copy and began anew.
    pub states_lost: u64,
    /// Symbols for which it is quarantined.
    pub quarantined: u64,
    /// Events that it was not given because of that.
    pub skipped: u64,
    /// What it counts of its own, over all symbols: see [`tapeline_core::handler::Handler::COUNTS`].
    pub counts: Named<u64>,
}

impl HandlerReport {
    /// What `stats` tell of the handler `name`, when all handlers together were stamped in `timed`.
    #[must_use]
    pub fn new(name: &'static str, stats: &HandlerStats, timed: &TimedBatches) -> Self {
        let time = &stats.time;
        let mut counts = Named::new();
        stats.counts.iter().for_each(|(name, count)| counts.set(name, count));
        let mean_ns = (time.calls > 0).then(|| time.total_ns as f64 / time.calls as f64);
        Self {
            name: name.into(),
            calls: stats.calls,
            timed_calls: time.calls,
            time_ns: mean_ns.map(|mean| (mean * stats.calls as f64) as u64),
            mean_ns,
            longest_ns: mean_ns.map(|_| time.longest_ns),
            // Stamps of a few ns may add up to more than the batch took.
            share: (timed.busy_ns > 0).then(|| (time.sampled.ns as f64 / timed.busy_ns as f64).min(1.0)),
            budget_ns: stats.budget_ns,
            overruns: time.overruns,
            failed: stats.failed,
            panicked: stats.panicked,
            states_lost: stats.states_lost,
            quarantined: stats.quarantined,
            skipped: stats.skipped,
            counts,
        }
    }
}

/// The handler that takes the largest part of the time: whom a saturated run names.
#[must_use]
pub fn slowest(handlers: &[HandlerReport]) -> Option<&HandlerReport> {
    let timed = handlers.iter().filter(|handler| handler.share.is_some());
    timed.max_by(|a, b| a.share.unwrap_or_default().total_cmp(&b.share.unwrap_or_default()))
}

/// Handlers in dispatch order, over all shards. Each shard gives its handlers in dispatch order, which is the same everywhere.
#[must_use]
pub fn sum<'a>(shards: impl Iterator<Item = (&'a [(&'static str, HandlerStats)], TimedBatches)>) -> Vec<HandlerReport> {
    let (mut sums, mut timed) = (Vec::<(&'static str, HandlerStats)>::new(), TimedBatches::default());
    for (handlers, batches) in shards {
        timed.count += batches.count;
        timed.busy_ns = timed.busy_ns.saturating_add(batches.busy_ns);
        for (index, (name, stats)) in handlers.iter().enumerate() {
            match sums.get_mut(index) {
                Some((_, sum)) => add(sum, stats),
                None => sums.push((name, *stats)),
            }
        }
    }
    sums.iter().map(|(name, stats)| HandlerReport::new(name, stats, &timed)).collect()
}

fn add(sum: &mut HandlerStats, stats: &HandlerStats) {
    sum.calls += stats.calls;
    sum.failed += stats.failed;
    sum.panicked += stats.panicked;
    sum.states_lost += stats.states_lost;
    sum.quarantined += stats.quarantined;
    sum.skipped += stats.skipped;
    sum.counts.add(&stats.counts);
    HandlerTime::merge(&mut sum.time, &stats.time);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapeline_core::bus::Counts;
    use tapeline_core::timing::Sampled;

    fn stats(calls: u64, timed: u64, ns: u64) -> HandlerStats {
        let sampled = Sampled { calls: timed, ns };
        let time = HandlerTime { calls: timed, total_ns: ns, longest_ns: ns / timed.max(1) + 5, overruns: 0, sampled };
        HandlerStats { calls, time, failed: 1, ..HandlerStats::default() }
    }

    /// What a batch of the bridge was closed by on one shard and on another.
    #[test]
    fn own_counts_are_summed_by_name() {
        let of = |sums: [u64; 2]| {
            let mut counts = Counts::new(&["full", "timer"]);
            counts.sums_mut().copy_from_slice(&sums);
            [("bridge", HandlerStats { counts, ..stats(1, 0, 0) })]
        };
        let (one, other) = (of([3, 0]), of([4, 5]));
        let told = sum([(&one[..], TimedBatches::default()), (&other[..], TimedBatches::default())].into_iter());
        assert_eq!(told[0].counts.iter().collect::<Vec<_>>(), [("full", &7), ("timer", &5)]);
    }

    #[test]
    fn shards_are_summed_before_shares_are_told() {
        let one = [("a", stats(160, 10, 1_000)), ("b", stats(16, 1, 50))];
        let other = [("a", stats(320, 30, 1_000)), ("b", stats(0, 0, 0))];
        let batches = |busy_ns| TimedBatches { count: 1, busy_ns };
        let told = sum([(&one[..], batches(2_000)), (&other[..], batches(2_000))].into_iter());
        assert_eq!(told.len(), 2);
        let a = &told[0];
        assert_eq!((a.name.as_ref(), a.calls, a.timed_calls, a.failed), ("a", 480, 40, 2));
        assert_eq!((a.mean_ns, a.time_ns, a.longest_ns, a.share), (Some(50.0), Some(24_000), Some(105), Some(0.5)));
        assert_eq!((told[1].share, told[1].time_ns), (Some(0.0125), Some(800)));
        assert_eq!(slowest(&told).map(|handler| handler.name.as_ref()), Some("a"));
    }

    #[test]
    fn what_was_not_stamped_is_not_told() {
        let told = sum([(&[("a", stats(7, 0, 0))][..], TimedBatches::default())].into_iter());
        assert_eq!((told[0].calls, told[0].time_ns, told[0].mean_ns), (7, None, None));
        assert_eq!((told[0].longest_ns, told[0].share), (None, None));
        assert_eq!(slowest(&told), None, "nobody is named without a measurement");
    }
}
