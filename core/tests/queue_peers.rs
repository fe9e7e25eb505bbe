//! Bugs of other indexed heaps, as tests of ours: of the heap alone and of the queue's two levels.

use tapeline_core::queue::heap::{IndexedHeap, Key};
use tapeline_core::queue::{Config, Priority, Pushed, Request, RequestQueue};
use tapeline_core::slab::Handle;
use tapeline_core::testing::for_seeds;
use tapeline_core::units::{SymbolId, UnixNanos};

/// priority-queue#28, keyed_priority_queue#12, boostorg/heap#49: `remove` put the last element into the hole and only ever sifted it
/// down, though it may be less than the parent of the hole, which is of another branch.
#[test]
fn removing_sifts_up_as_well_as_down() {
    let mut heap = IndexedHeap::new(16);
    // Root 0; a branch of large keys under its first child; a branch of small keys under the last.
    let keys = [0, 100, 10, 11, 12, 110, 111, 112, 113, 20, 21, 22, 23, 13];
    for (id, key) in keys.into_iter().enumerate() {
        assert!(heap.push(id as u32, Key::new(key, 0)));
    }
    // The last element is 13, far below 100, the parent of 110.
    assert_eq!(heap.remove(5), Some(Key::new(110, 0)));
    heap.assert_invariants();
    let popped: Vec<u64> = std::iter::from_fn(|| heap.pop()).map(|(_, key)| key.major()).collect();
    assert!(popped.is_sorted(), "{popped:?}");
    assert_eq!(popped.len(), keys.len() - 1);
}

/// priority-queue#1, #42: a changed priority left a bad heap.
#[test]
fn a_changed_key_moves_in_the_direction_that_it_needs() {
    for_seeds(0..200, |_, prng| {
        let mut heap = IndexedHeap::new(30);
        for id in 0..30 {
            heap.push(id, Key::new(prng.in_range(0..40), 0));
        }
        for id in 0..30 {
            for major in [0, u64::MAX, 20, prng.in_range(0..40)] {
                assert!(heap.change(id, Key::new(major, 0)));
                heap.assert_invariants();
            }
        }
    });
}

#[test]
fn the_last_the_first_and_the_only_element_can_be_removed() {
    for len in 1..50 {
        for removed in [0, len / 2, len - 1] {
            let mut heap = IndexedHeap::new(50);
            for id in 0..len {
                heap.push(id, Key::new(u64::from(id), 0));
            }
            assert_eq!(heap.remove(removed), Some(Key::new(u64::from(removed), 0)));
            assert_eq!(heap.remove(removed), None, "it is gone");
            heap.assert_invariants();
            assert!(heap.push(removed, Key::new(7, 7)), "its place is free");
            heap.assert_invariants();
        }
    }
}

/// The same bugs one level up: requests of one symbol, removed and changed wherever they are, and popped in order after it.
#[test]
fn removed_and_changed_requests_leave_their_symbol_in_order() {
    for_seeds(0..200, |seed, prng| {
        let config = Config {
            symbols: 2,
            capacity: 200,
            per_symbol: 200,
            in_flight_per_symbol: u32::MAX,
            aging_step_ns: 50,
            merge_window_ns: 0,
            ..Config::default()
        };
        let mut queue = RequestQueue::<u64>::new(&config);
        let count = 1 + seed % 90;
        let mut handles: Vec<Handle> = Vec::new();
        for n in 0..count {
            let priority = Priority::new(prng.index(8) as u8).unwrap();
            let request = Request { symbol: SymbolId(1), groups: 0, priority, expires_at: UnixNanos::ZERO, payload: n };
            let Pushed::Queued(handle) = queue.push(UnixNanos(n), request) else { panic!("there is room") };
            handles.push(handle);
        }
        // The first, the last, the only one, and some between; then each of those that are left is changed.
        for at in [0, handles.len() - 1, handles.len() / 2] {
            queue.remove(handles[at.min(handles.len() - 1)]);
            queue.assert_invariants();
        }
        for handle in &handles {
            queue.reprioritise(*handle, Priority::new(prng.index(8) as u8).unwrap());
            queue.assert_invariants();
        }
        let keys: Vec<(u64, u64)> = std::iter::from_fn(|| queue.pop(UnixNanos(count)))
            .map(|pending| {
                (pending.queued_at.0 + u64::from(pending.request.priority.class()) * 50, pending.queued_at.0)
            })
            .collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(keys.len() as u64, count - count.min(3));
    });
}
