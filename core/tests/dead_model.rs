//! The dead letters against their naive twin, compared after every operation.

mod dead_twin;

use dead_twin::{ERRORS, Pair, SYMBOLS, Seen};
use proptest::prelude::*;
use tapeline_core::dead::{Cause, Config, Refused};
use tapeline_core::testing::{CountingAlloc, PrintOnPanic, Prng, allocations};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// Where time begins.
const STARTS: [u64; 4] = [0, 1 << 32, 1_700_000_000_000_000_000, u64::MAX - 1_000];

fn config(entries: usize, slots: usize, holds: usize, held_per_symbol: usize, seed: u64) -> Config {
    Config { entries, slots, holds, held_per_symbol, symbols: SYMBOLS, errors: ERRORS, seed, instance: seed as u32 }
}

fn run(seed: u64, config: Config, operations: usize, invariants_every: usize) -> Seen {
    let _named = PrintOnPanic(format!("seed {seed}, {config:?}"));
    let mut prng = Prng::new(seed);
    let mut pair = Pair::new(config, STARTS[seed as usize % STARTS.len()]);
    for operation in 0..operations {
        let is_filling = (operation / (8 * config.entries + 16)).is_multiple_of(2);
        pair.step(&mut prng, is_filling);
        if operation % invariants_every == 0 {
            pair.compare_all();
        }
        if operation % 5_003 == 5_002 {
            pair.restart();
        }
    }
    pair.compare_all();
    pair.seen()
}

fn assert_interesting(seen: &Seen, least: u64) {
    // The shard's own: this structure knows no schema.
    for refused in Refused::ALL.into_iter().filter(|refused| *refused != Refused::Invalid) {
        assert!(seen.stats.refused_by[refused as usize] > least, "{}: {seen:?}", refused.name());
    }
    for cause in Cause::ALL {
        assert!(seen.stats.parked_by[cause as usize] > least, "{}: {seen:?}", cause.name());
    }
    let stats = &seen.stats;
    let counts = [stats.retries, stats.held, stats.succeeded, stats.redriven, stats.removed, stats.postponed];
    assert!(counts.iter().all(|count| *count > least), "{seen:?}");
    assert!([seen.pages, seen.resumed, seen.swept, seen.shared].iter().all(|count| *count > least), "{seen:?}");
    assert!(allocations() > 0, "the allocator counts");
}

#[test]
fn agrees_with_its_twin_with_full_invariants_after_each_operation() {
    let mut seen = Seen::default();
    for (at, entries) in [0, 1, 2, 3, 8, 17, 64].into_iter().enumerate() {
        for round in 0..10 {
            let seed = (at * 100 + round) as u64;
            let slots = [entries, 2 * entries, 70 + entries][round % 3];
            let holds = [0, 1, 3, 64][round % 4];
            let held_per_symbol = [0, 1, 4, usize::MAX][(round / 2) % 4];
            seen.add(&run(seed, config(entries, slots, holds, held_per_symbol, seed), 2_000, 1));
        }
    }
    assert_interesting(&seen, 50);
}

fn ten_million(seeds: std::ops::Range<u64>) {
    let mut seen = Seen::default();
    for seed in seeds {
        let entries = [40, 100, 200, 300][seed as usize % 4];
        let held = [2, 8, 20, 60][seed as usize / 4 % 4];
        seen.add(&run(1 << 20 | seed, config(entries, entries * 3 / 2, 12, held, seed), 100_000, 4_096));
    }
    assert_interesting(&seen, 2_000);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_first_quarter() {
    ten_million(0..25);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_second_quarter() {
    ten_million(25..50);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_third_quarter() {
    ten_million(50..75);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_last_quarter() {
    ten_million(75..100);
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test dead_model -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    ten_million(1_000..2_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// The bytes choose the operations one by one, so that a failure shrinks to few of them.
    #[test]
    fn any_operations_agree_with_the_twin(
        entries in 0usize..10,
        slots in 0usize..80,
        holds in 0usize..4,
        held_per_symbol in 0usize..4,
        operations in prop::collection::vec(any::<u64>(), 1..80),
    ) {
        let mut pair = Pair::new(config(entries, slots, holds, held_per_symbol, 1), 5);
        for seed in operations {
            pair.step(&mut Prng::new(seed), seed % 2 == 0);
            pair.compare_all();
        }
        pair.restart();
        pair.compare_all();
    }
}
