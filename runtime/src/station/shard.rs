//! The shard station: a shard of the core, its probe and its way out.

use super::{Station, StationReport};
use crate::backfill::HistoryPort;
use crate::clock::RunClock;
use crate::jitter::{GAP_NS, GapDetector};
use crate::jobs::JobPort;
use crate::letters::{self, Parked};
use crate::report::latency::{new_histogram, stage_histogram};
use crate::report::slow::SlowEvent;
use crate::report::topics::{self, TopicReport, Watermark};
use crate::slowest::Slowest;
use crate::spill::{SpillCounts, SpillPort};
use crate::stamp::{due_ns, hop_stamp, left_ns, ring_wait_ns, root_due_ns};
use crate::timeline::Timeline;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use tapeline_core::bus::Chain;
use tapeline_core::event::{EventRef, Flags, Kind, Slot};
use tapeline_core::lanes::Lanes;
use tapeline_core::ledger::Ledger;
use tapeline_core::limits::{KIND_ROWS, SPAN_SLOTS_MAX, STAGED_SLOTS_MAX};
use tapeline_core::log::Record;
use tapeline_core::queue::Waits;
use tapeline_core::requests;
use tapeline_core::ring::Producer;
use tapeline_core::shard::{Batch, DUE_NONE, HopRoot, Limit, Outbox, Probe, Shard, Stages, TimedBatches};
use tapeline_core::stats::Stats;
use tapeline_core::{backfill, dead};

/// Measures a shard: service and response times of its source events.
pub struct RunProbe {
    clock: RunClock,
    /// What a look at the clock takes, ns.
    stamp_ns: u64,
    service: Histogram<u64>,
    response: Histogram<u64>,
    /// Of what is in `response`, the events of messages of several.
    parts: Histogram<u64>,
    /// Of these, the last of each message.
    ends: Histogram<u64>,
    stages: StageTimes,
    /// Events are due at a time: there are response times.
    is_paced: bool,
    timeline: Timeline,
    slowest: Slowest,
    /// Run clock at the first and last batch.
    span_ns: Option<(u64, u64)>,
    /// When the core was taken away.
    gaps: GapDetector,
    /// Samples that were due while it was.
    samples_in_gaps: u64,
    /// To the log's thread.
    log: Option<Producer>,
    /// Records that found no room there.
    log_dropped: u64,
}

impl RunProbe {
    /// A probe on the run's clock. Allocates its histograms.
    #[must_use]
    pub fn new(clock: RunClock) -> Self {
        let gaps = GapDetector::new(GAP_NS, clock.now_ns());
        let stamp_ns = clock.stamp_ns();
        Self {
            clock,
            stamp_ns,
            service: new_histogram(),
            response: new_histogram(),
            parts: new_histogram(),
            ends: new_histogram(),
            stages: StageTimes::new(),
            is_paced: true,
            timeline: Timeline::new(),
            slowest: Slowest::new(0),
            span_ns: None,
            gaps,
            samples_in_gaps: 0,
            log: None,
            log_dropped: 0,
        }
    }

    /// The same, for a run with or without a schedule. Without one nothing was due at a time, whatever stamps say: there are no response times.
    #[must_use]
    pub fn paced(self, is_paced: bool) -> Self {
        Self { is_paced, ..self }
    }

    /// The same, which keeps the `n` slowest events.
    #[must_use]
    pub fn tracing(self, n: usize) -> Self {
        Self { slowest: Slowest::new(n), ..self }
    }

    /// The same, which hands log records to `ring`.
    #[must_use]
    pub fn logging_to(self, ring: Option<Producer>) -> Self {
        Self { log: ring, ..self }
    }
}

