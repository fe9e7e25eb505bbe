//! What a shard says of itself: [`Stats`], read from the cells that it keeps anyway.

use super::{Limit, Probe, Shard, TimedBatches};
use crate::book::Books;
use crate::bus::{Chain, HandlerStats};
use crate::catalog::Catalog;
use crate::dead::DeadLetters;
use crate::dedup::DedupWindow;
use crate::digest::Digest;
use crate::event::Kind;
use crate::handler::RequestRefusal;
use crate::history::History;
use crate::ledger::{Ledger, Refusal};
use crate::requests::Requests;
use crate::retry::RetryShare;
use crate::stats::{Counts, LetterCounts, Rates, Series, Stats};
use crate::units::UnixNanos;

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Counts since the start, by series. O(kinds).
    fn counts(&self) -> Counts {
        let (source, letters) = (self.ledger.total(), self.letters.stats());
        let mut counts = Counts::default();
        for (series, count) in [
            (Series::Events, source.offered),
            (Series::Refused, source.refused),
            (Series::Failures, letters.failures),
            (Series::Retries, letters.retries),
            (Series::Outputs, self.derived.total().offered),
            (Series::Alerts, self.derived.row(Kind::ALERT).offered),
        ] {
            counts[series as usize] = count;
        }
        counts
    }

    /// Rates begin at nothing at the time of the clock, with the step that it is in. For a shard that was put back.
    pub(super) fn begin_rates(&mut self) {
        self.rates = Rates::new();
        let counts = self.counts();
        self.rates.turn(&counts, self.clock);
    }

    /// Shard time comes to `at` and leaves the step at hand: what was counted in it is recorded. O(kinds).
    #[cold]
    #[inline(never)]
    pub(super) fn turn_rates(&mut self, at: UnixNanos) {
        let counts = self.counts();
        self.rates.turn(&counts, at);
        // Once a step of 50 ms of shard time, also where nobody asks for anything.
        if let Some(archive) = &mut self.archive {
            archive.desk.forget(at);
        }
    }

    /// All that the shard says of itself now, in one call: see [`Shard::stats_into`]. Allocates what it returns.
    #[must_use]
    pub fn stats(&mut self) -> Stats {
        let mut stats = Stats::new();
        self.stats_into(&mut stats);
        stats
    }

    /// Puts all that the shard says of itself now into `stats`, in one call. No allocation, where `stats` is of [`Stats::new`].
    ///
    /// O(kinds + cells of the windows, some ten thousand + symbols defined x handlers with counts of their own): for who asks once in a while. The last
    /// part is a look at one state each, since what breakers and limiters of handlers count is in their states; states of symbols that nobody has
    /// defined are not touched.
    pub fn stats_into(&mut self, stats: &mut Stats) {
        let counts = self.counts();
        let mut handlers = std::mem::take(&mut stats.handlers);
        self.bus.stats_into(self.catalog.symbols(), &mut handlers);
        *stats = Stats {
            handlers,
            shard: self.config.shard,
            now: self.clock,
            counts,
            rates: Series::ALL.map(|series| self.rates.read(series, counts[series as usize], self.clock)),
            source: self.ledger.total(),
            refused_by: Refusal::ALL.map(|reason| self.ledger.refused_by(reason)),
            derived: self.derived.total(),
            ring_slots: (self.input.ring.len() + self.backlog(), self.input.ring.capacity()),
            timers: self.wheel.len(),
            timers_fired: self.timers_fired,
            letters: LetterCounts {
                parked: self.letters.parked(),
                waiting: self.letters.waiting(),
                held: self.letters.held(),
                totals: *self.letters.stats(),
            },
            requests: *self.requests.counters(),
            jobs: self.requests.jobs(),
            backfill: self.backfill().map(|desk| (*desk.manager().counters(), *desk.counters())),
            clamped: self.clamped,
            limits_hit: Limit::ALL.map(|limit| self.limit_hits(limit)),
            timed: self.timed,
            bytes: self.bytes().iter().map(|(_, bytes)| bytes).sum(),
            is_balanced: self.ledger.is_balanced() && self.derived.is_balanced(),
        };
    }

    /// Shard time.
    #[must_use]
    pub fn clock(&self) -> UnixNanos {
        self.clock
    }

    /// Source events, by kind.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Events that handlers made, by kind, and those of replies of jobs that were done off the core.
    #[must_use]
    pub fn derived(&self) -> &Ledger {
        &self.derived
    }

    /// Outputs so far.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Events that handlers failed on, and those that wait behind them.
    #[must_use]
    pub fn letters(&self) -> &DeadLetters {
        &self.letters
    }

    /// The last events, if any are kept.
    #[must_use]
    pub fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// The order books, if any are kept.
    #[must_use]
    pub fn books(&self) -> Option<&Books> {
        self.books.as_ref()
    }

    /// The window in which duplicates are recognised, if there is one.
    #[must_use]
    pub fn dedup(&self) -> Option<&DedupWindow> {
        self.dedup.as_ref()
    }

    /// This shard's part of the engine's digest.
    #[must_use]
    pub fn digest_total(&self) -> u64 {
        self.digest.total(&self.catalog)
    }

    /// Names, as far as they were defined.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What measures.
    pub fn probe(&mut self) -> &mut P {
        &mut self.probe
    }

    /// Counts of each handler, in dispatch order: that part of [`Shard::stats`] alone. Allocates what it returns, and O(symbols defined) for each
    /// handler with counts of its own.
    #[must_use]
    pub fn handlers(&mut self) -> Vec<(&'static str, HandlerStats)> {
        let mut stats = Vec::new();
        self.bus.stats_into(self.catalog.symbols(), &mut stats);
        stats
    }

    /// Names of the handlers, in dispatch order: the index is a handler's number.
    #[must_use]
    pub fn handler_names(&self) -> &[&'static str] {
        self.bus.names()
    }

    /// Batches in which every handler was stamped.
    #[must_use]
    pub fn timed_batches(&self) -> TimedBatches {
        self.timed
    }

    /// How often `limit` acted.
    #[must_use]
    pub fn limit_hits(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Staging => self.staging.refused(),
            Limit::Dedup => {
                self.dedup.as_ref().map_or(0, |dedup| dedup.counts().turns_by_count + dedup.counts().unremembered)
            }
            Limit::Requests => {
                let counters = self.requests.counters();
                counters.refused_by[RequestRefusal::QueueFull as usize] + counters.untold
            }
            Limit::ServiceBudget => self.requests.counters().over_budget,
            Limit::JobsFull => self.requests.counters().jobs_full,
            Limit::Backfill => self.backfill().map_or(0, crate::backfill::Desk::shared_hits),
            limit => self.limits_hit[limit as usize],
        }
    }

    /// Requests of handlers: the queue, what became of them, and how long they waited.
    #[must_use]
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Events whose `ts_recv` was earlier than shard time.
    #[must_use]
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    /// Timers that have fired.
    #[must_use]
    pub fn timers_fired(&self) -> u64 {
        self.timers_fired
    }

    /// Slots that the source may still put into the ring, and that wait in the batch, for reports.
    #[must_use]
    pub fn backlog(&self) -> usize {
        let waiting = self.live.as_ref().map_or(0, |live| live.lanes.used_slots());
        self.input.len - self.input.at + waiting
    }

    /// Bytes per structure. Those of states and digest are zero pages until a symbol is used.
    #[must_use]
    pub fn bytes(&mut self) -> [(&'static str, usize); 15] {
        [
            ("catalog", self.catalog.bytes()),
            ("schemas", self.config.schemas.bytes()),
            ("handler states", self.bus.bytes()),
            ("digest", self.digest.bytes()),
            ("wheel", self.wheel.bytes() + self.timer_names.bytes()),
            ("requests", self.requests.bytes()),
            ("backfill", self.archive.as_ref().map_or(0, |archive| archive.desk.bytes())),
            ("books", self.books.as_ref().map_or(0, Books::bytes)),
            ("mesh", self.pending.bytes() + self.hops.as_ref().map_or(0, super::hops::Hops::bytes)),
            ("lanes", self.live.as_ref().map_or(0, |live| live.bytes())),
            ("staging", self.staging.bytes()),
            ("dedup", self.dedup.as_ref().map_or(0, DedupWindow::bytes)),
            ("history", self.history.as_ref().map_or(0, History::bytes)),
            (
                "dead letters",
                self.letters.bytes()
                    + size_of_val(&*self.origins)
                    + self.retry_share.as_ref().map_or(0, RetryShare::bytes),
            ),
            ("rates", self.rates.bytes()),
        ]
    }
}
