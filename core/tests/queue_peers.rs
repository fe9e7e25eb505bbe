//! Bugs of other indexed heaps, as tests of ours: of the heap alone and of the queue's two levels.

use std::panic::{AssertUnwindSafe, catch_unwind};
use tapeline_core::queue::heap::{IndexedHeap, Key};
use tapeline_core::queue::{Config, Priority, Pushed, Request, RequestQueue};
use tapeline_core::slab::Handle;
use tapeline_core::testing::for_seeds;
use tapeline_core::units::{SymbolId, UnixNanos};

/// priority-queue#28, keyed_priority_queue#12, boostorg/heap#49: `remove` put the last element into the hole and only ever sifted it
/// down, though it may be less than the parent of the hole, which is of another branch.
#[test]
fn priority_queue_28_keyed_priority_queue_12_boost_heap_49_removing_sifts_up_as_well_as_down() {
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
fn priority_queue_1_priority_queue_42_a_changed_key_moves_in_the_direction_that_it_needs() {
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

/// priority-queue#86, and rust-lang/rust#25842 in std's binary heap: an `Ord` of the caller's that panics while an element is on its way
/// leaves the heap with one twice, or with a hole. Here no code of the caller's runs while anything is on its way: keys are one type of the
/// heap's own, plain integers that cannot panic, and the heap has no type parameter by which another could come in.
#[test]
fn priority_queue_86_rust_25842_no_comparison_of_the_callers_runs_inside() {
    let _: fn(&mut IndexedHeap, u32, Key) -> bool = IndexedHeap::push;
    let _: fn(&mut IndexedHeap, u32, Key) -> bool = IndexedHeap::change;
    let _: fn(u64, u32) -> Key = Key::new;
    fn is_plain<T: Copy + Ord>() -> bool {
        !std::mem::needs_drop::<T>()
    }
    assert!(is_plain::<Key>() && size_of::<Key>() == 16);
    // All pairs of edge keys compare as their numbers do, so that there is no key that is not equal to itself, as NaN is.
    let edges = [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX];
    for (major, minor) in edges.into_iter().flat_map(|major| [(major, 0), (major, u32::MAX)]) {
        for (other, least) in edges.into_iter().flat_map(|major| [(major, 0), (major, u32::MAX)]) {
            let order = Key::new(major, minor).cmp(&Key::new(other, least));
            assert_eq!(order, (major, minor).cmp(&(other, least)));
        }
    }
}

/// The same class of bug where the caller's code does run: in what `clear`, `expire` and `pop_batch` give requests to. A panic there, at
/// each call, finds every request in the queue or out of it.
#[test]
fn priority_queue_86_rust_25842_a_panic_of_the_callers_code_leaves_a_whole_queue() {
    let config = Config {
        symbols: 3,
        capacity: 60,
        per_symbol: 60,
        in_flight_per_symbol: 100,
        merge_window_ns: 0,
        ..Config::default()
    };
    let filled = || {
        let mut queue = RequestQueue::<u64>::new(&config);
        for n in 0..30 {
            let request = Request {
                symbol: SymbolId(n as u32 % 3),
                groups: 1,
                priority: Priority::new(n as u8 % 8).unwrap(),
                expires_at: UnixNanos(1_000),
                payload: n,
            };
            assert!(matches!(queue.push(UnixNanos(n), request), Pushed::Queued(_)));
        }
        queue
    };
    type Call = fn(&mut RequestQueue<u64>, &mut dyn FnMut());
    let calls: [(Call, usize); 3] = [
        (|queue, given| _ = queue.clear(SymbolId(1), |_| given()), 10),
        (|queue, given| _ = queue.expire(UnixNanos(1 << 40), usize::MAX, |_| given()), 30),
        (|queue, given| _ = queue.pop_batch(UnixNanos(50), 30, |_| given()), 30),
    ];
    for (call, (act, requests)) in calls.into_iter().enumerate() {
        for panics_at in 1..=requests {
            let mut queue = filled();
            let mut given = 0;
            let result = catch_unwind(AssertUnwindSafe(|| {
                act(&mut queue, &mut || {
                    given += 1;
                    if given == panics_at {
                        std::panic::resume_unwind(Box::new("the caller's code"));
                    }
                });
            }));
            assert!(result.is_err(), "call {call}");
            queue.assert_invariants();
            // A clear is finished; the others end where they were.
            assert_eq!(queue.len(), 30 - if call == 0 { 10 } else { panics_at }, "call {call}, panic at {panics_at}");
            // And it goes on.
            let mut left = 0;
            while queue.pop(UnixNanos(60)).is_some() {
                left += 1;
            }
            assert_eq!(left, 30 - if call == 0 { 10 } else { panics_at });
            queue.assert_invariants();
        }
    }
}
