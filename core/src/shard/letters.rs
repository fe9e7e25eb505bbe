//! What a shard does when a handler is not done with an event: dead letters, retries, held events.

use super::{Active, Limit, Shard, logging};
use crate::bus::{Chain, Missed};
use crate::dead::{Cause, Change, DeadLetters, Failure, Fate, Handle, Outcome, Refused, Site, State, Subject};
use crate::event::{EventRef, Kind};
use crate::handler::TimerRequest;
use crate::hash;
use crate::ledger::{self, Ledger};
use crate::limits::CASCADE_DEPTH_MAX;
use crate::log::Code;
use crate::retry::Names;
use crate::shard::Probe;
use crate::units::UnixNanos;
use crate::wheel::Wheel;

/// Handler of the timers that are the shard's own: a dead letter is to be retried, and the token is its handle.
pub(super) const RETRY: u16 = u16::MAX;

/// What a shard has to know of an event among the dead letters, beside the event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Origin {
    /// It came from a source: its ledger is that of source events, whatever its flags say (a tape of outputs may be a source).
    is_source: bool,
    /// A handler that is not done with it found no room here: it ends as dead-lettered.
    is_lost: bool,
    /// Depth in the cascade that made it: a retry goes on from there.
    depth: u8,
    /// [`crate::handler::CallSite::timer`] of the call that did not end with it.
    made_by: u64,
}

impl Origin {
    /// As two words of a snapshot.
    pub(super) const fn words(&self) -> [u64; 2] {
        [self.made_by, self.is_source as u64 | (self.is_lost as u64) << 1 | (self.depth as u64) << 8]
    }

    /// From [`Origin::words`]; `None` when they are of none.
    pub(super) fn of([made_by, rest]: [u64; 2]) -> Option<Self> {
        let depth = u8::try_from(rest >> 8).ok().filter(|depth| usize::from(*depth) <= CASCADE_DEPTH_MAX)?;
        let flags = rest & 0xff;
        (flags < 4).then_some(Self { is_source: flags & 1 == 1, is_lost: flags & 2 == 2, depth, made_by })
    }

