//! The report as one JSON object on one line.

use super::Report;

/// `report` as one line of JSON, without a line feed. Text is escaped, so that no value can break the line.
///
/// Numbers that are not finite, which no report should hold, become `null`.
#[must_use]
pub fn line(report: &Report) -> String {
    serde_json::to_string(report).expect("a report has text keys only and writes to memory")
}
