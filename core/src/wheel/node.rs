//! One timer in the slab, the list of a slot, and the heap of those that were scheduled behind the cursor.

use super::level::SLOTS_ROOM;

/// No node: the end of the free list.
pub(super) const NONE: u32 = u32::MAX;
/// In a link of a node: not a node, but a slot, whose index is in the other bits. So that no node's index has it, one
/// comparison with the number of nodes tells them apart, which the access needs anyway.
pub(super) const MARK: u32 = 1 << 31;
/// In [`Node::prev`]: the timer is in the heap of late ones, at the position in the other bits.
pub(super) const LATE: u32 = MARK | 1 << 30;

/// A timer or a free cell: 24 bytes and the value, without a cache line's border inside a node of 32 bytes.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<T> {
    /// T in ticks. Free cells keep what they had.
    pub(super) tick: u64,
    /// Timer before this one in its slot, or [`MARK`] and the slot; with [`LATE`], the position in the heap.
    pub(super) prev: u32,
    /// Timer after this one in its slot, or [`MARK`] and the slot. In a free cell, the next free one or [`NONE`].
    pub(super) next: u32,
    /// Odd while the cell holds a timer; one more at each change.
    pub(super) generation: u32,
    /// Order of scheduling among those in the heap; means nothing elsewhere.
    pub(super) order: u32,
    /// The caller's.
    pub(super) value: T,
}

/// The list of a slot: its first and last timer, or [`MARK`] and the slot itself where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Anchor {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl Anchor {
    #[inline]
    pub(super) const fn empty(slot: usize) -> Self {
        let mark = MARK | slot as u32;
        Self { first: mark, last: mark }
    }
}

/// Anchors of a wheel: those of its slots, and some that are never used.
pub(super) const ANCHORS: usize = SLOTS_ROOM;

/// The anchors of a wheel without timers.
pub(super) fn anchors() -> Box<[Anchor; ANCHORS]> {
    let anchors: Vec<Anchor> = (0..ANCHORS).map(Anchor::empty).collect();
    anchors.try_into().expect("they are as many")
}

/// Makes a node the last of a slot. Gives what was the last before, which the caller has to tell: a node, whose `next` this
/// one is now; or the slot's mark, and then this one is its first, too.
#[inline]
pub(super) fn append<T>(anchors: &mut [Anchor; ANCHORS], slot: usize, index: u32, node: &mut Node<T>) -> u32 {
    let last = std::mem::replace(&mut anchors[slot].last, index);
    node.prev = last;
    node.next = MARK | slot as u32;
    last
}

impl<T> Node<T> {
    #[inline]
    pub(super) const fn is_live(&self) -> bool {
        self.generation & 1 != 0
    }
}

/// Timers whose T lay before the cursor when they were scheduled: a binary heap by (T, order of scheduling) whose
/// entries know their positions.
///
/// The cursor never passes a pending timer, so that only a deadline that is already over comes here. O(log n) each.
#[derive(Clone, Debug)]
pub(super) struct Late {
    /// Node indices; the first `len` are the heap.
    pub(super) heap: Box<[u32]>,
    pub(super) len: usize,
    /// The next [`Node::order`]. Begins anew when the heap is empty.
    pub(super) next_order: u32,
}

impl Late {
    pub(super) fn new(capacity: usize) -> Self {
        Self { heap: vec![0; capacity].into_boxed_slice(), len: 0, next_order: 0 }
    }

    /// The first by (T, order of scheduling).
    pub(super) fn first(&self) -> Option<u32> {
        self.heap[..self.len].first().copied()
    }

    #[cold]
    pub(super) fn push<T>(&mut self, nodes: &mut [Node<T>], index: u32) {
        if self.len == 0 {
            self.next_order = 0;
        } else if self.next_order == u32::MAX {
            self.renumber(nodes);
        }
        nodes[index as usize].order = self.next_order;
        self.next_order += 1;
        self.len += 1;
        self.put(nodes, self.len - 1, index);
        self.sift_up(nodes, self.len - 1);
    }

    /// Takes out the entry at `position`.
    #[cold]
    pub(super) fn remove<T>(&mut self, nodes: &mut [Node<T>], position: usize) {
        debug_assert!(position < self.len, "Invariant: position={position} len={}", self.len);
        self.len -= 1;
        let last = self.heap[self.len];
        if position < self.len {
            self.put(nodes, position, last);
            // The last entry may belong above or below the hole: it comes from another branch.
            let position = self.sift_up(nodes, position);
            self.sift_down(nodes, position);
        }
    }

    fn key<T>(&self, nodes: &[Node<T>], position: usize) -> (u64, u32) {
        let node = &nodes[self.heap[position] as usize];
        (node.tick, node.order)
    }

    fn put<T>(&mut self, nodes: &mut [Node<T>], position: usize, index: u32) {
        self.heap[position] = index;
        nodes[index as usize].prev = LATE | position as u32;
    }

    fn swap<T>(&mut self, nodes: &mut [Node<T>], a: usize, b: usize) {
        let (at_a, at_b) = (self.heap[a], self.heap[b]);
        self.put(nodes, a, at_b);
        self.put(nodes, b, at_a);
    }

    fn sift_up<T>(&mut self, nodes: &mut [Node<T>], mut position: usize) -> usize {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.key(nodes, parent) <= self.key(nodes, position) {
                break;
            }
            self.swap(nodes, parent, position);
            position = parent;
        }
        position
    }

    fn sift_down<T>(&mut self, nodes: &mut [Node<T>], mut position: usize) {
        loop {
            let mut child = 2 * position + 1;
            if child >= self.len {
                return;
            }
            if child + 1 < self.len && self.key(nodes, child + 1) < self.key(nodes, child) {
                child += 1;
            }
            if self.key(nodes, position) <= self.key(nodes, child) {
                return;
            }
            self.swap(nodes, position, child);
            position = child;
        }
    }

    /// Gives the entries new orders from 0 without changing which is before which. O(n log n), once in 2^32 pushes
    /// between which the heap was never empty; a sorted array is a heap.
    fn renumber<T>(&mut self, nodes: &mut [Node<T>]) {
        let entries = &mut self.heap[..self.len];
        entries.sort_unstable_by_key(|&index| (nodes[index as usize].tick, nodes[index as usize].order));
        for (position, &index) in entries.iter().enumerate() {
            let node = &mut nodes[index as usize];
            node.order = position as u32;
            node.prev = LATE | position as u32;
        }
        self.next_order = self.len as u32;
    }
}