    /// Of an event that came from a source.
    pub(super) const fn source() -> Self {
        Self { is_source: true, is_lost: false, depth: 0, made_by: 0 }
    }
}

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Keeps the active event for each handler that is not done with it. Returns where the event stands then.
    #[cold]
    pub(super) fn keep_unfinished(&mut self) -> Fate {
        let event = match self.active {
            Active::Source => EventRef::first(&self.input.slots[self.input.at..self.input.len]),
            _ => EventRef::first(&self.scratch[..self.scratch_span]),
        };
        let event = event.expect("Invariant: what handlers were called for is whole");
        let head = event.head();
        let names = Names {
            symbol_hash: self.catalog.symbol_hash(head.symbol),
            source_hash: self.catalog.source_hash(head.source),
        };
        let policy = self.config.retry_of[head.kind().row()];
        let (mut stored, mut is_lost) = (None, false);
        for &(handler, missed) in self.unfinished.as_slice() {
            let subject = stored.map_or(Subject::New(event), Subject::Stored);
            let site = Site { handler, policy };
            let kept = match missed {
                Missed::Failed(failure) => {
                    let mut failed = self.letters.fail(subject, site, failure, names, self.clock);
                    if let (Err(Refused::HoldsFull), Failure::Retry(code)) = (failed, failure) {
                        // No further symbol can be held: better parked than gone.
                        self.limits_hit[Limit::DeadLetters as usize] += 1;
                        failed = self.letters.fail(subject, site, Failure::Fail(code), names, self.clock);
                    }
                    let mut comes_again = false;
                    let kept = failed.map(|failed| {
                        if let Outcome::RetryAt(due) = failed.outcome {
                            comes_again = set_retry(&mut self.wheel, &mut self.letters, failed.handle, due);
                            if !comes_again {
                                self.limits_hit[Limit::Timers as usize] += 1;
                                let _ = self.letters.park(failed.handle, Cause::TimersFull);
                            }
                        }
                        failed.event
                    });
                    if P::LOGS && (self.config.log.takes(Code::Failed) || self.told.follows) {
                        let (shard, now) = (self.config.shard, self.clock);
                        self.probe.log(&logging::failed(shard, now, head, handler, failure, comes_again));
                    }
                    kept
                }
                Missed::Held => self.letters.hold(subject, site, self.clock).map(|held| {
                    if let Some(parked) = held.parked {
                        self.wheel.cancel(parked.timer);
                        let origin = origin(&self.origins, &self.letters, parked.handle);
                        apply(&mut self.ledger, &mut self.derived, parked.change, origin);
                    }
                    held.event
                }),
            };
            match kept {
                Ok(event) => stored = Some(event),
                Err(_) => is_lost = true,
            }
        }
        self.unfinished.clear();
        self.limits_hit[Limit::DeadLetters as usize] += u64::from(is_lost);
        self.update_quiet();
        let Some(event) = stored else { return Fate::DeadLettered };
        self.origins[event.index() as usize] = Origin {
            is_source: self.active == Active::Source,
            is_lost,
            depth: if self.active == Active::Derived { self.cascade_depth.min(CASCADE_DEPTH_MAX) as u8 } else { 0 },
            made_by: self.site.timer,
        };
        self.letters.fate(event)
    }

    /// Takes a dead letter out to its handler. Nothing happens when it is gone, which a timer cannot know.
    pub(super) fn begin_retry(&mut self, letter: Handle) {
        let Some(entry) = self.letters.get(letter).copied() else { return };
        // What was held and is the first now has not failed.
        if let Some(share) = &mut self.retry_share
            && entry.state() == State::Waiting
            && let Err(later) = share.admit(entry.symbol().index(), self.clock)
        {
            self.postpone_retry(letter, later);
            return;
        }
        let Some(event) = self.letters.event(letter, &mut self.scratch) else { return };
        self.scratch_span = event.slots().len();
        let head = self.scratch[0];
        self.begin(Active::Retry, head.identity(), head.kind(), head.symbol, head.ts_event);
        let Origin { depth, made_by, .. } = origin(&self.origins, &self.letters, letter);
        self.cascade_depth = usize::from(depth);
        self.retry = (letter, entry.handler());
        self.site.timer_ns = self.clock.0;
        // What this attempt makes is no other attempt's: the number of failures tells them apart, and what the event itself came by, as a
        // job off the core may bring one event twice. The handler counts by its name.
        let handler = self.catalog.source_hash(self.bus.source(entry.handler()));
        let id = [u64::from(RETRY), handler, u64::from(entry.failures()), made_by, self.clock.0];
        self.site.timer = hash::stable(bytemuck::bytes_of(&id));
    }

    /// The symbol has had its share of retries: this one waits for the next window, and stays in flight.
    #[cold]
    fn postpone_retry(&mut self, letter: Handle, later: UnixNanos) {
        let is_waiting = self.letters.postpone(letter, later);
        debug_assert!(is_waiting, "Invariant: its timer has fired, and it was looked up");
        if set_retry(&mut self.wheel, &mut self.letters, letter, later) {
            self.update_quiet();
            return;
        }
        self.limits_hit[Limit::Timers as usize] += 1;
        if let Ok(parked) = self.letters.park(letter, Cause::TimersFull) {
            let origin = origin(&self.origins, &self.letters, letter);
            apply(&mut self.ledger, &mut self.derived, parked.change, origin);
        }
        self.update_quiet();
    }

    /// The handler has had the dead letter again.
    pub(super) fn end_retry(&mut self) {
        let letter = self.retry.0;
        let names = Names {
            symbol_hash: self.catalog.symbol_hash(self.site.root.symbol),
            source_hash: self.catalog.source_hash(self.site.root.source),
        };
        let origin = origin(&self.origins, &self.letters, letter);
        let missed = self.unfinished.as_slice().first().map(|(_, missed)| *missed);
        self.unfinished.clear();
        let mut comes_again = false;
        let change = match missed {
            None => self.letters.success(letter).map(|removed| removed.change),
            // Its handler is quarantined by now: what it never failed on goes on without it, as what comes later does.
            Some(Missed::Held) if self.letters.get(letter).is_some_and(|entry| entry.failures() == 0) => {
                self.letters.success(letter).map(|removed| removed.change)
            }
            Some(Missed::Held) => self.letters.park(letter, Cause::Stopped).map(|parked| parked.change),
            Some(Missed::Failed(failure)) => {
                self.letters.fail_again(letter, failure, names, self.clock).map(|failed| match failed.outcome {
                    Outcome::RetryAt(due) if !set_retry(&mut self.wheel, &mut self.letters, letter, due) => {
                        self.limits_hit[Limit::Timers as usize] += 1;
                        let parked = self.letters.park(letter, Cause::TimersFull);
                        parked.map_or(failed.change, |parked| parked.change)
                    }
                    Outcome::RetryAt(_) => {
                        comes_again = true;
                        failed.change
                    }
                    _ => failed.change,
                })
            }
        };
        let change = change.expect("Invariant: a letter stays while its handler is called");
        if let Some(Missed::Failed(failure)) = missed
            && self.logs_failures()
        {
            // Of this handler: that the event is in flight may be another one's doing.
            let (shard, handler) = (self.config.shard, self.retry.1);
            let record = logging::failed(shard, self.clock, &self.scratch[0], handler, failure, comes_again);
            self.probe.log(&record);
        }
        self.root_fate = change.to;
        apply(&mut self.ledger, &mut self.derived, change, origin);
        self.update_quiet();
    }

    /// Sends a parked letter on its way again, now, with its policy and its history of failures. It counts as in flight. One that was parked
    /// for want of room goes back into its topic, and from there to every handler. One that breaks its schema stays.
    ///
    /// # Errors
    /// As [`DeadLetters::redrive`]; the letter stays parked. [`Refused::Invalid`] where it breaks its schema. [`Refused::HoldBusy`] also when no timer is left, or no room in the topic.
    pub fn redrive(&mut self, letter: Handle) -> Result<(), Refused> {
        if self.letters.get(letter).is_some_and(|entry| entry.handler() == super::NO_ROOM) {
            return self.readmit(letter);
        }
        if self.letters.get(letter).is_some_and(|entry| entry.handler() == super::INVALID) {
            // No handler has seen it, and schemas are what they were.
            return self.letters.refuse(Refused::Invalid);
        }
        let redriven = self.letters.redrive(letter, self.clock)?;
        let origin = origin(&self.origins, &self.letters, letter);
        apply(&mut self.ledger, &mut self.derived, redriven.change, origin);
        if let Some(due) = redriven.due
            && !set_retry(&mut self.wheel, &mut self.letters, letter, due)
        {
            self.limits_hit[Limit::Timers as usize] += 1;
            if let Ok(parked) = self.letters.park(letter, Cause::TimersFull) {
                apply(&mut self.ledger, &mut self.derived, parked.change, origin);
            }
            return Err(Refused::HoldBusy);
        }
        self.update_quiet();
        Ok(())
    }
}

