//! Dead letters as a [section](crate::section) of plain bytes, and back: events, entries, holds, handles, order, counts.

use super::hold::Holds;
use super::index::Index;
use super::{Config, DeadLetters, Entry, Fate, State, Stats};
use crate::arena::Arena;
use crate::hash;
use crate::invariant::{Broken, require};
use crate::retry::Policy;
use crate::section::{self, Reader, RestoreError, Section, Shape};
use crate::slab::Slab;
use crate::units::UnixNanos;

const NAME: &str = "dead letter slab";
const LAYOUT: &str = "u64: slots holds held_per_symbol symbols errors seed policies next_seq now, stats 25 u64; \
    entries: slab of seq first last due u64, timer 2 u32, event failures symbol u32, handler kind error attempts u16, \
    policy state cause redrives u8; events: slab of first in_flight parked u32, slots removed u16; \
    arena: free used u32, next u32, slot 64; chains: all, kinds, symbols, errors; \
    holds: slab of symbol u32, handler pad u16, buckets, queues, ready; failures u64";
const NUMBERS: usize = 9 + size_of::<Stats>() / 8;

const _: () = assert!(size_of::<Stats>() == 25 * 8, "the layout names the number of counts");

fn shape(config: &Config) -> Shape {
    let element = size_of::<Entry>() as u32;
    Shape { name: NAME, version: 2, element, layout: LAYOUT, capacity: config.entries as u64 }
}

fn invalid(broken: Broken) -> RestoreError {
    RestoreError::Invalid { name: NAME, broken }
}

fn hash_of(policies: &[Policy]) -> u64 {
    policies.iter().fold(policies.len() as u64, |hash, policy| {
        let mut words = [hash; 9];
        words[1..].copy_from_slice(&policy.words());
        hash::stable(bytemuck::bytes_of(&words))
    })
}

impl DeadLetters {
    fn body_bytes(&self) -> usize {
        NUMBERS * 8
            + self.entries.section_bytes()
            + self.events.section_bytes()
            + self.arena.section_bytes()
            + self.index.section_bytes()
            + self.holds.section_bytes()
            + size_of_val(&*self.failures)
    }

    /// Bytes of a [`DeadLetters::snapshot`]: always the same, whatever is in it.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section::HEADER_BYTES + self.body_bytes()
    }

    /// Appends everything as a section of plain bytes. Timers are kept as the caller's handles. O(capacities).
    ///
    /// Allocates one byte for each slot, and `out` if it has less room than [`DeadLetters::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        let used = self.arena.used_slots().unwrap_or_default();
        section::write(out, &shape(&self.config), self.len() as u64, self.body_bytes(), |body| {
            body.slice(&settings(&self.config, &self.policies).map(|(_, value)| value));
            body.slice(&[self.next_seq, self.now.0]);
            body.slice(core::slice::from_ref(&self.stats));
            self.entries.write(body);
            self.events.write(body);
            self.arena.write(body, |slot| used.get(slot as usize).copied().unwrap_or(false));
            self.index.write(body);
            self.holds.write(body);
            body.slice(&self.failures);
        });
    }

    /// The dead letters that [`DeadLetters::snapshot`] wrote: they go on as those would, and take their handles. Allocates as
    /// [`DeadLetters::new`] does. O(capacities).
    ///
    /// Everything is checked before it is used, so that no bytes whatever make a structure that could lose an event, panic or loop.
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, or of other capacities, limits, seed or policies.
    ///
    /// # Panics
    /// As [`DeadLetters::new`], for what the caller asks for.
    pub fn restore(config: &Config, policies: &[Policy], section: &[u8]) -> Result<Self, RestoreError> {
        let section = Section::parse(section)?;
        let mut body = section.expect(&shape(config))?;
        for (name, value) in settings(config, policies) {
            body.setting(name, value)?;
        }
        let mut letters = Self::new(config, policies);
        letters.read_body(&mut body)?;
        body.finish()?;
        require(section.count() == letters.len() as u64, "the count is that of the entries", section.count())
            .map_err(invalid)?;
        letters.count_all();
        letters.check().map_err(invalid)?;
        Ok(letters)
    }

    fn read_body(&mut self, body: &mut Reader<'_>) -> Result<(), RestoreError> {
        let Config { entries, slots, holds, symbols, errors, seed, .. } = self.config;
        self.next_seq = body.u64()?;
        self.now = UnixNanos(body.u64()?);
        body.fill(core::slice::from_mut(&mut self.stats))?;
        self.entries = Slab::read(entries, body, invalid)?;
        self.events = Slab::read(entries, body, invalid)?;
        self.arena = Arena::read(slots, body)?;
        self.index = Index::read(symbols, errors, entries, body)?;
        self.holds = Holds::read(holds, entries, seed, body, invalid)?;
        body.fill(&mut self.failures)
    }

    /// Counts by state and fate anew: they say what the entries and events say.
    fn count_all(&mut self) {
        self.by_state = State::ALL.map(|state| self.entries.iter().filter(|(_, e)| e.state() == state).count() as u32);
        for fate in [Fate::InFlight, Fate::DeadLettered] {
            let events = self.events.iter().filter(|(_, record)| record.fate() == fate).count();
            self.by_fate[fate as usize] = events as u32;
        }
    }
}

fn settings(config: &Config, policies: &[Policy]) -> [(&'static str, u64); 7] {
    [
        ("event slots of", config.slots as u64),
        ("holds of", config.holds as u64),
        ("events held per symbol of", config.held_per_symbol as u64),
        ("symbols of", config.symbols as u64),
        ("registered errors of", config.errors as u64),
        ("a seed of", config.seed),
        ("retry policies with a hash of", hash_of(policies)),
    ]
}
