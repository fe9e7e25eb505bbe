//! Filters made of others' tables.

use super::{BATCH, DedupContender, WINDOW_NS, mix};
use crate::single::Meter;
use crate::stats::Rng;
use foldhash::fast::RandomState;
use std::num::NonZeroUsize;

/// `hashbrown` with `foldhash`, swept as [`super::Std`] is.
pub struct Hashbrown {
    times: hashbrown::HashMap<u64, u64, RandomState>,
    sweep_at: usize,
}

impl DedupContender for Hashbrown {
    fn new(capacity: usize) -> Self {
        let times = hashbrown::HashMap::with_capacity_and_hasher(2 * capacity + 1, RandomState::default());
        Self { times, sweep_at: 2 * capacity }
    }

    #[inline]
    fn seen_or_insert(&mut self, key: u64, now_ns: u64) -> bool {
        if self.times.len() >= self.sweep_at {
            self.times.retain(|_, seen_ns| now_ns - *seen_ns < WINDOW_NS);
        }
        let seen_ns = self.times.entry(key).or_insert(u64::MAX);
        let is_seen = *seen_ns != u64::MAX && now_ns - *seen_ns < WINDOW_NS;
        if !is_seen {
            *seen_ns = now_ns;
        }
        is_seen
    }

    fn expire(&mut self, now_ns: u64) {
        self.times.retain(|_, seen_ns| now_ns - *seen_ns < WINDOW_NS);
    }

    fn held(&self) -> usize {
        self.times.len()
    }
}

/// A lookup in `hashbrown` with `foldhash`, and no more: neither times nor expiry.
pub struct Get {
    table: hashbrown::HashSet<u64, RandomState>,
    keys: Box<[u64]>,
    rng: Rng,
}

impl Get {
    /// With this many keys.
    #[must_use]
    pub fn new(population: usize, seed: u64) -> Self {
        let keys: Box<[u64]> = (0..population as u64).map(mix).collect();
        Self { table: keys.iter().copied().collect(), keys, rng: Rng::new(seed) }
    }

    /// Measures batches of lookups of keys that are there as the phases 1 and 2.
    ///
    /// # Panics
    /// When one is not found.
    pub fn step(&mut self, meter: &mut Meter) {
        for phase in [1, 2] {
            let keys: [u64; BATCH] = std::array::from_fn(|_| self.keys[self.rng.index(self.keys.len())]);
            let found = meter.time(phase, || keys.iter().filter(|key| self.table.contains(*key)).count());
            meter.count(phase, BATCH);
            assert_eq!(found, BATCH, "every key is there");
        }
    }
}

/// `lru`, bounded by twice the keys of a window.
pub struct Lru(lru::LruCache<u64, u64>);

impl DedupContender for Lru {
    fn new(capacity: usize) -> Self {
        Self(lru::LruCache::new(NonZeroUsize::new(2 * capacity).unwrap_or(NonZeroUsize::MIN)))
    }

    #[inline]
    fn seen_or_insert(&mut self, key: u64, now_ns: u64) -> bool {
        match self.0.get_mut(&key) {
            Some(seen_ns) if now_ns - *seen_ns < WINDOW_NS => true,
            Some(seen_ns) => {
                *seen_ns = now_ns;
                false
            }
            None => {
                self.0.put(key, now_ns);
                false
            }
        }
    }

    fn expire(&mut self, now_ns: u64) {
        while self.0.peek_lru().is_some_and(|(_, seen_ns)| now_ns - *seen_ns >= WINDOW_NS) {
            self.0.pop_lru();
        }
    }

    fn held(&self) -> usize {
        self.0.len()
    }
}
