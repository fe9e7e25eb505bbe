//! What a shard says of itself: [`Stats`], read from the cells that it keeps anyway.

use super::{Limit, Probe, Shard};
use crate::bus::Chain;
use crate::event::Kind;
use crate::ledger::Refusal;
use crate::stats::{Counts, LetterCounts, Series, Stats};

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

    /// Shard time has left the step at hand: what was counted in it is recorded.
    #[cold]
    #[inline(never)]
    pub(super) fn turn_rates(&mut self) {
        let counts = self.counts();
        self.rates.turn(&counts, self.clock);
        // Once a second of shard time, also where nobody asks for anything.
        if let Some(archive) = &mut self.archive {
            archive.desk.forget(self.clock);
        }
    }

    /// All that the shard says of itself now, in one call. No allocation; O(kinds + handlers + cells of the windows), some 20 µs: for
    /// who asks once in a while.
    #[must_use]
    pub fn stats(&mut self) -> Stats {
        let counts = self.counts();
        Stats {
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
            limits_hit: Limit::ALL.map(|limit| self.limit_hits(limit)),
            timed: self.timed,
            bytes: self.bytes().iter().map(|(_, bytes)| bytes).sum(),
            is_balanced: self.ledger.is_balanced() && self.derived.is_balanced(),
        }
    }
}
