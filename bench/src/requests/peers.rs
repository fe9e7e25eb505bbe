//! Priority queues of others, each driven as its documentation recommends.

use super::{ClearSymbol, Key, Mutable, PriorityQueueContender};
use keyed_priority_queue::{Entry, KeyedPriorityQueue};
use nexus_collections::RcSlot;
use nexus_collections::heap::{Heap, HeapNode};
use nexus_slab::rc::bounded::Slab;
use orx_priority_queue::{PriorityQueue as _, PriorityQueueDecKey as _, QuaternaryHeapOfIndices};
use std::cmp::Reverse;

/// `orx-priority-queue`'s 4-ary heap with positions by dense id.
pub struct Orx(QuaternaryHeapOfIndices<usize, u64>);

impl PriorityQueueContender for Orx {
    fn new(capacity: usize, _symbols: usize) -> Self {
        Self(QuaternaryHeapOfIndices::with_index_bound(capacity))
    }

    #[inline]
    fn push(&mut self, id: u32, _symbol: u32, key: Key) {
        self.0.push(id as usize, key.word());
    }

    #[inline]
    fn pop(&mut self) -> Option<(u32, Key)> {
        self.0.pop().map(|(id, word)| (id as u32, Key::from_word(word)))
    }
}

impl Mutable for Orx {
    #[inline]
    fn change(&mut self, id: u32, key: Key) {
        self.0.update_key(&(id as usize), key.word());
    }

    #[inline]
    fn remove(&mut self, id: u32) {
        self.0.remove(&(id as usize));
    }
}

impl ClearSymbol for Orx {
    fn clear_symbol(&mut self, _symbol: u32, ids: &[u32]) -> usize {
        for id in ids {
            self.0.remove(&(*id as usize));
        }
        ids.len()
    }
}

/// `priority-queue` with its default hasher.
pub struct PriorityQueue(priority_queue::PriorityQueue<u32, Reverse<u64>>);

impl PriorityQueueContender for PriorityQueue {
    fn new(capacity: usize, _symbols: usize) -> Self {
        Self(priority_queue::PriorityQueue::with_capacity(capacity))
    }

    #[inline]
    fn push(&mut self, id: u32, _symbol: u32, key: Key) {
        self.0.push(id, Reverse(key.word()));
    }

    #[inline]
    fn pop(&mut self) -> Option<(u32, Key)> {
        self.0.pop().map(|(id, Reverse(word))| (id, Key::from_word(word)))
    }
}

impl Mutable for PriorityQueue {
    #[inline]
    fn change(&mut self, id: u32, key: Key) {
        assert!(self.0.change_priority(&id, Reverse(key.word())).is_some(), "the request is queued");
    }

    #[inline]
    fn remove(&mut self, id: u32) {
        assert!(self.0.remove(&id).is_some(), "the request is queued");
    }
}

/// `keyed_priority_queue` with its default hasher.
pub struct Keyed(KeyedPriorityQueue<u32, Reverse<u64>>);

impl PriorityQueueContender for Keyed {
    fn new(capacity: usize, _symbols: usize) -> Self {
        Self(KeyedPriorityQueue::with_capacity(capacity))
    }

    #[inline]
    fn push(&mut self, id: u32, _symbol: u32, key: Key) {
        self.0.push(id, Reverse(key.word()));
    }

    #[inline]
    fn pop(&mut self) -> Option<(u32, Key)> {
        self.0.pop().map(|(id, Reverse(word))| (id, Key::from_word(word)))
    }
}

impl Mutable for Keyed {
    #[inline]
    fn change(&mut self, id: u32, key: Key) {
        match self.0.entry(id) {
            Entry::Occupied(entry) => {
                entry.set_priority(Reverse(key.word()));
            }
            Entry::Vacant(_) => panic!("the request is queued"),
        }
    }

    #[inline]
    fn remove(&mut self, id: u32) {
        assert!(self.0.remove(&id).is_some(), "the request is queued");
    }
}

/// `dary_heap` of arity 4.
pub struct Dary(dary_heap::QuaternaryHeap<Reverse<(u64, u32)>>);

impl PriorityQueueContender for Dary {
    fn new(capacity: usize, _symbols: usize) -> Self {
        Self(dary_heap::QuaternaryHeap::with_capacity(capacity))
    }

    #[inline]
    fn push(&mut self, id: u32, _symbol: u32, key: Key) {
        self.0.push(Reverse((key.word(), id)));
    }

    #[inline]
    fn pop(&mut self) -> Option<(u32, Key)> {
        self.0.pop().map(|Reverse((word, id))| (id, Key::from_word(word)))
    }
}

/// A node of [`Nexus`]: the key's word and the id.
type Node = HeapNode<(u64, u32)>;

/// `nexus-collections`' pairing heap over its slab. The owner keeps a handle a request, by id; keys cannot change in place.
pub struct Nexus {
    heap: Heap<(u64, u32)>,
    slab: Slab<Node>,
    handles: Box<[Option<RcSlot<Node>>]>,
}

impl PriorityQueueContender for Nexus {
    #[allow(unsafe_code)]
    fn new(capacity: usize, _symbols: usize) -> Self {
        // SAFETY: the slab outlives its handles, and every handle is given back to it: see `Drop`.
        let slab = unsafe { Slab::with_capacity(capacity) };
        Self { heap: Heap::new(), slab, handles: (0..capacity).map(|_| None).collect() }
    }

    #[inline]
    fn push(&mut self, id: u32, _symbol: u32, key: Key) {
        let Ok(handle) = self.heap.try_push(&self.slab, (key.word(), id)) else { panic!("there is room") };
        self.handles[id as usize] = Some(handle);
    }

    #[inline]
    fn pop(&mut self) -> Option<(u32, Key)> {
        let first = self.heap.pop()?;
        let (word, id) = first.borrow().value;
        self.slab.free(first);
        let own = self.handles[id as usize].take().expect("a queued request has a handle");
        self.slab.free(own);
        Some((id, Key::from_word(word)))
    }
}

impl Mutable for Nexus {
    #[inline]
    fn change(&mut self, id: u32, key: Key) {
        self.remove(id);
        self.push(id, 0, key);
    }

    #[inline]
    fn remove(&mut self, id: u32) {
        let handle = self.handles[id as usize].take().expect("the request is queued");
        self.heap.unlink(&handle, &self.slab);
        self.slab.free(handle);
    }
}

impl Drop for Nexus {
    fn drop(&mut self) {
        self.heap.clear(&self.slab);
        for handle in self.handles.iter_mut().filter_map(Option::take) {
            self.slab.free(handle);
        }
    }
}

/// `quickheap` with values. It can neither change nor remove.
#[cfg(feature = "peers-avx2")]
pub struct Quick(quickheap::KvSimdQuickHeap<u64>);

#[cfg(feature = "peers-avx2")]
impl PriorityQueueContender for Quick {
    fn new(_capacity: usize, _symbols: usize) -> Self {
        Self(quickheap::KvSimdQuickHeap::default())
    }

    #[inline]
    fn push(&mut self, id: u32, _symbol: u32, key: Key) {
        self.0.push(key.word(), u64::from(id));
    }

    #[inline]
    fn pop(&mut self) -> Option<(u32, Key)> {
        self.0.pop().map(|(word, id)| (id as u32, Key::from_word(word)))
    }
}
