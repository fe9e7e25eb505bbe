//! Retry policies against a naive twin in wider numbers; their limits; the share of retries in the traffic.

use proptest::prelude::*;
use std::collections::BTreeMap;
use tapeline_core::event::Identity;
use tapeline_core::limits::{RETRY_ATTEMPTS_MAX, RETRY_SHARE_BURST_MAX, SYMBOLS_MAX};
use tapeline_core::retry::{
    Backoff, Factor, Jitter, Names, Order, PARTS, Policy, RetryConfig, RetryError, RetryShare, ShareConfig, ShareError,
};
use tapeline_core::testing::{
    CountingAlloc, allocations, every_cut_and_flip_is_refused, for_seeds, sealed_damage, without_allocation,
};
use tapeline_core::units::{SourceId, SymbolId, UnixNanos};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

const FIXED: RetryConfig = RetryConfig {
    attempts_max: 3,
    backoff: Backoff::Fixed { delay_ns: 5 },
    jitter: Jitter::None,
    order: Order::Released,
};

fn identity(seq: u64) -> Identity {
    Identity { seq, symbol: SymbolId(3), part: 2, source: SourceId(4), pad: 0 }
}

fn names(symbol_hash: u64) -> Names {
    Names { symbol_hash, source_hash: 8 }
}

fn exponential(base_ns: u64, numerator: u32, denominator: u32, cap_ns: u64) -> Backoff {
    Backoff::Exponential { base_ns, factor: Factor { numerator, denominator }, cap_ns }
}

fn backoff() -> impl Strategy<Value = Backoff> {
    let ns = || prop_oneof![1u64..100, any::<u64>().prop_map(|ns| ns.max(1)), Just(u64::MAX)];
    prop_oneof![
        any::<u64>().prop_map(|delay_ns| Backoff::Fixed { delay_ns }),
        (ns(), ns(), 1u32..=u32::MAX, 1u32..=u32::MAX).prop_map(|(a, b, num, den)| exponential(
            a.min(b),
            num.max(den),
            num.min(den),
            a.max(b)
        )),
        (ns(), ns(), 1u32..5).prop_map(|(a, b, den)| exponential(a.min(b), den + 1, den, a.max(b))),
    ]
}

