//! Whose a lag is: the pacer's, or the engine's.
//!
//! An event that leaves late is late by the engine's doing when rings were full for half of its lag or more since the
//! source was last in time with its schedule; else the source itself was late. What is counted is the time from the first
//! look that found a ring full to the send that found room: of what passes between two looks nobody knows more. Time
//! before an event was due is no part of its lag, however full the rings were.

/// Who made an event late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    /// The source had room and did not send. Also of events that were in time.
    Pacer,
    /// A ring was full for half of the lag or more.
    Engine,
}

/// The times for which rings were full since the source was last in time. All times are ns on the run clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LagAccount {
    /// When a ring was first found full; `None` once an event was sent.
    full_since_ns: Option<u64>,
    /// Sum of the times that are over.
    full_ns: u64,
}

impl LagAccount {
    /// The event at hand is not due yet: whatever was before has delayed nothing that is still to come.
    #[inline]
    pub(super) fn in_time(&mut self) {
        *self = Self::default();
    }

    /// Whether a ring was full at the last look.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.full_since_ns.is_some()
    }

    /// A ring was found full.
    #[cold]
    pub(super) fn full(&mut self, now_ns: u64) {
        self.full_since_ns.get_or_insert(now_ns);
    }

    /// The next message is due at `due_ns`. A ring that was full before that (for definitions, which nothing is due for)
    /// has not delayed it by then.
    #[inline]
    pub(super) fn due(&mut self, due_ns: u64) {
        if let Some(since_ns) = &mut self.full_since_ns {
            *since_ns = (*since_ns).max(due_ns);
        }
    }

    /// An event found room at `now_ns`.
    #[inline]
    pub(super) fn sent(&mut self, now_ns: u64) {
        if let Some(since_ns) = self.full_since_ns.take() {
            self.full_ns = self.full_ns.saturating_add(now_ns.saturating_sub(since_ns));
        }
    }

    /// Whose the lag of an event is that has just been sent.
    #[inline]
    #[must_use]
    pub(super) fn whose(&self, lag_ns: u64) -> Whose {
        let is_engines = lag_ns > 0 && self.full_ns.saturating_mul(2) >= lag_ns;
        if is_engines { Whose::Engine } else { Whose::Pacer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_lag_is_the_engines_and_less_is_the_pacers() {
        let mut account = LagAccount::default();
        assert_eq!(account.whose(1), Whose::Pacer, "no ring was full");
        account.full(100);
        account.full(105);
        account.sent(110);
        for (lag_ns, whose) in [(0, Whose::Pacer), (1, Whose::Engine), (19, Whose::Engine), (20, Whose::Engine)] {
            assert_eq!(account.whose(lag_ns), whose, "{lag_ns}");
        }
        // Not 10 >= 21 / 2 in whole numbers.
        assert_eq!(account.whose(21), Whose::Pacer);
        account.full(200);
        account.sent(201);
        assert_eq!(account.whose(22), Whose::Engine, "times add up");
        account.in_time();
        assert_eq!(account.whose(1), Whose::Pacer);
    }

    #[test]
    fn what_was_full_before_an_event_was_due_has_not_delayed_it() {
        let mut account = LagAccount::default();
        account.full(100);
        account.due(190);
        account.sent(200);
        assert_eq!((account.whose(20), account.whose(21)), (Whose::Engine, Whose::Pacer));
        // A full ring is forgotten when the source finds itself in time, also where it is full still.
        account.full(300);
        account.in_time();
        assert!(!account.is_full());
        account.sent(400);
        assert_eq!(account.whose(1), Whose::Pacer);
        // No arithmetic of a clock that runs back or of the end of time.
        account.full(500);
        account.sent(400);
        assert_eq!(account.whose(1), Whose::Pacer);
        account.full(0);
        account.sent(u64::MAX);
        assert_eq!(account.whose(u64::MAX), Whose::Engine);
    }
}
