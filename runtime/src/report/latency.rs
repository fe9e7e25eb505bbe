//! Latency summaries: what a histogram says, and no more than it can say.
//!
//! A percentile is told only when at least [`BEYOND_MIN`] samples lie beyond it, and only when it does not lie in the
//! share of samples that the machine, not the engine, may have made late. What cannot be told is `null`, never a
//! number that looks like the others.

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

/// Lowest value that the histograms tell apart from zero, in ns.
pub const LATENCY_NS_MIN: u64 = 1;
/// Highest value that the histograms are made for, in ns: one hour. Their last bucket ends at 2^42 ns (73 minutes); what
/// is longer than that is recorded as one hour.
pub const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Significant decimal digits of response, service and pacer lag: a value is told within 0.1 %.
pub const DIGITS: u8 = 3;
/// Significant decimal digits of the stages: a value is told within 1 %.
pub const STAGE_DIGITS: u8 = 2;
/// Samples that must lie beyond a percentile for it to be told. With fewer, one more or one less slow event moves it.
pub const BEYOND_MIN: u64 = 10;

/// An empty histogram for response, service time and pacer lag, in ns. Record with `saturating_record`, which never
/// fails. Allocates its fixed memory (264 KiB) here and none later.
#[must_use]
pub fn new_histogram() -> Histogram<u64> {
    with_digits(DIGITS)
}

/// Whether a core that is taken away makes the values of this name longer (`response`, or `shard0.hop`): they end later than they were
/// due. What is within a batch is told from its stamps, whenever it was due.
#[must_use]
pub fn waits_for_cores(name: &str) -> bool {
    let name = name.rsplit('.').next().unwrap_or(name);
    ["response", "pacer_lag", "backpressure", "ring_wait", "hop", "end_to_end", "message"].contains(&name)
}

/// An empty histogram for a stage, in ns: as [`new_histogram`] with two digits in 36 KiB.
#[must_use]
pub fn stage_histogram() -> Histogram<u64> {
    with_digits(STAGE_DIGITS)
}

fn with_digits(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, digits)
        .expect("the bounds are constants: 1 <= low, 2 * low <= high, digits <= 5")
}

/// The percentiles of a summary, in parts of 10,000.
const PARTS: [u64; 5] = [5_000, 9_000, 9_900, 9_990, 9_999];
const PARTS_ALL: u64 = 10_000;

/// What a histogram says. All values in ns, as the histogram's buckets tell them apart; `null` = cannot be told.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Summary {
    /// Samples.
    pub count: u64,
    /// Smallest sample; `null` without samples.
    pub min: Option<u64>,
    /// Median.
    pub p50: Option<u64>,
    /// 90th percentile.
    pub p90: Option<u64>,
    /// 99th percentile.
    pub p99: Option<u64>,
    /// 99.9th percentile.
    pub p99_9: Option<u64>,
    /// 99.99th percentile.
    pub p99_99: Option<u64>,
    /// Largest sample; `null` without samples.
    pub max: Option<u64>,
    /// Arithmetic mean; `null` without samples.
    #[serde(serialize_with = "maybe_one_decimal")]
    pub mean: Option<f64>,
}

/// A mean to a tenth of a nanosecond: more digits would be noise of the buckets.
fn maybe_one_decimal<S: Serializer>(mean: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    mean.map(tenths).serialize(serializer)
}