fn jitter() -> impl Strategy<Value = Jitter> {
    let parts = || prop_oneof![0u16..=PARTS, Just(PARTS), Just(1u16)];
    prop_oneof![
        Just(Jitter::None),
        parts().prop_map(|parts| Jitter::Full { parts }),
        parts().prop_map(|parts| Jitter::Equal { parts }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every delay is the formula's, less at most the jitter's part of it, at any time, without an overflow.
    #[test]
    fn delays_are_those_of_the_formula_at_all_extremes(
        backoff in backoff(),
        jitter in jitter(),
        attempts_max in 1u16..=RETRY_ATTEMPTS_MAX,
        seed in any::<u64>(),
        seq in any::<u64>(),
        now in prop_oneof![any::<u64>(), Just(0), Just(u64::MAX), Just(u64::MAX - 1)],
    ) {
        let policy = Policy::new(RetryConfig { attempts_max, backoff, jitter, order: Order::Held }).unwrap();
        let mut twin: u128 = match backoff {
            Backoff::Fixed { delay_ns } => delay_ns.into(),
            Backoff::Exponential { base_ns, .. } => base_ns.into(),
        };
        for attempt in 1..=RETRY_ATTEMPTS_MAX {
            let delay_ns = policy.delay_ns(attempt);
            let next = without_allocation(|| policy.next(seed, &identity(seq), names(1), attempt, UnixNanos(now)));
            prop_assert_eq!(next, policy.next(seed, &identity(seq), names(1), attempt, UnixNanos(now)));
            if attempt >= attempts_max {
                prop_assert_eq!((delay_ns, next), (None, None));
                continue;
            }
            prop_assert_eq!(u128::from(delay_ns.unwrap()), twin);
            let whole = twin as u64;
            let cut = match jitter {
                Jitter::None => 0,
                Jitter::Full { parts } => twin * u128::from(parts) / 1_024,
                Jitter::Equal { parts } => twin / 2 * u128::from(parts) / 1_024,
            } as u64;
            let next = next.unwrap().0;
            prop_assert!(next >= now.saturating_add(whole - cut) && next <= now.saturating_add(whole));
            if let Backoff::Exponential { factor, cap_ns, .. } = backoff {
                let grown = twin * u128::from(factor.numerator);
                let den = u128::from(factor.denominator);
                twin = (grown / den + u128::from(!grown.is_multiple_of(den))).min(cap_ns.into());
            }
        }
        prop_assert_eq!(policy.delay_ns(0), policy.delay_ns(1).or(policy.delay_ns(0)));
        prop_assert_eq!(policy.delay_ns(u16::MAX), None);
    }
}

#[test]
fn every_limit_is_reached_exactly_and_refused_by_one_more() {
    let new = |change: fn(&mut RetryConfig)| {
        let mut config = FIXED;
        change(&mut config);
        Policy::new(config).map(|policy| *policy.config()).map(|same| assert_eq!(same, config))
    };
    assert_eq!(new(|_| ()), Ok(()));
    assert_eq!(new(|c| c.attempts_max = 0), Err(RetryError::Attempts(0)));
    assert_eq!(new(|c| c.attempts_max = RETRY_ATTEMPTS_MAX), Ok(()));
    assert_eq!(new(|c| c.attempts_max = RETRY_ATTEMPTS_MAX + 1), Err(RetryError::Attempts(RETRY_ATTEMPTS_MAX + 1)));
    assert_eq!(new(|c| c.jitter = Jitter::Full { parts: PARTS }), Ok(()));
    assert_eq!(new(|c| c.jitter = Jitter::Full { parts: PARTS + 1 }), Err(RetryError::Jitter(PARTS + 1)));
    assert_eq!(new(|c| c.jitter = Jitter::Equal { parts: PARTS + 1 }), Err(RetryError::Jitter(PARTS + 1)));
    assert_eq!(new(|c| c.backoff = exponential(1, 1, 1, 1)), Ok(()));
    assert_eq!(new(|c| c.backoff = exponential(0, 1, 1, 1)), Err(RetryError::BaseZero));
    assert_eq!(new(|c| c.backoff = exponential(2, 1, 1, 1)), Err(RetryError::Cap { base_ns: 2, cap_ns: 1 }));
    let error = Err(RetryError::Factor { numerator: 1, denominator: 2 });
    assert_eq!(new(|c| c.backoff = exponential(1, 1, 2, 1)), error);
    let error = Err(RetryError::Factor { numerator: 1, denominator: 0 });
    assert_eq!(new(|c| c.backoff = exponential(1, 1, 0, 1)), error);
    assert_eq!(Policy::never().delay_ns(1), None);
}

/// A delay depends on its event and attempt, and on nothing else: no stream, no ids.
#[test]
fn jitter_is_a_hash_of_the_event_and_the_attempt() {
    let config = RetryConfig {
        attempts_max: 9,
        backoff: Backoff::Fixed { delay_ns: 1 << 40 },
        jitter: Jitter::Full { parts: PARTS },
        ..FIXED
    };
    let policy = Policy::new(config).unwrap();
    let next = |seed, event: &Identity, names, attempt| policy.next(seed, event, names, attempt, UnixNanos(0)).unwrap();
    let first = next(1, &identity(1), names(1), 1);
    let other_ids = Identity { symbol: SymbolId(99), source: SourceId(98), ..identity(1) };
    assert_eq!(first, next(1, &other_ids, names(1), 1), "ids differ between a capture and its tape");
    let others = [
        next(2, &identity(1), names(1), 1),
        next(1, &identity(2), names(1), 1),
        next(1, &Identity { part: 3, ..identity(1) }, names(1), 1),
        next(1, &identity(1), names(2), 1),
        next(1, &identity(1), Names { source_hash: 9, ..names(1) }, 1),
        next(1, &identity(1), names(1), 2),
    ];
    assert!(others.iter().all(|other| *other != first), "{first:?} {others:?}");
    // The formula, and the number that it gave when it was written: a delay never changes between versions.
    let hash = tapeline_core::hash::stable(bytemuck::bytes_of(&[1_u64, 1, 8, 1, 2, 1]));
    let cut = (u128::from(hash) * ((1 << 40) + 1)) >> 64;
    assert_eq!(first, UnixNanos((1 << 40) - cut as u64));
    assert_eq!(first, UnixNanos(171_399_683_458));
}

/// Uniform enough: each sixteenth of the delay has about a sixteenth of the events.
#[test]
fn full_jitter_spreads_events_over_all_of_the_delay() {
    let config =
        RetryConfig { jitter: Jitter::Full { parts: PARTS }, backoff: Backoff::Fixed { delay_ns: 15_999 }, ..FIXED };
    let equal = RetryConfig { jitter: Jitter::Equal { parts: PARTS }, ..config };
    let (full, equal) = (Policy::new(config).unwrap(), Policy::new(equal).unwrap());
    let mut counts = [0; 16];
    for seq in 0..160_000 {
        let at = full.next(7, &identity(seq), names(1), 1, UnixNanos(0)).unwrap();
        counts[at.0 as usize / 1_000] += 1;
        assert!(equal.next(7, &identity(seq), names(1), 1, UnixNanos(0)).unwrap().0 >= 8_000);
    }
    assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
}

const SHARE: ShareConfig = ShareConfig { parts: 512, free_per_window: 2, window_ns: 100, burst: 3 };

/// In every span of windows: at most the free ones, the share of the live events, and what was earned before.
#[test]
fn req_retry_retries_are_a_share_of_live_traffic_in_any_span_of_time() {
    let (mut admitted, mut postponed) = (0, 0);
    for_seeds(0..300, |seed, prng| {
        let burst = [0, 1, 3, RETRY_SHARE_BURST_MAX][seed as usize % 4];
        let config = ShareConfig {
            parts: [0, 1, 100, PARTS][seed as usize / 4 % 4],
            free_per_window: 1 + (seed % 3) as u32,
            burst,
            ..SHARE
        };
        let mut share = RetryShare::new(config, 3).unwrap();
        // By row: what happened, as (window, live events, retries); the twin of the credit.
        let mut log: Vec<BTreeMap<u64, (u64, u64)>> = vec![BTreeMap::new(); 3];
        let (mut now, mut clock) = (prng.next_u64() >> (seed % 60), [0; 3]);
        for _ in 0..2_000 {
            let row = prng.index(3);
            now = if prng.one_in(20) { now.saturating_sub(150) } else { now.saturating_add(prng.in_range(0..40)) };
            if prng.one_in(2) {
                without_allocation(|| share.live(row));
                // Live events carry no time: they count for the window that the row is in.
                log[row].entry(clock[row]).or_default().0 += 1;
            } else {
                clock[row] = clock[row].max(now / config.window_ns);
                match without_allocation(|| share.admit(row, UnixNanos(now))) {
                    Ok(()) => log[row].entry(clock[row]).or_default().1 += 1,
                    Err(at) => assert_eq!(at.0, (clock[row] + 1) * config.window_ns, "the next window"),
                }
            }
            share.assert_invariants();
        }
        for log in &log {
            let windows: Vec<_> = log.iter().collect();
            for from in 0..windows.len() {
                let (mut live, mut retries) = (0, 0);
                for (touched, (_, (more_live, more_retries))) in windows[from..].iter().enumerate().take(30) {
                    (live, retries) = (live + more_live, retries + more_retries);
                    let free = u64::from(config.free_per_window) * (touched as u64 + 1);
                    let earned = live * u64::from(config.parts) / 1_024 + 1 + u64::from(burst);
                    assert!(retries <= free + earned, "{retries} <= {free} + {earned}");
                }
            }
        }
        admitted += share.admitted();
        postponed += share.postponed();
    });
    assert!(admitted > 10_000 && postponed > 10_000, "{admitted} {postponed}");
    assert!(allocations() > 0, "the allocator counts");
}

#[test]
fn a_share_at_its_limits() {
    let new = |config| RetryShare::new(config, 1).map(|_| ());
    assert_eq!(new(ShareConfig { parts: PARTS, burst: RETRY_SHARE_BURST_MAX, ..SHARE }), Ok(()));
    assert_eq!(new(ShareConfig { parts: PARTS + 1, ..SHARE }), Err(ShareError::Parts(PARTS + 1)));
    assert_eq!(new(ShareConfig { free_per_window: 0, ..SHARE }), Err(ShareError::FreeZero));
    assert_eq!(new(ShareConfig { window_ns: 0, ..SHARE }), Err(ShareError::WindowZero));
    let burst = RETRY_SHARE_BURST_MAX + 1;
    assert_eq!(new(ShareConfig { burst, ..SHARE }), Err(ShareError::Burst(burst)));
    // Time at its end: the last window has no next one, and what is left is let through.
    let mut share = RetryShare::new(ShareConfig { window_ns: 1, free_per_window: 1, ..SHARE }, 1).unwrap();
    assert_eq!(share.admit(0, UnixNanos(u64::MAX)), Ok(()));
    assert_eq!(share.admit(0, UnixNanos(u64::MAX)), Ok(()));
    // Time that goes back is taken as the window reached: no second helping.
    let mut share = RetryShare::new(SHARE, 1).unwrap();
    assert_eq!([share.admit(0, UnixNanos(250)), share.admit(0, UnixNanos(50))], [Ok(()), Ok(())]);
    assert_eq!(share.admit(0, UnixNanos(150)), Err(UnixNanos(300)));
    // No rows: a share of nothing.
    assert_eq!(RetryShare::new(SHARE, 0).unwrap().bytes(), 0);
}

#[test]
#[should_panic(expected = "rows")]
fn more_rows_than_symbols_panic() {
    let _ = RetryShare::new(SHARE, SYMBOLS_MAX + 1);
}

#[test]
fn a_restored_share_goes_on_as_the_first_would_and_damage_is_refused() {
    let mut share = RetryShare::new(SHARE, 4).unwrap();
    for at in 0..40 {
        share.live(at % 3);
        let _ = share.admit(at % 2, UnixNanos(at as u64 * 7));
    }
    let mut bytes = Vec::new();
    share.snapshot(&mut bytes);
    assert_eq!(bytes.len(), share.snapshot_bytes());
    let mut restored = RetryShare::restore(SHARE, 4, &bytes).unwrap();
    for at in 0..200 {
        assert_eq!(share.admit(at % 4, UnixNanos(at as u64 * 9)), restored.admit(at % 4, UnixNanos(at as u64 * 9)));
    }
    every_cut_and_flip_is_refused(&bytes, |bytes| RetryShare::restore(SHARE, 4, bytes).is_ok());
    let error = RetryShare::restore(SHARE, 5, &bytes).unwrap_err();
    assert_eq!(error.to_string(), "the snapshot is of a retry share for 4, this one is for 5");
    let error = RetryShare::restore(ShareConfig { burst: 4, ..SHARE }, 4, &bytes).unwrap_err();
    assert_eq!(error.to_string(), "the snapshot is of a retry share with a burst of 3, this one has 4");
    let (refused, taken) = sealed_damage(0..10, 200, &bytes, |bytes| {
        RetryShare::restore(SHARE, 4, bytes).is_ok_and(|mut share| {
            for row in 0..4 {
                share.live(row);
                let _ = share.admit(row, UnixNanos(u64::MAX));
                let _ = share.admit(row, UnixNanos(5));
            }
            share.assert_invariants();
            true
        })
    });
    assert!(refused > 500 && taken > 100, "{refused} {taken}");
}
