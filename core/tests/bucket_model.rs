//! Token buckets against a twin of another design: virtual scheduling (ITU-T I.371) in exact fractions, compared after every call.

use proptest::prelude::*;
use tapeline_core::bucket::{Buckets, Counts, Limit, Take};
use tapeline_core::testing::{CountingAlloc, PrintOnPanic, Prng, without_allocation};
use tapeline_core::units::UnixNanos;

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

const DAY_NS: u64 = 86_400_000_000_000;

/// Tokens, interval in ns, burst: the slowest, the fastest, primes, and what people configure.
const LIMITS: [(u64, u64, u64); 8] = [
    (1, DAY_NS, 1),
    (1_000_000_000, 1_000_000_000, 1_000),
    (5, 1_000_000_000, 3),
    (999_999_937, 1_000_000_000, 7),
    (7, DAY_NS, 100_000),
    (1_000, 60_000_000_000, 1),
    (86_399_999_999_999, DAY_NS, 10),
    (250_000, 1_000_000_000, 4_000_000_000),
];

/// One bucket by virtual scheduling: a *theoretical arrival time* that each token moves on by `per_ns / tokens`. Times are kept in
/// units of 1/tokens ns, so that all of them are whole numbers. The rate is not reduced.
#[derive(Clone, Copy)]
struct Twin {
    tokens: u128,
    per_ns: u128,
    burst: u128,
    arrival: u128,
    counts: Counts,
}

impl Twin {
    fn new((tokens, per_ns, burst): (u64, u64, u64)) -> Self {
        let [tokens, per_ns, burst] = [tokens, per_ns, burst].map(u128::from);
        Self { tokens, per_ns, burst, arrival: 0, counts: Counts::default() }
    }

    fn take(&mut self, cost: u64, now: u64) -> Take {
        let now = u128::from(now) * self.tokens;
        let next = self.arrival.max(now) + u128::from(cost) * self.per_ns;
        let allowed = now + self.burst * self.per_ns;
        if u128::from(cost) > self.burst {
            self.counts.refusals += 1;
            return Take::TooMuch;
        }
        if next <= allowed {
            self.arrival = next;
            self.counts.hits += 1;
            return Take::Taken;
        }
        self.counts.delays += 1;
        let at = (next - self.burst * self.per_ns).div_ceil(self.tokens);
        Take::Delay { at: UnixNanos(u64::try_from(at).unwrap_or(u64::MAX)) }
    }

    fn available(&self, now: u64) -> u64 {
        let now = u128::from(now) * self.tokens;
        let debt = self.arrival.max(now) - now;
        ((self.burst * self.per_ns - debt) / self.per_ns) as u64
    }
}

#[derive(Default)]
struct Seen {
    hits: u64,
    delays: u64,
    refusals: u64,
    on_the_dot: u64,
    backward: u64,
    strangers: u64,
    assigned: u64,
    years: u64,
    ends_of_time: u64,
    restarts: u64,
}

struct Pair {
    buckets: Buckets,
    twins: Vec<Twin>,
    limits: Vec<(u64, u64, u64)>,
    now: u64,
    /// The latest instant that a delay named, and its bucket and cost.
    promised: Option<(u64, usize, u64)>,
    backward: u64,
    strangers: u64,
}

impl Pair {
    fn new(capacity: usize, limits: &[(u64, u64, u64)], start: u64) -> Self {
        let checked: Vec<Limit> =
            limits.iter().map(|(tokens, per, burst)| Limit::new(*tokens, *per, *burst).unwrap()).collect();
        let mut buckets = Buckets::new(capacity, &checked);
        assert_eq!(buckets.try_take(capacity, 0, UnixNanos(start)), Take::NoBucket, "time begins");
        let twins = vec![Twin::new(limits[0]); capacity];
        Self { buckets, twins, limits: limits.to_vec(), now: start, promised: None, backward: 0, strangers: 1 }
    }

    fn restart(&mut self) {
        let mut bytes = Vec::new();
        self.buckets.snapshot(&mut bytes);
        let limits: Vec<Limit> =
            self.limits.iter().map(|(tokens, per, burst)| Limit::new(*tokens, *per, *burst).unwrap()).collect();
        self.buckets = Buckets::restore(self.twins.len(), &limits, &bytes).expect("its own snapshot");
    }

    fn take(&mut self, index: usize, cost: u64, now: u64) -> Take {
        self.backward += u64::from(now < self.now);
        self.now = self.now.max(now);
        // What was promised holds until somebody else takes.
        self.promised.take_if(|(_, promised, _)| *promised == index);
        let taken = without_allocation(|| self.buckets.try_take(index, cost, UnixNanos(now)));
        let expected = match self.twins.get_mut(index) {
            Some(twin) => twin.take(cost, self.now),
            None => {
                self.strangers += 1;
                Take::NoBucket
            }
        };
        assert_eq!(taken, expected, "bucket {index}, cost {cost}, now {}", self.now);
        if let Take::Delay { at } = taken {
            assert!(at.0 > self.now || self.now == u64::MAX, "a delay is of the future");
            self.promised = Some((at.0, index, cost));
        }
        if let Some(twin) = self.twins.get(index) {
            assert_eq!(self.buckets.available(index, UnixNanos(self.now)), twin.available(self.now));
            assert_eq!(self.buckets.counts(index), Some(twin.counts));
        }
        assert_eq!((self.buckets.backward(), self.buckets.strangers()), (self.backward, self.strangers));
        taken
    }

    fn assign(&mut self, index: usize, limit: usize) {
        let done = without_allocation(|| self.buckets.assign(index, limit));
        assert_eq!(done, index < self.twins.len() && limit < self.limits.len());
        if done {
            self.promised = None;
            let counts = self.twins[index].counts;
            self.twins[index] = Twin { counts, ..Twin::new(self.limits[limit]) };
        }
    }
}

