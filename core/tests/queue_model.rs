//! The request queue against its naive twin, compared after every operation.

mod queue_twin;

use proptest::prelude::*;
use queue_twin::{Pair, Seen};
use tapeline_core::queue::Config;
use tapeline_core::testing::{CountingAlloc, PrintOnPanic, Prng};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// Settings by the seed: narrow and wide limits, with and without merging, aging, turns.
fn config(seed: u64, capacity: usize) -> Config {
    let of = |values: [u64; 4], divisor: u64| values[(seed / divisor % 4) as usize];
    Config {
        symbols: of([1, 3, 9, 40], 1) as usize,
        capacity,
        per_symbol: of([1, 3, 20, 10_000], 4) as u32,
        in_flight_per_symbol: of([1, 2, 5, u64::from(u32::MAX)], 3) as u32,
        aging_step_ns: of([0, 1, 1_000_000, 3_600_000_000_000], 5),
        merge_window_ns: of([0, 1, 1_000_000, u64::MAX], 2),
        turn_bits: of([0, 1, 20, 40], 7) as u32,
        tick_ns: of([1, 1_000, 1_000_000, 7], 6),
        instance: seed as u32,
    }
}

fn run(seed: u64, capacity: usize, operations: usize, invariants_every: usize, seen: &mut Seen) {
    let config = config(seed, capacity);
    let _named = PrintOnPanic(format!("seed={seed} {config:?}"));
    let mut prng = Prng::new(seed);
    let start = [0, 1 << 40, 1_700_000_000_000_000_000][seed as usize % 3];
    let mut pair = Pair::new(&config, start);
    for operation in 0..operations {
        pair.step(&mut prng);
        if operation % invariants_every == 0 {
            pair.compare_all();
        }
    }
    pair.compare_all();
    pair.drain();
    let Seen { queued, merged, joined, symbol_full, queue_full, unknown, .. } = pair.seen;
    let Seen { popped, none_eligible, expired, out_of_budget, cleared, stale, backward, second_turns, .. } = pair.seen;
    seen.restarts += pair.seen.restarts;
    seen.queued += queued;
    seen.merged += merged;
    seen.joined += joined;
    seen.symbol_full += symbol_full;
    seen.queue_full += queue_full;
    seen.unknown += unknown;
    seen.popped += popped;
    seen.none_eligible += none_eligible;
    seen.expired += expired;
    seen.out_of_budget += out_of_budget;
    seen.cleared += cleared;
    seen.stale += stale;
    seen.backward += backward;
    seen.second_turns += second_turns;
}

/// That all there is to see was seen, more than `times` times.
fn assert_all_seen(seen: &Seen, times: u64) {
    let Seen { queued, merged, joined, symbol_full, queue_full, unknown, popped, none_eligible, .. } = *seen;
    let Seen { expired, out_of_budget, cleared, stale, backward, second_turns, .. } = *seen;
    assert!(seen.restarts > times / 5, "{seen:?}");
    for count in [queued, merged, joined, symbol_full, queue_full, unknown, popped, none_eligible] {
        assert!(count > times, "{seen:?}");
    }
    for count in [expired, out_of_budget, cleared, stale, backward, second_turns] {
        assert!(count > times, "{seen:?}");
    }
}

#[test]
fn agrees_with_its_twin_with_full_invariants_after_each_operation() {
    let mut seen = Seen::default();
    for (at, capacity) in [0, 1, 2, 3, 8, 17, 64].into_iter().enumerate() {
        for round in 0..100 {
            run((at * 1_000 + round) as u64, capacity, 1_000, 1, &mut seen);
        }
    }
    assert_all_seen(&seen, 1_000);
}

fn ten_million(half: u64) {
    let mut seen = Seen::default();
    for seed in 0..50 {
        run(10_000 * (half + 1) + seed, [8, 64, 200, 64][seed as usize % 4], 100_000, 4_096, &mut seen);
    }
    assert_all_seen(&seen, 1_000);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_first_half() {
    ten_million(0);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_second_half() {
    ten_million(1);
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test queue_model -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    let mut seen = Seen::default();
    for seed in 0..1_000 {
        run(1 << 32 | seed, 16 << (seed % 5), 100_000, 4_096, &mut seen);
    }
    assert_all_seen(&seen, 10_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Steps by seeds of their own, so that a failing run shrinks to the steps that matter.
    #[test]
    fn any_operations_agree_with_the_twin(
        settings in 0u64..100_000,
        capacity in 0usize..12,
        start in prop_oneof![Just(0u64), Just(1 << 36), 0u64..1 << 60],
        steps in prop::collection::vec(any::<u64>(), 1..80),
    ) {
        let mut pair = Pair::new(&config(settings, capacity), start);
        for step in steps {
            pair.step(&mut Prng::new(step));
            pair.compare_all();
        }
        pair.drain();
    }
}
