//! The standard library as a contender: a heap that knows no ids.

use super::{ClearSymbol, Key, PriorityQueueContender};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// std's binary heap.
pub struct Std(BinaryHeap<Reverse<(u64, u32, u32)>>);

impl PriorityQueueContender for Std {
    fn new(capacity: usize, _symbols: usize) -> Self {
        Self(BinaryHeap::with_capacity(capacity))
    }

    #[inline]
    fn push(&mut self, id: u32, symbol: u32, key: Key) {
        self.0.push(Reverse((key.word(), id, symbol)));
    }

    #[inline]
    fn pop(&mut self) -> Option<(u32, Key)> {
        self.0.pop().map(|Reverse((word, id, _))| (id, Key::from_word(word)))
    }
}

impl ClearSymbol for Std {
    fn clear_symbol(&mut self, symbol: u32, _ids: &[u32]) -> usize {
        let before = self.0.len();
        let mut requests = std::mem::take(&mut self.0).into_vec();
        requests.retain(|Reverse((_, _, other))| *other != symbol);
        self.0 = BinaryHeap::from(requests);
        before - self.0.len()
    }
}
