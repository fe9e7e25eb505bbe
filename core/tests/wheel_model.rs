//! The timing wheel against its naive twin, compared after every operation.

mod wheel_twin;

use proptest::prelude::*;
use wheel_twin::{Op, Pair, Rng, SeedOnPanic, When};

/// Where time begins: zero, the last slot of a block, and where peers' wheels broke.
const STARTS: [u64; 7] = [0, 62, 63, 4_095, 1 << 32, 1 << 36, u64::MAX - 10];
/// Ticks in ns: the least, an odd one, the engine's, and one of which u64 holds few.
const TICKS_NS: [u64; 5] = [1, 7, 1_000, 1_000_000, 1 << 50];

/// What happened in a run, so that tests can show that it did.
#[derive(Default)]
struct Seen {
    fired: u64,
    full: u64,
    late: u64,
    out_of_budget: u64,
    ends_of_time: u64,
}

impl Seen {
    fn add(&mut self, pair: &Pair) {
        self.fired += pair.fired();
        self.full += pair.full;
        self.late += pair.late;
        self.out_of_budget += pair.out_of_budget;
    }
}

fn run(seed: u64, capacity: usize, tick_ns: u64, start: u64, operations: usize, invariants_every: usize) -> Seen {
    let _seed = SeedOnPanic(format!("seed={seed} capacity={capacity} tick_ns={tick_ns} start={start}"));
    let mut rng = Rng::new(seed);
    let mut seen = Seen::default();
    let mut pair = Pair::new(capacity, tick_ns, start);
    let mut at_the_end = 0;
    for operation in 0..operations {
        let filling = (operation / (4 * capacity + 16)).is_multiple_of(3);
        pair.apply(Op::random(&mut rng, tick_ns, filling));
        if operation % invariants_every == 0 {
            pair.compare_all();
        }
        // Jumps bring time to its end sooner or later, where everything is due: stay a little, and begin again.
        at_the_end += usize::from(pair.is_near_the_end());
        if at_the_end > 300 {
            pair.compare_all();
            pair.drain();
            seen.add(&pair);
            seen.ends_of_time += 1;
            at_the_end = 0;
            let start = STARTS[rng.below(STARTS.len() as u64) as usize];
            pair = Pair::new(capacity, tick_ns, start.saturating_add(rng.log_uniform(50)));
        }
    }
    pair.compare_all();
    pair.drain();
    seen.add(&pair);
    seen
}

#[test]
fn agrees_with_its_twin_with_full_invariants_after_each_operation() {
    let mut late = 0;
    let mut out_of_budget = 0;
    let mut ends_of_time = 0;
    for (seed, capacity) in [0, 1, 2, 3, 8, 17, 64].into_iter().enumerate() {
        let mut full = 0;
        // 100,000 operations a capacity, over many beginnings, since time soon runs far away from each.
        for round in 0..100 {
            let start = STARTS[round % STARTS.len()];
            let tick_ns = TICKS_NS[round % TICKS_NS.len()];
            let seen = run((seed * 1_000 + round) as u64, capacity, tick_ns, start, 1_000, 1);
            full += seen.full;
            late += seen.late;
            out_of_budget += seen.out_of_budget;
            ends_of_time += seen.ends_of_time;
        }
        assert!(full > 100, "the limit of {capacity} is reached: {full}");
    }
    assert!(late > 1_000, "deadlines before the time polled take part: {late}");
    assert!(ends_of_time > 100, "time ends: {ends_of_time}");
    assert!(out_of_budget > 1_000, "budgets end: {out_of_budget}");
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations() {
    let mut fired = 0;
    for seed in 0..100 {
        fired += run(seed, 300, TICKS_NS[seed as usize % 5], STARTS[seed as usize % 7], 100_000, 4_096).fired;
    }
    assert!(fired > 1_000_000, "{fired}");
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test wheel_model -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    for seed in 0..1_000 {
        run(1 << 32 | seed, 64 << (seed % 4), TICKS_NS[seed as usize % 5], STARTS[seed as usize % 7], 100_000, 4_096);
    }
}

/// Schedules at two instants only, across a slot that is moved down in pieces: equal T from both sides.
#[test]
fn equal_deadlines_keep_their_order_while_their_slot_is_half_moved_down() {
    for level in 1..8u32 {
        for budget in 0..12 {
            let _seed = SeedOnPanic(format!("level={level} budget={budget}"));
            let start = 64u64.pow(level);
            let mut pair = Pair::new(64, 1, 0);
            for i in 0..10 {
                pair.apply(Op::Schedule(When::At(start + i % 3)));
            }
            // The slot's time has come, and the budget ends inside it.
            pair.apply(Op::PopWithin(When::At(start), budget));
            pair.wheel.assert_invariants();
            for i in 0..10 {
                pair.apply(Op::Schedule(When::At(start + i % 4)));
                pair.apply(Op::Schedule(When::At(start - 1)));
                pair.wheel.assert_invariants();
            }
            pair.apply(Op::Poll(When::At(start + 1), usize::MAX));
            pair.apply(Op::Poll(When::At(start + 5), usize::MAX));
            assert!(pair.wheel.is_empty());
        }
    }
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        4 => (0u64..300).prop_map(When::After),
        2 => (0u32..40, any::<u64>()).prop_map(|(bits, x)| When::After(x >> (63 - bits))),
        2 => (0usize..8).prop_map(When::SameAs),
        1 => (0u64..200).prop_map(When::Before),
        2 => Just(When::Hint),
    ]
}

fn operation() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => when().prop_map(Op::Schedule),
        2 => (0usize..8).prop_map(Op::Cancel),
        1 => (0usize..8).prop_map(Op::CancelStale),
        2 => ((0usize..8), when()).prop_map(|(n, when)| Op::Reschedule(n, when)),
        3 => when().prop_map(Op::Pop),
        2 => (when(), 0usize..6).prop_map(|(when, budget)| Op::PopWithin(when, budget)),
        2 => (when(), 0usize..6).prop_map(|(when, budget)| Op::Poll(when, budget)),
        1 => (when(), when()).prop_map(|(now, deadline)| Op::PopAndSchedule(now, deadline)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_operations_agree_with_the_twin(
        capacity in 0usize..12,
        tick_ns in prop_oneof![Just(1u64), Just(10), Just(1 << 40)],
        start in prop_oneof![Just(0u64), Just(63), Just(1 << 36), Just(u64::MAX - 10), any::<u64>()],
        operations in prop::collection::vec(operation(), 1..60),
    ) {
        let mut pair = Pair::new(capacity, tick_ns, start);
        for op in operations {
            pair.apply(op);
            pair.compare_all();
        }
        pair.drain();
    }
}
