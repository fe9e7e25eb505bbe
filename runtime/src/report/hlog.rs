//! Histograms in full, as `.hlog`: the interval log of HdrHistogram, format 1.3, whose tools (HistogramLogProcessor, HistogramLogAnalyzer) read it.
//!
//! One line for each histogram, with its name as tag and the whole run as interval: `Tag=shard0.handlers,0.000,12.345,0.127,<base64>`. The payload is
//! V2 with DEFLATE; values are ns, and the column of maxima is in ms, as the log format has it by default.

use crate::replay::Told;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::io;
use std::time::Duration;

/// Divisor from ns to the unit of the column of maxima.
const NS_PER_MS: f64 = 1_000_000.0;

/// Writes every histogram of `told`. O(buckets).
///
/// # Errors
/// What `out` says.
pub fn write(told: &Told, out: &mut impl io::Write) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let version = format!("tapeline {} replay; values in ns", told.report.version);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&version)
        .with_max_value_divisor(NS_PER_MS)
        .begin_log_with(out, &mut serializer)?;
    let span = Duration::from_nanos(told.report.elapsed_ns);
    for (name, histogram) in &told.tagged {
        let tag = Tag::new(name).ok_or_else(|| io::Error::other(format!("{name} is no tag")))?;
        let written = log.write_histogram(histogram, Duration::ZERO, span, Some(tag));
        written.map_err(|error| io::Error::other(format!("{name}: {error:?}")))?;
    }
    Ok(())
}
