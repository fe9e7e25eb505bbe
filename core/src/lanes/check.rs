//! What must hold of the waiting room between calls, in full.

use super::{LANES, Lanes, NEVER, State, TopicStats, Waiting, rank};
use crate::event::{EventRef, Lane, Slot};
use crate::invariant::{Broken, require, require_counts};
use crate::limits::{SPAN_SLOTS_MAX, TOPICS_MAX};
use crate::topics::{Policy, STRICT_KINDS, TopicId};

impl Lanes {
    /// Checks every rule of the structure: lists, room, keys, holes, watermarks, counts. O(slots + symbols); for tests. Allocates.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            panic!("Invariant: {broken}; {} events in {} slots wait", self.len(), self.used_slots());
        }
    }

    /// As [`Lanes::assert_invariants`], as a value. Never panics or loops, whatever the arrays hold.
    pub(super) fn check(&self) -> Result<(), Broken> {
        let slots = self.registry.slots() as u32;
        let waiting = |first: u32| self.lanes.is_linked(first).then(|| &self.waiting[first as usize]);
        self.lanes.check(|first| waiting(first).map(|event| u32::from(event.lane)))?;
        self.topics.check(|first| waiting(first).map(|event| u32::from(event.topic)))?;
        let events = (0..slots).filter_map(|first| Some((first, usize::from(waiting(first)?.span))));
        self.arena.check(events)?;
        let mut tallies = [Tally::default(); TOPICS_MAX];
        for first in 0..slots {
            match waiting(first) {
                Some(event) => self.check_event(first, event, &mut tallies[usize::from(event.topic) % TOPICS_MAX])?,
                None => continue,
            }
        }
        self.check_order()?;
        for (topic, (state, tally)) in self.state.iter().zip(&tallies).enumerate() {
            self.check_topic(topic, state, tally)?;
        }
        let keyed = (0..slots).filter(|first| waiting(*first).is_some_and(|event| event.is_keyed == 1)).count();
        require(self.keys.len() == keyed && self.keys.iter().count() == keyed, "every key has one event", keyed)?;
        for first in (0..slots).filter(|first| waiting(*first).is_some_and(|event| event.is_keyed == 1)) {
            let key = self.waiting[first as usize].key;
            let found = self.keys.find(key, |first| self.waiting[first as usize].key);
            require(found == Some(first), "an event is found by its key", first)?;
        }
        self.losses.check(|first| {
            let head = waiting(first).map(|_| self.arena.head(first))?;
            STRICT_KINDS.contains(head.kind()).then_some(head.symbol)
        })?;
        let spilled = self.state.iter().map(|state| state.spilled).fold(0, u64::wrapping_add);
        require(spilled == self.spilled, "what is spilled is counted by topic", spilled)?;
        let closing = self.registry.buses().filter(|(bus, _)| self.registry.is_closing(*bus)).count();
        require(closing == self.closing as usize, "closing buses are counted", closing)?;
        let closing = self.registry.buses().filter(|(bus, _)| self.registry.is_closing(*bus));
        for (number, (bus, _)) in closing.enumerate() {
            let mut topics = self.registry.topics_of(bus).map(|topic| &self.state[topic.index()]);
            require(
                topics.any(|state| state.used > 0 || state.spilled > 0),
                "what is being closed holds something",
                number,
            )?;
        }
        require(self.next_position < 1 << 62, "places are far from their end", self.next_position)?;
        let is_tick_past = self.tick.is_none_or(|(position, time)| position < self.next_position && time <= self.now);
        require(is_tick_past, "a tick has come", 0_u64)?;
        require_counts(bytemuck::cast_slice(core::slice::from_ref(&self.counts)))
    }

    fn check_event(&self, first: u32, event: &Waiting, tally: &mut Tally) -> Result<(), Broken> {
        let head = self.arena.head(first);
        let mut slots = [Slot::ZERO; SPAN_SLOTS_MAX];
        let span = usize::from(event.span);
        self.arena.copy_to(first, &mut slots[..span]);
        let is_whole = EventRef::first(&slots[..span]).is_some_and(|event| event.slots().len() == span);
        require(is_whole, "an event is whole", first)?;
        let Some(topic) = self.registry.topic(TopicId(event.topic)) else {
            return require(false, "an event has a topic", first);
        };
        require(topic.kinds.contains(head.kind()), "an event is in its kind's topic", first)?;
        let lane = if head.lane() == Lane::Normal { topic.lane } else { head.lane() };
        require(usize::from(event.lane) == rank(lane), "an event is in its lane", first)?;
        require(event.position < self.next_position, "places were given", first)?;
        require(event.since <= event.position, "a key waits before its event", first)?;
        require(event.deadline >= self.next_deadline, "no deadline is missed", first)?;
        require(event.deadline > self.now.0 || event.deadline == NEVER, "nothing waits beyond its time", first)?;
        let has_deadline = event.deadline != NEVER;
        require(!has_deadline || topic.expire_after_ns > 0, "only what expires has a deadline", first)?;
        let latest = self.now.0.saturating_add(topic.expire_after_ns);
        let is_in_range = topic.expire_after_ns == 0 || event.deadline <= latest;
        require(is_in_range, "a deadline is as far off as the topic says", first)?;
        require(event.is_keyed <= 1, "an event has a key or none", first)?;
        if event.is_keyed == 1 {
            let key = topic.conflate_by.key(head);
            require(topic.policy == Policy::Conflate && key == Some(event.key), "a key is its event's", first)?;
        }
        tally.events += 1;
        tally.slots += span as u64;
        Ok(())
    }

    /// Within a lane, and within a topic, events stand as they came.
    fn check_order(&self) -> Result<(), Broken> {
        for lane in 0..LANES as u32 {
            self.check_ascending(self.lanes.iter(lane).map(|first| self.waiting[first as usize].position))?;
        }
        for topic in 0..TOPICS_MAX as u32 {
            self.check_ascending(self.topics.iter(topic).map(|first| self.waiting[first as usize].position))?;
            let mut deadline = 0;
            for first in self.topics.iter(topic) {
                let next = self.waiting[first as usize].deadline;
                require(next >= deadline, "what came first expires first", first)?;
                deadline = next;
            }
        }
        Ok(())
    }

    fn check_ascending(&self, positions: impl Iterator<Item = u64>) -> Result<(), Broken> {
        let mut next = 0;
        for position in positions {
            require(position >= next, "events stand in the order in which they came", position)?;
            next = position + 1;
        }
        Ok(())
    }

    fn check_topic(&self, index: usize, state: &State, tally: &Tally) -> Result<(), Broken> {
        require(u64::from(state.used) == tally.slots, "the slots of a topic are those of its events", index)?;
        // A time, which stops at its end.
        let counts = TopicStats { crowded_ns: 0, ..state.stats };
        require_counts(bytemuck::cast_slice(core::slice::from_ref(&counts)))?;
        let TopicStats { queued, dispatched, coalesced, dropped_oldest, expired, closed, spilled, unspilled, .. } =
            state.stats;
        let gone = [dispatched, coalesced, dropped_oldest, expired, closed, tally.events];
        require(
            u128::from(queued) == gone.into_iter().map(u128::from).sum(),
            "every event that was queued waits or has left",
            index,
        )?;
        require_counts(&[state.spilled])?;
        require(spilled == unspilled + state.spilled, "every spilled event is in the store or was read again", index)?;
        require(state.is_crowded <= 1, "a topic is crowded or not", index)?;
        let has_lost = state.has_lost == 0 || state.has_lost == 1 && state.spilled > 0;
        require(has_lost, "a topic that lost a spilled event has others in the store", index)?;
        require(state.crowded_since <= self.now.0, "a topic was crowded before now", index)?;
        match self.registry.topic(TopicId(index as u8)) {
            Some(topic) => {
                require(state.used <= topic.capacity, "a topic keeps to its room", index)?;
                let is_right = if state.is_crowded == 1 { state.used > topic.low } else { state.used < topic.high };
                require(is_right, "a topic is crowded from its high watermark to its low one", index)
            }
            None => require(state.used == 0 && state.spilled == 0, "what is closed holds nothing", index),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Tally {
    events: u64,
    slots: u64,
}
