//! The word that travels beside an event of a paced run: when it was due, and how much later it left.
//!
//! ```text
//!  63        57 56       52 51                                                  0
//! | mantissa 7 | exponent 5 |             due, ns on the run clock, 52 bits       |
//!   lag = mantissa << exponent, rounded down
//! ```
//! With the due time alone, nobody behind the ring could tell the time that an event waited in it from the time that it could not even enter. The lag is
//! within 1.6 % of what it was (its first 7 bits), up to 4 min 32 s, above which it is that. Due times go up to 52 days of one run.

use tapeline_core::shard::DUE_NONE;

const DUE_BITS: u32 = 52;
const EXPONENT_BITS: u32 = 5;
const MANTISSA_BITS: u32 = 7;

const _: () = assert!(DUE_BITS + EXPONENT_BITS + MANTISSA_BITS == u64::BITS);
/// The last due time that a stamp can hold, ns.
pub const DUE_NS_MAX: u64 = (1 << DUE_BITS) - 2;
/// The longest lag, ns.
const LAG_NS_MAX: u64 = ((1 << MANTISSA_BITS) - 1) << ((1 << EXPONENT_BITS) - 1);

/// The stamp of an event that was due at `due_ns` and left `lag_ns` later. A due time beyond [`DUE_NS_MAX`] is taken as that. Never
/// [`DUE_NONE`]. O(1).
#[inline]
#[must_use]
pub fn stamp(due_ns: u64, lag_ns: u64) -> u64 {
    let lag_ns = lag_ns.min(LAG_NS_MAX);
    let exponent = (u64::BITS - lag_ns.leading_zeros()).saturating_sub(MANTISSA_BITS);
    let mantissa = lag_ns >> exponent;
    due_ns.min(DUE_NS_MAX) | u64::from(exponent) << DUE_BITS | mantissa << (DUE_BITS + EXPONENT_BITS)
}

/// When the event was due, ns.
#[inline]
#[must_use]
pub const fn due_ns(stamp: u64) -> u64 {
    stamp & (u64::MAX >> (u64::BITS - DUE_BITS))
}

/// How much later it left, ns, rounded down.
#[inline]
#[must_use]
pub const fn lag_ns(stamp: u64) -> u64 {
    let exponent = stamp >> DUE_BITS & ((1 << EXPONENT_BITS) - 1);
    (stamp >> (DUE_BITS + EXPONENT_BITS)) << exponent
}

/// The stamp of an event that leaves for another symbol at `now_ns`, and whose root was due at `root_due_ns`, if at any time: here the time of leaving is
/// exact, for the stage `hop`, and how long before it the root was due is within 1.6 %. The longest lag says that there was no due time.
#[inline]
#[must_use]
pub fn hop_stamp(now_ns: u64, root_due_ns: Option<u64>) -> u64 {
    stamp(now_ns, root_due_ns.map_or(LAG_NS_MAX, |due_ns| now_ns.saturating_sub(due_ns).min(LAG_NS_MAX - 1)))
}

/// When the event of such a stamp left, ns.
#[inline]
#[must_use]
pub const fn left_ns(hop_stamp: u64) -> u64 {
    due_ns(hop_stamp)
}

/// When its root was due, ns; `None` when it was due at no time.
#[inline]
#[must_use]
pub fn root_due_ns(hop_stamp: u64) -> Option<u64> {
    let lag = lag_ns(hop_stamp);
    (lag != LAG_NS_MAX).then(|| due_ns(hop_stamp).saturating_sub(lag))
}

const _: () = assert!(due_ns(DUE_NONE) > DUE_NS_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use tapeline_core::testing::for_seeds;

    #[test]
    fn a_stamp_gives_back_the_due_time_and_the_lag_within_its_bits() {
        for_seeds(0..20, |_, prng| {
            for _ in 0..5_000 {
                let (due, lag) = (prng.log_uniform(52).min(DUE_NS_MAX), prng.log_uniform(38).min(LAG_NS_MAX));
                let stamp = stamp(due, lag);
                assert_ne!(stamp, DUE_NONE);
                assert_eq!(due_ns(stamp), due);
                let told = lag_ns(stamp);
                assert!(told <= lag && (lag - told) * 64 <= lag, "{told} for {lag}");
            }
        });
    }

    #[test]
    fn a_hop_keeps_when_it_left_and_about_when_its_root_was_due() {
        let first = hop_stamp(5_000, Some(4_900));
        assert_eq!((left_ns(first), root_due_ns(first)), (5_000, Some(4_900)), "small lags are exact");
        let second = hop_stamp(1_000_000, root_due_ns(first));
        let error = root_due_ns(second).unwrap() - 4_900;
        assert!(left_ns(second) == 1_000_000 && error * 64 <= 995_100, "{error}");
        let early = hop_stamp(7, Some(9));
        assert_eq!(root_due_ns(early), Some(7), "a root that leaves before it is due is taken as due when it leaves");
        let undue = hop_stamp(1 << 50, None);
        assert_eq!((left_ns(undue), root_due_ns(undue)), (1 << 50, None));
        assert_ne!(root_due_ns(hop_stamp(1 << 50, Some(0))), None, "a root that is hours late is late");
    }

    #[test]
    fn small_lags_are_exact_and_what_is_too_much_is_the_most() {
        for lag in 0..=127 {
            assert_eq!(lag_ns(stamp(5, lag)), lag);
        }
        assert_eq!((due_ns(stamp(u64::MAX, 0)), lag_ns(stamp(0, u64::MAX))), (DUE_NS_MAX, LAG_NS_MAX));
        assert_ne!(stamp(u64::MAX, u64::MAX), DUE_NONE);
        assert_eq!(LAG_NS_MAX / 1_000_000_000, 272, "4 min 32 s");
    }
}
