//! The bugs of other rings as tests. The races among them are loom and shuttle models, each with a twin that has the bug.

mod ring_events;

use ring_events::{STARTS, event, untagged};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tapeline_core::event::{Slot, events};
use tapeline_core::limits::{BATCH_SLOTS, RING_SLOTS_MAX};
use tapeline_core::ring::{self, CAPACITY_MIN, Full};
use tapeline_core::sync::Orders;
use tapeline_core::testing::Prng;

fn panics(attempt: impl Fn()) -> bool {
    catch_unwind(AssertUnwindSafe(attempt)).is_err()
}

/// rtrb#185 (RUSTSEC advisory), ringbuf#60, ringbuffer#150: a destructor that panics before the head has moved runs
/// twice. lilos#21: a drop loop that compares the head with the head drops nothing. Both need a destructor: a ring of
/// plain data has none to run.
#[test]
fn rtrb_185_ringbuf_60_ringbuffer_150_lilos_21_slots_have_no_destructor() {
    assert!(!std::mem::needs_drop::<Slot>(), "nothing to drop twice, or never");
    fn is_plain<T: bytemuck::Pod>() {}
    is_plain::<Slot>();
}

/// glommio#700: a cloned end. The doctests of `ring` show that a clone does not compile; here, that neither end could be
/// copied behind the compiler's back: both give up their place when they are dropped.
#[test]
fn glommio_700_an_end_exists_once() {
    assert!(std::mem::needs_drop::<ring::Producer>() && std::mem::needs_drop::<ring::Consumer>());
}

/// heapless#207: a capacity that is no power of two goes wrong when the position wraps. crossbeam#533 and #539: the
/// capacity is taken from a vector, which may have more.
#[test]
fn heapless_207_crossbeam_533_crossbeam_539_a_capacity_is_a_power_of_two_and_exact() {
    let mut prng = Prng::new(1);
    for capacity in [0, 1, 2, 32, 63, 65, 96, 1_000, RING_SLOTS_MAX + 1, 2 * RING_SLOTS_MAX, 1 << 32, usize::MAX] {
        assert!(panics(|| _ = ring::channel(capacity)), "{capacity}");
        assert!(panics(|| _ = ring::channel_with_dues(capacity)), "{capacity}");
    }
    for capacity in [0, 3, 6, RING_SLOTS_MAX * 2, usize::MAX, 1 << 63] {
        assert!(panics(|| _ = ring::channel_at(capacity, 0, false)), "{capacity}");
    }
    for capacity in [1, 2, 4, 64, 128, 4_096] {
        let (mut producer, consumer) = ring::channel_at(capacity, u64::MAX - 3, false);
        assert_eq!((producer.capacity(), consumer.capacity()), (capacity, capacity));
        for _ in 0..capacity {
            producer.push(&event(1, 1, &mut prng)).unwrap();
        }
        assert_eq!(producer.push(&event(1, 1, &mut prng)), Err(Full { shortfall: 1 }));
        assert_eq!(consumer.len(), capacity);
        assert_eq!(producer.bytes(), ring::memory_bytes(capacity, false));
        assert!(producer.bytes() >= capacity * 64 && producer.bytes() == consumer.bytes());
    }
    assert_eq!(ring::channel(CAPACITY_MIN).0.capacity(), CAPACITY_MIN);
    let (with_dues, without) = (ring::channel_with_dues(64).0, ring::channel(64).0);
    assert_eq!(with_dues.bytes(), without.bytes() + 64 * 8);
}

