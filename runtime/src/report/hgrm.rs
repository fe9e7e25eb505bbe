//! The percentile distribution as text (`.hgrm`), in the layout of `outputPercentileDistribution` of the Java
//! HdrHistogram, which its public plotter and most other tools of the field read.
//!
//! ```text
//!        Value     Percentile TotalCount 1/(1-Percentile)
//!
//!        0.255 0.000000000000          1           1.00
//!        ...
//!       91.007 1.000000000000        100
//! #[Mean    =       12.345, StdDeviation   =        6.789]
//! #[Max     =       91.007, Total count    =          100]
//! #[Buckets =           32, SubBuckets     =         2048]
//! ```
//! Formats, the order of float operations and the steps of the iteration follow the public-domain Java sources
//! (`AbstractHistogram`, `PercentileIterator`), rounding included: Java rounds the shortest decimal of a number half
//! up, where Rust and C round its exact binary value half to even.

use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::io;

/// Reporting steps for each halving of the distance to 100 %: what Java uses unless told otherwise.
pub const TICKS_PER_HALF_DISTANCE: u32 = 5;
/// Divisor from the engine's ns to the µs that our files are in.
pub const NS_PER_US: f64 = 1_000.0;

/// Writes the percentile distribution of `histogram`, values divided by `scaling` (for ns: 1 = ns, 1,000 = µs).
///
/// O(buckets) time, memory for one line.
///
/// # Errors
/// What `out` says.
pub fn write(histogram: &Histogram<u64>, scaling: f64, out: &mut impl io::Write) -> io::Result<()> {
    let digits = usize::from(histogram.sigfig());
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    for step in Steps::new(histogram) {
        let value = java_fixed(step.value as f64 / scaling, digits);
        let percentile = java_fixed(step.level / 100.0, 12);
        write!(out, "{value:>12} {percentile} {:>10}", step.count_to_here)?;
        if step.level < 100.0 {
            write!(out, " {:>14}", java_fixed(1.0 / (1.0 - step.level / 100.0), 2))?;
        }
        writeln!(out)?;
    }
    let (mean, deviation) = mean_and_deviation(histogram);
    let fixed = |value: f64| java_fixed(value / scaling, digits);
    writeln!(out, "#[Mean    = {:>12}, StdDeviation   = {:>12}]", fixed(mean), fixed(deviation))?;
    writeln!(out, "#[Max     = {:>12}, Total count    = {:>12}]", fixed(histogram.max() as f64), histogram.len())?;
    writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {:>12}]", histogram.buckets(), sub_buckets(histogram))
}

/// One line of the distribution.
struct Step {
    /// Highest value that the line's bucket holds.
    value: u64,
    /// Percentile that the line stands for, 0 to 100. The bucket's own percentile is at or above it.
    level: f64,
    /// Samples up to the line's bucket.
    count_to_here: u64,
}

/// The lines of a distribution: for each level the first bucket that reaches it, then 100 %.
struct Steps<'a> {
    /// Buckets with samples, rising: (highest equivalent value, count).
    buckets: Box<dyn Iterator<Item = (u64, u64)> + 'a>,
    total: u64,
    value: u64,
    count_to_here: u64,
    level: f64,
    ended: bool,
}

impl<'a> Steps<'a> {
    fn new(histogram: &'a Histogram<u64>) -> Self {
        let buckets = histogram.iter_recorded().map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value()));
        let total = histogram.len();
        Self { buckets: Box::new(buckets), total, value: 0, count_to_here: 0, level: 0.0, ended: total == 0 }
    }
}

impl Iterator for Steps<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.ended {
            return None;
        }
        if self.level > 0.0 && self.count_to_here == self.total {
            // The last bucket was shown; one more line stands for 100 %, however far the levels had come.
            self.level = 100.0;
        }
        while self.count_to_here == 0 || 100.0 * self.count_to_here as f64 / (self.total as f64) < self.level {
            let (value, count) = self.buckets.next()?;
            self.value = value;
            self.count_to_here += count;
        }
        let step = Step { value: self.value, level: self.level, count_to_here: self.count_to_here };
        self.ended = self.level >= 100.0;
        self.level = next_level(self.level);
        Some(step)
    }
}

