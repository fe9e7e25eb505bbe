//! What a shard says of itself at an instant: counts since the start, rates over the last seconds, fill of its structures, bytes.
//!
//! One path: everything here is read from the cells that the shard keeps anyway (ledgers, dead letters, wheel, handlers). Once in
//! [`STEP_NS`] of shard time the counts that have rates are compared with what they were, and what was added is recorded as one value
//! in [`windows`](crate::windows): no call per event. So a percentile of a rate is one over steps of 50 ms, which shows bursts that a
//! mean hides.
//!
//! [`Shard::stats_into`](crate::shard::Shard::stats_into) copies all of it into a [`Stats`] that the caller keeps: plain numbers, no allocation, nothing
//! borrowed. That includes what handlers count of their own, among it their breakers and limiters.

use crate::backfill;
use crate::bus::HandlerStats;
use crate::dead;
use crate::ledger::{Refusal, Row};
use crate::limits::HANDLERS_MAX;
use crate::requests;
use crate::shard::{Limit, TimedBatches};
use crate::units::UnixNanos;
use crate::windows::{Precision, Series as Registered, SeriesId, Window, Windows};

/// Length of a step: the shortest window's.
pub const STEP_NS: u64 = Window::S1.step_ns();

/// A count that has rates.
#[repr(usize)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Series {
    /// Source events taken from the ring.
    Events = 0,
    /// Of these, refused.
    Refused = 1,
    /// Calls of handlers that failed or panicked.
    Failures = 2,
    /// Failures that got a time to try again.
    Retries = 3,
    /// Derived events: those that handlers made, and those of replies of jobs that were done off the core.
    Outputs = 4,
    /// Of these, alerts.
    Alerts = 5,
}

impl Series {
    /// Every series, by number.
    pub const ALL: [Self; 6] =
        [Self::Events, Self::Refused, Self::Failures, Self::Retries, Self::Outputs, Self::Alerts];

    /// Name in JSON and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Refused => "refused",
            Self::Failures => "failures",
            Self::Retries => "retries",
            Self::Outputs => "outputs",
            Self::Alerts => "alerts",
        }
    }
}

/// One number for each [`Series`].
pub type Counts = [u64; Series::ALL.len()];

/// Rates of one shard over the last seconds of its time.
#[derive(Clone, Debug)]
pub struct Rates {
    windows: Windows,
    /// The counts, as they were when the step at hand began.
    seen: Counts,
    /// End of the step at hand, exclusive.
    step_end: UnixNanos,
}

impl Rates {
    /// No counts yet. Allocates its windows.
    #[must_use]
    pub fn new() -> Self {
        // 6 % of the value; a step of 50 ms at 80 million events a second. 430 KB in all.
        let precision = Precision { bits: 4, value_max: 4_000_000 };
        let series = Series::ALL.map(|series| Registered::with_percentiles(series.name(), precision));
        let windows = Windows::new(&series).expect("names are short and distinct, and so many series are allowed");
        Self { windows, seen: Counts::default(), step_end: UnixNanos::ZERO }
    }

    /// End of the step at hand: [`Rates::turn`] has nothing to do before.
    #[inline]
    #[must_use]
    pub fn next(&self) -> UnixNanos {
        self.step_end
    }

    /// Shard time has come to `now` with these counts: what was added belongs to the step that has ended. O(series).
    #[cold]
    pub fn turn(&mut self, counts: &Counts, now: UnixNanos) {
        if self.step_end != UnixNanos::ZERO {
            self.record(counts, UnixNanos(self.step_end.0 - 1));
        }
        self.seen = *counts;
        self.step_end = UnixNanos((now.0 / STEP_NS + 1).saturating_mul(STEP_NS));
    }

    fn record(&mut self, counts: &Counts, at: UnixNanos) {
        for (index, (count, seen)) in counts.iter().zip(&self.seen).enumerate() {
            self.windows.record(SeriesId(index as u32), count.saturating_sub(*seen), at);
        }
    }

