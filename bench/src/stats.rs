//! Percentiles, medians and bootstrap intervals.

/// A seeded generator (xorshift64*): orders rounds and draws bootstrap samples.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// An index below `len`, which is not 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % len
    }

    /// A random order of `0..len`.
    pub fn order(&mut self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for last in (1..len).rev() {
            order.swap(last, self.index(last + 1));
        }
        order
    }
}

/// Draws `0..len` so that number k comes up in proportion to 1 / (k + 1)^s.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// By number, the share of all draws up to it, of 2^30.
    cumulated: Box<[u32]>,
}

impl Zipf {
    /// # Panics
    /// When `len` is 0.
    #[must_use]
    pub fn new(len: usize, s: f64) -> Self {
        assert!(len > 0, "there is something to draw");
        let weight = |index: usize| 1.0 / ((index + 1) as f64).powf(s);
        let total: f64 = (0..len).map(weight).sum();
        let mut sum = 0.0;
        let mut cumulate = |index: usize| {
            sum += weight(index);
            (sum / total * f64::from(1 << 30)) as u32
        };
        Self { cumulated: (0..len).map(&mut cumulate).collect() }
    }

    /// The next number.
    pub fn draw(&self, rng: &mut Rng) -> usize {
        let share = rng.index(1 << 30) as u32;
        self.cumulated.partition_point(|up_to| *up_to <= share).min(self.cumulated.len() - 1)
    }
}

/// The value below or at which a share `p` of the sorted values lies (nearest rank); `None` without values.
#[must_use]
pub fn percentile(sorted: &[f64], p: f64) -> Option<f64> {
    let rank = (p * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// The median; the mean of the two middle values of an even number.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// A median and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The median.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Values that it rests on.
    pub count: usize,
}

/// Median of `values` with the 95 % percentile bootstrap interval of 2,000 resamples. `None` without values.
#[must_use]
pub fn bootstrap(values: &[f64], rng: &mut Rng) -> Option<Interval> {
    const RESAMPLES: usize = 2_000;
    let all = median(values)?;
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| median(&(0..values.len()).map(|_| values[rng.index(values.len())]).collect::<Vec<_>>()))
        .collect();
    medians.sort_by(f64::total_cmp);
    Some(Interval {
        median: all,
        low: percentile(&medians, 0.025)?,
        high: percentile(&medians, 0.975)?,
        count: values.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), Some(50.0));
        assert_eq!(percentile(&values, 0.99), Some(99.0));
        assert_eq!(percentile(&values, 1.0), Some(100.0));
        assert_eq!(percentile(&values, 0.0), Some(1.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn medians_of_even_and_odd_numbers() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn an_interval_holds_its_median_and_narrows_with_agreement() {
        let mut rng = Rng::new(7);
        let spread: Vec<f64> = (0..40).map(f64::from).collect();
        let wide = bootstrap(&spread, &mut rng).unwrap();
        assert!(wide.low < wide.median && wide.median < wide.high);
        assert!(wide.low > 5.0 && wide.high < 34.0, "{wide:?}");
        let equal = bootstrap(&[2.0; 40], &mut rng).unwrap();
        assert_eq!((equal.low, equal.median, equal.high), (2.0, 2.0, 2.0));
        assert_eq!(bootstrap(&[], &mut rng), None);
    }

    #[test]
    fn zipf_draws_the_first_most_often_and_the_last_too() {
        let (zipf, mut rng) = (Zipf::new(10, 1.0), Rng::new(5));
        let mut count = [0; 10];
        (0..30_000).for_each(|_| count[zipf.draw(&mut rng)] += 1);
        // The tenth harmonic number is 2.929: shares of 0.3414 and 0.0341.
        assert!((9_900..10_600).contains(&count[0]) && (900..1_150).contains(&count[9]), "{count:?}");
    }

    #[test]
    fn an_order_holds_every_index_once() {
        let mut rng = Rng::new(3);
        let mut order = rng.order(9);
        order.sort_unstable();
        assert_eq!(order, (0..9).collect::<Vec<_>>());
    }
}