/// Sets the timer of a retry. False when there is none left.
fn set_retry(wheel: &mut Wheel<TimerRequest>, letters: &mut DeadLetters, letter: Handle, due: UnixNanos) -> bool {
    let timer = TimerRequest { due, token: letter.to_bits(), handler: RETRY, ..TimerRequest::default() };
    match wheel.schedule(due, timer) {
        Ok(timer) => letters.set_timer(letter, timer),
        Err(_) => false,
    }
}

/// Settles an event whose handlers have been called; one that waits for a retry stays in flight.
#[inline]
pub(super) fn settle(ledger: &mut Ledger, kind: Kind, fate: Fate) {
    match fate {
        Fate::Clear => ledger.settle(kind, ledger::Outcome::Delivered),
        Fate::DeadLettered | Fate::Removed => ledger.settle(kind, ledger::Outcome::DeadLettered),
        Fate::InFlight => {}
    }
}

/// What is known of the event of a letter.
fn origin(origins: &[Origin], letters: &DeadLetters, letter: Handle) -> Origin {
    letters.event_of(letter).and_then(|event| origins.get(event.index() as usize)).copied().unwrap_or_default()
}

/// Brings a change of an event's fate to its ledger.
#[cold]
fn apply(ledger: &mut Ledger, derived: &mut Ledger, change: Change, origin: Origin) {
    let ledger = if origin.is_source { ledger } else { derived };
    match (change.from, change.to) {
        (Fate::InFlight, Fate::Clear) if origin.is_lost => settle(ledger, change.kind, Fate::DeadLettered),
        (Fate::InFlight, to) => settle(ledger, change.kind, to),
        (Fate::DeadLettered, Fate::InFlight) => ledger.reopen(change.kind),
        _ => {}
    }
}
