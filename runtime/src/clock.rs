//! The run's clock: nanoseconds since the engine started, from the time stamp counter.
//!
//! Intervals only. Wall time comes from captures, and from the operating system where a report needs it.

use quanta::{Clock, Mock};
use std::sync::Arc;

/// Counts nanoseconds from its creation. Clones share the origin, on every core.
#[derive(Clone, Debug)]
pub struct RunClock {
    clock: Clock,
    origin: u64,
}

impl RunClock {
    /// A clock that starts now. The first one of a process calibrates the counter, which takes up to 200 ms.
    #[must_use]
    pub fn start() -> Self {
        let clock = Clock::new();
        let origin = clock.raw();
        Self { clock, origin }
    }

    /// A clock that stands at 0 and moves only by the hand that is returned: for tests of what depends on the passing
    /// of time.
    #[must_use]
    pub fn held() -> (Self, Hand) {
        let (clock, mock) = Clock::mock();
        let origin = clock.raw();
        (Self { clock, origin }, Hand(mock))
    }

    /// Nanoseconds since the start.
    #[inline]
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.clock.delta_as_nanos(self.origin, self.clock.raw())
    }

    /// What a look at the clock takes on this core, ns: the mean of the fastest of 16 runs of 64 looks. What interrupts a run only
    /// makes it slower.
    #[must_use]
    pub fn stamp_ns(&self) -> u64 {
        const LOOKS: u64 = 64;
        let run = |_| {
            let first = self.now_ns();
            let last = (0..LOOKS).fold(first, |_, _| std::hint::black_box(self.now_ns()));
            last.saturating_sub(first) / LOOKS
        };
        (0..16).map(run).min().unwrap_or(0)
    }
}

/// Moves a clock that was made by [`RunClock::held`], and its clones.
#[derive(Clone, Debug)]
pub struct Hand(Arc<Mock>);

impl Hand {
    /// Moves it on.
    pub fn advance(&self, ns: u64) {
        self.0.increment(ns);
    }
}

#[cfg(test)]
mod tests {
    use super::RunClock;

    #[test]
    fn a_held_clock_moves_by_its_hand_only() {
        let (clock, hand) = RunClock::held();
        let other = clock.clone();
        assert_eq!((clock.now_ns(), other.now_ns()), (0, 0));
        hand.advance(17);
        assert_eq!((clock.now_ns(), other.now_ns()), (17, 17));
    }

    #[test]
    fn clones_share_the_origin_and_time_does_not_run_back() {
        let clock = RunClock::start();
        let other = clock.clone();
        let mut last = 0;
        for _ in 0..1_000 {
            let now = clock.now_ns().max(other.now_ns());
            assert!(now >= last);
            last = now;
        }
    }
}
