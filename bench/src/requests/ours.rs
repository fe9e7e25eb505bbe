//! Our indexed heap as a contender.

use super::{ClearSymbol, Key, Mutable, PriorityQueueContender};
use tapeline_core::queue::heap::{IndexedHeap, Key as HeapKey};

/// `tapeline_core::queue::heap`: what of our queue does the same as the peers do. The key is the 64 bits of theirs.
pub struct Ours(IndexedHeap);

impl PriorityQueueContender for Ours {
    fn new(capacity: usize, _symbols: usize) -> Self {
        Self(IndexedHeap::new(capacity))
    }

    #[inline]
    fn push(&mut self, id: u32, _symbol: u32, key: Key) {
        assert!(self.0.push(id, HeapKey::new(key.word(), 0)), "the request is not queued yet");
    }

    #[inline]
    fn pop(&mut self) -> Option<(u32, Key)> {
        self.0.pop().map(|(id, key)| (id, Key::from_word(key.major())))
    }
}

impl Mutable for Ours {
    #[inline]
    fn change(&mut self, id: u32, key: Key) {
        assert!(self.0.change(id, HeapKey::new(key.word(), 0)), "the request is queued");
    }

    #[inline]
    fn remove(&mut self, id: u32) {
        assert!(self.0.remove(id).is_some(), "the request is queued");
    }
}

impl ClearSymbol for Ours {
    fn clear_symbol(&mut self, _symbol: u32, ids: &[u32]) -> usize {
        ids.iter().filter(|id| self.0.remove(**id).is_some()).count()
    }
}
