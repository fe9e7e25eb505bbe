//! The word that travels beside an event of a paced run: when it was due, and how much later it left.
//!
//! ```text
//!  63         51 50      46 45                                                 0
//! | mantissa 13 | exponent 5 |   due, ns on the run clock, its lowest 46 bits     |
//!   lag = mantissa << exponent, rounded down
//! ```
//! With the due time alone, nobody behind the ring could tell the time that an event waited in it from the time that it could not even enter. The lag is
//! within 0.025 % of what it was (its first 13 bits), up to 4.8 hours, above which it is that: of a lag of 1 s, within 131 µs. What is told as the difference of
//! it and something else is told only where that is more than the error ([`ring_wait_ns`]).
//!
//! Due times are told by who knows the time now within 9.7 hours: of all times with these 46 bits the nearest. So a run may last as long as it likes; an event
//! that is more than 9.7 hours late is told as early, and so as done when it was due.

use tapeline_core::shard::DUE_NONE;

const DUE_BITS: u32 = 46;
const EXPONENT_BITS: u32 = 5;
const MANTISSA_BITS: u32 = 13;

const _: () = assert!(DUE_BITS + EXPONENT_BITS + MANTISSA_BITS == u64::BITS);
const DUE_MASK: u64 = (1 << DUE_BITS) - 1;
/// The longest lag, ns. Not all of its bits are set, so that no stamp is [`DUE_NONE`].
const LAG_NS_MAX: u64 = ((1 << MANTISSA_BITS) - 2) << ((1 << EXPONENT_BITS) - 1);

/// The stamp of an event that was due at `due_ns` and left `lag_ns` later. Never [`DUE_NONE`]. O(1).
#[inline]
#[must_use]
pub fn stamp(due_ns: u64, lag_ns: u64) -> u64 {
    let lag_ns = lag_ns.min(LAG_NS_MAX);
    let exponent = (u64::BITS - lag_ns.leading_zeros()).saturating_sub(MANTISSA_BITS);
    let mantissa = lag_ns >> exponent;
    due_ns & DUE_MASK | u64::from(exponent) << DUE_BITS | mantissa << (DUE_BITS + EXPONENT_BITS)
}

/// When the event was due, ns, seen at `now_ns`: exact where that is within 9.7 hours of it.
#[inline]
#[must_use]
pub const fn due_ns(stamp: u64, now_ns: u64) -> u64 {
    let since = now_ns.wrapping_sub(stamp) & DUE_MASK;
    // Clocks of two cores may differ by some ns: what is due in a moment is not due 19.5 hours ago.
    if since > DUE_MASK / 2 { now_ns.saturating_add(DUE_MASK + 1 - since) } else { now_ns.saturating_sub(since) }
}

const fn exponent(stamp: u64) -> u64 {
    stamp >> DUE_BITS & ((1 << EXPONENT_BITS) - 1)
}

/// How much later it left, ns, rounded down by at most [`lag_error_ns`].
#[inline]
#[must_use]
pub const fn lag_ns(stamp: u64) -> u64 {
    (stamp >> (DUE_BITS + EXPONENT_BITS)) << exponent(stamp)
}

/// By how much more the lag may have been, ns.
#[inline]
#[must_use]
pub const fn lag_error_ns(stamp: u64) -> u64 {
    (1 << exponent(stamp)) - 1
}

/// From leaving to `started_ns`, to half of the lag's error; `None` where that error could be all of it.
#[inline]
#[must_use]
pub const fn ring_wait_ns(stamp: u64, started_ns: u64) -> Option<u64> {
    let most = started_ns.saturating_sub(due_ns(stamp, started_ns).saturating_add(lag_ns(stamp)));
    let error = lag_error_ns(stamp);
    if error <= most { Some(most - error / 2) } else { None }
}

/// The stamp of an event that leaves for another symbol at `now_ns`, and whose root was due at `root_due_ns`, if at any time: here the time of leaving is
/// exact, for the stage `hop`, and how long before it the root was due is within 0.025 %. The longest lag says that there was no due time.
#[inline]
#[must_use]
pub fn hop_stamp(now_ns: u64, root_due_ns: Option<u64>) -> u64 {
    stamp(now_ns, root_due_ns.map_or(LAG_NS_MAX, |due_ns| now_ns.saturating_sub(due_ns).min(LAG_NS_MAX - 1)))
}

