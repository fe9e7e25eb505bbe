//! What a shard tells a log: see [`crate::log`]. All of it is off the way of an event that is not followed.

use super::{Active, Limit, Shard};
use crate::bus::{Chain, Subscriber};
use crate::dead::{Failure, Fate, Outcome};
use crate::event::payload::Gap;
use crate::event::{EventRef, Identity, Kind, Slot};
use crate::ledger::Refusal;
use crate::log::{Code, Filter, Record};
use crate::shard::Probe;
use crate::timing::Timing;
use crate::units::UnixNanos;

/// What has been told, and whether the root at hand is followed.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Of each limit, the count at which it was told last.
    limits: [u64; Limit::ALL.len()],
    /// Transitions of watermarks.
    transitions: u64,
    /// The root at hand is the event that is followed, or caused by it.
    pub(super) follows: bool,
    /// Identities, on this shard, of what it caused for other symbols. The oldest goes.
    caused: [Identity; CAUSED_MAX],
    caused_len: usize,
}

/// Events for other symbols that are followed at a time.
const CAUSED_MAX: usize = 16;

impl Told {
    pub(super) const NOTHING: Self = Self {
        limits: [0; Limit::ALL.len()],
        transitions: 0,
        follows: false,
        caused: [Identity {
            seq: 0,
            symbol: crate::units::SymbolId(0),
            part: 0,
            source: crate::units::SourceId(0),
            pad: 0,
        }; CAUSED_MAX],
        caused_len: 0,
    };

    /// An output of a root that is followed goes out. One for another symbol is handled later, as a root of its own, and followed there if it stays on
    /// this shard.
    #[cold]
    pub(super) fn output<P: Probe>(
        &mut self,
        probe: &mut P,
        shard: usize,
        root: Identity,
        event: EventRef<'_>,
        is_own: bool,
    ) {
        let head = event.head();
        if !is_own {
            self.caused[self.caused_len % CAUSED_MAX] = head.identity();
            self.caused_len += 1;
        }
        let output = u64::from(head.kind.0) | u64::from(head.source.0) << 16 | u64::from(head.symbol.0) << 32;
        let record = Record::about(Code::Output, shard, head.ts_recv, head.kind(), root);
        probe.log(&record.with(head.seq, output));
    }
}

impl<C: Chain, P: Probe> Shard<C, P> {
    fn takes(&self, code: Code) -> bool {
        P::LOGS && self.config.log.takes(code)
    }

    /// Whether the event of this identity is the one that is followed, or was caused by it.
    #[cold]
    fn is_followed(&self, identity: Identity) -> bool {
        let Filter { follow: Some(follow), .. } = self.config.log else { return false };
        let is_it = identity.seq == follow.seq
            && self.catalog.source_hash(identity.source) == follow.source
            && follow.symbol.is_none_or(|symbol| self.catalog.symbol_hash(identity.symbol) == symbol);
        is_it || self.told.caused[..self.told.caused_len.min(CAUSED_MAX)].contains(&identity)
    }

    /// A root begins.
    #[inline]
    pub(super) fn log_begin(&mut self, root_as: Active, root: Identity, kind: Kind) {
        if !P::LOGS || self.config.log.follow.is_none() {
            return;
        }
        self.told.follows = self.is_followed(root);
        if self.told.follows {
            let code = match root_as {
                Active::Timer => Code::Timer,
                Active::Retry => Code::Retried,
                _ => Code::Admitted,
            };
            self.probe.log(&Record::about(code, self.config.shard, self.clock, kind, root));
        }
    }

    /// A source event was accepted.
    #[inline]
    pub(super) fn log_accepted(&mut self, head: &Slot) {
        if P::LOGS && head.kind() == Kind::GAP && self.takes(Code::Gap) {
            let gap = *head.payload_as::<Gap>();
            self.probe.log(&Record::new(Code::Gap, self.config.shard, head).with(gap.expected, gap.missing));
        }
    }

