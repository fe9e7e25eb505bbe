//! Bugs that other limiters had, bad input, snapshots, and the rows of the requirements that token buckets show alone.

use tapeline_core::bucket::{Buckets, Counts, Limit, LimitError, Take};
use tapeline_core::limits::{BUCKET_LIMITS_MAX, BUCKETS_MAX};
use tapeline_core::section::{self, RestoreError};
use tapeline_core::testing::{Prng, every_cut_and_flip_is_refused, sealed_damage};
use tapeline_core::units::UnixNanos;

const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 86_400 * SECOND_NS;
const START: u64 = 1_700_000_000 * SECOND_NS;

fn at(ns: u64) -> UnixNanos {
    UnixNanos(START + ns)
}

fn limit(tokens: u64, per_ns: u64, burst: u64) -> Limit {
    Limit::new(tokens, per_ns, burst).unwrap()
}

#[test]
fn kubeflow_mcp_server_222_a_clock_that_goes_backward_makes_no_negative_balance() {
    // The peer's bucket went below zero by the step, and refused everything until it was filled again.
    let mut buckets = Buckets::new(1, &[limit(10, SECOND_NS, 10)]);
    for _ in 0..10 {
        assert_eq!(buckets.try_take(0, 1, at(3_600 * SECOND_NS)), Take::Taken);
    }
    for _ in 0..1_000 {
        let back = buckets.try_take(0, 1, at(0));
        assert_eq!(back, Take::Delay { at: at(3_600 * SECOND_NS + SECOND_NS / 10) }, "as if time stood still");
        buckets.assert_invariants();
    }
    assert_eq!(buckets.backward(), 1_000);
    assert_eq!(buckets.try_take(0, 1, at(3_600 * SECOND_NS + SECOND_NS / 10)), Take::Taken);
}

#[test]
fn no_token_is_lost_or_won_in_ten_years_of_odd_steps() {
    // A float or a rounded interval drifts: 3 a second are a token every 333,333,333.3 ns.
    for (tokens, per_ns) in
        [(3, SECOND_NS), (7, SECOND_NS), (1, 3), (999_999_937, SECOND_NS), (1, DAY_NS), (11, DAY_NS)]
    {
        let mut buckets = Buckets::new(1, &[limit(tokens, per_ns, 100_000)]);
        assert_eq!(buckets.try_take(0, 100_000, at(0)), Take::Taken, "begins full");
        let mut prng = Prng::new(tokens);
        let (mut now, mut taken) = (0, 0);
        // Ten years, or a million tokens.
        let million = u128::from(per_ns) * 1_000_000 / u128::from(tokens);
        let end = million.min(u128::from(3_650 * DAY_NS)) as u64 + 1;
        let stride = (u128::from(per_ns) * 50_000 / u128::from(tokens)).min(u128::from(end) / 5) as u64;
        while now < end {
            now = (now + prng.in_range(1..stride + 2)).min(end);
            while buckets.try_take(0, 1, at(now)) == Take::Taken {
                taken += 1;
            }
        }
        let exact = u128::from(end) * u128::from(tokens) / u128::from(per_ns);
        assert_eq!(taken, exact, "{tokens} per {per_ns} ns");
    }
}

#[test]
fn time_that_stands_still_gives_the_burst_and_a_jump_of_centuries_no_more() {
    let mut buckets = Buckets::new(1, &[limit(1_000_000_000, SECOND_NS, 5)]);
    for now in [0, 1, START, u64::MAX - 1, u64::MAX] {
        let mut taken = 0;
        while buckets.try_take(0, 1, UnixNanos(now)) == Take::Taken {
            taken += 1;
            buckets.assert_invariants();
        }
        let expected = if now == 1 || now == u64::MAX { 1 } else { 5 };
        assert_eq!(taken, expected, "at {now}");
    }
    assert_eq!(buckets.try_take(0, 1, UnixNanos(u64::MAX)), Take::Delay { at: UnixNanos(u64::MAX) });
}

