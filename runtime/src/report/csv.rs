//! Percentiles of every histogram as CSV, for spreadsheets and notebooks.
//!
//! ```text
//! metric,percentile,value_ns,samples_at_or_below,samples,told
//! response,50,1234,50000,100000,1
//! ```
//! The percentiles are those of the summaries and five for each halving of the distance to 100, as in the `.hgrm` file. `told` is 0 where the report
//! has null: fewer than ten samples beyond, or within the share that the machine may have made late.

use super::latency::{BEYOND_MIN, waits_for_cores};
use crate::replay::Told;
use hdrhistogram::Histogram;
use std::io;

/// Percentiles that are always there, in parts of 10,000.
const ALWAYS: [u64; 6] = [5_000, 9_000, 9_500, 9_900, 9_990, 9_999];

/// Writes the percentiles of every histogram of `told`. O(buckets).
///
/// # Errors
/// What `out` says.
pub fn write(told: &Told, out: &mut impl io::Write) -> io::Result<()> {
    writeln!(out, "metric,percentile,value_ns,samples_at_or_below,samples,told")?;
    for (name, histogram) in &told.tagged {
        // What is within a batch is told from its stamps, whenever it was due.
        rows(name, histogram, if waits_for_cores(name) { told.noise_share } else { 0.0 }, out)?;
    }
    Ok(())
}

fn rows(name: &str, histogram: &Histogram<u64>, noise_share: f64, out: &mut impl io::Write) -> io::Result<()> {
    let steps = histogram.iter_quantiles(5).map(|step| step.quantile_iterated_to());
    let mut quantiles: Vec<f64> = steps.chain(ALWAYS.map(|parts| parts as f64 / 10_000.0)).collect();
    quantiles.sort_by(f64::total_cmp);
    quantiles.dedup();
    for quantile in quantiles {
        let value = histogram.value_at_quantile(quantile);
        let percentile = format!("{:.6}", quantile * 100.0);
        let percentile = percentile.trim_end_matches('0').trim_end_matches('.');
        let beyond = 1.0 - quantile;
        let is_told = beyond * histogram.len() as f64 >= BEYOND_MIN as f64 * (1.0 - 1e-9) && beyond >= noise_share;
        let at_or_below = histogram.count_between(0, value);
        writeln!(out, "{name},{percentile},{value},{at_or_below},{},{}", histogram.len(), u8::from(is_told))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::latency::new_histogram;

    #[test]
    fn percentiles_rise_and_hold_what_they_say() {
        let mut histogram = new_histogram();
        (1..=1_000u64).for_each(|value| histogram.saturating_record(value));
        let mut out = Vec::new();
        rows("service", &histogram, 0.02, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert!(lines.iter().all(|line| line.len() == 6 && line[0] == "service" && line[4] == "1000"));
        for (percentile, value) in [("50", "500"), ("90", "900"), ("99", "990"), ("99.9", "999"), ("100", "1000")] {
            let line =
                lines.iter().find(|line| line[1] == percentile).unwrap_or_else(|| panic!("{percentile}: {text}"));
            assert_eq!((line[2], line[3]), (value, value), "{percentile}");
            let is_told = matches!(percentile, "50" | "90");
            assert_eq!(line[5], if is_told { "1" } else { "0" }, "{percentile}: ten beyond 99, and 2 % of noise");
        }
        let values: Vec<u64> = lines.iter().map(|line| line[2].parse().unwrap()).collect();
        assert!(values.is_sorted());
    }
}