    /// A source event was refused.
    #[inline]
    pub(super) fn log_refused(&mut self, head: &Slot, reason: Refusal) {
        if P::LOGS && self.config.log.follow.is_some() && self.is_followed(head.identity()) {
            let record = Record::new(Code::Refused, self.config.shard, head).with(reason as u64, 0);
            self.probe.log(&record);
        }
    }

    /// Whether a failure on the event at hand is told.
    pub(super) fn logs_failures(&self) -> bool {
        P::LOGS && (self.config.log.takes(Code::Failed) || self.told.follows)
    }

    /// A handler is quarantined for the symbol at hand.
    #[cold]
    pub(super) fn log_quarantine(&mut self, handler: u16) {
        if self.takes(Code::Quarantined) {
            let record =
                Record::about(Code::Quarantined, self.config.shard, self.clock, self.root_kind, self.site.root);
            self.probe.log(&record.with_handler(handler));
        }
    }

    /// All handlers have had a root that is followed.
    #[cold]
    pub(super) fn log_done(&mut self) {
        let fate = match self.root_fate {
            Fate::Clear => 0,
            Fate::DeadLettered | Fate::Removed => 1,
            Fate::InFlight => 2,
        };
        let record = Record::about(Code::Done, self.config.shard, self.clock, self.root_kind, self.site.root);
        self.probe.log(&record.with(fate, 0));
        self.told.follows = false;
    }

    /// At the end of a step: limits that have acted, and watermarks that were passed.
    #[inline]
    pub(super) fn log_step(&mut self) {
        if !P::LOGS || self.config.log.level == crate::log::Level::Off {
            return;
        }
        for limit in Limit::ALL {
            let count = self.limit_hits(limit);
            // At 1, 2, 4, 8 and so on: a limit that acts on every event does not fill the log.
            if count >= 2 * self.told.limits[limit as usize] && count > 0 {
                self.told.limits[limit as usize] = count;
                if self.takes(Code::LimitHit) {
                    let record = Record::at(Code::LimitHit, self.config.shard, self.clock);
                    self.probe.log(&record.with(limit as u64, count));
                }
            }
        }
        let Some(live) = &self.live else { return };
        let transitions = live.lanes.transitions();
        if transitions.count() == self.told.transitions {
            return;
        }
        for transition in transitions.since(self.told.transitions) {
            let code = if transition.is_high { Code::TopicHigh } else { Code::TopicLow };
            if P::LOGS && self.config.log.takes(code) {
                let record = Record::at(code, self.config.shard, transition.at);
                self.probe.log(&record.with(u64::from(transition.topic.0), u64::from(transition.waiting)));
            }
        }
        self.told.transitions = transitions.count();
    }
}

/// A handler failed on the event of this head, and what was decided: it comes again, or was parked.
#[cold]
pub(super) fn failed(
    shard: usize,
    now: UnixNanos,
    head: &Slot,
    handler: u16,
    failure: Failure,
    outcome: Option<Outcome>,
) -> Record {
    let error = match failure {
        Failure::Retry(code) | Failure::Fail(code) => u64::from(code),
        Failure::Panic => Record::NO_ERROR,
    };
    let comes_again = matches!(outcome, Some(Outcome::RetryAt(_)));
    let code = if comes_again { Code::Failed } else { Code::Parked };
    let record = Record::about(code, shard, now, head.kind(), head.identity());
    record.with_handler(handler).with(error, u64::from(comes_again))
}

/// Tells of each handler that is called, and how long it took.
pub(super) struct Tracer<'a, P: Probe> {
    pub(super) probe: &'a mut P,
    pub(super) record: Record,
}

impl<P: Probe> Timing for Tracer<'_, P> {
    fn call<S: Subscriber + ?Sized, R>(&mut self, handler: &mut S, run: impl FnOnce(&mut S) -> R) -> R {
        let (calls, started) = (handler.calls(), self.probe.now());
        let result = run(handler);
        let done = self.probe.now();
        if handler.calls() > calls {
            let ns = done.saturating_sub(started).saturating_sub(self.probe.stamp_cost());
            self.probe.log(&self.record.with_handler(handler.number()).with(ns, 0));
        }
        result
    }
}
