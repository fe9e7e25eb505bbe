//! The timing wheel against its naive twin, compared after every operation.

mod wheel_twin;

use proptest::prelude::*;
use tapeline_core::testing::{PrintOnPanic, Prng};
use wheel_twin::{Op, Pair, When};

/// Ticks at which time begins: zero, the ends of the blocks of the lower levels, and where peers' wheels broke.
const STARTS: [u64; 8] = [0, 62, 4_094, 4_095, (1 << 18) - 1, 1 << 32, 1 << 36, u64::MAX];
/// Ticks in ns: the least, an odd one, the engine's, and one of which u64 holds few.
const TICKS_NS: [u64; 5] = [1, 7, 1_000, 1_000_000, 1 << 50];

/// What happened in a run, so that tests can show that it did.
#[derive(Default)]
struct Seen {
    fired: u64,
    full: u64,
    late: u64,
    stale: u64,
    moves: u64,
    out_of_budget: u64,
    ends_of_time: u64,
    restarts: u64,
}

impl Seen {
    fn add(&mut self, pair: &Pair) {
        self.fired += pair.fired();
        self.full += pair.full;
        self.late += pair.late;
        self.stale += pair.stale;
        self.moves += pair.wheel.moves();
        self.out_of_budget += pair.out_of_budget;
        self.restarts += pair.restarts;
    }

    fn add_all(&mut self, other: &Self) {
        self.fired += other.fired;
        self.full += other.full;
        self.late += other.late;
        self.stale += other.stale;
        self.moves += other.moves;
        self.out_of_budget += other.out_of_budget;
        self.ends_of_time += other.ends_of_time;
        self.restarts += other.restarts;
    }
}

fn instant(tick: u64, tick_ns: u64) -> u64 {
    tick.saturating_mul(tick_ns).min(u64::MAX - 10)
}

fn run(seed: u64, capacity: usize, tick_ns: u64, start: u64, operations: usize, invariants_every: usize) -> Seen {
    let _seed = PrintOnPanic(format!("seed={seed} capacity={capacity} tick_ns={tick_ns} start={start}"));
    let mut rng = Prng::new(seed);
    let mut seen = Seen::default();
    let mut pair = Pair::new(capacity, tick_ns, instant(start, tick_ns));
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
            let start = STARTS[rng.index(STARTS.len())];
            pair = Pair::new(capacity, tick_ns, instant(start, tick_ns).saturating_add(rng.log_uniform(50)));
        }
    }
    pair.compare_all();
    pair.drain();
    seen.add(&pair);
    seen
}

/// 100,000 operations at a capacity, over many beginnings, since time soon runs far away from each; full invariants after
/// each.
fn full_invariants(capacities: &[usize]) {
    let mut all = Seen::default();
    for &capacity in capacities {
        let mut seen = Seen::default();
        for round in 0..100 {
            let (start, tick_ns) = (STARTS[round % STARTS.len()], TICKS_NS[round % TICKS_NS.len()]);
            seen.add_all(&run((capacity * 1_000 + round) as u64, capacity, tick_ns, start, 1_000, 1));
        }
        assert!(seen.full > 100, "the limit of {capacity} is reached: {}", seen.full);
        all.add_all(&seen);
    }
    assert!(all.late > 1_000, "deadlines before the time polled take part: {}", all.late);
    assert!(all.moves > 1_000, "timers move down: {}", all.moves);
    assert!(all.stale > 1_000, "stale handles are used: {}", all.stale);
    assert!(all.ends_of_time > 10, "time ends: {}", all.ends_of_time);
    assert!(all.out_of_budget > 1_000, "budgets end: {}", all.out_of_budget);
}

#[test]
fn agrees_with_its_twin_with_full_invariants_after_each_operation() {
    full_invariants(&[0, 1, 2, 64]);
}

#[test]
fn agrees_with_its_twin_with_full_invariants_at_further_capacities() {
    full_invariants(&[3, 8, 17]);
}

/// 100,000 operations a seed, of which each is compared, and every 4,096th with full invariants.
fn compared(seeds: std::ops::Range<u64>, capacity: usize) {
    let mut all = Seen::default();
    for seed in seeds {
        let (start, tick_ns) = (STARTS[seed as usize % STARTS.len()], TICKS_NS[seed as usize % TICKS_NS.len()]);
        all.add_all(&run(seed, capacity, tick_ns, start, 100_000, 4_096));
    }
    assert!(all.fired > 100_000, "{}", all.fired);
    let Seen { full, late, stale, moves, out_of_budget, ends_of_time, .. } = all;
    for seen in [full, late, stale, moves, out_of_budget, ends_of_time] {
        assert!(seen > 100, "{full} {late} {stale} {moves} {out_of_budget} {ends_of_time}");
    }
}

#[test]
fn agrees_with_its_twin_over_the_first_five_million_operations() {
    compared(0..50, 300);
}

#[test]
fn agrees_with_its_twin_over_the_second_five_million_operations() {
    compared(50..100, 100);
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test wheel_model -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    for part in 0..4 {
        compared(1 << 32 | part << 8..(1 << 32 | part << 8) + 250, 64 << part);
    }
}

/// Schedules at two instants only, across a slot that is moved down in pieces: equal T from both sides.
#[test]
fn equal_deadlines_keep_their_order_while_their_slot_is_half_moved_down() {
    for level in 1..9u32 {
        for budget in 0..12 {
            let _seed = PrintOnPanic(format!("level={level} budget={budget}"));
            let start = 2 << 12 << (6 * (level - 1));
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
        2 => (1u64..70, prop_oneof![Just(4_096u64), Just(1 << 18)]).prop_map(|(n, slot)| When::After(n * slot - n % 3)),
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
        1 => Just(Op::Restart),
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