/// heapless#144: a position of few bits whose wrap makes an endless loop. bcast#2: arithmetic on positions that must wrap.
#[test]
fn heapless_144_bcast_2_positions_wrap_wherever_an_integer_could() {
    let mut prng = Prng::new(2);
    for bits in [7, 8, 15, 16, 31, 32, 48, 63, 64] {
        for capacity in [1, 2, 64, 128, 256] {
            let edge = if bits == 64 { 0 } else { 1u64 << bits };
            let (mut producer, mut consumer) = ring::channel_at(capacity, edge.wrapping_sub(300), bits % 2 == 0);
            let mut out = [Slot::ZERO; 64];
            for id in 0..600u64 {
                let span = if capacity >= 64 { 1 + id as usize % 5 } else { 1 };
                let slots = event(id, span, &mut prng);
                producer.push(&slots).unwrap();
                assert_eq!(consumer.pop(&mut out), span, "2^{bits}, capacity {capacity}");
                assert_eq!(&out[..span], untagged(&slots));
                assert!(consumer.is_empty() && consumer.pop(&mut out) == 0);
                assert_eq!(producer.free_slots(), capacity);
            }
            producer.assert_invariants();
            consumer.assert_invariants();
        }
    }
}

/// iceoryx2#87 and #119, heapless#5: a Release without its Acquire. Each store that gives something away is a Release, and the load that takes
/// it, which `Orders` names as its partner, an Acquire. That they are used where they belong, the models of loom-tests show, each of which
/// fails when one of the six is relaxed (`single_twins_fail`, `head_release_twins_fail`, `end_twin_fails`).
#[test]
fn iceoryx2_87_iceoryx2_119_heapless_5_every_release_has_its_acquire() {
    let orders = Orders::SOUND;
    let pairs = [
        ("a word", orders.publish(), orders.observe()),
        ("the head", orders.give_back(), orders.reclaim()),
        ("the end", orders.leave(), orders.notice()),
    ];
    for (what, store, load) in pairs {
        assert_eq!((store, load), (Ordering::Release, Ordering::Acquire), "{what}");
    }
}

/// boostorg/lockfree#142: a slot that is used again while it is read. No test on real hardware shows that; the models `single_push_and_pop` and
/// `head_release_with_more_events_than_slots` of loom-tests do, and each fails with that very mistake built in. What one
/// thread can show: a full ring does not touch what was peeked until it was popped.
#[test]
fn lockfree_142_a_slot_is_not_used_again_before_it_was_taken() {
    let mut prng = Prng::new(3);
    let (mut producer, mut consumer) = ring::channel_at(4, 2, true);
    for id in 0..4 {
        producer.push_due(&event(id, 1, &mut prng), id).unwrap();
    }
    for id in 4..40 {
        let peeked = consumer.peek().unwrap();
        assert!(producer.push_due(&event(id, 1, &mut prng), id).is_err());
        assert!(producer.claim(&event(id, 1, &mut prng)).is_err());
        assert_eq!(producer.push_batch(&event(id, 1, &mut prng), None), 0);
        let mut out = [Slot::ZERO];
        assert_eq!((consumer.peek_due(), consumer.pop(&mut out), out[0]), (Some(id - 4), 1, peeked));
        producer.push_due(&event(id, 1, &mut prng), id).unwrap();
    }
}

/// RUSTSEC-2021-0093: a task is popped twice. Every way to take and every way to fail to take, one after the other.
#[test]
fn rustsec_2021_0093_nothing_is_taken_twice() {
    let mut prng = Prng::new(4);
    let (mut producer, mut consumer) = ring::channel(64);
    for id in 0..20 {
        producer.push(&event(id, 3, &mut prng)).unwrap();
    }
    let mut out = [Slot::ZERO; 64];
    let mut ids = Vec::new();
    while !consumer.is_empty() {
        let room = 1 + prng.index(9);
        let taken =
            if prng.one_in(2) { consumer.pop(&mut out[..room]) } else { consumer.pop_batch(&mut out[..room], None) };
        ids.extend(events(&out[..taken]).map(|event| event.head().seq));
    }
    assert_eq!(ids, (0..20).collect::<Vec<_>>());
}

