//! What must hold of a queue between calls, in full.

use super::entry::Entry;
use super::order::SEQUENCE_BITS;
use super::{Counters, PRIORITIES, RequestQueue};
use crate::invariant::{Broken, require, require_counts};
use crate::units::UnixNanos;
use crate::wheel::TimerHandle;
use bytemuck::Pod;

impl<T: Pod> RequestQueue<T> {
    /// Checks every rule of the structure: slab, chains, both heaps, timers, limits, counters. O(symbols + capacity); for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        self.wheel.assert_invariants();
        if let Err(broken) = self.check_plain().and_then(|()| self.check_linked()) {
            panic!("Invariant: {broken}; {:?}, {:?}", self.config, self.counters);
        }
    }

    /// The rules of what a snapshot holds: entries, symbols and counters. Never panics, whatever they hold.
    pub(super) fn check_plain(&self) -> Result<(), Broken> {
        self.entries.check()?;
        let next = self.clock.next();
        let mut timers = 0;
        for (handle, entry) in self.entries.iter() {
            let index = handle.index();
            require((entry.symbol as usize) < self.symbols.len(), "a request is of a known symbol", index)?;
            require((entry.class as usize) < PRIORITIES, "a request is of a known class", index)?;
            require(entry.asked > 0, "a request stands for at least one push", index)?;
            require(entry.stamp() < next, "a request was queued before the next one", index)?;
            require(
                entry.sequence < 1 << SEQUENCE_BITS,
                "a request's number among those of its instant fits its bits",
                index,
            )?;
            timers += usize::from(entry.expires_ns != 0);
            self.check_timer(index, entry)?;
        }
        require(timers == self.wheel.len(), "every timer is of a request", self.wheel.len())?;
        for (symbol, state) in self.symbols.iter().enumerate() {
            let limit = self.config.in_flight_per_symbol;
            require(state.in_flight <= limit, "a symbol has no more in flight than its limit", symbol)?;
            require(state.turns <= u32::from(u8::MAX), "turns fit 8 bits", symbol)?;
        }
        require_counts(bytemuck::cast_slice(core::slice::from_ref(&self.counters)))?;
        let Counters { queued, popped, expired, removed, cleared, finished, .. } = self.counters;
        let left = [popped, expired, removed, cleared, self.len() as u64].into_iter().try_fold(0, u64::checked_add);
        require(left == Some(queued), "what was queued has left or is pending", queued)?;
        let in_flight = self.symbols.iter().map(|state| u64::from(state.in_flight)).sum::<u64>();
        let left = finished.checked_add(in_flight);
        require(left == Some(popped), "what was popped is finished or in flight", popped)
    }

    fn check_timer(&self, index: u32, entry: &Entry) -> Result<(), Broken> {
        if entry.expires_ns == 0 {
            return require(entry.timer == TimerHandle::NONE, "a request that never expires has no timer", index);
        }
        let timer = self.wheel.get(entry.timer).map(|(at, of)| (at, *of));
        let at = UnixNanos(entry.expires_ns).round_up(self.config.tick_ns);
        require(timer == Some((at, index)), "a request that expires has its timer", index)
    }

    /// The rules of what is built from that: chains and heaps.
    pub(super) fn check_linked(&self) -> Result<(), Broken> {
        let entry = |index: u32| self.entries.is_used(index).then(|| self.entries.at(index));
        self.chains.check(|index| entry(index).map(|entry| entry.symbol))?;
        for symbol in 0..self.symbols.len() as u32 {
            let limit = self.config.per_symbol as usize;
            require(self.chains.len(symbol) <= limit, "a symbol has no more pending than its limit", symbol)?;
            let in_order =
                self.chains.iter(symbol).is_sorted_by(|a, b| self.entries.at(*a).stamp() < self.entries.at(*b).stamp());
            require(in_order, "a chain is in the order of queueing", symbol)?;
            let key = self.symbol_key(symbol);
            require(self.eligible.key(symbol) == key, "a symbol that may run is in the heap with its key", symbol)?;
        }
        self.eligible.check()?;
        self.forest.check(|index| {
            entry(index).map(|entry| (entry.symbol, self.order.request_key(entry.stamp(), entry.priority())))
        })
    }
}
