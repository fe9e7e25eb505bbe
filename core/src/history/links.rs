//! What stands beside each slot of a history: its time, and the chains by kind and by symbol.
//!
//! A chain goes on from each event to the next one and to the one before. Entries are appended at its end and leave at its beginning, in the order in
//! which they came, so that what leaves is always the first of both of its chains: only the beginning of a chain moves then, and nothing is written to
//! the entry after it. What that one has for its predecessor is of the past; a walk back ends at the beginning of the chain.

use crate::invariant::{Broken, require};
use crate::slab::NONE;
use bytemuck::{Pod, Zeroable};

/// Which of the two chains of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(super) enum By {
    Kind = 0,
    Symbol = 1,
}

/// What stands beside one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Node {
    /// Shard time at which it was recorded.
    pub(super) time: u64,
    /// By [`By`]. Those of a continuation are not used.
    links: [Link; 2],
}

impl Node {
    /// Beside a continuation.
    pub(super) fn apart(time: u64) -> Self {
        Self { time, ..Self::default() }
    }

    /// Beside the head of the last event of its two chains, by [`By`] the index of the one before it there.
    #[inline]
    pub(super) fn last(time: u64, prev: [u32; 2]) -> Self {
        Self { time, links: prev.map(|prev| Link { prev, next: NONE }) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Link {
    /// Index of the event before; of the past for the first of a chain.
    prev: u32,
    /// Index of the event after, [`NONE`] for the last.
    next: u32,
}

/// Where a chain begins and ends; both are of the past while it is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Ends {
    head: u32,
    tail: u32,
    len: u32,
}

impl Ends {
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn first(&self) -> Option<u32> {
        (self.len > 0).then_some(self.head)
    }

    pub(super) fn last(&self) -> Option<u32> {
        (self.len > 0).then_some(self.tail)
    }

    /// Appends the event at `index`, which is in no chain of this kind, and whose [`Node`] is still to be written. Returns the index of the event before
    /// it, of the past for the first. O(1).
    #[inline]
    pub(super) fn push(&mut self, by: By, nodes: &mut [Node], index: u32) -> u32 {
        if self.len == 0 {
            self.head = index;
        } else {
            nodes[self.tail as usize].links[by as usize].next = index;
        }
        self.len += 1;
        core::mem::replace(&mut self.tail, index)
    }

    /// Takes the first event out. O(1).
    #[inline]
    pub(super) fn pop(&mut self, by: By, node: &Node) {
        self.head = node.links[by as usize].next;
        self.len -= 1;
    }

    /// The event after the one at `index`.
    pub(super) fn next(&self, by: By, nodes: &[Node], index: u32) -> Option<u32> {
        (index != self.tail).then(|| nodes[index as usize].links[by as usize].next)
    }

    /// The event before the one at `index`.
    pub(super) fn prev(&self, by: By, nodes: &[Node], index: u32) -> Option<u32> {
        (index != self.head).then(|| nodes[index as usize].links[by as usize].prev)
    }
}

/// Whether every chain holds exactly the indices that `chain_of` puts into it, each once, and in both directions. O(chains + nodes).
///
/// # Errors
/// The first rule that does not hold. Never panics or loops, whatever the arrays hold.
pub(super) fn check(
    by: By,
    ends: &[Ends],
    nodes: &[Node],
    chain_of: impl Fn(u32) -> Option<u32>,
    comes_before: impl Fn(u32, u32) -> bool,
) -> Result<(), Broken> {
    let mut linked = 0;
    for (chain, ends) in ends.iter().enumerate() {
        let (mut prev, mut index) = (None, ends.head);
        for _ in 0..ends.len {
            let Some(node) = nodes.get(index as usize) else {
                return require(false, "a chain is as long as it says", chain);
            };
            let link = node.links[by as usize];
            require(chain_of(index) == Some(chain as u32), "a chain holds what belongs into it", index)?;
            if let Some(prev) = prev {
                require(link.prev == prev, "a link points back to where the walk came from", index)?;
                // So that a walk meets no index twice.
                require(comes_before(prev, index), "a chain goes on to later events", index)?;
            }
            (prev, index) = (Some(index), link.next);
            linked += 1;
        }
        if let Some(last) = prev {
            require(index == NONE && last == ends.tail, "a chain ends at its tail", chain)?;
        }
    }
    let belong = (0..nodes.len() as u32).filter(|index| chain_of(*index).is_some());
    require(belong.count() == linked, "everything that belongs into a chain is in it", linked)
}

/// Looks along one chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chain<'a> {
    pub(super) by: By,
    pub(super) ends: &'a Ends,
    pub(super) nodes: &'a [Node],
}

impl Chain<'_> {
    pub(super) fn next(&self, index: u32) -> Option<u32> {
        crate::steps::step();
        self.ends.next(self.by, self.nodes, index)
    }

    pub(super) fn prev(&self, index: u32) -> Option<u32> {
        crate::steps::step();
        self.ends.prev(self.by, self.nodes, index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ends: &mut Ends, nodes: &mut [Node], index: u32) {
        let prev = ends.push(By::Symbol, nodes, index);
        nodes[index as usize] = Node::last(0, [u32::MAX, prev]);
    }

    fn walk(ends: &Ends, nodes: &[Node]) -> (Vec<u32>, Vec<u32>) {
        let forward = std::iter::successors(ends.first(), |index| ends.next(By::Symbol, nodes, *index)).collect();
        let mut back: Vec<u32> =
            std::iter::successors(ends.last(), |index| ends.prev(By::Symbol, nodes, *index)).collect();
        back.reverse();
        (forward, back)
    }

    #[test]
    fn a_chain_is_a_queue_that_is_walked_both_ways_also_when_places_are_used_again() {
        let (mut ends, mut nodes) = (Ends::default(), vec![Node::default(); 4]);
        let mut twin = std::collections::VecDeque::new();
        for index in [0, 1, 2, 3, 0, 1, 2, 3, 0] {
            if twin.len() == 3 {
                let first: u32 = twin.pop_front().unwrap();
                let node = nodes[first as usize];
                ends.pop(By::Symbol, &node);
            }
            push(&mut ends, &mut nodes, index);
            twin.push_back(index);
            let expected: Vec<u32> = twin.iter().copied().collect();
            assert_eq!(walk(&ends, &nodes), (expected.clone(), expected));
        }
        while let Some(first) = twin.pop_front() {
            let node = nodes[first as usize];
            ends.pop(By::Symbol, &node);
        }
        assert_eq!((ends.first(), ends.last(), ends.len()), (None, None, 0));
        push(&mut ends, &mut nodes, 2);
        assert_eq!(walk(&ends, &nodes), (vec![2], vec![2]));
    }
}