    /// The rates of one series at `now`, when its count is `count`. O(steps * cells).
    #[must_use]
    pub fn read(&self, series: Series, count: u64, now: UnixNanos) -> [Rate; Window::ALL.len()] {
        let id = SeriesId(series as u32);
        // Of the step at hand, which is not recorded yet.
        let open = count.saturating_sub(self.seen[series as usize]);
        Window::ALL.map(|window| {
            let Some(reading) = self.windows.read(id, window, now) else { return Rate::default() };
            let sum = reading.sum as u64 + open;
            let quantiles = self.windows.percentiles(id, window, now, [500_000, 990_000]);
            Rate {
                count: sum,
                per_second: if reading.covered_ns == 0 { 0.0 } else { sum as f64 * 1e9 / reading.covered_ns as f64 },
                step_p50: quantiles.map_or(0, |[p50, _]| p50),
                step_p99: quantiles.map_or(0, |[_, p99]| p99),
                step_max: reading.max.max(open),
            }
        })
    }

    /// Bytes held on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.windows.bytes()
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self::new()
    }
}

/// A count over the last 1, 10 or 60 seconds of shard time.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Rate {
    /// Added in the window.
    pub count: u64,
    /// The same for a second, over the time that the window covers.
    pub per_second: f64,
    /// Added in a step of 50 ms: the median of the steps in which the shard's time moved.
    pub step_p50: u64,
    /// The 99th percentile of these.
    pub step_p99: u64,
    /// The largest of these.
    pub step_max: u64,
}

/// Where the dead letters stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LetterCounts {
    /// Entries that wait for a person.
    pub parked: usize,
    /// Entries that wait for their retry.
    pub waiting: usize,
    /// Entries that wait behind an earlier event of their symbol.
    pub held: usize,
    /// Counts since the start.
    pub totals: dead::Stats,
}

