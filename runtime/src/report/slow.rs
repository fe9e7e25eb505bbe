//! Latency over time and the slowest events, as the report tells them.

use crate::slowest::Slow;
use crate::station::ShardReport;
use crate::timeline::{Point, Timeline};
use serde::Serialize;
use tapeline_core::catalog::Catalog;

/// Response times over the time of a paced run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TimelineReport {
    /// Length of a step, ns.
    pub step_ns: u64,
    /// Steps in order.
    pub points: Vec<Point>,
}

impl TimelineReport {
    /// `None` without samples. Percentiles above `1 - noise_share` (0 to 1) are `null`, as in the summaries of the run: the slowest samples may all be the
    /// machine's. A `noise_share` that is not a number counts as 1.
    #[must_use]
    pub fn of(timeline: &Timeline, noise_share: f64) -> Option<Self> {
        let noise_share = if noise_share.is_nan() { 1.0 } else { noise_share };
        let mut points = timeline.points();
        for point in &mut points {
            point.p50 = point.p50.filter(|_| noise_share <= 0.5);
            point.p99 = point.p99.filter(|_| noise_share <= 0.01);
        }
        (!points.is_empty()).then(|| Self { step_ns: timeline.step_ns(), points })
    }
}

/// One slow event: where its time went, and what its core was doing. All times in ns.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SlowEvent {
    /// From due to done.
    pub response_ns: u64,
    /// When it was due, since the first event was.
    pub at_ns: u64,
    /// Kind, symbol, source and sequence number.
    pub kind: &'static str,
    /// As `kind`.
    pub symbol: String,
    /// As `kind`.
    pub source: String,
    /// As `kind`.
    pub seq: u64,
    /// Position among the records that share the number.
    pub part: u16,
    /// Shard that handled it.
    pub shard: usize,
    /// From due to leaving the source, told within 0.025 %.
    pub lag_ns: u64,
    /// From leaving the source to the start of its batch; `null` where the error of the lag could be all of it: it is in `lag_ns` then.
    pub ring_wait_ns: Option<u64>,
    /// From the start of its batch to its end.
    pub service_ns: u64,
    /// Samples of its batch.
    pub batch: u64,
    /// Of its response time, the core was taken away for so long, as far as the loop saw it.
    pub gap_ns: u64,
    /// Page faults of the shard's thread while the event was on its way, or in the millisecond before that; `null` where the thread was not looked at then
    /// (it is once a millisecond at most, and at slow events only), and where they cannot be read.
    pub faults: Option<u64>,
    /// Time for which that thread could have run and did not, likewise.
    pub waited_ns: Option<u64>,
}

impl SlowEvent {
    /// An event of that shard, with `at_ns` still on the run clock.
    #[must_use]
    pub fn of(shard: usize, slow: &Slow, catalog: &Catalog) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let head = &slow.head;
        Self {
            response_ns: slow.response_ns(),
            at_ns: slow.due_ns,
            kind: head.kind().name(),
            symbol: text(catalog.symbol_text(head.symbol)),
            source: text(catalog.source_name(head.source)),
            seq: head.seq,
            part: head.part,
            shard,
            // Lag, wait and service are the response, whatever their errors.
            lag_ns: slow.started_ns.saturating_sub(slow.due_ns + slow.ring_wait_ns.unwrap_or_default()),
            ring_wait_ns: slow.ring_wait_ns,
            service_ns: slow.done_ns.saturating_sub(slow.started_ns),
            batch: slow.batch,
            gap_ns: slow.gap_ns,
            faults: slow.went_through.map(|ordeal| ordeal.faults),
            waited_ns: slow.went_through.map(|ordeal| ordeal.waited_ns),
        }
    }
}

impl SlowEvent {
    /// Kind, symbol, and the event as `--follow` takes it.
    #[must_use]
    pub fn name(&self) -> String {
        let part = if self.part > 0 { format!(".{}", self.part) } else { String::new() };
        format!("{} {} {}{part}@{}", self.kind, self.symbol, self.seq, self.source)
    }
}

/// The slowest of all shards, the slowest first; equal ones by the time at which they were due.
#[must_use]
pub fn slow_events(shards: &[Box<ShardReport>], first_due_ns: u64) -> Vec<SlowEvent> {
    let most = shards.iter().map(|shard| shard.slowest_most).max().unwrap_or(0);
    let mut all: Vec<SlowEvent> = shards.iter().flat_map(|shard| shard.slowest.iter().cloned()).collect();
    all.sort_by_key(|slow| (std::cmp::Reverse(slow.response_ns), slow.at_ns, slow.shard));
    all.truncate(most);
    all.iter_mut().for_each(|slow| slow.at_ns = slow.at_ns.saturating_sub(first_due_ns));
    all
}
