//! Contenders of the standard library and hashbrown: maps that forget by a sweep.

use super::{DedupContender, WINDOW_NS};
use std::collections::HashMap;

/// std's `HashMap` of times, swept by `retain` when it holds twice what a window does: what is written when nobody thinks about it.
pub struct Std {
    times: HashMap<u64, u64>,
    sweep_at: usize,
}

impl DedupContender for Std {
    fn new(capacity: usize) -> Self {
        Self { times: HashMap::with_capacity(2 * capacity + 1), sweep_at: 2 * capacity }
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