#[test]
fn req_3391_hits_delays_and_refusals_are_told_apart() {
    let mut buckets = Buckets::new(2, &[limit(1, SECOND_NS, 2)]);
    assert_eq!(buckets.try_take(0, 1, at(0)), Take::Taken);
    assert_eq!(buckets.try_take(0, 1, at(0)), Take::Taken);
    assert_eq!(buckets.try_take(0, 1, at(0)), Take::Delay { at: at(SECOND_NS) });
    assert_eq!(buckets.try_take(0, 3, at(0)), Take::TooMuch);
    assert_eq!(buckets.try_take(1, 2, at(0)), Take::Taken);
    assert_eq!(buckets.counts(0), Some(Counts { hits: 2, delays: 1, refusals: 1 }));
    assert_eq!(buckets.counts(1), Some(Counts { hits: 1, delays: 0, refusals: 0 }));
    assert_eq!(buckets.total(), Counts { hits: 3, delays: 1, refusals: 1 });
    assert_eq!((buckets.counts(2), buckets.try_take(2, 1, at(0))), (None, Take::NoBucket));
    assert_eq!(buckets.strangers(), 1);
}

#[test]
fn req_3391b_a_limit_of_one_symbol_does_not_touch_another() {
    let mut buckets = Buckets::new(100, &[limit(1, SECOND_NS, 1), limit(5, SECOND_NS, 3)]);
    assert!(buckets.assign(7, 1));
    for index in 0..100 {
        let mut taken = 0;
        while buckets.try_take(index, 1, at(0)) == Take::Taken {
            taken += 1;
        }
        assert_eq!(taken, if index == 7 { 3 } else { 1 });
    }
    assert_eq!(buckets.limit(7).map(|limit| (limit.rate(), limit.burst())), Some(((1, SECOND_NS / 5), 3)));
    assert!(!buckets.assign(100, 0) && !buckets.assign(0, 2), "no such bucket, no such limit");
}

#[test]
fn limits_are_checked_at_their_ends() {
    assert!(Limit::new(1, DAY_NS, 1).is_ok(), "one a day");
    assert_eq!(Limit::new(1, DAY_NS + 1, 1), Err(LimitError::TooSlow { tokens: 1, per_ns: DAY_NS + 1 }));
    assert!(Limit::new(SECOND_NS, SECOND_NS, 1).is_ok(), "one a nanosecond");
    assert_eq!(Limit::new(2, 1, 1), Err(LimitError::TooFast { tokens: 2, per_ns: 1 }));
    for (tokens, per_ns, burst) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
        assert_eq!(Limit::new(tokens, per_ns, burst), Err(LimitError::Zero { tokens, per_ns, burst }));
    }
    let burst_max = i64::MAX as u64 / SECOND_NS;
    assert_eq!(limit(1, SECOND_NS, burst_max).burst(), burst_max);
    let error = Limit::new(1, SECOND_NS, burst_max + 1).unwrap_err();
    assert_eq!(error, LimitError::BurstTooLarge { burst: burst_max + 1, burst_max });
    assert_eq!(limit(1, 1, i64::MAX as u64).burst(), i64::MAX as u64);
    assert!(Limit::new(u64::MAX, u64::MAX, 1).is_ok(), "reduced to one a nanosecond");
}

#[test]
fn a_table_of_no_buckets_has_none_for_anybody() {
    let mut buckets = Buckets::new(0, &[limit(1, 1, 1)]);
    assert_eq!(buckets.try_take(0, 0, at(0)), Take::NoBucket);
    assert_eq!((buckets.capacity(), buckets.bytes()), (0, 24));
    buckets.assert_invariants();
    assert_eq!(Buckets::new(1_000, &[limit(1, 1, 1); 2]).bytes(), 41_048);
}

#[test]
#[should_panic(expected = "buckets, not")]
fn more_buckets_than_symbols_are_a_panic() {
    let _ = Buckets::new(BUCKETS_MAX + 1, &[limit(1, 1, 1)]);
}

#[test]
#[should_panic(expected = "1 to 256 limits, not 0")]
fn a_table_without_a_limit_is_a_panic() {
    let _ = Buckets::new(1, &[]);
}