/// When the event of such a stamp left, ns, seen at `now_ns`.
#[inline]
#[must_use]
pub const fn left_ns(hop_stamp: u64, now_ns: u64) -> u64 {
    due_ns(hop_stamp, now_ns)
}

/// When its root was due, ns, seen at `now_ns`; `None` when it was due at no time.
#[inline]
#[must_use]
pub fn root_due_ns(hop_stamp: u64, now_ns: u64) -> Option<u64> {
    let lag = lag_ns(hop_stamp);
    (lag != LAG_NS_MAX).then(|| due_ns(hop_stamp, now_ns).saturating_sub(lag))
}

const _: () = assert!(lag_ns(DUE_NONE) > LAG_NS_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use tapeline_core::testing::for_seeds;

    #[test]
    fn a_stamp_gives_back_the_due_time_and_the_lag_within_its_bits() {
        for_seeds(0..20, |_, prng| {
            for _ in 0..5_000 {
                let (due, lag) = (prng.log_uniform(63), prng.log_uniform(43).min(LAG_NS_MAX));
                let stamp = stamp(due, lag);
                assert_ne!(stamp, DUE_NONE);
                // Now is within 9.7 hours, mostly later.
                let now = due + prng.log_uniform(44);
                assert_eq!((due_ns(stamp, now), due_ns(stamp, due.saturating_sub(50))), (due, due));
                let told = lag_ns(stamp);
                assert!(told <= lag && lag - told <= lag_error_ns(stamp), "{told} for {lag}");
                assert!(lag_error_ns(stamp) * 4_096 <= lag, "{lag}");
            }
        });
    }

    #[test]
    fn small_lags_are_exact_and_what_is_too_much_is_the_most() {
        for lag in 0..=8_191 {
            assert_eq!((lag_ns(stamp(5, lag)), lag_error_ns(stamp(5, lag))), (lag, 0));
        }
        assert_eq!(lag_ns(stamp(0, u64::MAX)), LAG_NS_MAX);
        assert_ne!(stamp(u64::MAX, u64::MAX), DUE_NONE);
        assert_eq!(LAG_NS_MAX / 1_000_000_000, 17_587, "4 h 53 min");
    }

    /// A second late: what is shorter than the error of that is not told, what is longer is, to within half of it.
    #[test]
    fn a_wait_that_the_lag_could_have_made_is_not_told() {
        let (due, lag) = (7_000_000_000, 1_000_000_123);
        let stamp = stamp(due, lag);
        let error = lag_error_ns(stamp);
        assert_eq!(error, 131_071);
        for wait in [0, 300, 40_000, 131_071, 131_072, 200_000, 1_000_000, 50_000_000] {
            let told = ring_wait_ns(stamp, due + lag + wait);
            match told {
                Some(told) => assert!(told.abs_diff(wait) <= error / 2 + 1, "{told} for {wait}"),
                None => assert!(wait < error, "{wait}"),
            }
            assert!(told.is_some() || wait < 131_071);
        }
        assert_eq!(ring_wait_ns(stamp, due + lag + 300), None, "it would be rounding alone");
        // As an event of an ordinary run has it: exact.
        assert_eq!(ring_wait_ns(super::stamp(1_000, 8_000), 9_500), Some(500));
        assert_eq!(ring_wait_ns(super::stamp(1_000, 0), 1_000), Some(0));
    }

    #[test]
    fn a_hop_keeps_when_it_left_and_about_when_its_root_was_due() {
        let first = hop_stamp(5_000, Some(4_900));
        assert_eq!((left_ns(first, 5_100), root_due_ns(first, 5_100)), (5_000, Some(4_900)), "small lags are exact");
        let second = hop_stamp(1_000_000, root_due_ns(first, 5_100));
        let error = root_due_ns(second, 1_000_001).unwrap() - 4_900;
        assert!(left_ns(second, 1_000_001) == 1_000_000 && error * 4_096 <= 995_100, "{error}");
        let early = hop_stamp(7, Some(9));
        assert_eq!(
            root_due_ns(early, 8),
            Some(7),
            "a root that leaves before it is due is taken as due when it leaves"
        );
        let undue = hop_stamp(1 << 50, None);
        assert_eq!((left_ns(undue, 1 << 50), root_due_ns(undue, 1 << 50)), (1 << 50, None));
        assert_ne!(root_due_ns(hop_stamp(1 << 50, Some(0)), 1 << 50), None, "a root that is hours late is late");
    }
}
