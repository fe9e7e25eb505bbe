//! The dedup window against its naive twin, compared after every operation, and against its promises.

mod dedup_twin;

use dedup_twin::{Life, Pair};
use proptest::prelude::*;
use tapeline_core::dedup::{DedupCounts, Seen};
use tapeline_core::event::Identity;
use tapeline_core::testing::{CountingAlloc, PrintOnPanic, allocations};
use tapeline_core::units::{SourceId, SymbolId};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

const STARTS: [u64; 5] = [0, 1, 1 << 32, 1_723_000_000_000_000_000, u64::MAX - 50_000];
const WINDOWS_NS: [u64; 5] = [1, 7, 1_000, 60_000_000_000, u64::MAX];
/// How many stamps there were before: none, or so many that they wrap soon, or that half of their range is over soon.
const STAMPS: [u32; 4] = [0, u32::MAX - 40, u32::MAX - 1_000, i32::MAX as u32 - 30];

/// What happened, so that a run can show that it did.
#[derive(Default)]
struct Total {
    counts: DedupCounts,
    restarts: u64,
    sure_duplicates: u64,
    sure_news: u64,
}

impl Total {
    fn add(&mut self, pair: &Pair) {
        let mut mine: [u64; 11] = bytemuck::cast(self.counts);
        let other: [u64; 11] = bytemuck::cast(*pair.window.counts());
        mine.iter_mut().zip(other).for_each(|(mine, other)| *mine += other);
        self.counts = bytemuck::cast(mine);
        self.restarts += pair.restarts;
        self.sure_duplicates += pair.sure_duplicates;
        self.sure_news += pair.sure_news;
    }

    fn assert_all_happened(&self, at_least: u64) {
        let c = &self.counts;
        for (what, count) in [
            ("new", c.new),
            ("duplicate", c.duplicate),
            ("refreshed", c.refreshed),
            ("expired", c.expired),
            ("evicted", c.evicted),
            ("replaced", c.replaced),
            ("turns by age", c.turns_by_age),
            ("turns by count", c.turns_by_count),
            ("epochs", c.epochs),
            ("restarts", self.restarts),
            ("sure duplicates", self.sure_duplicates),
            ("sure news", self.sure_news),
        ] {
            assert!(count >= at_least, "{what}: {count}");
        }
    }
}

fn run(total: &mut Total, seed: u64, capacity: usize, operations: usize, invariants_every: usize) {
    let pick = |n: u64, of: usize| (seed / n) as usize % of;
    let window_ns = WINDOWS_NS[pick(1, 5)];
    let start = STARTS[pick(5, 5)];
    let stamps = STAMPS[pick(3, 4)];
    let backward = pick(2, 4) == 0;
    let _named = PrintOnPanic(format!("seed={seed} capacity={capacity} window_ns={window_ns} start={start} {stamps}"));
    let mut life = Life::new(seed, capacity, window_ns, start, stamps, backward);
    for operation in 0..operations {
        life.step();
        if operation % invariants_every == 0 {
            life.pair.compare_all();
        }
    }
    life.pair.compare_all();
    total.add(&life.pair);
}

#[test]
fn req_d1_agrees_with_its_twin_with_full_invariants_after_each_operation() {
    assert!(allocations() > 0, "allocations are counted");
    for (number, capacity) in [0, 1, 2, 3, 8, 17, 64].into_iter().enumerate() {
        let mut total = Total::default();
        for round in 0..100 {
            run(&mut total, (number * 1_000 + round) as u64, capacity, 1_000, 1);
        }
        if capacity == 0 {
            assert!(total.counts.unremembered > 50_000 && total.counts.new == 0);
        } else {
            total.assert_all_happened(10);
        }
    }
}

/// Ten million operations, in two halves so that two cores share them.
fn half_of_ten_million(half: u64) {
    let mut total = Total::default();
    for round in 0..50 {
        run(&mut total, 100_000 + half * 50 + round, [300, 1_000][round as usize % 2], 100_000, 4_096);
    }
    total.assert_all_happened(500);
}

#[test]
fn req_d1_agrees_with_its_twin_over_ten_million_operations_a() {
    half_of_ten_million(0);
}

#[test]
fn req_d1_agrees_with_its_twin_over_ten_million_operations_b() {
    half_of_ten_million(1);
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test dedup_model -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    let mut total = Total::default();
    for round in 0..1_000 {
        run(&mut total, 1 << 32 | round, 64 << (round % 7), 100_000, 4_096);
    }
    total.assert_all_happened(10_000);
}

#[derive(Clone, Debug)]
enum Op {
    See(u8, u64),
    Forget(u8),
    Restart,
    Batch(Vec<u8>),
}

fn operation() -> impl Strategy<Value = Op> {
    let step = prop_oneof![6 => Just(0u64), 3 => 1u64..12, 1 => 12u64..50];
    prop_oneof![
        20 => (any::<u8>(), step).prop_map(|(id, step)| Op::See(id % 24, step)),
        1 => (0u8..2).prop_map(Op::Forget),
        1 => Just(Op::Restart),
        1 => prop::collection::vec(0u8..24, 0..20).prop_map(Op::Batch),
    ]
}

fn identity(number: u8) -> Identity {
    Identity {
        seq: u64::from(number / 4),
        symbol: SymbolId(u32::from(number & 1)),
        source: SourceId(number >> 1 & 1),
        ..Identity::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_operations_agree_with_the_twin(
        capacity in 0usize..9,
        seed in any::<u64>(),
        stamps in prop_oneof![Just(0), Just(u32::MAX - 3), any::<u32>()],
        operations in prop::collection::vec(operation(), 1..80),
    ) {
        let mut pair = Pair::new(capacity, 10, seed, stamps, true);
        let mut now = 0;
        for op in operations {
            match op {
                Op::See(id, step) => {
                    now += step;
                    let _: Seen = pair.see(identity(id), now);
                }
                Op::Forget(source) => pair.forget_source(source),
                Op::Restart => pair.restart(),
                Op::Batch(ids) => {
                    let ids: Vec<_> = ids.into_iter().map(identity).collect();
                    pair.see_batch(&ids, &vec![tapeline_core::units::UnixNanos(now); ids.len()]);
                }
            }
            pair.compare_all();
        }
    }
}
