//! What must hold of dead letters between calls, in full.

use super::entry::NO_CAUSE;
use super::hold::Key;
use super::{Cause, DeadLetters, Entry, Fate, State};
use crate::event::{EventRef, Slot};
use crate::invariant::{Broken, require};
use crate::limits::SPAN_SLOTS_MAX;
use crate::retry::Order;
use crate::units::UnixNanos;
use crate::wheel::TimerHandle;

impl DeadLetters {
    /// Checks every rule of the structure: entries, events, chains, holds, counts. O(capacities); for tests. Allocates.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            panic!("Invariant: {broken}; {} entries, {:?}", self.len(), self.config);
        }
    }

    /// As [`DeadLetters::assert_invariants`], as a value. Never panics or loops, whatever the arrays hold.
    pub(super) fn check(&self) -> Result<(), Broken> {
        self.entries.check()?;
        self.events.check()?;
        self.check_events()?;
        for (handle, entry) in self.entries.iter() {
            self.check_entry(handle.index(), entry)?;
        }
        self.index.check(&self.entries)?;
        self.check_holds()?;
        self.check_counts()
    }

    fn check_events(&self) -> Result<(), Broken> {
        let events = self.events.iter().map(|(_, record)| (record.first, usize::from(record.slots)));
        self.arena.check(events)?;
        let mut entries = vec![(0, 0); self.events.capacity()];
        for (handle, entry) in self.entries.iter() {
            require(self.events.is_used(entry.event), "an entry has an event", handle.index())?;
            let (in_flight, parked) = &mut entries[entry.event as usize];
            *if entry.state() == State::Parked { parked } else { in_flight } += 1;
        }
        let mut slots = [Slot::ZERO; SPAN_SLOTS_MAX];
        for (handle, record) in self.events.iter() {
            let counted = (record.in_flight, record.parked);
            require(counted == entries[handle.index() as usize], "an event counts its entries", handle.index())?;
            require(counted != (0, 0), "an event has an entry", handle.index())?;
            require(record.removed <= 1, "an entry of the event was removed or not", handle.index())?;
            let slots = self.arena.load(record.first, usize::from(record.slots), &mut slots);
            let is_whole = EventRef::first(slots).is_some_and(|event| event.slots().len() == slots.len());
            require(slots.len() == 1 || is_whole, "an event is whole", handle.index())?;
        }
        Ok(())
    }

    fn check_entry(&self, index: u32, entry: &Entry) -> Result<(), Broken> {
        let head = self.arena.head(self.events.at(entry.event).first);
        require(entry.symbol == head.symbol, "an entry has its event's symbol", index)?;
        require(entry.symbol.index() < self.index.symbols(), "symbols are in range", index)?;
        require(entry.kind == head.kind(), "an entry has its event's kind", index)?;
        require(usize::from(entry.policy) < self.policies.len(), "policies are in range", index)?;
        require(usize::from(entry.state) < State::ALL.len(), "states are known", index)?;
        let is_parked = entry.state() == State::Parked;
        let is_waiting = entry.state() == State::Waiting;
        require(is_parked == entry.cause().is_some(), "what is parked has a cause", index)?;
        require(is_parked || entry.cause == NO_CAUSE, "what is not parked has no cause", index)?;
        let has_deadline = entry.due_ns != UnixNanos::ZERO || entry.timer != TimerHandle::NONE;
        require(is_waiting || !has_deadline, "what waits for no retry has no deadline", index)?;
        require(u32::from(entry.attempts) <= entry.failures, "attempts are failures", index)?;
        require(entry.failures > 0 || entry.error == 0, "what never failed has no error", index)?;
        let has_reason = entry.failures > 0 || entry.redrives > 0;
        require(has_reason || !is_waiting, "what waits for a retry has failed or was redriven", index)?;
        require(entry.first_ns <= entry.last_ns && entry.last_ns <= self.now, "failures are in time", index)?;
        require(entry.seq < self.next_seq, "places were given", index)
    }

    fn key_of(&self, index: u32) -> Option<Key> {
        let entry = self.entries.is_used(index).then(|| self.entries.at(index))?;
        let is_in_hold = match entry.state() {
            State::Waiting => self.policies[usize::from(entry.policy)].order() == Order::Held,
            State::Held => true,
            State::Parked => false,
        };
        is_in_hold.then(|| Key::new(entry.handler, entry.symbol))
    }

    fn check_holds(&self) -> Result<(), Broken> {
        let is_held = |index: u32| self.entries.is_used(index) && self.entries.at(index).state() == State::Held;
        self.holds.check(|index| self.key_of(index), is_held)?;
        for (handle, _) in self.entries.iter() {
            let key = self.key_of(handle.index());
            let is_there = key.is_none_or(|key| self.holds.find(key).is_some());
            require(is_there, "what is held, or holds others, is in a hold", handle.index())?;
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), Broken> {
        for state in State::ALL {
            let entries = self.entries.iter().filter(|(_, entry)| entry.state() == state).count();
            require(entries == self.by_state[state as usize] as usize, "entries are counted by state", state as u64)?;
        }
        for fate in [Fate::InFlight, Fate::DeadLettered] {
            let events = self.events.iter().filter(|(_, record)| record.fate() == fate).count();
            require(events == self.by_fate[fate as usize] as usize, "events are counted by fate", fate as u64)?;
        }
        let most = 1 << 63;
        require(self.next_seq > 0 && self.next_seq < most, "places begin at 1 and are far from their end", 0_u64)?;
        let stats = bytemuck::cast_slice::<_, u64>(core::slice::from_ref(&self.stats));
        for (at, count) in stats.iter().chain(&self.failures).enumerate() {
            require(*count < most, "counts are far from their end", at)?;
        }
        require(Cause::ALL.len() < usize::from(NO_CAUSE), "causes have codes", 0_u64)
    }
}
