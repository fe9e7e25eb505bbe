//! A comparison as a table for people: the verdict first, then what was compared, then every metric.

use super::compare::{Call, Comparison, Metric, Outputs, Side};
use super::page::words;
use super::stats::VALUES_MIN;
use crate::report::text::{duration, plain, rate};
use std::fmt::Write as _;

/// `comparison` as text, each line ended by a line feed.
#[must_use]
pub fn table(comparison: &Comparison) -> String {
    let mut text = format!("{}: {}\n\n", comparison.verdict.name().to_uppercase(), comparison.why);
    let mut line = |label: &str, text_of: &str| words(&mut text, label, text_of);
    line("A", &side(&comparison.a));
    line("B", &side(&comparison.b));
    line(
        "outputs",
        &match comparison.outputs {
            Outputs::Equal => format!("equal, digest {}", comparison.a.digests.join(" ")),
            Outputs::Different => {
                format!(
                    "DIFFERENT: digest {} in A, {} in B",
                    comparison.a.digests.join(" "),
                    comparison.b.digests.join(" ")
                )
            }
            Outputs::NotComparable => "not comparable: a limit acted that depends on load or on the shards".to_owned(),
        },
    );
    for difference in &comparison.differences {
        line("differs", &format!("{}: {} in A, {} in B", difference.what, plain(&difference.a), plain(&difference.b)));
    }
    let _ = writeln!(
        text,
        "\n{:<11}{:>12}{:>12}{:>9}{:>19}{:>8}{:>8}  verdict",
        comparison.basis, "A", "B", "change", "95 % interval", "noise", "gate"
    );
    for metric in &comparison.metrics {
        row(&mut text, metric);
    }
    text.push_str(
        "            change: median of B over median of A; noise: of A against itself, by halves of its runs\n",
    );
    for metric in comparison.metrics.iter().filter(|metric| metric.verdict == Call::CannotTell) {
        let why = metric.why.as_deref().unwrap_or_default();
        words(&mut text, "cannot tell", &format!("{}: {why}", metric.name));
    }
    let short = [&comparison.a, &comparison.b].into_iter().any(|side| side.used < VALUES_MIN && side.invalid > 0);
    if short {
        text.push_str("            --allow-invalid takes runs that the machine disturbed as well\n");
    }
    text
}

fn side(side: &Side) -> String {
    let mut text = format!("{}: {} of {} runs compared", plain(&side.name), side.used, side.runs);
    for (number, what) in [
        (side.invalid, "invalid"),
        (side.interrupted, "interrupted"),
        (side.unbalanced, "with a ledger that does not balance"),
        (side.saturated, "SATURATED"),
    ] {
        if number > 0 {
            let _ = write!(text, ", {number} {what}");
        }
    }
    text
}

fn row(text: &mut String, metric: &Metric) {
    let value = |value: Option<f64>| match value {
        None => "-".to_owned(),
        Some(value) if metric.unit == "ns" => duration(value.round() as u64),
        Some(value) => rate(value).replace(" events/s", "").replace("events/s", "") + "/s",
    };
    let percent = |factor: f64| format!("{:+.1}", (factor - 1.0) * 100.0);
    let change = metric.ratio.map_or_else(|| "-".to_owned(), |ratio| percent(ratio) + " %");
    let interval = metric
        .low
        .zip(metric.high)
        .map_or_else(|| "-".to_owned(), |(low, high)| format!("{} to {} %", percent(low), percent(high)));
    let noise = metric.noise_floor.map_or_else(|| "-".to_owned(), |floor| format!("{:.1} %", (floor - 1.0) * 100.0));
    let gate = format!("{:.1} %", metric.gate * 100.0);
    let (a, b) = (value(metric.a), value(metric.b));
    let mark = if metric.regression { " (REGRESSION)" } else { "" };
    let verdict = metric.verdict.name();
    let _ = writeln!(
        text,
        "{:<11}{a:>12}{b:>12}{change:>9}{interval:>19}{noise:>8}{gate:>8}  {verdict}{mark}",
        metric.name
    );
}

#[cfg(test)]
mod tests {
    use super::super::compare::compare;
    use super::super::compare::tests::{options, runs};
    use super::*;

    #[test]
    fn a_table_of_fixed_data() {
        let a = runs([1_000.0, 1_010.0, 990.0, 1_005.0, 995.0, 1_000.0, 1_002.0, 998.0]);
        let mut b = runs([1_200.0, 1_210.0, 1_190.0, 1_205.0, 1_195.0, 1_200.0, 1_202.0]);
        b.extend(runs([50_000.0]));
        b[7].verdict.valid = false;
        b.iter_mut().for_each(|run| run.manifest.shards = 2);
        let table = table(&compare(&a, &b, &options()).unwrap());
        assert_eq!(table, include_str!("compare_golden.txt"), "\n{table}");
    }

    #[test]
    fn nothing_known_is_a_dash() {
        let text = table(&compare(&runs([1.0]), &runs([2.0]), &options()).unwrap());
        assert!(text.starts_with("CANNOT TELL: p50: runs that tell it: 1 of A and 1 of B"), "{text}");
        assert!(text.lines().any(|line| line.starts_with("p99.99") && line.matches(" - ").count() >= 4), "{text}");
    }
}