/// crossbeam#1187 (RUSTSEC-2025-0024): both ends are dropped at once, with events left, and what is left is freed twice.
#[test]
fn crossbeam_1187_both_ends_may_go_at_once() {
    let mut prng = Prng::new(5);
    for round in 0..500 {
        let (mut producer, mut consumer) = ring::channel(64);
        for id in 0..round % 64 {
            producer.push(&event(id, 1, &mut prng)).unwrap();
        }
        if round % 3 == 0 {
            _ = producer.claim(&event(round, 1, &mut prng));
        }
        consumer.pop(&mut [Slot::ZERO]);
        let waiting = AtomicUsize::new(2);
        let meet = || {
            waiting.fetch_sub(1, Ordering::AcqRel);
            while waiting.load(Ordering::Acquire) > 0 {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                meet();
                drop(producer);
            });
            scope.spawn(|| {
                meet();
                drop(consumer);
            });
        });
    }
}

/// agrona#22: the header of a message does not fit before the end. Here a head in the last slot has its continuations at
/// the beginning.
#[test]
fn agrona_22_a_head_in_the_last_slot() {
    let mut prng = Prng::new(6);
    let (mut producer, mut consumer) = ring::channel_at(64, 63, false);
    for span in [2, 3, 64] {
        let slots = event(span as u64, span, &mut prng);
        assert_eq!(producer.position() % 64, 63);
        producer.push(&slots).unwrap();
        let mut out = [Slot::ZERO; 64];
        assert_eq!(consumer.pop(&mut out), span);
        assert_eq!(&out[..span], untagged(&slots));
        while producer.position() % 64 != 63 {
            producer.push(&event(0, 1, &mut prng)).unwrap();
            assert_eq!(consumer.pop(&mut out), 1);
        }
    }
}

/// disruptor#50: a handler that dies leaves a drain waiting for ever. A consumer that is lost to a panic is seen gone, and
/// so is a producer.
#[test]
fn disruptor_50_an_end_that_dies_in_a_panic_is_seen_gone() {
    let mut prng = Prng::new(7);
    let (mut producer, consumer) = ring::channel(64);
    producer.push(&event(1, 1, &mut prng)).unwrap();
    let died = std::thread::scope(|scope| {
        let handler = scope.spawn(move || {
            let _consumer = consumer;
            std::panic::resume_unwind(Box::new("a handler dies"));
        });
        handler.join().is_err()
    });
    assert!(died);
    assert!(producer.is_abandoned());

    let (mut producer, mut consumer) = ring::channel(64);
    let slots = event(2, 3, &mut prng);
    let pushed = slots.clone();
    let died = std::thread::scope(|scope| {
        let source = scope.spawn(move || {
            producer.push(&pushed).unwrap();
            std::panic::resume_unwind(Box::new("a source dies"));
        });
        source.join().is_err()
    });
    assert!(died);
    let mut out = [Slot::ZERO; 64];
    assert!(consumer.is_abandoned());
    assert_eq!((consumer.pop(&mut out), &out[..3]), (3, &untagged(&slots)[..]), "what it had pushed is there");
    assert_eq!(consumer.pop(&mut out), 0);
}

/// agrona#160, rtrb's and heapless' off-by-one class: exactly full, then one out and one in, at every offset.
#[test]
fn agrona_160_exactly_full_is_full_and_one_free_slot_is_enough() {
    let mut prng = Prng::new(2);
    for start in STARTS {
        let (mut producer, mut consumer) = ring::channel_at(8, start, false);
        for id in 0..8 {
            producer.push(&event(id, 1, &mut prng)).unwrap();
        }
        for id in 8..100 {
            assert_eq!(producer.push(&event(id, 1, &mut prng)), Err(Full { shortfall: 1 }));
            assert_eq!(producer.push(&event(id, 4, &mut prng)), Err(Full { shortfall: 4 }));
            let mut out = [Slot::ZERO];
            assert_eq!((consumer.pop(&mut out), out[0].seq), (1, id - 8));
            assert_eq!(producer.push(&event(id, 2, &mut prng)), Err(Full { shortfall: 1 }));
            producer.push(&event(id, 1, &mut prng)).unwrap();
            assert_eq!((producer.occupied_slots(), consumer.len()), (8, 8));
        }
    }
}