#[test]
fn as_many_limits_as_a_byte_names_fit() {
    let limits = vec![limit(1, 1, 1); BUCKET_LIMITS_MAX];
    let mut buckets = Buckets::new(1, &limits);
    assert!(buckets.assign(0, BUCKET_LIMITS_MAX - 1) && !buckets.assign(0, BUCKET_LIMITS_MAX));
    let more = vec![limit(1, 1, 1); BUCKET_LIMITS_MAX + 1];
    assert!(std::panic::catch_unwind(|| Buckets::new(1, &more)).is_err());
}

fn limits() -> [Limit; 3] {
    [limit(3, SECOND_NS, 5), limit(999_999_937, SECOND_NS, 9), limit(1, DAY_NS, 2)]
}

/// A table after some random life.
fn lived(seed: u64, capacity: usize) -> (Buckets, Prng, u64) {
    let mut prng = Prng::new(seed);
    let mut buckets = Buckets::new(capacity, &limits());
    let mut now = 0;
    for _ in 0..300 {
        now += prng.log_uniform(34);
        let index = prng.index(capacity + 1);
        if prng.one_in(10) {
            buckets.assign(index, prng.index(3));
        }
        let _ = buckets.try_take(index, prng.in_range(0..7), at(now));
    }
    (buckets, prng, now)
}

fn section(buckets: &Buckets) -> Vec<u8> {
    let mut out = b"before".to_vec();
    buckets.snapshot(&mut out);
    assert_eq!(out.len() - 6, buckets.snapshot_bytes());
    out.split_off(6)
}

#[test]
fn a_restored_table_goes_on_as_the_first_would() {
    for seed in 0..200 {
        let capacity = [0, 1, 5, 64][seed as usize % 4];
        let (mut first, mut prng, mut now) = lived(seed, capacity);
        let bytes = section(&first);
        let mut second = Buckets::restore(capacity, &limits(), &bytes).unwrap();
        assert_eq!(section(&second), bytes);
        for _ in 0..200 {
            now += prng.log_uniform(34);
            let (index, cost) = (prng.index(capacity + 1), prng.in_range(0..7));
            assert_eq!(first.try_take(index, cost, at(now)), second.try_take(index, cost, at(now)), "seed {seed}");
        }
        assert_eq!(section(&first), section(&second));
        second.assert_invariants();
    }
}

#[test]
fn other_tables_are_refused_by_name() {
    let (buckets, ..) = lived(1, 5);
    let bytes = section(&buckets);
    let capacity = Buckets::restore(6, &limits(), &bytes).unwrap_err();
    assert_eq!(capacity.to_string(), "the snapshot is of a token buckets for 5, this one is for 6");
    let setting = Buckets::restore(5, &limits()[..2], &bytes).unwrap_err();
    assert!(matches!(setting, RestoreError::OtherSetting { name: "token buckets", .. }), "{setting}");
    let mut other = bytes.clone();
    other[16] = 9;
    section::seal(&mut other);
    let version = Buckets::restore(5, &limits(), &other).unwrap_err();
    assert_eq!(version, RestoreError::OtherVersion { name: "token buckets", snapshot: 9, here: 1 });
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused() {
    let (buckets, ..) = lived(2, 5);
    every_cut_and_flip_is_refused(&section(&buckets), |bytes| Buckets::restore(5, &limits(), bytes).is_ok());
}

#[test]
fn sealed_damage_is_found_by_validation_or_harmless() {
    let (buckets, _, now) = lived(3, 8);
    let (refused, taken) = sealed_damage(0..40, 200, &section(&buckets), |bytes| {
        let Ok(mut buckets) = Buckets::restore(8, &limits(), bytes) else { return false };
        for index in 0..9 {
            for cost in 0..12 {
                let _ = buckets.try_take(index, cost, at(now + cost));
                let _ = buckets.try_take(index, cost, UnixNanos(u64::MAX));
            }
        }
        let _ = buckets.total();
        buckets.assert_invariants();
        true
    });
    assert!(refused > 500 && taken > 500, "refused={refused} taken={taken}");
}
