//! Bugs that other dedup windows had, each under its name; bad input; floods; and the rows of the requirements that the window
//! shows alone.

mod dedup_twin;

use dedup_twin::{aged, aged_unswept};
use tapeline_core::dedup::{DedupCounts, DedupWindow, Seen};
use tapeline_core::event::{Flags, Identity, Slot};
use tapeline_core::hash::{SeededHash, reduce};
use tapeline_core::limits::{DEDUP_CAPACITY_MAX, DEDUP_PROBE_BUCKETS_MAX};
use tapeline_core::testing::{CountingAlloc, Prng, allocations, for_seeds, without_allocation};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

const MINUTE: u64 = 60_000_000_000;

fn id(seq: u64) -> Identity {
    Identity { seq, symbol: SymbolId(1), part: 0, source: SourceId(1), pad: 0 }
}

/// Sees one identity, and checks everything.
fn see(window: &mut DedupWindow, identity: Identity, now: u64) -> Seen {
    let seen = without_allocation(|| window.seen_or_insert(identity, UnixNanos(now)));
    window.assert_invariants();
    seen
}

fn restarted(window: &DedupWindow) -> DedupWindow {
    let mut bytes = Vec::new();
    window.snapshot(&mut bytes);
    DedupWindow::restore(window.capacity(), window.window_ns(), &bytes).unwrap()
}

#[test]
fn req_d3_nats_3272_what_was_seen_is_seen_after_a_restart() {
    let mut window = DedupWindow::new(100, 2 * MINUTE, 7);
    for seq in 0..150 {
        assert_eq!(see(&mut window, id(seq), 10 * MINUTE + seq), Seen::New);
    }
    let mut window = restarted(&window);
    // All that the capacity promises: the last hundred, sent again in their order.
    for seq in 50..150 {
        assert_eq!(see(&mut window, id(seq), 11 * MINUTE), Seen::Duplicate, "{seq}");
    }
    // The clock of a restart that is late counts too.
    let mut late = restarted(&window);
    assert_eq!(see(&mut late, id(0), 16 * MINUTE), Seen::New);
}

#[test]
fn nats_7302_a_sender_that_repeats_itself_for_ever_is_a_duplicate_for_ever() {
    // The peer answered Denied, Processed, Denied, Processed to a message sent every minute, with a window of two.
    for period in [1, MINUTE, 2 * MINUTE - 1] {
        let mut window = DedupWindow::new(4, 2 * MINUTE, 7);
        let mut now = 77 * MINUTE + 1;
        assert_eq!(see(&mut window, id(1), now), Seen::New);
        for _ in 0..100 {
            now += period;
            assert_eq!(see(&mut window, id(1), now), Seen::Duplicate, "at {now}");
        }
        assert_eq!(
            see(&mut window, id(1), now + 4 * MINUTE),
            Seen::New,
            "two windows after the last sight it is forgotten"
        );
    }
}

#[test]
fn iggy_3905_what_is_fresh_is_not_evicted_and_what_is_evicted_is_counted() {
    // The peer took a client's dedup state away under pressure, and executed the client's next retry a second time.
    let mut window = DedupWindow::new(100, MINUTE, 7);
    assert_eq!(see(&mut window, id(0), 0), Seen::New);
    // A busy source writes as many as a generation holds, less one: the quiet one's entry stands.
    let busy = |seq| Identity { source: SourceId(2), ..id(seq) };
    for seq in 0..99 {
        assert_eq!(see(&mut window, busy(seq), 0), Seen::New);
    }
    for round in 1..20 {
        assert_eq!(see(&mut window, id(0), 0), Seen::Duplicate, "in round {round}");
        for seq in 0..99 {
            assert_eq!(see(&mut window, busy(round * 1_000 + seq), 0), Seen::New);
        }
    }
    assert_eq!(window.counts().expired, 0);
    let before = *window.counts();
    for seq in 0..200 {
        assert_eq!(see(&mut window, busy(1_000_000 + seq), 0), Seen::New);
    }
    assert_eq!(see(&mut window, id(0), 0), Seen::New, "two generations of others were written");
    assert!(window.counts().evicted > before.evicted && window.counts().turns_by_count > before.turns_by_count);
    assert_eq!(window.counts().new, window.len() as u64 + window.counts().evicted);
}

