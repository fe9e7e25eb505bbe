//! The queue as two [sections](crate::section) of plain bytes, one after the other, and back.
//!
//! The first, "request queue": settings, clock, counters, the slab of requests, their payloads, the symbols. The second is that of the
//! wheel. Chains and heaps follow from the requests and are built anew: keys are never equal, so that the order in
//! which a heap was filled does not show.

use super::entry::{Entry, SymbolState};
use super::order::Stamp;
use super::{Config, RequestQueue};
use crate::invariant::{Broken, require};
use crate::section::{self, HEADER_BYTES, Reader, RestoreError, Section, Shape};
use crate::slab::Slab;
use crate::wheel::Wheel;
use bytemuck::Pod;

const NAME: &str = "request queue";
/// Settings and clock.
const NUMBERS: usize = 9;
const LAYOUT: &str = "u64: symbols per_symbol in_flight_per_symbol aging_step_ns merge_window_ns turn_bits clock_ns sequence seen_ns; \
    u64 counters*11; slab of (queued_ns u64, expires_ns u64, groups u64, timer (index generation u32), symbol sequence class asked u32); \
    payloads; symbols (span u64, turns in_flight u32); then the section of the wheel";

fn shape<T>(capacity: usize) -> Shape {
    let element = (size_of::<Entry>() + size_of::<T>()) as u32;
    Shape { name: NAME, version: 1, element, layout: LAYOUT, capacity: capacity as u64 }
}

fn invalid(broken: Broken) -> RestoreError {
    RestoreError::Invalid { name: NAME, broken }
}

/// The settings that both sides must agree on, beside the capacity in the header and the tick in the wheel's section.
fn settings(config: &Config) -> [(&'static str, u64); 6] {
    [
        ("symbols", config.symbols as u64),
        ("a limit per symbol of", u64::from(config.per_symbol)),
        ("a limit in flight of", u64::from(config.in_flight_per_symbol)),
        ("an aging step in ns of", config.aging_step_ns),
        ("a merge window in ns of", config.merge_window_ns),
        ("bits of turns", u64::from(config.turn_bits)),
    ]
}

impl<T: Pod> RequestQueue<T> {
    fn body_bytes(&self) -> usize {
        NUMBERS * 8
            + size_of_val(&self.counters)
            + self.entries.section_bytes()
            + size_of_val(&*self.payloads)
            + size_of_val(&*self.symbols)
    }

    /// Bytes of a [`RequestQueue::snapshot`] of this queue: always the same, whatever is pending.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes() + self.wheel.snapshot_bytes()
    }

    /// Appends the whole queue, all but the histogram of waiting times, as two sections of plain bytes. O(symbols + capacity).
    ///
    /// Allocates only if `out` has less room than [`RequestQueue::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        out.reserve(self.snapshot_bytes());
        section::write(out, &shape::<T>(self.config.capacity), self.len() as u64, self.body_bytes(), |body| {
            for (_, value) in settings(&self.config) {
                body.u64(value);
            }
            let Stamp { ns, sequence } = self.clock.next();
            body.u64(ns);
            body.u64(u64::from(sequence));
            body.u64(self.clock.seen_ns());
            body.slice(&[self.counters]);
            self.entries.write(body);
            for (index, payload) in self.payloads.iter().enumerate() {
                // As in the slab: what is left of a request that is gone is nobody's business.
                body.slice(&[if self.entries.is_used(index as u32) { *payload } else { T::zeroed() }]);
            }
            body.slice(&self.symbols);
        });
        self.wheel.snapshot(out);
    }

    /// The queue that [`RequestQueue::snapshot`] wrote: it goes on as that one would, and takes its handles. Allocates as
    /// [`RequestQueue::new`] does. O(symbols + n log n).
    ///
    /// Everything is checked before it is used, so that no bytes whatever make a queue that could lose a request, panic or loop.
    ///
    /// # Errors
    /// [`RestoreError`] when `sections` are no such snapshot, or of a queue with other settings or another payload.
    ///
    /// # Panics
    /// As [`RequestQueue::new`], for the settings that the caller asks for.
    pub fn restore(config: &Config, sections: &[u8]) -> Result<Self, RestoreError> {
        let (section, wheel) = Section::split_first(sections)?;
        let mut reader = section.expect(&shape::<T>(config.capacity))?;
        for (name, here) in settings(config) {
            reader.setting(name, here)?;
        }
        let wheel = Wheel::restore(config.capacity, config.tick_ns, wheel)?;
        let mut queue = Self::new(config);
        queue.wheel = wheel;
        queue.read_body(&mut reader)?;
        reader.finish()?;
        require(section.count() == queue.len() as u64, "the count is that of the requests", section.count())
            .and_then(|()| queue.check_plain())
            .and_then(|()| queue.link_all())
            .and_then(|()| queue.check_linked())
            .map_err(invalid)?;
        Ok(queue)
    }

    fn read_body(&mut self, reader: &mut Reader<'_>) -> Result<(), RestoreError> {
        let (ns, sequence, seen_ns) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let possible = u32::try_from(sequence).is_ok_and(|sequence| self.clock.set(Stamp { ns, sequence }, seen_ns));
        require(possible, "the clock can stand there", ns).map_err(invalid)?;
        reader.fill(core::slice::from_mut(&mut self.counters))?;
        self.entries = Slab::<Entry>::read(self.config.capacity, reader, invalid)?;
        reader.fill(&mut self.payloads)?;
        reader.fill::<SymbolState>(&mut self.symbols)
    }

    /// Builds chains and heaps from entries that have been checked.
    fn link_all(&mut self) -> Result<(), Broken> {
        let mut entries: Vec<(Stamp, u32)> =
            self.entries.iter().map(|(handle, entry)| (entry.stamp(), handle.index())).collect();
        entries.sort_unstable();
        let differ = entries.is_sorted_by(|a, b| a.0 < b.0);
        require(differ, "no two requests have the same stamp", entries.len())?;
        for (stamp, index) in entries {
            let entry = self.entries.at(index);
            let (symbol, priority) = (entry.symbol, entry.priority());
            self.chains.push_back(symbol, index);
            self.forest.push(symbol, index, self.order.request_key(stamp, priority));
        }
        for symbol in 0..self.symbols.len() as u32 {
            self.refresh(symbol);
        }
        Ok(())
    }
}
