//! The indexed heap against a sorted set, compared after every operation.

use proptest::prelude::*;
use std::collections::BTreeSet;
use tapeline_core::queue::heap::{IndexedHeap, Key};
use tapeline_core::testing::{CountingAlloc, PrintOnPanic, Prng, without_allocation};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

struct Pair {
    heap: IndexedHeap,
    order: BTreeSet<(Key, u32)>,
    keys: Vec<Option<Key>>,
    /// Operations that did something: removals in the middle, keys lowered, keys raised.
    removed: u64,
    lowered: u64,
    raised: u64,
}

impl Pair {
    fn new(ids: usize) -> Self {
        Self {
            heap: IndexedHeap::new(ids),
            order: BTreeSet::new(),
            keys: vec![None; ids],
            removed: 0,
            lowered: 0,
            raised: 0,
        }
    }

    fn apply(&mut self, prng: &mut Prng, majors: u64) {
        // One id that does not exist.
        let id = prng.index(self.keys.len() + 1) as u32;
        let known = self.keys.get(id as usize).copied();
        let old = known.flatten();
        let key = Key::new(prng.in_range(0..majors), prng.in_range(0..3) as u32);
        let heap = &mut self.heap;
        match prng.index(10) {
            0..4 => {
                let pushed = without_allocation(|| heap.push(id, key));
                assert_eq!(pushed, known == Some(None));
                if pushed {
                    self.order.insert((key, id));
                    self.keys[id as usize] = Some(key);
                }
            }
            4 | 5 => {
                let popped = without_allocation(|| heap.pop());
                assert_eq!(popped, self.order.pop_first().map(|(key, id)| (id, key)));
                if let Some((id, _)) = popped {
                    self.keys[id as usize] = None;
                }
            }
            6 | 7 => {
                assert_eq!(without_allocation(|| heap.remove(id)), old);
                if let Some(old) = old {
                    self.order.remove(&(old, id));
                    self.keys[id as usize] = None;
                    self.removed += 1;
                }
            }
            _ => {
                assert_eq!(without_allocation(|| heap.change(id, key)), old.is_some());
                if let Some(old) = old {
                    self.order.remove(&(old, id));
                    self.order.insert((key, id));
                    self.keys[id as usize] = Some(key);
                    self.lowered += u64::from(key < old);
                    self.raised += u64::from(key > old);
                }
            }
        }
        if prng.one_in(5_000) {
            without_allocation(|| self.heap.clear());
            self.order.clear();
            self.keys.fill(None);
        }
        assert_eq!(self.heap.len(), self.order.len());
        assert_eq!(self.heap.peek(), self.order.first().map(|(key, id)| (*id, *key)));
        assert_eq!(self.heap.key(id), self.keys.get(id as usize).copied().flatten());
    }

    fn compare_all(&self) {
        self.heap.assert_invariants();
        let mut all: Vec<(Key, u32)> = self.heap.iter().map(|(id, key)| (key, id)).collect();
        all.sort_unstable();
        assert!(all.iter().eq(&self.order));
    }
}

fn run(seed: u64, ids: usize, majors: u64, operations: usize, invariants_every: usize) -> Pair {
    let _named = PrintOnPanic(format!("seed={seed} ids={ids} majors={majors}"));
    let mut prng = Prng::new(seed);
    let mut pair = Pair::new(ids);
    for operation in 0..operations {
        pair.apply(&mut prng, majors);
        if operation % invariants_every == 0 {
            pair.compare_all();
        }
    }
    pair.compare_all();
    pair
}

#[test]
fn agrees_with_its_twin_with_full_invariants_after_each_operation() {
    for (seed, ids) in [0, 1, 2, 3, 4, 5, 8, 21, 64].into_iter().enumerate() {
        let pair = run(seed as u64, ids, 1 + 10 * (seed as u64 % 3), 100_000, 1);
        if ids > 3 {
            assert!(pair.removed > 1_000 && pair.lowered > 1_000 && pair.raised > 1_000, "{ids} ids");
        }
    }
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations() {
    for seed in 0..10 {
        run(100 + seed, 1_000, [3, 1 << 40][seed as usize % 2], 1_000_000, 4_096);
    }
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test queue_heap -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    for seed in 0..100 {
        run(1 << 32 | seed, 16 << (seed % 8), [3, 1 << 40][seed as usize % 2], 1_000_000, 4_096);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Steps by seeds of their own, so that a failing run shrinks to the steps that matter.
    #[test]
    fn any_operations_agree_with_the_twin(
        ids in 0usize..30,
        majors in prop_oneof![1u64..4, 1u64..1 << 40],
        steps in prop::collection::vec(any::<u64>(), 1..120),
    ) {
        let mut pair = Pair::new(ids);
        for step in steps {
            pair.apply(&mut Prng::new(step), majors);
            pair.compare_all();
        }
    }
}

#[test]
fn equal_keys_come_in_the_order_of_ids_and_of_minors() {
    let mut heap = IndexedHeap::new(10);
    for id in [4, 1, 9, 0] {
        heap.push(id, Key::new(5, u32::MAX));
    }
    heap.push(7, Key::new(5, 0));
    let ids: Vec<u32> = std::iter::from_fn(|| heap.pop()).map(|(id, _)| id).collect();
    assert_eq!(ids, [7, 0, 1, 4, 9]);
}

#[test]
fn the_highest_keys_and_ids_are_not_taken_for_empty_places() {
    let mut heap = IndexedHeap::new(100);
    for id in 0..100 {
        heap.push(id, Key::new(u64::MAX, u32::MAX));
        heap.assert_invariants();
    }
    let ids: Vec<u32> = std::iter::from_fn(|| heap.pop()).map(|(id, _)| id).collect();
    assert!(ids.into_iter().eq(0..100));
}

#[test]
fn no_ids_is_a_heap_that_stays_empty() {
    let mut heap = IndexedHeap::new(0);
    assert_eq!((heap.push(0, Key::new(0, 0)), heap.pop(), heap.remove(0), heap.len()), (false, None, None, 0));
    heap.assert_invariants();
}

#[test]
#[should_panic(expected = "an indexed heap holds at most")]
fn too_many_ids_panic() {
    let _ = IndexedHeap::new(usize::MAX);
}