/// All that a shard says of itself at an instant.
#[derive(Clone, PartialEq, Debug)]
pub struct Stats {
    /// Its number.
    pub shard: usize,
    /// Shard time.
    pub now: UnixNanos,
    /// Counts since the start, by [`Series`].
    pub counts: Counts,
    /// Rates by [`Series`] and [`Window`].
    pub rates: [[Rate; Window::ALL.len()]; Series::ALL.len()],
    /// The ledger of source events, all kinds together.
    pub source: Row,
    /// Events refused at admission, by [`Refusal`].
    pub refused_by: [u64; Refusal::ALL.len()],
    /// The ledger of derived events, all kinds together.
    pub derived: Row,
    /// Slots that wait in the source's ring, and slots of that ring.
    pub ring_slots: (usize, usize),
    /// Pending timers.
    pub timers: usize,
    /// Timers that have fired.
    pub timers_fired: u64,
    /// Dead letters.
    pub letters: LetterCounts,
    /// Requests of handlers: what became of them, and where they are.
    pub requests: requests::Counters,
    /// Jobs that are done off the core; `None` where there are none.
    pub jobs: Option<requests::Jobs>,
    /// What handlers asked of the past: of the manager and of its desk; `None` where nobody reads.
    pub backfill: Option<(backfill::Counters, backfill::DeskCounters)>,
    /// Events whose `ts_recv` was earlier than shard time.
    pub clamped: u64,
    /// How often limits acted, by [`Limit`].
    pub limits_hit: [u64; Limit::ALL.len()],
    /// Batches in which every handler was stamped.
    pub timed: TimedBatches,
    /// Bytes of all structures.
    pub bytes: usize,
    /// Whether both ledgers balance.
    pub is_balanced: bool,
    /// Each handler by name, in dispatch order: calls, failures, time, and what it counts of its own over all symbols
    /// ([`Handler::COUNTS`](crate::handler::Handler::COUNTS)), its breakers and limiters among that.
    pub handlers: Vec<(&'static str, HandlerStats)>,
}

impl Stats {
    /// Zeros, with room for all that a shard may have to say. Allocates some 20 KB: once, for who reads often.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shard: 0,
            now: UnixNanos::ZERO,
            counts: Counts::default(),
            rates: Default::default(),
            source: Row::default(),
            refused_by: [0; Refusal::ALL.len()],
            derived: Row::default(),
            ring_slots: (0, 0),
            timers: 0,
            timers_fired: 0,
            letters: LetterCounts::default(),
            requests: requests::Counters::default(),
            jobs: None,
            backfill: None,
            clamped: 0,
            limits_hit: [0; Limit::ALL.len()],
            timed: TimedBatches::default(),
            bytes: 0,
            is_balanced: true,
            handlers: Vec::with_capacity(HANDLERS_MAX),
        }
    }

    /// What the handler of that name counts of its own under `count`. `None` when there is no such handler or count. O(handlers + counts).
    #[must_use]
    pub fn count_of(&self, handler: &str, count: &str) -> Option<u64> {
        let (_, stats) = self.handlers.iter().find(|(name, _)| *name == handler)?;
        stats.counts.iter().find(|(name, _)| *name == count).map(|(_, sum)| sum)
    }

    /// A rate of one series.
    #[must_use]
    pub fn rate(&self, series: Series, window: Window) -> Rate {
        self.rates[series as usize][window as usize]
    }

    /// How full the source's ring is, 0 to 1.
    #[must_use]
    pub fn ring_fill(&self) -> f64 {
        if self.ring_slots.1 == 0 { 0.0 } else { self.ring_slots.0 as f64 / self.ring_slots.1 as f64 }
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(events: u64) -> Counts {
        let mut counts = Counts::default();
        counts[Series::Events as usize] = events;
        counts
    }

    /// 100 events a step, then a burst of 1,000 in one, then nothing.
    #[test]
    fn req_3552_rates_and_percentiles_over_1_10_and_60_seconds() {
        let (mut rates, mut total) = (Rates::new(), 0);
        let start = 1_700_000_000 * 1_000_000_000;
        let at = |step: u64| UnixNanos(start + step * STEP_NS);
        rates.turn(&counts(0), at(0));
        for step in 1..=400 {
            total += if step == 395 { 1_000 } else { 100 };
            assert_eq!(rates.next(), at(step));
            rates.turn(&counts(total), at(step));
        }
        // 20 s at 2,000 a second, and the burst in the last of them.
        let [second, ten, minute] = rates.read(Series::Events, total, at(400));
        assert_eq!((second.count, ten.count, minute.count), (19 * 100 + 900, 200 * 100 + 900 - 1_000, 400 * 100 + 900));
        assert!((2_000.0..3_100.0).contains(&second.per_second), "{second:?}");
        assert!((1_990.0..2_210.0).contains(&ten.per_second), "{ten:?}");
        assert_eq!((second.step_max, ten.step_max), (1_000, 1_000));
        for rate in [second, ten, minute] {
            assert!((100..=106).contains(&rate.step_p50), "{rate:?}");
        }
        assert!((1_000..=1_062).contains(&second.step_p99) && minute.step_p99 < 110, "one burst in 20 steps, in 400");

        // The step at hand counts as well, and a pause empties the windows one after the other.
        assert_eq!(rates.read(Series::Events, total + 7, at(400))[0].count, second.count + 7);
        rates.turn(&counts(total), at(400 + 40));
        let [second, ten, _] = rates.read(Series::Events, total, at(400 + 40));
        assert_eq!(second, Rate { count: 0, per_second: 0.0, step_p50: 0, step_p99: 0, step_max: 0 });
        assert!(ten.count > 10_000, "{ten:?}");
        assert_eq!(rates.read(Series::Alerts, 0, at(440)), [Rate::default(); 3]);
    }
}
