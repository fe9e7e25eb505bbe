//! How long handlers take: which calls are stamped, and what the stamps add up to.
//!
//! A stamp costs as much as a small handler, so that not every call has one. Of [`TIMED_BATCHES`](crate::limits::TIMED_BATCHES) batches of a shard, one has all
//! of its calls stamped; a handler that declares a budget ([`Handler::BUDGET_NS`](crate::handler::Handler::BUDGET_NS)) has each
//! call stamped, or an overrun could hide. What the stamps themselves cost is taken off. Times reach reports only, never an output.

use crate::bus::Subscriber;
use crate::shard::Probe;

/// What the stamped calls of one handler add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandlerTime {
    /// Calls that were stamped.
    pub calls: u64,
    /// Time in them, ns, without the cost of the stamps.
    pub total_ns: u64,
    /// The longest of them, ns.
    pub longest_ns: u64,
    /// Calls that took longer than the handler's budget. All of its calls are stamped.
    pub overruns: u64,
    /// Calls and time in batches in which every handler was stamped: what shares are told from.
    pub sampled: Sampled,
}

/// Calls and time in batches in which every handler was stamped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Calls.
    pub calls: u64,
    /// Time in them, ns.
    pub ns: u64,
}

impl HandlerTime {
    /// Adds a call of `ns` nanoseconds.
    pub fn add(&mut self, ns: u64, budget_ns: Option<u64>, is_sample: bool) {
        self.calls += 1;
        self.total_ns = self.total_ns.saturating_add(ns);
        self.longest_ns = self.longest_ns.max(ns);
        self.overruns += u64::from(budget_ns.is_some_and(|budget| ns > budget));
        if is_sample {
            self.sampled.calls += 1;
            self.sampled.ns = self.sampled.ns.saturating_add(ns);
        }
    }

    /// Adds what another shard's instance of the handler took.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.overruns += other.overruns;
        self.sampled.calls += other.sampled.calls;
        self.sampled.ns = self.sampled.ns.saturating_add(other.sampled.ns);
    }
}

/// How a handler is called: with stamps or without. The bus is compiled for both, so that the calls without pay nothing.
#[doc(hidden)]
pub trait Timing {
    /// Runs `run`, which calls `handler`, if it calls it at all.
    fn call<S: Subscriber + ?Sized, R>(&mut self, handler: &mut S, run: impl FnOnce(&mut S) -> R) -> R;
}

/// Without stamps.
#[derive(Clone, Copy, Debug)]
pub struct Untimed;

impl Timing for Untimed {
    #[inline(always)]
    fn call<S: Subscriber + ?Sized, R>(&mut self, handler: &mut S, run: impl FnOnce(&mut S) -> R) -> R {
        run(handler)
    }
}

/// With stamps of a shard's probe.
#[derive(Debug)]
pub struct Stopwatch<'a, P: Probe> {
    probe: &'a mut P,
    /// Every handler, or only those with a budget.
    is_sample: bool,
    /// Pairs of stamps so far.
    pairs: u64,
    /// Time between them, ns, without their cost.
    ns: u64,
}

impl<'a, P: Probe> Stopwatch<'a, P> {
    /// Stamps every handler when the batch is a sample, else those with a budget.
    pub fn new(probe: &'a mut P, is_sample: bool) -> Self {
        Self { probe, is_sample, pairs: 0, ns: 0 }
    }

    /// Calls that were stamped: each has cost [`Probe::stamp_cost`] twice.
    #[must_use]
    pub fn pairs(&self) -> u64 {
        self.pairs
    }

    /// Time in the calls that were stamped, ns, without the cost of the stamps.
    #[must_use]
    pub fn ns(&self) -> u64 {
        self.ns
    }
}

impl<P: Probe> Timing for Stopwatch<'_, P> {
    #[inline]
    fn call<S: Subscriber + ?Sized, R>(&mut self, handler: &mut S, run: impl FnOnce(&mut S) -> R) -> R {
        if !self.is_sample && handler.budget_ns().is_none() {
            return run(handler);
        }
        let calls = handler.calls();
        let started = self.probe.now();
        let result = run(handler);
        let done = self.probe.now();
        self.pairs += 1;
        // One of two stamps lies between the two readings.
        let ns = done.saturating_sub(started).saturating_sub(self.probe.stamp_cost());
        self.ns += ns;
        if handler.calls() > calls {
            handler.took(ns, self.is_sample);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_add_up_and_overruns_are_counted() {
        let (mut one, mut other) = (HandlerTime::default(), HandlerTime::default());
        one.add(100, Some(100), true);
        one.add(101, Some(100), false);
        other.add(7, None, true);
        assert_eq!((one.overruns, other.overruns), (1, 0));
        one.merge(&other);
        let sampled = Sampled { calls: 2, ns: 107 };
        assert_eq!(one, HandlerTime { calls: 3, total_ns: 208, longest_ns: 101, overruns: 1, sampled });
    }
}
