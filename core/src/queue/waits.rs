//! How long requests waited: a log-linear histogram of integers.

/// Linear buckets of one power of two.
const STEPS: usize = 16;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Values below `STEPS` have a bucket each; then `STEPS` buckets for each of the other powers of two.
const BUCKETS: usize = (64 - STEP_BITS as usize + 1) * STEPS;

/// Times in nanoseconds, each known to 1/16 of itself, in 7,808 bytes whatever was recorded.
#[derive(Clone, Debug)]
pub struct Waits {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    max_ns: u64,
}

impl Waits {
    pub(super) fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), count: 0, max_ns: 0 }
    }

    /// O(1).
    #[inline]
    pub(super) fn record(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// Times recorded.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly; 0 when nothing was recorded.
    #[must_use]
    pub const fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// A time in ns that `per_million` of a million did not exceed (500,000 is the median), at most 1/16 above the exact one; `None` when
    /// nothing was recorded. Values above a million are taken as a million. O(1): a walk over 976 counts.
    #[must_use]
    pub fn percentile_ns(&self, per_million: u32) -> Option<u64> {
        let rank = u128::from(self.count) * u128::from(per_million.min(1_000_000));
        let rank = (rank.div_ceil(1_000_000) as u64).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(highest(bucket).min(self.max_ns))
    }

    /// Adds the times of another queue. O(1): 976 counts.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts.iter()).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.counts.fill(0);
        (self.count, self.max_ns) = (0, 0);
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.counts)
    }
}

#[inline]
const fn bucket(ns: u64) -> usize {
    let power = u64::BITS - (ns | 1).leading_zeros();
    if power <= STEP_BITS {
        return ns as usize;
    }
    // The leading one and the STEP_BITS digits behind it.
    let shift = power - 1 - STEP_BITS;
    (shift as usize + 1) * STEPS + ((ns >> shift) as usize - STEPS)
}

/// The highest value of a bucket.
const fn highest(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    (((STEPS + bucket % STEPS) as u64) << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::for_seeds;

    #[test]
    fn buckets_hold_every_value_in_order() {
        for bucket_index in 0..BUCKETS {
            let value = highest(bucket_index);
            assert_eq!(bucket(value), bucket_index);
            if bucket_index + 1 < BUCKETS {
                assert_eq!(bucket(value + 1), bucket_index + 1);
            } else {
                assert_eq!(value, u64::MAX);
            }
        }
    }

    #[test]
    fn percentiles_are_those_of_a_sorted_list_to_a_sixteenth() {
        for_seeds(0..50, |seed, prng| {
            let mut waits = Waits::new();
            let mut list: Vec<u64> = (0..1 + seed * 7).map(|_| prng.log_uniform(60)).collect();
            list.iter().for_each(|ns| waits.record(*ns));
            list.sort_unstable();
            for per_million in [0, 1, 500_000, 900_000, 990_000, 999_999, 1_000_000, u32::MAX] {
                let rank = (list.len() as u64 * u64::from(per_million.min(1_000_000))).div_ceil(1_000_000).max(1);
                let exact = list[rank as usize - 1];
                let told = waits.percentile_ns(per_million).unwrap();
                assert!(told >= exact && told - exact <= exact / 16, "{told} for {exact}");
            }
            assert_eq!((waits.count(), waits.max_ns()), (list.len() as u64, *list.last().unwrap()));
            let mut twice = waits.clone();
            twice.add(&waits);
            assert_eq!(twice.count(), 2 * waits.count());
            for per_million in [500_000, 1_000_000] {
                assert_eq!(twice.percentile_ns(per_million), waits.percentile_ns(per_million));
            }
            waits.reset();
            assert_eq!((waits.percentile_ns(500_000), waits.max_ns()), (None, 0));
        });
    }
}
