//! Which waiting event has a key of conflation: a table of open addressing.
//!
//! ```text
//! cells    | - | 7 | 3 | - | 9 | ...        7 is at home, 3 was pushed on by 7
//! ```
//! Linear probing at a load of one half at most. What is removed leaves no mark: those behind it move up (Knuth, "The Art of Computer
//! Programming", volume 3, section 6.4, algorithm R), so that a search ends at the first free cell for ever.

use crate::hash::{SeededHash, reduce};
use crate::slab::NONE;
use crate::topics::Key;

#[derive(Debug)]
pub(super) struct Keys {
    /// First slot of an event, or [`NONE`].
    cells: Box<[u32]>,
    hash: SeededHash,
    len: usize,
}

impl Keys {
    pub(super) fn new(capacity: usize, seed: u64) -> Self {
        Self { cells: vec![NONE; 2 * capacity + 1].into_boxed_slice(), hash: SeededHash::new(seed), len: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }

    pub(super) const fn seed(&self) -> u64 {
        self.hash.seed()
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    fn home(&self, key: Key) -> usize {
        reduce(self.hash.of_words(key.0), self.cells.len())
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.cells.len() { 0 } else { at + 1 }
    }

    /// Cell of `key`, or the free one where it would be. `key_of` gives the key of an event that is in the table.
    fn cell(&self, key: Key, key_of: impl Fn(u32) -> Key) -> usize {
        let mut at = self.home(key);
        while self.cells[at] != NONE && key_of(self.cells[at]) != key {
            at = self.after(at);
        }
        at
    }

    /// The event that has `key`. O(1) expected.
    pub(super) fn find(&self, key: Key, key_of: impl Fn(u32) -> Key) -> Option<u32> {
        Some(self.cells[self.cell(key, key_of)]).filter(|event| *event != NONE)
    }

    /// `event` is the one that has `key` from now on. O(1) expected.
    pub(super) fn set(&mut self, key: Key, event: u32, key_of: impl Fn(u32) -> Key) {
        let at = self.cell(key, key_of);
        self.len += usize::from(self.cells[at] == NONE);
        self.cells[at] = event;
        debug_assert!(2 * self.len < self.cells.len(), "Invariant: a search ends");
    }

    /// Nobody has `key` any more. O(1) expected.
    pub(super) fn remove(&mut self, key: Key, key_of: impl Fn(u32) -> Key) {
        let mut hole = self.cell(key, &key_of);
        if self.cells[hole] == NONE {
            return;
        }
        self.len -= 1;
        let mut at = hole;
        loop {
            self.cells[hole] = NONE;
            let home = loop {
                at = self.after(at);
                if self.cells[at] == NONE {
                    return;
                }
                let home = self.home(key_of(self.cells[at]));
                // It stays where its search does not come by the hole: where its home lies behind it, around the end or not.
                let is_past = if hole < at { hole < home && home <= at } else { hole < home || home <= at };
                if !is_past {
                    break home;
                }
            };
            debug_assert!(home < self.cells.len());
            self.cells[hole] = self.cells[at];
            hole = at;
        }
    }

    /// All events that have a key.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.cells.iter().copied().filter(|event| *event != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_seeds;
    use std::collections::BTreeMap;

    #[test]
    fn agrees_with_a_map_after_each_operation_at_every_load() {
        for_seeds(0..60, |seed, prng| {
            let capacity = [1, 2, 5, 16][seed as usize % 4];
            let mut keys = Keys::new(capacity, seed);
            // The key of event e is by_event[e]; events are numbered by the index of their key here.
            let key_of = |event: u32| Key([u64::from(event), 7]);
            let mut map = BTreeMap::new();
            for _ in 0..2_000 {
                let event = prng.index(2 * capacity + 1) as u32;
                let key = key_of(event);
                if prng.one_in(2) {
                    if map.len() < capacity || map.contains_key(&event) {
                        keys.set(key, event, key_of);
                        map.insert(event, event);
                    }
                } else {
                    keys.remove(key, key_of);
                    map.remove(&event);
                }
                assert_eq!(keys.len(), map.len());
                for event in 0..2 * capacity as u32 + 1 {
                    assert_eq!(keys.find(key_of(event), key_of), map.get(&event).copied());
                }
            }
        });
    }
}
