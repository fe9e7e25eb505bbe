//! Medians, bootstrap intervals of their ratio, and the noise floor of one set of values against itself.
//!
//! All are of values at least 0 that are finite; what is not has to be left out before. Latencies of repeated runs have long
//! tails and no known distribution: so medians, not means, and resampling, not a formula.

/// Resamples of an interval and splits of a noise floor. With 10,000 the ends of a 95 % interval rest on 250 of them each.
pub const RESAMPLES: usize = 10_000;
/// Values that a side needs for an interval to mean 95 %: of fewer, not even the whole range from the smallest to the largest holds
/// the true median in 95 % of cases (2 / 2^5 = 6.25 % are outside with five, 3.1 % with six).
pub const VALUES_MIN: usize = 6;
/// Seed where nobody says another one: results can be had again.
pub const SEED: u64 = 1;

/// A seeded generator of random numbers: splitmix64 by S. Vigna (public domain), the whole state in one word.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// A generator for `seed`; every seed is a good one.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An index below `len`, which is not 0. The bias of the multiplication is below len / 2^64.
    pub fn index(&mut self, len: usize) -> usize {
        ((u128::from(self.next_u64()) * len as u128) >> 64) as usize
    }

    /// Puts `values` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.index(last + 1));
        }
    }
}

/// The median; the mean of the two middle values of an even number; `None` without values. O(n log n).
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    median_of(&mut sorted)
}

/// [`median`], in place.
fn median_of(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(values[middle - 1].midpoint(values[middle])),
    }
}