impl RunProbe {
    /// The response times of a batch, and what goes with them.
    #[inline]
    fn respond(&mut self, batch: &Batch<'_>) {
        let first = batch.samples().next();
        if let Some(waited) = first.and_then(|(stamp, _)| ring_wait_ns(stamp, batch.started)) {
            self.stages.ring_wait.saturating_record(waited.max(1));
        }
        let mut has_kept = false;
        for (stamp, head) in batch.samples() {
            let due = due_ns(stamp, batch.done);
            let response = batch.done.saturating_sub(due).max(1);
            self.response.saturating_record(response);
            // Of a message of one event both are the same.
            if head.part > 0 || !head.flags.contains(Flags::LAST) {
                self.parts.saturating_record(response);
                if head.flags.contains(Flags::LAST) {
                    self.ends.saturating_record(response);
                }
            }
            self.timeline.due(due, response);
            self.samples_in_gaps += u64::from(self.gaps.covers(due));
            if self.slowest.takes(response) {
                self.slowest.keep(stamp, head, (batch.started, batch.done, batch.samples as u64), &self.gaps);
                has_kept = true;
            }
        }
        if has_kept {
            self.slowest.end_batch(batch.done);
        }
        self.timeline.done(batch.done, batch.samples as u64);
    }
}

impl RunProbe {
    /// The stages, with that of the messages.
    fn all_stages(&self) -> StageTimes {
        let mut stages = self.stages.clone();
        stages.message = self.response.clone();
        stages.message.subtract(&self.parts).expect("Invariant: parts are some of the responses");
        stages.message += &self.ends;
        stages
    }
}

impl Probe for RunProbe {
    const LOGS: bool = true;

    fn log(&mut self, record: &Record) {
        let is_kept = self.log.as_mut().is_some_and(|ring| ring.push(&[*record.slot()]).is_ok());
        self.log_dropped += u64::from(!is_kept);
    }

    #[inline]
    fn now(&mut self) -> u64 {
        self.clock.now_ns()
    }

    #[inline]
    fn stamp_cost(&self) -> u64 {
        self.stamp_ns
    }

    #[inline]
    fn batch(&mut self, batch: &Batch<'_>) {
        // An event takes its batch's start and end.
        self.service.saturating_record_n(batch.done.saturating_sub(batch.started).max(1), batch.samples as u64);
        if self.is_paced && !batch.dues.is_empty() {
            self.respond(batch);
        }
        self.span_ns.get_or_insert((batch.started, batch.done)).1 = batch.done;
    }

    fn forward(&mut self, root: HopRoot) -> u64 {
        if !self.is_paced {
            return DUE_NONE;
        }
        let now_ns = self.clock.now_ns();
        let due_ns = match root {
            HopRoot::Undue => None,
            HopRoot::Due(stamp) => Some(due_ns(stamp, now_ns)),
            HopRoot::Hop(stamp) => root_due_ns(stamp, now_ns),
        };
        hop_stamp(now_ns, due_ns)
    }

    fn hop(&mut self, stamp: u64) {
        let now_ns = self.clock.now_ns();
        let took = now_ns.saturating_sub(left_ns(stamp, now_ns));
        self.stages.hop.saturating_record(took.max(1));
    }

    fn end_to_end(&mut self, stamp: u64) {
        let now_ns = self.clock.now_ns();
        if let Some(due_ns) = root_due_ns(stamp, now_ns) {
            let took = now_ns.saturating_sub(due_ns);
            self.stages.end_to_end.saturating_record(took.max(1));
        }
    }

    fn stages(&mut self, stages: &Stages) {
        self.stages.admission.saturating_record(stages.admission_ns.max(1));
        self.stages.dispatch.saturating_record(stages.dispatch_ns.max(1));
        if let Some(handlers_ns) = stages.handlers_ns {
            self.stages.handlers.saturating_record(handlers_ns.max(1));
        }
        if let Some(egress_ns) = stages.egress_ns {
            self.stages.egress.saturating_record(egress_ns.max(1));
        }
    }
}