#[test]
fn req_3388_3392_a_window_never_grows() {
    let mut window = DedupWindow::new(1_000, MINUTE, 1);
    let bytes = window.bytes();
    let before = allocations();
    for seq in 0..1_000_000 {
        assert_eq!(window.seen_or_insert(id(seq), UnixNanos(seq)), Seen::New);
        assert!(window.len() <= 2_000);
    }
    assert_eq!((window.bytes(), allocations()), (bytes, before));
    window.assert_invariants();
    // 85 bytes for each identity of a generation, and the floors of the sources.
    assert_eq!(bytes, 1_334 * 64 + 256 * 4);
}

#[test]
fn req_3381_d2_identities_are_plain_numbers_and_each_field_counts() {
    let mut window = DedupWindow::new(64, MINUTE, 1);
    let base = Identity { seq: 5, symbol: SymbolId(6), part: 7, source: SourceId(8), pad: 0 };
    let others = [
        base,
        Identity { seq: 5 | 1 << 63, ..base },
        Identity { symbol: SymbolId(6 | 1 << 31), ..base },
        Identity { part: 7 | 1 << 15, ..base },
        Identity { source: SourceId(8 | 1 << 7), ..base },
    ];
    for other in others {
        assert_eq!(see(&mut window, other, 1), Seen::New, "{other:?}");
    }
    for other in others {
        assert_eq!(see(&mut window, other, 1), Seen::Duplicate, "{other:?}");
    }
}

#[test]
fn req_3471_no_identity_is_taken_twice_across_a_restart() {
    let mut window = DedupWindow::new(1_000, MINUTE, 3);
    let mut accepted = vec![0u32; 3_000];
    let mut prng = Prng::new(3);
    for step in 0..20_000u64 {
        if step % 500 == 499 {
            window = restarted(&window);
        }
        // A resend of the last 300 now and then.
        let newest = step / 8;
        let seq = newest.saturating_sub(if prng.one_in(3) { prng.in_range(0..300) } else { 0 });
        if window.seen_or_insert(id(seq), UnixNanos(step)) == Seen::New {
            accepted[seq as usize] += 1;
        }
    }
    assert!(accepted.iter().all(|&times| times <= 1));
    assert_eq!(accepted.iter().sum::<u32>(), 2_500, "and none was lost");
}

#[test]
fn what_is_unsequenced_is_exempt() {
    let mut window = DedupWindow::new(10, MINUTE, 1);
    let mut head = Slot { flags: Flags::UNSEQUENCED.with(Flags::LAST), ..Slot::ZERO };
    for _ in 0..3 {
        assert_eq!(window.admit(&head, UnixNanos(5)), Seen::Exempt);
    }
    assert!(window.is_empty());
    head.flags = Flags::LAST;
    assert_eq!(window.admit(&head, UnixNanos(5)), Seen::New);
    assert_eq!(window.admit(&head, UnixNanos(5)), Seen::Duplicate);
    let counts = DedupCounts { new: 1, duplicate: 1, exempt: 3, ..DedupCounts::default() };
    assert_eq!(*window.counts(), counts);
}

#[test]
fn an_epoch_of_one_source_begins_anew_and_the_others_go_on() {
    let mut window = DedupWindow::new(4, MINUTE, 1);
    let of = |source, seq| Identity { source: SourceId(source), ..id(seq) };
    for source in [0, 1, 255] {
        assert_eq!(see(&mut window, of(source, 1), 0), Seen::New);
    }
    window.forget_source(SourceId(1));
    assert!(!window.contains(of(1, 1), UnixNanos(0)) && window.contains(of(0, 1), UnixNanos(0)));
    assert_eq!(see(&mut window, of(1, 1), 0), Seen::New);
    assert_eq!(see(&mut window, of(1, 1), 0), Seen::Duplicate);
    assert_eq!(see(&mut window, of(255, 1), 0), Seen::Duplicate);
    assert_eq!((window.len(), window.counts().replaced), (3, 1));
    window.forget_all();
    for source in [0, 1, 255] {
        assert_eq!(see(&mut window, of(source, 1), 0), Seen::New);
    }
}

/// A small capture played in a loop, an epoch each pass: more epochs than any counter of 8 or 16 bits holds, within one window.
#[test]
fn a_hundred_thousand_epochs_in_one_window_stay_apart() {
    for stamps in [0, u32::MAX - 5_000] {
        let mut window = aged(&DedupWindow::new(3, MINUTE, 1), stamps);
        for pass in 0..100_000u64 {
            window.forget_source(SourceId(1));
            for seq in 0..2 {
                assert_eq!(window.seen_or_insert(id(seq), UnixNanos(pass)), Seen::New, "pass {pass}");
                assert_eq!(window.seen_or_insert(id(seq), UnixNanos(pass)), Seen::Duplicate, "pass {pass}");
            }
            if pass % 997 == 0 {
                window.assert_invariants();
            }
        }
        assert_eq!(window.counts().unremembered, 0);
    }
}