/// The value below or at which a share `p` of the sorted values lies (nearest rank); `None` without values.
fn percentile(sorted: &[f64], p: f64) -> Option<f64> {
    let rank = (p * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// `b / a`, where nothing to nothing is no change. Infinite where only `a` is 0.
fn ratio(b: f64, a: f64) -> f64 {
    if a == b { 1.0 } else { b / a }
}

/// The ratio of two medians, and its 95 % interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Interval {
    /// Median of B over median of A.
    pub ratio: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The ratio of the median of `b` to that of `a` with its 95 % percentile-bootstrap interval (B. Efron, "Bootstrap Methods: Another
/// Look at the Jackknife", 1979): both sides are drawn anew with replacement, `resamples` times. `None` where a side has fewer than
/// [`VALUES_MIN`] values.
///
/// O(resamples * (a + b) * log(a + b)).
#[must_use]
pub fn ratio_of_medians(a: &[f64], b: &[f64], resamples: usize, seed: u64) -> Option<Interval> {
    if a.len().min(b.len()) < VALUES_MIN || resamples == 0 {
        return None;
    }
    let mut prng = Prng::new(seed);
    let (mut drawn_a, mut drawn_b) = (vec![0.0; a.len()], vec![0.0; b.len()]);
    let mut ratios = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        drawn_a.iter_mut().for_each(|drawn| *drawn = a[prng.index(a.len())]);
        drawn_b.iter_mut().for_each(|drawn| *drawn = b[prng.index(b.len())]);
        ratios.push(ratio(median_of(&mut drawn_b)?, median_of(&mut drawn_a)?));
    }
    ratios.sort_unstable_by(f64::total_cmp);
    Some(Interval {
        ratio: ratio(median(b)?, median(a)?),
        low: percentile(&ratios, 0.025)?,
        high: percentile(&ratios, 0.975)?,
    })
}

/// The noise floor: how far apart, as a factor of at least 1, the medians of two sets of runs are of which nothing is known but that
/// they are of the same thing. `values` are split at random into halves, `splits` times; the floor is the factor that 95 % of
/// them stay below. `None` with fewer than [`VALUES_MIN`] values.
///
/// A half has half the runs, so that its median scatters more than the whole's (by the square root of two, where there are
/// many): the floor is on the safe side.
///
/// O(splits * n log n).
#[must_use]
pub fn noise_floor(values: &[f64], splits: usize, seed: u64) -> Option<f64> {
    if values.len() < VALUES_MIN || splits == 0 {
        return None;
    }
    let (mut prng, mut order) = (Prng::new(seed), values.to_vec());
    let half = values.len() / 2;
    let mut factors = Vec::with_capacity(splits);
    for _ in 0..splits {
        prng.shuffle(&mut order);
        let (first, second) = order.split_at_mut(half);
        let factor = ratio(median_of(second)?, median_of(first)?);
        // As far up as down: 0.5 is as far away as 2.
        factors.push(if factor < 1.0 { factor.recip() } else { factor });
    }
    factors.sort_unstable_by(f64::total_cmp);
    percentile(&factors, 0.95)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` values around `centre`: the sum of four uniform numbers, spread by `spread` each way at most.
    fn sample(count: usize, centre: f64, spread: f64, seed: u64) -> Vec<f64> {
        let mut prng = Prng::new(seed);
        let mut uniform = || prng.index(1 << 30) as f64 / f64::from(1 << 30) - 0.5;
        (0..count).map(|_| centre * (1.0 + spread * (0..4).map(|_| uniform()).sum::<f64>() / 2.0)).collect()
    }

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs for the seed 1234567, as published with the reference.
        let mut prng = Prng::new(1_234_567);
        let published = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(published.map(|_| prng.next_u64()), published);
        let mut order: Vec<usize> = (0..50).collect();
        prng.shuffle(&mut order);
        assert_ne!(order, (0..50).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[f64::MAX, f64::MAX]), Some(f64::MAX), "the mean of the middle does not overflow");
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            [0.0, 0.025, 0.5, 0.975, 1.0].map(|p| percentile(&values, p)),
            [1.0, 3.0, 50.0, 98.0, 100.0].map(Some)
        );
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_known_ratio_is_inside_its_interval_and_one_is_not() {
        for seed in 0..20 {
            let (a, b) = (sample(10, 1_000.0, 0.05, seed), sample(10, 1_100.0, 0.05, seed + 1_000));
            let interval = ratio_of_medians(&a, &b, RESAMPLES, seed).unwrap();
            assert!(interval.low <= interval.ratio && interval.ratio <= interval.high, "seed {seed}: {interval:?}");
            assert!((interval.ratio - 1.1).abs() < 0.04, "seed {seed}: {interval:?}");
            assert!(interval.low > 1.0, "seed {seed}: {interval:?}");
        }
    }

    /// What 95 % means: of many pairs of equal things, about so many intervals hold 1.
    #[test]
    fn the_interval_covers_what_it_says() {
        let covers = |seed: &u64| {
            let (a, b) = (sample(12, 500.0, 0.2, *seed), sample(12, 500.0, 0.2, seed + 10_000));
            let interval = ratio_of_medians(&a, &b, 500, *seed).unwrap();
            interval.low <= 1.0 && interval.high >= 1.0
        };
        let covered = (0..400).filter(covers).count();
        assert!((360..=400).contains(&covered), "{covered} of 400");
    }

    #[test]
    fn equal_values_have_a_ratio_of_one_and_no_noise() {
        let same = [250.0; 8];
        let one = Interval { ratio: 1.0, low: 1.0, high: 1.0 };
        assert_eq!(ratio_of_medians(&same, &same, RESAMPLES, 1), Some(one));
        assert_eq!(noise_floor(&same, RESAMPLES, 1), Some(1.0));
        // Zeros too: nothing to nothing is no change.
        assert_eq!(ratio_of_medians(&[0.0; 6], &[0.0; 6], 100, 1), Some(one));
        assert_eq!(noise_floor(&[0.0; 6], 100, 1), Some(1.0));
        let from_zero = ratio_of_medians(&[0.0; 6], &[5.0; 6], 100, 1).unwrap();
        assert_eq!((from_zero.ratio, from_zero.low), (f64::INFINITY, f64::INFINITY));
        assert_eq!(ratio_of_medians(&[5.0; 6], &[0.0; 6], 100, 1).unwrap().ratio, 0.0);
    }

    #[test]
    fn too_few_values_say_nothing() {
        let enough = [1.0; VALUES_MIN];
        for few in [&enough[..0], &enough[..1], &enough[..2], &enough[..VALUES_MIN - 1]] {
            assert_eq!(ratio_of_medians(few, &enough, 100, 1), None);
            assert_eq!(ratio_of_medians(&enough, few, 100, 1), None);
            assert_eq!(noise_floor(few, 100, 1), None);
        }
        assert_eq!(ratio_of_medians(&enough, &enough, 0, 1), None);
        assert_eq!(noise_floor(&enough, 0, 1), None);
    }

    #[test]
    fn the_noise_floor_grows_with_the_spread_and_does_not_depend_on_the_order() {
        let floor = |spread: f64| noise_floor(&sample(10, 1_000.0, spread, 3), RESAMPLES, 1).unwrap();
        let (quiet, loud) = (floor(0.01), floor(0.3));
        assert!((1.0..1.02).contains(&quiet) && loud > 1.05 && loud < 1.6, "{quiet} {loud}");
        // Two modes: a split may take all of one to one side.
        let modes = [100.0, 100.0, 100.0, 100.0, 200.0, 200.0, 200.0, 200.0];
        assert_eq!(noise_floor(&modes, RESAMPLES, 1), Some(2.0));
    }

    #[test]
    fn equal_seeds_give_equal_results() {
        let (a, b) = (sample(9, 70.0, 0.4, 5), sample(11, 80.0, 0.4, 6));
        assert_eq!(ratio_of_medians(&a, &b, 1_000, 42), ratio_of_medians(&a, &b, 1_000, 42));
        assert_ne!(ratio_of_medians(&a, &b, 1_000, 42), ratio_of_medians(&a, &b, 1_000, 43));
        assert_eq!(noise_floor(&a, 1_000, 42), noise_floor(&a, 1_000, 42));
    }
}