/// Where the time of source events went on one shard, ns.
#[derive(Clone, Debug)]
pub struct StageTimes {
    /// From leaving the source to the start of the batch, of the first sample of each batch, which has waited longest; paced runs only. Where it came so late that the
    /// error of its lag (0.025 %) could be all of it, nothing is told.
    pub ring_wait: Histogram<u64>,
    /// Of the events of one batch in 128, as [`Stages`].
    pub admission: Histogram<u64>,
    /// As `admission`.
    pub dispatch: Histogram<u64>,
    /// As `admission`, of events that a handler was called for.
    pub handlers: Histogram<u64>,
    /// As `admission`, of events that made anything.
    pub egress: Histogram<u64>,
    /// From leaving another shard to being taken from the ring between the two, of events for a symbol of this one; paced runs only.
    pub hop: Histogram<u64>,
    /// From the due time of the root to the return of the last handler, of events for another symbol than their root's, on its shard or another
    /// one: with the mesh delay, at the speed of the run, that they wait. Within 0.025 % of how long before they left the root was due. What timers
    /// and replies publish was due at no time.
    pub end_to_end: Histogram<u64>,
    /// From the due time to the end of the batch of its last event, of each message; paced runs only.
    pub message: Histogram<u64>,
}

impl StageTimes {
    /// None so far. Allocates.
    #[must_use]
    pub fn new() -> Self {
        let [ring_wait, admission, dispatch, handlers, egress, hop, end_to_end] =
            std::array::from_fn(|_| stage_histogram());
        let message = new_histogram();
        Self { ring_wait, admission, dispatch, handlers, egress, hop, end_to_end, message }
    }

    /// Names and histograms, in the order of an event's way.
    #[must_use]
    pub fn by_name(&self) -> [(&'static str, &Histogram<u64>); 8] {
        [
            ("ring_wait", &self.ring_wait),
            ("admission", &self.admission),
            ("dispatch", &self.dispatch),
            ("handlers", &self.handlers),
            ("egress", &self.egress),
            ("hop", &self.hop),
            ("end_to_end", &self.end_to_end),
            ("message", &self.message),
        ]
    }

    /// Adds those of another shard.
    pub fn add(&mut self, other: &Self) {
        self.ring_wait += &other.ring_wait;
        self.admission += &other.admission;
        self.dispatch += &other.dispatch;
        self.handlers += &other.handlers;
        self.egress += &other.egress;
        self.hop += &other.hop;
        self.end_to_end += &other.end_to_end;
        self.message += &other.message;
    }
}

impl Default for StageTimes {
    fn default() -> Self {
        Self::new()
    }
}

/// The way out of a shard: a ring to the sink's thread, or nowhere; and the store of what it spills.
pub struct Egress {
    ring: Option<Producer>,
    spill: Option<SpillPort>,
}

impl Egress {
    /// A way out through `ring`; without one, outputs are counted and digested only.
    #[must_use]
    pub fn new(ring: Option<Producer>) -> Self {
        Self { ring, spill: None }
    }

    /// The same, with a store for events whose topics spill; without one they are refused.
    #[must_use]
    pub fn spilling_to(self, spill: Option<SpillPort>) -> Self {
        Self { spill, ..self }
    }
}

impl Outbox for Egress {
    #[inline]
    fn has_room(&mut self) -> bool {
        // A sink that died is reported at the end; the shards go on without it.
        self.ring.as_mut().is_none_or(|ring| ring.is_abandoned() || ring.free_slots() >= STAGED_SLOTS_MAX)
    }

    fn put(&mut self, output: EventRef<'_>) {
        if let Some(ring) = &mut self.ring {
            let is_sent = ring.push(output.slots()).is_ok();
            assert!(is_sent || ring.is_abandoned(), "Invariant: the shard asks for room before it begins an event");
        }
    }

    fn spill(&mut self, event: EventRef<'_>) -> bool {
        self.spill.as_mut().is_some_and(|port| port.spill(event))
    }