fn run(seed: u64, capacity: usize, operations: usize, invariants_every: usize, seen: &mut Seen) {
    let _named = PrintOnPanic(format_args!("seed={seed} capacity={capacity}"));
    let mut prng = Prng::new(seed);
    let pick = |prng: &mut Prng| LIMITS[prng.index(LIMITS.len())];
    let begin = |prng: &mut Prng| {
        let limits: Vec<_> = (0..1 + prng.index(4)).map(|_| pick(prng)).collect();
        let start = [0, 1, 1 << 36, 1_700_000_000_000_000_000, u64::MAX - 10][prng.index(5)];
        Pair::new(capacity, &limits, start)
    };
    let mut pair = begin(&mut prng);
    let mut at_the_end = 0;
    for operation in 0..operations {
        if prng.one_in(2_000) {
            pair.restart();
            seen.restarts += 1;
        }
        let index = prng.index(capacity + 1);
        let (_, per_ns, burst) = pair.limits[0];
        if prng.one_in(200) {
            let limit = prng.index(pair.limits.len() + 1);
            pair.assign(index, limit);
            seen.assigned += 1;
        }
        // Exactly when a delay said, or a nanosecond before.
        if let Some((at, index, cost)) = pair.promised.take_if(|_| prng.one_in(3)) {
            let before = at.saturating_sub(1);
            if before >= pair.now && at < u64::MAX && index < capacity {
                let taken = pair.take(index, cost, before);
                assert!(
                    matches!(taken, Take::Delay { at: again } if again.0 == at),
                    "not a nanosecond early: {taken:?}"
                );
                assert_eq!(pair.take(index, cost, at), Take::Taken, "at the instant that was named");
                seen.on_the_dot += 1;
                pair.promised = None;
                continue;
            }
        }
        let now = match prng.index(100) {
            0..30 => pair.now,
            30..60 => pair.now.saturating_add(prng.log_uniform(12)),
            60..80 => pair.now.saturating_add(prng.in_range(0..per_ns + 1)),
            80..90 => pair.now.saturating_add(prng.log_uniform(44)),
            90..98 => pair.now.saturating_sub(prng.log_uniform(40)),
            _ if prng.one_in(20) => {
                seen.years += 1;
                pair.now.saturating_add(prng.log_uniform(62))
            }
            _ => pair.now,
        };
        let cost = match prng.index(20) {
            0 => 0,
            1 => burst,
            2 => burst.saturating_add(1),
            3 => u64::MAX - prng.log_uniform(8),
            4..8 => prng.in_range(0..burst + 1),
            _ => 1,
        };
        match pair.take(index, cost, now) {
            Take::Taken => seen.hits += 1,
            Take::Delay { .. } => seen.delays += 1,
            Take::TooMuch => seen.refusals += 1,
            Take::NoBucket => seen.strangers += 1,
        }
        if operation % invariants_every == 0 {
            pair.buckets.assert_invariants();
        }
        at_the_end += usize::from(pair.now > u64::MAX - DAY_NS);
        if at_the_end > 200 {
            pair.buckets.assert_invariants();
            seen.backward += pair.backward;
            seen.ends_of_time += 1;
            at_the_end = 0;
            pair = begin(&mut prng);
        }
    }
    pair.buckets.assert_invariants();
    seen.backward += pair.backward;
}

impl Seen {
    fn assert_all_happened(&self, least: u64) {
        let all =
            [self.hits, self.delays, self.refusals, self.on_the_dot, self.backward, self.strangers, self.assigned];
        assert!(all.iter().all(|count| *count >= least), "hits delays refusals on_the_dot backward strangers: {all:?}");
        assert!(self.restarts > least / 20, "{} restarts", self.restarts);
        assert!(self.years > 0 && self.ends_of_time > 0, "{} years, {} ends of time", self.years, self.ends_of_time);
    }
}

#[test]
fn agrees_with_its_twin_with_full_invariants_after_each_operation() {
    let mut seen = Seen::default();
    for (seed, capacity) in [0, 1, 2, 7, 64].into_iter().enumerate() {
        run(seed as u64, capacity, 100_000, 1, &mut seen);
    }
    seen.assert_all_happened(1_000);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_first_half() {
    let mut seen = Seen::default();
    for seed in 100..150 {
        run(seed, 1 + seed as usize % 300, 100_000, 4_096, &mut seen);
    }
    seen.assert_all_happened(10_000);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_second_half() {
    let mut seen = Seen::default();
    for seed in 150..200 {
        run(seed, 1 + seed as usize % 300, 100_000, 4_096, &mut seen);
    }
    seen.assert_all_happened(10_000);
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test bucket_model -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    let mut seen = Seen::default();
    for seed in 0..1_000 {
        run(1 << 32 | seed, 1 + seed as usize, 100_000, 4_096, &mut seen);
    }
    seen.assert_all_happened(100_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_limit_agrees_with_the_twin(
        tokens in 1u64..=DAY_NS,
        factor in 1u64..=1_000_000,
        burst in 1u64..=100_000,
        steps in prop::collection::vec((0u64..100_000_000, 0u64..200_000), 1..60),
    ) {
        let per_ns = tokens.saturating_mul(factor).min(DAY_NS);
        let mut pair = Pair::new(1, &[(tokens.min(per_ns), per_ns, burst)], 0);
        let mut now = 1 << 40;
        for (later, cost) in steps {
            now += later;
            let _ = pair.take(0, cost, now);
            pair.buckets.assert_invariants();
        }
    }
}