/// A number to a tenth.
pub(crate) fn one_decimal<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    tenths(*value).serialize(serializer)
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl Summary {
    /// The summary of `histogram`, of which a share `noise_share` (0 to 1) of the samples was due while the machine
    /// kept a measured core from running: percentiles above `1 - noise_share` are `null`, as the slowest samples may
    /// all be the machine's. Minimum, maximum and mean are always told: they claim no rank.
    ///
    /// O(buckets). A `noise_share` that is not a number counts as 1.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>, noise_share: f64) -> Self {
        let count = histogram.len();
        if count == 0 {
            return Self::default();
        }
        let noise_share = if noise_share.is_nan() { 1.0 } else { noise_share };
        let [p50, p90, p99, p99_9, p99_99] = PARTS.map(|parts| {
            let beyond = u128::from(count) * u128::from(PARTS_ALL - parts) / u128::from(PARTS_ALL);
            let share_beyond = (PARTS_ALL - parts) as f64 / PARTS_ALL as f64;
            (beyond >= u128::from(BEYOND_MIN) && share_beyond >= noise_share)
                .then(|| histogram.value_at_quantile(parts as f64 / PARTS_ALL as f64))
        });
        Self {
            count,
            min: Some(histogram.min()),
            p50,
            p90,
            p99,
            p99_9,
            p99_99,
            max: Some(histogram.max()),
            mean: Some(histogram.mean()),
        }
    }

    /// The values between minimum and maximum with their names, in rising order.
    #[must_use]
    pub fn percentiles(&self) -> [(&'static str, Option<u64>); 5] {
        [("p50", self.p50), ("p90", self.p90), ("p99", self.p99), ("p99.9", self.p99_9), ("p99.99", self.p99_99)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A histogram of 1, 2, .. `count` ns: every percentile is known.
    fn ramp(count: u64) -> Histogram<u64> {
        let mut histogram = new_histogram();
        for value in 1..=count {
            histogram.saturating_record(value);
        }
        histogram
    }

    #[test]
    fn an_empty_histogram_says_nothing() {
        assert_eq!(Summary::of(&new_histogram(), 0.0), Summary::default());
        let json = serde_json::to_string(&Summary::default()).unwrap();
        assert_eq!(
            json,
            r#"{"count":0,"min":null,"p50":null,"p90":null,"p99":null,"p99_9":null,"p99_99":null,"max":null,"mean":null}"#
        );
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        // Just short of ten beyond, and just ten, for each percentile.
        for (index, parts) in PARTS.iter().enumerate() {
            let enough = BEYOND_MIN * PARTS_ALL / (PARTS_ALL - parts);
            let told = |count| Summary::of(&ramp(count), 0.0).percentiles().map(|(_, value)| value.is_some());
            assert!(!told(enough - 1)[index], "{parts} with {} samples", enough - 1);
            assert!(told(enough)[index], "{parts} with {enough} samples");
        }
    }

    #[test]
    fn percentiles_are_within_the_digits_of_the_exact_ones() {
        let summary = Summary::of(&ramp(200_000), 0.0);
        assert_eq!(summary.count, 200_000);
        assert_eq!(summary.min, Some(1));
        for ((name, value), exact) in
            summary.percentiles().into_iter().zip([100_000, 180_000, 198_000, 199_800, 199_980])
        {
            let value = value.unwrap();
            assert!(value >= exact && value <= exact + exact / 1_000, "{name}: {value} for {exact}");
        }
        assert!((summary.mean.unwrap() - 100_000.5).abs() < 100.0);
    }

    #[test]
    fn what_may_be_noise_is_not_told() {
        let histogram = ramp(200_000);
        let told = |share| Summary::of(&histogram, share).percentiles().map(|(_, value)| value.is_some());
        assert_eq!(told(0.0), [true; 5]);
        assert_eq!(told(0.000_1), [true; 5], "p99.99 is not above 1 - 0.0001");
        assert_eq!(told(0.000_11), [true, true, true, true, false]);
        assert_eq!(told(0.002), [true, true, true, false, false]);
        assert_eq!(told(0.01), [true, true, true, false, false], "p99 is not above 1 - 0.01");
        assert_eq!(told(0.2), [true, false, false, false, false]);
        assert_eq!(told(1.0), [false; 5]);
        assert_eq!(told(f64::NAN), [false; 5]);
        let all_noise = Summary::of(&histogram, 1.0);
        assert!(all_noise.min.is_some() && all_noise.max.is_some() && all_noise.mean.is_some());
    }

    #[test]
    fn zero_and_more_than_an_hour_are_recorded() {
        for mut histogram in [new_histogram(), stage_histogram()] {
            histogram.saturating_record(0);
            histogram.saturating_record(u64::MAX);
            let summary = Summary::of(&histogram, 0.0);
            assert_eq!((summary.count, summary.min), (2, Some(0)));
            let max = summary.max.unwrap();
            assert!(max >= LATENCY_NS_MAX && max - LATENCY_NS_MAX <= LATENCY_NS_MAX / 100, "{max}");
        }
    }

    #[test]
    fn documented_memory() {
        let bytes = |histogram: Histogram<u64>| histogram.distinct_values() * size_of::<u64>();
        assert_eq!(bytes(new_histogram()).div_ceil(1024), 264);
        assert_eq!(bytes(stage_histogram()).div_ceil(1024), 36);
    }
}