/// crossbeam#523: a length that underflows while the other side moves.
#[test]
fn crossbeam_523_lengths_stay_within_the_capacity_while_the_other_end_moves() {
    let (mut producer, mut consumer) = ring::channel_at(64, u64::MAX - 500, false);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut prng = Prng::new(1);
            let slot = event(1, 1, &mut prng);
            for _ in 0..200_000 {
                let _ = producer.push(&slot);
                let (free, occupied) = (producer.free_slots(), producer.occupied_slots());
                assert!(free <= 64 && occupied <= 64);
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut out = [Slot::ZERO; 3];
        while !done.load(Ordering::Relaxed) {
            assert!(consumer.len() <= 64);
            consumer.pop_batch(&mut out, None);
        }
    });
}

/// camunda#770: a read that returns 0 at a wrap though there is more.
#[test]
fn camunda_770_a_pop_at_the_wrap_is_not_mistaken_for_empty() {
    let mut prng = Prng::new(2);
    for offset in 0..64 {
        let (mut producer, mut consumer) = ring::channel_at(64, offset, false);
        let run: Vec<Slot> = (0..64).flat_map(|id| event(id, 1, &mut prng)).collect();
        assert_eq!(producer.push_batch(&run, None), 64);
        let mut out = [Slot::ZERO; BATCH_SLOTS];
        assert_eq!(consumer.pop_batch(&mut out, None), 64, "offset {offset}");
    }
}

/// disruptor#286 and the drop races of other rings: what was pushed or claimed before an end is dropped stays readable,
/// and the consumer knows when it has had all.
#[test]
fn disruptor_286_dropping_the_producer_loses_nothing_and_dropping_the_consumer_is_seen() {
    let mut prng = Prng::new(2);
    let (mut producer, mut consumer) = ring::channel(64);
    producer.push(&event(1, 5, &mut prng)).unwrap();
    producer.claim(&event(2, 2, &mut prng)).unwrap();
    producer.claim(&event(3, 1, &mut prng)).unwrap();
    assert!(!consumer.is_abandoned() && !producer.is_abandoned());
    drop(producer);
    assert!(consumer.is_abandoned());
    assert_eq!(consumer.pop_batch(&mut [Slot::ZERO; 64], None), 8);
    assert!(consumer.is_empty());

    let (mut producer, consumer) = ring::channel(64);
    producer.push(&event(1, 64, &mut prng)).unwrap();
    drop(consumer);
    assert!(producer.is_abandoned());
    assert_eq!(producer.push(&event(2, 1, &mut prng)), Err(Full { shortfall: 1 }), "an abandoned ring only fills up");
}

#[test]
fn what_is_not_one_event_is_refused_loudly() {
    let mut prng = Prng::new(2);
    let (long, one) = (event(1, 3, &mut prng), event(2, 1, &mut prng));
    let pair = [one[0], one[0]];
    assert!(panics(|| _ = ring::channel(64).0.push(&[])));
    assert!(panics(|| _ = ring::channel(64).0.push(&long[..2])));
    assert!(panics(|| _ = ring::channel(64).0.push(&long[..1])));
    assert!(panics(|| _ = ring::channel(64).0.push(&pair)));
    assert!(panics(|| _ = ring::channel(64).0.claim(&long[..1])));
    assert!(panics(|| _ = ring::channel(64).0.push_batch(&long[..2], None)));
    assert!(panics(|| _ = ring::channel(64).0.push_batch(&one, Some(&[]))));
    assert!(panics(|| _ = ring::channel(64).1.pop_batch(&mut [Slot::ZERO; 2], Some(&mut [0]))));
}