/// The level after `level`: the distance to 100 % is halved every [`TICKS_PER_HALF_DISTANCE`] steps.
fn next_level(level: f64) -> f64 {
    if level >= 100.0 {
        return 100.0;
    }
    // Whole halvings so far: the binary exponent of a number of at least 1. Java divides logarithms here, with the same
    // result for every level that 2^50 samples can reach.
    let halvings = ((100.0 / (100.0 - level)).to_bits() >> 52) - 1023;
    let ticks = u64::from(TICKS_PER_HALF_DISTANCE) << (halvings + 1);
    let next = level + 100.0 / ticks as f64;
    if next > level { next.min(100.0) } else { 100.0 }
}

/// Mean and standard deviation, with Java's order of operations: the crate's own differ in the last digits. (Java's
/// integer product of median and count overflows where ours, the same for all others, does not.)
fn mean_and_deviation(histogram: &Histogram<u64>) -> (f64, f64) {
    let total = histogram.len();
    if total == 0 {
        return (0.0, 0.0);
    }
    let medians = || {
        histogram
            .iter_recorded()
            .map(|bucket| (histogram.median_equivalent(bucket.value_iterated_to()), bucket.count_at_value()))
    };
    let sum = medians().fold(0.0, |sum, (median, count)| sum + median as f64 * count as f64);
    let mean = sum / total as f64;
    let squares = medians().fold(0.0, |squares, (median, count)| {
        let deviation = median as f64 - mean;
        squares + deviation * deviation * count as f64
    });
    (mean, (squares / total as f64).sqrt())
}

/// Java's `subBucketCount`: the power of two at or above `2 * 10^digits`, so that each step is within the digits.
fn sub_buckets(histogram: &Histogram<u64>) -> u64 {
    (2 * 10u64.pow(u32::from(histogram.sigfig()))).next_power_of_two()
}

/// `value` with `decimals` digits after the point, as Java's `%.nf` prints it: the shortest decimal that reads back as
/// `value`, rounded half up. `value` is finite and not negative.
fn java_fixed(value: f64, decimals: usize) -> String {
    debug_assert!(value.is_finite() && value >= 0.0, "not printed: {value}");
    // "1.2345e-7": all digits without leading zeros, and the power of ten of the first.
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    // `keep` digits stand at or before the last wanted decimal; fewer than none means that all of them are below it.
    let keep = exponent + 1 + decimals as i64;
    let round_up = keep >= 0 && digits.get(keep as usize).is_some_and(|&digit| digit >= 5);
    digits.resize(keep.max(0) as usize, 0);
    // From here `digits` is the number in units of the last decimal.
    if round_up {
        let nines = digits.iter().rev().take_while(|&&digit| digit == 9).count();
        let at = digits.len() - nines;
        digits[at..].fill(0);
        if at == 0 { digits.insert(0, 1) } else { digits[at - 1] += 1 }
    }
    let missing = (decimals + 1).saturating_sub(digits.len());
    let mut text = String::with_capacity(digits.len() + missing + 1);
    for (index, digit) in std::iter::repeat_n(0, missing).chain(digits.iter().copied()).enumerate() {
        if index + decimals == digits.len() + missing && decimals > 0 {
            text.push('.');
        }
        let _ = write!(text, "{digit}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_as_in_java() {
        // Checked against String.format of OpenJDK 17.
        for (value, decimals, expected) in [
            (0.125, 2, "0.13"),
            (2.675, 2, "2.68"),
            (0.25, 1, "0.3"),
            (1.0005, 3, "1.001"),
            (0.999_877_929_687_5, 12, "0.999877929688"),
            (0.0, 3, "0.000"),
            (0.000_4, 3, "0.000"),
            (0.000_5, 3, "0.001"),
            (0.000_000_7, 3, "0.000"),
            (9.999_5, 3, "10.000"),
            (0.999_5, 3, "1.000"),
            (99.0, 0, "99"),
            (1e22, 3, "10000000000000000000000.000"),
            (123_456.789, 3, "123456.789"),
        ] {
            assert_eq!(java_fixed(value, decimals), expected, "{value:?} with {decimals} decimals");
        }
    }

    #[test]
    fn levels_halve_the_distance_and_end() {
        let mut level = 0.0;
        let mut levels = vec![level];
        while level < 100.0 {
            level = next_level(level);
            levels.push(level);
            assert!(levels.len() < 400, "the levels never reach 100: {level}");
        }
        assert_eq!(&levels[..12], &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 55.0, 60.0, 65.0, 70.0, 75.0, 77.5]);
        assert!(levels.is_sorted());
        assert!(levels.contains(&(100.0 - 100.0 / f64::from(1 << 20))), "half-distances are exact");
    }
}