/// Stamps wrap after 2^32 generations: neither entries nor epochs of long ago may come alive again.
#[test]
fn what_died_long_ago_stays_dead() {
    let mut window = DedupWindow::new(50, 10, 1);
    for seq in 0..100 {
        assert_eq!(see(&mut window, id(seq), seq / 10), Seen::New);
    }
    window.forget_source(SourceId(2));
    let mut now = 1_000;
    window.advance(UnixNanos(now));
    // Almost half of the range at once, and then as many generations as a sweep takes.
    for _ in 0..9 {
        window = aged_unswept(&window, (1 << 31) - 1_000);
        for seq in 0..100 {
            assert!(!window.contains(id(seq), UnixNanos(now)), "{seq}");
        }
        for _ in 0..300 {
            now += 20;
            for source in [1, 2] {
                let identity = Identity { source: SourceId(source), ..id(now + 1_000_000) };
                assert_eq!(window.seen_or_insert(identity, UnixNanos(now)), Seen::New);
                window.forget_source(SourceId(9));
                assert_eq!(window.seen_or_insert(identity, UnixNanos(now)), Seen::Duplicate);
            }
        }
        now += 1_000;
        window.advance(UnixNanos(now));
        window.assert_invariants();
    }
}

/// Identities whose search begins at the same bucket, as an attacker would pick them who knew the seed.
fn colliding(seed: u64, capacity: usize, count: usize) -> Vec<Identity> {
    let buckets = (4 * capacity).div_ceil(3);
    let hash = SeededHash::new(seed);
    let home = |identity: Identity| reduce(hash.of(bytemuck::bytes_of(&identity)), buckets);
    (0..).map(id).filter(|&identity| home(identity) == 17).take(count).collect()
}

#[test]
fn a_flood_of_equal_hashes_is_refused_at_the_end_of_the_probe_and_counted() {
    let capacity = 2_000;
    let room = DEDUP_PROBE_BUCKETS_MAX * 3;
    let flood = colliding(99, capacity, room + 10);
    let mut window = DedupWindow::new(capacity, MINUTE, 99);
    for (number, &identity) in flood.iter().enumerate() {
        let expected = if number < room { Seen::New } else { Seen::Unremembered };
        assert_eq!(see(&mut window, identity, 0), expected, "{number}");
    }
    assert_eq!(window.counts().unremembered, 10);
    for (number, &identity) in flood.iter().enumerate() {
        let expected = if number < room { Seen::Duplicate } else { Seen::Unremembered };
        assert_eq!(see(&mut window, identity, 0), expected, "{number}");
    }
    // Their neighbours find room, and under another seed it is no flood.
    assert_eq!(see(&mut window, id(1 << 60), 0), Seen::New);
    let mut window = DedupWindow::new(capacity, MINUTE, 100);
    assert!(flood.iter().all(|&identity| window.seen_or_insert(identity, UnixNanos(0)) == Seen::New));
    // When the first half of a chain is dead, the rest is still found, refreshed or not.
    let mut window = DedupWindow::new(capacity, MINUTE, 99);
    for &identity in &flood[..100] {
        assert_eq!(see(&mut window, identity, 0), Seen::New);
    }
    for &identity in &flood[60..100] {
        assert_eq!(see(&mut window, identity, MINUTE), Seen::Duplicate);
    }
    for &identity in &flood[100..150] {
        assert_eq!(see(&mut window, identity, 2 * MINUTE), Seen::New);
    }
    for &identity in &flood[60..150] {
        assert_eq!(see(&mut window, identity, 2 * MINUTE), Seen::Duplicate);
    }
    for &identity in &flood[..60] {
        assert_eq!(see(&mut window, identity, 2 * MINUTE), Seen::New);
    }
}