    fn unspill(&mut self, event: &mut [Slot; SPAN_SLOTS_MAX]) -> usize {
        self.spill.as_mut().map_or(0, |port| port.unspill(event))
    }
}

/// What a shard has to say at the end.
#[derive(Debug)]
pub struct ShardReport {
    /// Its number.
    pub shard: usize,
    /// Source events, by kind.
    pub ledger: Ledger,
    /// Events that handlers made, by kind.
    pub derived: Ledger,
    /// Its part of the digest.
    pub digest: u64,
    /// Outputs.
    pub outputs: u64,
    /// From the start to the end of an event's batch, ns.
    pub service: Histogram<u64>,
    /// From the due time to the end of an event's batch, ns; paced runs only.
    pub response: Histogram<u64>,
    /// Where their time went.
    pub stages: StageTimes,
    /// Response times over the time of the run; paced runs only.
    pub timeline: Timeline,
    /// The slowest events, in no order, if they were asked for; `at_ns` is on the run clock.
    pub slowest: Vec<SlowEvent>,
    /// How many it keeps at most.
    pub slowest_most: usize,
    /// Run clock at the first and last batch.
    pub span_ns: Option<(u64, u64)>,
    /// Limits that acted, and how often.
    pub limits_hit: Vec<(Limit, u64)>,
    /// Batches in which every handler was stamped.
    pub timed: TimedBatches,
    /// Counts of the dead letters, and how many are parked.
    pub letters: (dead::Stats, usize),
    /// What became of the requests of handlers.
    pub requests: requests::Counters,
    /// What became of what they asked of the past; `None` where nobody reads.
    pub backfill: Option<(backfill::Counters, backfill::DeskCounters)>,
    /// Events of the past and of jobs off the cores that came for them, by [`Kind::row`]: part of what `derived` counts.
    pub replied: [u64; KIND_ROWS],
    /// How long they waited; `None` where nobody serves anything.
    pub waits: Option<Waits>,
    /// Events whose `ts_recv` was earlier than shard time.
    pub clamped: u64,
    /// Timers that fired.
    pub timers_fired: u64,
    /// Ledgers of topics, and what their policies did.
    pub topics: Vec<TopicReport>,
    /// The last transitions of watermarks.
    pub watermarks: Vec<Watermark>,
    /// Whether what was dispatched, or its order, depended on load.
    pub has_acted: bool,
    /// What went through its store of spilled events; `None` without one.
    pub spill: Option<SpillCounts>,
    /// Bytes per structure.
    pub bytes: Vec<(&'static str, usize)>,
    /// Scheduler gaps of its core.
    pub gaps: GapDetector,
    /// Samples that were due in one of them.
    pub samples_in_gaps: u64,
    /// Log records that found no room on their way.
    pub log_dropped: u64,
    /// All that the shard says of itself at the end, its handlers included.
    pub stats: Stats,
    /// Dead letters that are left, by handler, kind and code of the last failure.
    pub left: Vec<(&'static str, Kind, Option<u16>, u64)>,
    /// What is parked, if it is to be exported.
    pub parked: Option<Parked>,
}

/// The shard station.
pub struct ShardStation<C: Chain> {
    number: usize,
    shard: Shard<C, RunProbe>,
    egress: Egress,
    gives_letters: bool,
    history: Option<HistoryPort>,
    jobs: Option<JobPort>,
}

impl<C: Chain> ShardStation<C> {
    /// A station for `shard`, whose outputs leave through `egress`.
    #[must_use]
    pub fn new(number: usize, shard: Shard<C, RunProbe>, egress: Egress) -> Self {
        Self { number, shard, egress, gives_letters: false, history: None, jobs: None }
    }

    /// What its handlers ask of the past goes out through `port`; without one the shard has no ring for it, either.
    #[must_use]
    pub fn with_history(self, history: Option<HistoryPort>) -> Self {
        Self { history, ..self }
    }

    /// Jobs that its handlers ask for go out through `port`; without one the shard has no ring for their replies, either.
    #[must_use]
    pub fn with_jobs(self, jobs: Option<JobPort>) -> Self {
        Self { jobs, ..self }
    }

    /// Its report has the dead letters themselves, not only their counts.
    #[must_use]
    pub fn giving_letters(self, gives_letters: bool) -> Self {
        Self { gives_letters, ..self }
    }
}

impl<C: Chain> Station for ShardStation<C> {
    #[inline]
    fn poll(&mut self, now_ns: u64) -> usize {
        self.shard.probe().gaps.observe(now_ns);
        let work = self.shard.step(&mut self.egress).work;
        if let Some(port) = &self.history {
            port.serve(&mut self.shard);
        }
        if let Some(port) = &self.jobs {
            port.serve(&mut self.shard);
        }
        work
    }

    #[inline]
    fn rest(&mut self, now_ns: u64) {
        self.shard.probe().gaps.resume(now_ns);
    }

    fn is_done(&self) -> bool {
        self.shard.is_drained()
    }

    fn mesh_counts(&self) -> (u64, u64) {
        self.shard.mesh_counts()
    }

    fn report(mut self: Box<Self>) -> StationReport {
        let limits_hit = Limit::ALL.iter().map(|limit| (*limit, self.shard.limit_hits(*limit)));
        let limits_hit = limits_hit.filter(|(_, count)| *count > 0).collect();
        let bytes = self.shard.bytes().to_vec();
        let slowest = std::mem::take(&mut self.shard.probe().slowest);
        let lanes = self.shard.lanes();
        let topics = topics::of(lanes, self.shard.ledger());
        let watermarks = lanes.map_or_else(Vec::new, |lanes| topics::watermarks(self.number, lanes));
        let has_acted = lanes.is_some_and(Lanes::has_acted);
        let parked = self.gives_letters.then(|| letters::parked(&self.shard));
        StationReport::Shard(Box::new(ShardReport {
            shard: self.number,
            topics,
            watermarks,
            has_acted,
            spill: self.egress.spill.as_ref().map(|port| *port.counts()),
            ledger: self.shard.ledger().clone(),
            derived: self.shard.derived().clone(),
            digest: self.shard.digest_total(),
            outputs: self.shard.digest().outputs(),
            limits_hit,
            timed: self.shard.timed_batches(),
            letters: (*self.shard.letters().stats(), self.shard.letters().parked()),
            requests: *self.shard.requests().counters(),
            replied: replied(&self.shard),
            backfill: self.shard.backfill().map(|desk| (*desk.manager().counters(), *desk.counters())),
            waits: self.shard.requests().waits(),
            clamped: self.shard.clamped(),
            timers_fired: self.shard.timers_fired(),
            bytes,
            service: self.shard.probe().service.clone(),
            response: self.shard.probe().response.clone(),
            stages: self.shard.probe().all_stages(),
            timeline: std::mem::take(&mut self.shard.probe().timeline),
            slowest_most: slowest.most(),
            slowest: slowest
                .events()
                .iter()
                .map(|slow| SlowEvent::of(self.number, slow, self.shard.catalog()))
                .collect(),
            span_ns: self.shard.probe().span_ns,
            gaps: self.shard.probe().gaps.clone(),
            samples_in_gaps: self.shard.probe().samples_in_gaps,
            log_dropped: self.shard.probe().log_dropped,
            stats: self.shard.stats(),
            left: left(&self.shard),
            parked,
        }))
    }
}

/// Events of replies from off the core, by kind.
fn replied<C: Chain>(shard: &Shard<C, RunProbe>) -> [u64; KIND_ROWS] {
    let mut replied = *shard.requests().events_by_kind();
    if let Some(desk) = shard.backfill() {
        replied.iter_mut().zip(desk.events_by_kind()).for_each(|(sum, count)| *sum += count);
    }
    replied
}

/// Dead letters by handler, kind and code. Allocates: for the end of a run.
fn left<C: Chain>(shard: &Shard<C, RunProbe>) -> Vec<(&'static str, Kind, Option<u16>, u64)> {
    let mut counts = BTreeMap::<_, u64>::new();
    for (_, entry) in shard.letters().iter() {
        *counts.entry((entry.handler(), entry.kind().0, entry.error())).or_default() += 1;
    }
    let named = counts.into_iter();
    named
        .map(|((handler, kind, error), count)| {
            (letters::name_of(shard.handler_names(), handler), Kind(kind), error, count)
        })
        .collect()
}
