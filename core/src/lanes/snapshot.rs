//! The waiting room as a section of plain bytes, and back. Buses and topics are configuration: who restores has them open.

use super::{Counts, LANES, Lanes, State, Waiting};
use crate::arena::Arena;
use crate::chain::Chains;
use crate::invariant::{Broken, require};
use crate::limits::TOPICS_MAX;
use crate::section::{self, Reader, RestoreError, Section, Shape};
use crate::topics::Registry;
use crate::units::UnixNanos;
use bytemuck::Zeroable;

const NAME: &str = "lanes";
const LAYOUT: &str = "u64: symbols seed config position tick_position tick_time has_tick now deadline spilled closing since_gap, counts 5 u64, \
    passed 4 u32, states of open topics (stats 15 u64, spilled crowded_since u64, used u32, is_crowded has_lost u16); waiting: position due deadline since \
    key 2 u64, topic lane span is_keyed u8, pad u32; arena: free used u32, next u32, slot 64; chains: lanes, topics; losses: chains by \
    symbol, before, owed: from to ts_recv u64, count u32, source u8; chain of those due";
const NUMBERS: usize = 12;

const _: () = assert!(size_of::<State>() == 18 * 8 && size_of::<Waiting>() == 56 && size_of::<Counts>() == 40);

fn shape(slots: usize) -> Shape {
    let element = size_of::<Waiting>() as u32;
    Shape { name: NAME, version: 2, element, layout: LAYOUT, capacity: slots as u64 }
}

fn invalid(broken: Broken) -> RestoreError {
    RestoreError::Invalid { name: NAME, broken }
}

impl Lanes {
    fn body_bytes(&self) -> usize {
        NUMBERS * 8
            + size_of::<Counts>()
            + size_of_val(&self.passed)
            + self.registry.topics().count() * size_of::<State>()
            + size_of_val(&*self.waiting)
            + self.arena.section_bytes()
            + self.lanes.section_bytes()
            + self.topics.section_bytes()
            + self.losses.section_bytes()
    }

    /// Bytes of a [`Lanes::snapshot`]: always the same, whatever waits.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section::HEADER_BYTES + self.body_bytes()
    }

    /// Appends everything but the kept transitions as a section of plain bytes. O(slots + symbols).
    ///
    /// Allocates one byte for each slot, and `out` if it has less room than [`Lanes::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        let used = self.arena.used_slots().unwrap_or_default();
        let slots = self.registry.slots();
        section::write(out, &shape(slots), self.len() as u64, self.body_bytes(), |body| {
            let (tick_position, tick_time) = self.tick.unwrap_or_default();
            body.slice(&[self.losses.symbols() as u64, self.keys.seed(), self.registry.config()]);
            body.slice(&[self.next_position, tick_position, tick_time.0, u64::from(self.tick.is_some())]);
            body.slice(&[self.now.0, self.next_deadline, self.spilled, self.registry.closing()]);
            body.slice(&[u64::from(self.since_gap)]);
            body.slice(core::slice::from_ref(&self.counts));
            body.slice(&self.passed);
            for (topic, _) in self.registry.topics() {
                body.slice(&[self.state[topic.index()]]);
            }
            for (first, waiting) in self.waiting.iter().enumerate() {
                // What is left of an event that is gone is nobody's business.
                let is_there = self.lanes.is_linked(first as u32);
                body.slice(&[if is_there { *waiting } else { Waiting::zeroed() }]);
            }
            self.arena.write(body, |slot| used.get(slot as usize).copied().unwrap_or(false));
            self.lanes.write(body);
            self.topics.write(body);
            self.losses.write(body);
        });
    }

    /// The waiting room that [`Lanes::snapshot`] wrote: it goes on as that would. `registry` has to have the same buses open, in
    /// the same places: opened in the same order. A bus that was being closed is opened like the others, and its closing goes on. Allocates as [`Lanes::new`] does. O(slots + symbols).
    ///
    /// Everything is checked before it is used, so that no bytes whatever make a structure that could lose an event, panic or loop.
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, or of other buses, symbols or seed.
    ///
    /// # Panics
    /// As [`Lanes::new`], for what the caller asks for.
    pub fn restore(registry: Registry, symbols: usize, seed: u64, section: &[u8]) -> Result<Self, RestoreError> {
        let section = Section::parse(section)?;
        let slots = registry.slots();
        let mut body = section.expect(&shape(slots))?;
        body.setting("symbols of", symbols as u64)?;
        body.setting("a seed of", seed)?;
        body.setting("buses with a hash of", registry.config())?;
        let mut lanes = Self::new(registry, symbols, seed);
        lanes.read_body(symbols, &mut body)?;
        body.finish()?;
        let count = section.count();
        lanes.check_keyed().and_then(|()| lanes.check()).map_err(invalid)?;
        require(count == lanes.len() as u64, "the count is that of the events", count).map_err(invalid)?;
        Ok(lanes)
    }

    fn read_body(&mut self, symbols: usize, body: &mut Reader<'_>) -> Result<(), RestoreError> {
        let slots = self.registry.slots();
        self.next_position = body.u64()?;
        let tick = (body.u64()?, UnixNanos(body.u64()?));
        self.tick = (body.u64()? != 0).then_some(tick);
        self.now = UnixNanos(body.u64()?);
        self.next_deadline = body.u64()?;
        self.spilled = body.u64()?;
        let closing = body.u64()?;
        self.closing = closing.count_ones();
        require(self.registry.begin_close_all(closing), "what is being closed is open", closing).map_err(invalid)?;
        self.since_gap = body.u64()? as u32;
        body.fill(core::slice::from_mut(&mut self.counts))?;
        body.fill(&mut self.passed)?;
        for (topic, _) in self.registry.topics() {
            body.fill(core::slice::from_mut(&mut self.state[topic.index()]))?;
        }
        body.fill(&mut self.waiting)?;
        self.arena = Arena::read(slots, body)?;
        self.lanes = Chains::read(LANES, slots, body)?;
        self.topics = Chains::read(TOPICS_MAX, slots, body)?;
        self.losses = super::Losses::read(symbols, slots, body)?;
        Ok(())
    }

    /// Makes the table of keys anew, unless an event claims a key that another one has.
    fn check_keyed(&mut self) -> Result<(), Broken> {
        for first in 0..self.registry.slots() as u32 {
            let Waiting { is_keyed, key, .. } = self.waiting[first as usize];
            if !self.lanes.is_linked(first) || is_keyed != 1 {
                continue;
            }
            let waiting = &self.waiting;
            let other = self.keys.find(key, |first| waiting[first as usize].key);
            require(other.is_none(), "every key has one event", first)?;
            self.keys.set(key, first, |first| waiting[first as usize].key);
        }
        Ok(())
    }
}
