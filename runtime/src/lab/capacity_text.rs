//! A capacity as a table for people: the answer first, then every rate that was run, with a bar for its p99.

use super::capacity::{Capacity, Holds, KNEE_FACTOR, per_second};
use super::page::words;
use crate::report::text::{duration, plain, rate};
use std::fmt::Write as _;

/// Longest bar, in characters.
const BAR: usize = 14;

/// `capacity` as text, each line ended by a line feed.
#[must_use]
pub fn table(capacity: &Capacity) -> String {
    let slo = plain(&capacity.slo.text);
    let mut text = match capacity.answer.rate {
        Some(answer) => format!("CAPACITY: {} hold {slo}\n", per_second(answer)),
        None => format!("NO RATE holds {slo}\n"),
    };
    if !capacity.complete {
        text.push_str("            the search was ended early\n");
    }
    text.push('\n');
    for why in capacity.answer.why.split("; ") {
        words(&mut text, "because", &plain(why));
    }
    words(&mut text, "maximum", &format!("{} without a schedule", rate(capacity.max_events_per_second)));
    let told = || capacity.points.iter().filter_map(|point| point.p99).filter(|p99| *p99 > 0.0);
    let times = format!("{KNEE_FACTOR} times what it is at the lowest rate");
    let knee = match capacity.knee {
        Some(knee) => format!("{}: from here on p99 is more than {times}", per_second(knee)),
        None if told().count() < 2 => "cannot tell: fewer than two rates tell their p99".to_owned(),
        None => format!("none: p99 stays within {times}"),
    };
    words(&mut text, "knee", &knee);
    text.push('\n');
    let _ = writeln!(
        text,
        "{:>9}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>6}  {:<14}p99, logarithmic",
        "offered", "achieved", "p50", "p99", "p99.9", "p99.99", "max", "runs", "holds"
    );
    let (low, high) = (told().fold(f64::INFINITY, f64::min), told().fold(0.0, f64::max));
    for point in &capacity.points {
        let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ns| duration(ns.round() as u64));
        let short = |value: f64| rate(value).replace("events/s", "").trim_end().to_owned();
        let mut holds = point.holds.name().to_owned();
        holds.push_str(match (point.saturated, point.valid) {
            (true, _) => ", full",
            (_, false) if point.holds == Holds::Yes => " (invalid)",
            _ => "",
        });
        let bar = point.p99.filter(|p99| *p99 > 0.0).map_or(0, |p99| length(p99, low, high));
        let line = format!(
            "{:>9}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>6}  {holds:<14}{}",
            short(point.offered),
            short(point.achieved),
            cell(point.p50),
            cell(point.p99),
            cell(point.p99_9),
            cell(point.p99_99),
            cell(point.max),
            point.runs,
            "#".repeat(bar)
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push_str(
        "            - : fewer than 10 samples beyond, or within the machine's noise; full: not kept up with\n",
    );
    let mut unknown: Vec<(f64, f64, &str)> = Vec::new();
    for point in capacity.points.iter().filter(|point| point.holds == Holds::CannotTell) {
        let why = point.why.as_deref().unwrap_or_default();
        match unknown.last_mut() {
            Some((_, last, known)) if *known == why => *last = point.offered,
            _ => unknown.push((point.offered, point.offered, why)),
        }
    }
    for (first, last, why) in unknown {
        let from = if first < last { format!("{} to ", per_second(first)) } else { String::new() };
        words(&mut text, "cannot tell", &format!("{from}{}: {}", per_second(last), plain(why)));
    }
    text
}

/// Length of the bar of `value`: 1 for the lowest, [`BAR`] for the highest, by their logarithms in between.
fn length(value: f64, low: f64, high: f64) -> usize {
    let share = if high > low { libm::log(value / low) / libm::log(high / low) } else { 0.0 };
    1 + (share.clamp(0.0, 1.0) * (BAR - 1) as f64).round() as usize
}

#[cfg(test)]
mod tests {
    use super::super::capacity::tests::{plan, step};
    use super::super::capacity::{Search, Step};
    use super::*;

    #[test]
    fn a_table_of_fixed_data() {
        let mut search = Search::new(plan("p99.9<200us", 1e5, 8e5));
        let mut few = step(1e5, 800.0, 3_000.0);
        (few.response.count, few.response.p99_9) = (900, None);
        search.record(1e5, few);
        search.record(2e5, step(2e5, 850.0, 4_000.0));
        search.record(4e5, Step { valid: false, reason: Some("steal".to_owned()), ..step(4e5, 950.0, 90_000.0) });
        search.record(8e5, Step { saturated: true, achieved: 612_345.0, ..step(8e5, 5e8, 9e8) });
        let table = table(&search.found(7.5e5, "0.1.0"));
        assert_eq!(table, include_str!("capacity_golden.txt"), "\n{table}");
    }

    #[test]
    fn nothing_holds_and_nothing_was_run() {
        let mut search = Search::new(plan("p50<1ns", 10.0, 10.0));
        let text = table(&search.found(5.0, "0.1.0"));
        assert!(text.starts_with("NO RATE holds p50<1ns\n") && text.contains("the search was ended early"), "{text}");
        assert!(text.contains("knee        cannot tell: fewer than two rates tell their p99\n"), "{text}");
        search.record(10.0, step(10.0, 5.0, 5.0));
        search.record(10.0, step(10.0, 5.0, 5.0));
        let text = table(&search.found(5.0, "0.1.0"));
        assert!(text.contains("because     the lowest rate fails, 10.0 messages/s: p50 is 5 ns\n"), "{text}");
    }

    #[test]
    fn rates_that_are_unknown_for_one_reason_are_told_together() {
        let mut search = Search::new(plan("p99<1ms", 10.0, 40.0));
        for rate in [10.0, 20.0, 40.0] {
            let mut untold = step(rate, 5.0, 5.0);
            untold.response.p99 = None;
            search.record(rate, untold);
        }
        let text = table(&search.found(50.0, "0.1.0"));
        let line =
            "cannot tell 10.0 messages/s to 40.0 messages/s: p99 is not told: it lies within the machine's noise\n";
        assert!(text.ends_with(line) && text.matches("cannot tell 10").count() == 1, "{text}");
    }

    #[test]
    fn bars_are_between_one_and_all() {
        assert_eq!([1.0, 10.0, 100.0].map(|value| length(value, 1.0, 100.0)), [1, 8, BAR]);
        assert_eq!(length(5.0, 5.0, 5.0), 1);
    }
}