/// Full generations, without an attacker: the cap of the probe is never reached.
#[test]
fn a_full_window_finds_room_for_everything() {
    for_seeds(0..4, |seed, prng| {
        let capacity = 50_000;
        let mut window = DedupWindow::new(capacity, MINUTE, seed);
        for seq in 0..300_000u64 {
            // Runs of numbers, as feeds have them; and what is drawn.
            let seq = if seed % 2 == 0 { seq } else { prng.next_u64() };
            let identity = Identity { symbol: SymbolId((seq % 7) as u32), ..id(seq) };
            assert_ne!(window.seen_or_insert(identity, UnixNanos(0)), Seen::Unremembered);
        }
        assert!(window.len() >= capacity && window.counts().turns_by_count >= 4);
        window.assert_invariants();
    });
}

#[test]
fn time_that_goes_backward_stands_still() {
    let mut window = DedupWindow::new(2, 100, 1);
    assert_eq!(see(&mut window, id(1), 1_000), Seen::New);
    assert_eq!(see(&mut window, id(1), 0), Seen::Duplicate);
    assert_eq!(see(&mut window, id(2), 0), Seen::New);
    // Full: the generation after it begins at 1,000, not at 0.
    assert_eq!(see(&mut window, id(3), 0), Seen::New);
    assert_eq!(see(&mut window, id(1), 1_099), Seen::Duplicate);
    window.advance(UnixNanos(u64::MAX));
    assert!(window.is_empty());
}

#[test]
fn generations_turn_at_multiples_of_the_window_and_nowhere_else() {
    // What is remembered depends on the times of an identity and nothing else, so that it is the same on any number of shards.
    for (first, again, expected) in [
        (0, 199, Seen::Duplicate),
        (0, 200, Seen::New),
        (99, 199, Seen::Duplicate),
        (99, 200, Seen::New),
        (100, 200, Seen::Duplicate),
        (100, 299, Seen::Duplicate),
        (100, 300, Seen::New),
    ] {
        for other in [None, Some(50), Some(130)] {
            let mut window = DedupWindow::new(10, 100, 1);
            let mut times: Vec<(u64, u64)> = other.map(|at| (at, 2)).into_iter().chain([(first, 1)]).collect();
            times.sort_unstable();
            for (at, seq) in times {
                assert_eq!(see(&mut window, id(seq), at), Seen::New);
            }
            if other.is_none_or(|at| at < again) {
                assert_eq!(see(&mut window, id(1), again), expected, "{first} {again} {other:?}");
            }
        }
    }
}

#[test]
fn the_end_of_time_is_a_generation_that_does_not_end() {
    for window_ns in [1, 1_000, u64::MAX] {
        let mut window = DedupWindow::new(2, window_ns, 1);
        for now in [u64::MAX - 1, u64::MAX, u64::MAX, 5, u64::MAX] {
            let _ = see(&mut window, id(1), now);
        }
        assert_eq!(see(&mut window, id(1), u64::MAX), Seen::Duplicate);
        for seq in 2..9 {
            assert_eq!(see(&mut window, id(seq), u64::MAX), Seen::New);
        }
        assert_eq!(see(&mut window, id(8), u64::MAX), Seen::Duplicate);
    }
}

#[test]
fn capacity_nothing_and_one() {
    let mut none = DedupWindow::new(0, 1, 1);
    for now in 0..5 {
        assert_eq!(see(&mut none, id(1), now), Seen::Unremembered);
    }
    assert_eq!((none.len(), none.counts().unremembered), (0, 5));
    let mut one = DedupWindow::new(1, MINUTE, 1);
    assert_eq!(see(&mut one, id(1), 0), Seen::New);
    assert_eq!(see(&mut one, id(2), 0), Seen::New);
    assert_eq!(see(&mut one, id(1), 0), Seen::Duplicate, "of the generation before");
    assert_eq!(see(&mut one, id(3), 0), Seen::New);
    assert_eq!(see(&mut one, id(2), 0), Seen::New, "1 was refreshed, 2 was not");
}

#[test]
#[should_panic(expected = "at most 268435456 identities, not 268435457")]
fn a_capacity_beyond_the_limit_is_a_panic() {
    let _ = DedupWindow::new(DEDUP_CAPACITY_MAX + 1, 1, 1);
}

#[test]
#[should_panic(expected = "longer than 0 ns")]
fn a_window_of_no_time_is_a_panic() {
    let _ = DedupWindow::new(1, 0, 1);
}

#[test]
#[should_panic(expected = "each identity has an answer")]
fn a_batch_of_other_lengths_is_a_panic() {
    DedupWindow::new(1, 1, 1).seen_or_insert_batch(&[id(1)], &[UnixNanos(1)], &mut []);
}
