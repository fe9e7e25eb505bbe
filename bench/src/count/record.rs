//! The kept record of instruction counts, and what has moved since.

use crate::machine;
use serde_json::{Value, json};

/// Counts with what they depend on.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// Compiler.
    pub rustc: String,
    /// What it was allowed to use of the processor.
    pub target: String,
    /// Rows by name, instructions per operation.
    pub rows: Vec<(String, f64)>,
}

/// How a run compares with the record.
#[derive(Clone, PartialEq, Debug)]
pub enum Comparison {
    /// Another compiler or target: the counts cannot be compared. Says which.
    NotComparable(String),
    /// Lines about rows that moved, are new or are gone; empty when all is as it was.
    Moved(Vec<String>),
}

/// Share by which a row may move.
const TOLERANCE: f64 = 0.02;

impl Record {
    /// Of this program.
    #[must_use]
    pub fn of_this_build(rows: Vec<(String, f64)>) -> Self {
        Self { rustc: machine::RUSTC.into(), target: machine::target_features(), rows }
    }

    /// # Errors
    /// When the text is not a record.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let text = |name: &str| value[name].as_str().map(str::to_owned).ok_or_else(|| format!("no `{name}`"));
        let rows = value["instructions_per_operation"].as_object().ok_or("no `instructions_per_operation`")?;
        let rows = rows
            .iter()
            .map(|(name, count)| Ok((name.clone(), count.as_f64().ok_or_else(|| format!("`{name}` is no number"))?)));
        Ok(Self { rustc: text("rustc")?, target: text("target")?, rows: rows.collect::<Result<_, String>>()? })
    }

    /// As the text of the file: rows by name, one a line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let rows: serde_json::Map<_, _> =
            self.rows.iter().map(|(name, count)| (name.clone(), json!((count * 100.0).round() / 100.0))).collect();
        let value = json!({"rustc": self.rustc, "target": self.target, "instructions_per_operation": rows});
        format!("{value:#}\n")
    }

    /// Compares `now` with this record.
    #[must_use]
    pub fn compare(&self, now: &Self) -> Comparison {
        for (name, kept, current) in [("rustc", &self.rustc, &now.rustc), ("target", &self.target, &now.target)] {
            if kept != current {
                return Comparison::NotComparable(format!("{name}: kept for {kept}, built for {current}"));
            }
        }
        let find = |rows: &[(String, f64)], name: &str| rows.iter().find(|row| row.0 == name).map(|row| row.1);
        let mut moved = Vec::new();
        for (name, current) in &now.rows {
            match find(&self.rows, name) {
                None => moved.push(format!("{name}: {current:.2}, not in the record")),
                // Less than a hundredth is rounding: the record has two digits.
                Some(kept) if (current - kept).abs() > (kept * TOLERANCE).max(0.01) => {
                    let change = (current / kept - 1.0) * 100.0;
                    moved.push(format!("{name}: {kept:.2} -> {current:.2} ({change:+.1} %)"));
                }
                Some(_) => {}
            }
        }
        let gone = self.rows.iter().filter(|(name, _)| find(&now.rows, name).is_none());
        moved.extend(gone.map(|(name, _)| format!("{name}: in the record only")));
        Comparison::Moved(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(rows: &[(&str, f64)]) -> Record {
        let rows = rows.iter().map(|(name, count)| ((*name).into(), *count)).collect();
        Record { rustc: "rustc 1".into(), target: "x86_64 avx2".into(), rows }
    }

    #[test]
    fn what_moved_by_more_than_two_percent_is_named() {
        let kept = record(&[("a", 10.0), ("b", 10.0), ("c", 10.0), ("gone", 1.0)]);
        let now = record(&[("a", 10.19), ("b", 10.3), ("c", 9.7), ("new", 1.0)]);
        let Comparison::Moved(moved) = kept.compare(&now) else { panic!("comparable") };
        assert_eq!(moved.len(), 4, "{moved:?}");
        assert!(moved[0].starts_with("b: 10.00 -> 10.30 (+3.0 %)") && moved[1].starts_with("c: "));
        assert!(moved[2].starts_with("new") && moved[3].starts_with("gone"));
        assert_eq!(kept.compare(&kept), Comparison::Moved(Vec::new()));
    }

    #[test]
    fn another_compiler_or_target_is_not_compared() {
        let kept = record(&[("a", 10.0)]);
        let newer = Record { rustc: "rustc 2".into(), rows: Vec::new(), ..kept.clone() };
        assert!(matches!(kept.compare(&newer), Comparison::NotComparable(why) if why.contains("rustc 2")));
        let wider = Record { target: "x86_64 avx512f".into(), ..kept.clone() };
        assert!(matches!(kept.compare(&wider), Comparison::NotComparable(why) if why.contains("avx512f")));
    }

    #[test]
    fn a_record_reads_back_with_two_digits() {
        let kept = record(&[("a", 10.123), ("b", 0.5)]);
        let back = Record::from_json(&kept.to_json()).unwrap();
        assert_eq!(back, record(&[("a", 10.12), ("b", 0.5)]));
        for bad in ["", "{}", r#"{"rustc":"r","target":"t","instructions_per_operation":{"a":"x"}}"#] {
            assert!(Record::from_json(bad).is_err(), "{bad}");
        }
    }
}
