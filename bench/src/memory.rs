//! Physical controls on one thread: the memory work that no structure can do without.

use crate::single::Meter;
use std::hint::black_box;

/// Knuth's multiplier of a 64-bit linear congruential generator.
#[inline(always)]
const fn lcg(x: u64) -> u64 {
    x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// `x` scaled to `0..len`.
#[inline(always)]
const fn scale(x: u64, len: usize) -> usize {
    (((x >> 32) * len as u64) >> 32) as usize
}

/// C3: an LCG and a store to a random word.
#[derive(Debug)]
pub struct RandomStore {
    words: Box<[u64]>,
    x: u64,
}

impl RandomStore {
    /// Over `bytes` of memory.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { words: vec![1; (bytes / 8).max(1)].into_boxed_slice(), x: 1 }
    }

    /// Measures `stores` stores as `phase`.
    #[inline]
    pub fn step(&mut self, meter: &mut Meter, phase: usize, stores: usize) {
        let (words, mut x) = (&mut self.words[..], self.x);
        meter.time(phase, || {
            for _ in 0..stores {
                x = lcg(x);
                words[scale(x, words.len())] = x;
            }
        });
        self.x = x;
        meter.count(phase, stores);
    }
}

/// 32 bytes, as a timer's node.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug)]
struct Node {
    tick: u64,
    prev: u32,
    next: u32,
    generation: u32,
    order: u32,
    value: u64,
}

/// C4 "nodelink": an LCG, the pop of a free node, a write of its 32 bytes, and a swap of a slot's head. The least
/// memory work that the insert of any timer does; nodes go back to the free list unmeasured, in random order.
#[derive(Debug)]
pub struct NodeLink {
    nodes: Box<[Node]>,
    heads: Box<[u32]>,
    used: Vec<u32>,
    free: u32,
    x: u64,
}

/// Slots that C4 links nodes into: those of a wheel of eight levels.
const HEADS: usize = 512;
/// Free nodes of C4 beside the pending ones.
const SPARE: usize = 256;

impl NodeLink {
    /// With `pending` nodes in use.
    #[must_use]
    pub fn new(pending: usize) -> Self {
        let len = pending + SPARE;
        let node = |index: usize| Node { tick: 0, prev: 0, next: index as u32 + 1, generation: 0, order: 0, value: 0 };
        let mut control = Self {
            nodes: (0..len).map(node).collect(),
            heads: vec![0; HEADS].into_boxed_slice(),
            used: Vec::with_capacity(len),
            free: 0,
            x: 1,
        };
        while control.used.len() < pending {
            let index = control.link();
            control.used.push(index);
        }
        control
    }

    #[inline(always)]
    fn link(&mut self) -> u32 {
        self.x = lcg(self.x);
        let index = self.free;
        let head = &mut self.heads[scale(self.x, HEADS)];
        let node = &mut self.nodes[index as usize];
        self.free = node.next;
        let generation = node.generation + 1;
        *node = Node { tick: self.x, prev: 0, next: *head, generation, order: 0, value: self.x };
        *head = index;
        index
    }

    /// Measures `links` links, at most 256, as `phase`.
    #[inline]
    pub fn step(&mut self, meter: &mut Meter, phase: usize, links: usize) {
        let mut linked = [0u32; SPARE];
        meter.time(phase, || {
            for out in &mut linked[..links] {
                *out = self.link();
            }
        });
        meter.count(phase, links);
        black_box(&self.heads);
        for index in &linked[..links] {
            self.x = lcg(self.x);
            let random = scale(self.x, self.used.len());
            let back = std::mem::replace(&mut self.used[random], *index);
            self.nodes[back as usize].next = self.free;
            self.free = back;
        }
    }
}

/// C8: loads of random words, each of which says where the next is.
#[derive(Debug)]
pub struct DependentLoad {
    next: Box<[u32]>,
    at: u32,
}

impl DependentLoad {
    /// Over `bytes` of memory, in one cycle through all of its lines.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        const PER_LINE: usize = 16;
        let lines = (bytes / 64).max(2);
        let mut order: Vec<u32> = (0..lines as u32).collect();
        let mut x = 1;
        // Sattolo: one cycle through all.
        for last in (1..lines).rev() {
            x = lcg(x);
            order.swap(last, scale(x, last));
        }
        let mut next = vec![0; lines * PER_LINE].into_boxed_slice();
        for (line, to) in order.iter().enumerate() {
            next[line * PER_LINE] = to * PER_LINE as u32;
        }
        Self { next, at: 0 }
    }

    /// Measures `loads` loads as `phase`.
    #[inline]
    pub fn step(&mut self, meter: &mut Meter, phase: usize, loads: usize) {
        let (next, mut at) = (&self.next[..], self.at);
        meter.time(phase, || {
            for _ in 0..loads {
                at = next[at as usize];
            }
        });
        self.at = black_box(at);
        meter.count(phase, loads);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependent_loads_visit_every_line_once() {
        let mut control = DependentLoad::new(64 * 1_000);
        let mut meter = Meter::new(1);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1_000 {
            control.step(&mut meter, 0, 1);
            assert!(seen.insert(control.at));
        }
        control.step(&mut meter, 0, 1);
        assert!(!seen.insert(control.at), "a cycle");
    }

    #[test]
    fn linked_nodes_and_free_nodes_are_all_nodes() {
        let mut control = NodeLink::new(1_000);
        let mut meter = Meter::new(1);
        for _ in 0..100 {
            control.step(&mut meter, 0, 64);
        }
        let mut all: Vec<u32> = control.used.clone();
        let mut free = control.free;
        while (free as usize) < control.nodes.len() {
            all.push(free);
            free = control.nodes[free as usize].next;
        }
        all.sort_unstable();
        assert_eq!(all, (0..1_256).collect::<Vec<u32>>());
    }

    #[test]
    fn stores_reach_the_last_word() {
        let mut control = RandomStore::new(8 * 16);
        control.step(&mut Meter::new(1), 0, 10_000);
        assert!(control.words.iter().all(|word| *word != 1));
    }
}
