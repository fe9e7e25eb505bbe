//! Source events that break their schema: refused, or kept as dead letters where the policy of their kind says so ([`super::Config::invalid_kept`]).
//!
//! What is kept counts as accepted and dead-lettered: the ledger has those among what was accepted. Its error code says what is wrong
//! ([`schema_error`]), and no handler has seen it. It goes by no handler when it is sent on its way again: in the run that kept it, its schema is what it was, so that
//! [`Shard::redrive`](super::Shard::redrive) leaves it ([`Refused::Invalid`](crate::dead::Refused::Invalid)). From a file of dead letters it is
//! offered anew, to a build whose schemas take it.

use super::{Active, Limit, Probe, Shard, letters};
use crate::bus::Chain;
use crate::dead::{Failure, Site, Subject};
use crate::event::{EventRef, Slot};
use crate::ledger::{Outcome, Refusal};
use crate::log::Code;
use crate::retry::Names;
use crate::shard::logging;

/// In the place of a handler's number: the event was parked because it breaks its schema, and no handler has seen it.
pub const INVALID: u16 = u16::MAX - 3;
/// Name that stands for [`INVALID`] in reports and in files of dead letters.
pub const INVALID_NAME: &str = "schema";
/// Error codes of such events: this one and the number of the [`Refusal`].
const ERROR_INVALID_BASE: u16 = 0xff00;

/// The error code of an event that would have been refused with this reason.
#[must_use]
pub const fn schema_error(reason: Refusal) -> u16 {
    ERROR_INVALID_BASE + reason as u16
}

/// The reason that an error code of [`schema_error`] stands for; `None` for any other code, which is a handler's.
#[must_use]
pub fn schema_reason(code: u16) -> Option<Refusal> {
    let number = code.checked_sub(ERROR_INVALID_BASE)?;
    Refusal::ALL.get(usize::from(number)).copied().filter(|reason| is_of_schema(*reason))
}

/// Whether it is the event's schema that refuses it, and not what it refers to.
const fn is_of_schema(reason: Refusal) -> bool {
    matches!(reason, Refusal::UnknownVersion | Refusal::OutOfRange | Refusal::BrokenSpan)
}

impl<C: Chain, P: Probe> Shard<C, P> {
    /// Does with a source event that was refused for `reason` what its kind's policy says: it is counted as refused, or kept.
    #[cold]
    #[inline(never)]
    pub(super) fn refuse_or_keep(&mut self, slots: &[Slot], reason: Refusal) {
        let head = slots[0];
        if !self.keep_invalid(slots, reason) {
            self.ledger.refuse(head.kind(), reason);
            self.log_refused(&head, reason);
        }
    }

    /// Parks it. False when it is to be refused: its policy says so, nobody could tell whose it is, or there is no room.
    fn keep_invalid(&mut self, slots: &[Slot], reason: Refusal) -> bool {
        let head = slots[0];
        let is_known = head.symbol.index() < self.catalog.symbols() && head.source.index() < self.catalog.sources();
        if !self.config.invalid_kept.contains(head.kind()) || !is_of_schema(reason) || !is_known {
            return false;
        }
        // What has no end is no event.
        let Some(event) = EventRef::first(slots) else { return false };
        let names = Names {
            symbol_hash: self.catalog.symbol_hash(head.symbol),
            source_hash: self.catalog.source_hash(head.source),
        };
        let site = Site { handler: INVALID, policy: self.config.retry_of[head.kind().row()] };
        let failure = Failure::Fail(schema_error(reason));
        let Ok(parked) = self.letters.fail(Subject::New(event), site, failure, names, self.clock) else {
            self.limits_hit[Limit::DeadLetters as usize] += 1;
            return false;
        };
        self.origins[parked.event.index() as usize] = letters::Origin::source();
        self.ledger.accept(head.kind());
        self.ledger.settle(head.kind(), Outcome::DeadLettered);
        if P::LOGS && (self.config.log.takes(Code::Failed) || self.told.follows) {
            self.probe.log(&logging::failed(self.config.shard, self.clock, &head, INVALID, failure, false));
        }
        true
    }

    /// The same for the event at the inlet's cursor, which is skipped then.
    #[cold]
    #[inline(never)]
    pub(super) fn refuse_at(&mut self, at: usize, len: usize, reason: Refusal) {
        debug_assert!(self.active == Active::None, "Invariant: one event at a time");
        let span = self.span_at(at, len);
        // Off the inlet, so that the shard can be told.
        let mut slots = [Slot::ZERO; crate::limits::SPAN_SLOTS_MAX];
        let slots = &mut slots[..span.min(len - at)];
        slots.copy_from_slice(&self.input.slots[at..at + slots.len()]);
        self.refuse_or_keep(slots, reason);
        self.input.at += span;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_are_one_to_one_and_no_handlers() {
        for reason in Refusal::ALL {
            let known = schema_reason(schema_error(reason));
            assert_eq!(known, is_of_schema(reason).then_some(reason));
        }
        for code in [0, 1, 77, 0xfeff, crate::dead::ERROR_PANIC, super::super::ERROR_NO_ROOM] {
            assert_eq!(schema_reason(code), None);
        }
    }
}
