//! The page's plots.

use super::plot::{Plot, Scale};
use crate::replay::Told;
use crate::report::latency::{BEYOND_MIN, Summary};
use crate::report::text::{count, duration};
use crate::report::{Report, TimelineReport};
use hdrhistogram::Histogram;
use std::fmt::Write as _;

pub(super) const WIDTH: f64 = 1_000.0;
pub(super) const LEFT: f64 = 78.0;

/// A key of colours and names.
pub(super) fn key(names: &[&str]) -> String {
    let mut out = String::from("<div class=\"key\">");
    for (class, name) in names.iter().enumerate() {
        let _ = write!(out, "<span><i class=\"k{class}\"></i>{name}</span>");
    }
    out.push_str("</div>");
    out
}

pub(super) fn label(ns: f64) -> String {
    duration(ns.round() as u64)
}

/// 1 / (1 - percentile), the value there, and whether it can be told.
type CurvePoint = (f64, f64, bool);

/// Value at each percentile of a histogram.
fn curve(histogram: &Histogram<u64>, noise_share: f64) -> Vec<CurvePoint> {
    let samples = histogram.len() as f64;
    let mut points = Vec::new();
    for step in histogram.iter_quantiles(10) {
        let quantile = step.quantile_iterated_to();
        let beyond = 1.0 - quantile;
        if beyond * samples < 1.0 {
            break;
        }
        let is_told = beyond * samples >= BEYOND_MIN as f64 && beyond >= noise_share;
        points.push((1.0 / beyond, step.value_iterated_to().max(1) as f64, is_told));
    }
    points.push((samples.max(1.0), histogram.max().max(1) as f64, false));
    points
}

/// Response and service by percentile, towards the slow end.
pub(super) fn percentiles(told: &Told) -> String {
    let service = ("service", &told.service, 0.0);
    let response = told.response.as_ref().map(|response| ("response", response, told.noise_share));
    let lines: Vec<_> =
        response.into_iter().chain([service]).filter(|(_, histogram, _)| !histogram.is_empty()).collect();
    if lines.is_empty() {
        return "<p class=\"sub\">No samples.</p>".to_owned();
    }
    let lines: Vec<(&str, Vec<CurvePoint>)> =
        lines.into_iter().map(|(name, histogram, noise)| (name, curve(histogram, noise))).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let low = all().map(|point| point.1).fold(f64::MAX, f64::min);
    let high = all().map(|point| point.1).fold(1.0, f64::max);
    let far = all().map(|point| point.0).fold(100.0, f64::max);
    let (top, bottom) = (14.0, 300.0);
    let mut plot = Plot::new(WIDTH, 330.0, LEFT, "Latency by percentile, both axes logarithmic", "wide");
    let y = Scale::log(low * 0.8, high * 1.2, bottom, top);
    let x = Scale::log(1.0, far, plot.left, plot.right);
    plot.rows(&y, label);
    let nines = [
        (1.0, "0"),
        (2.0, "50"),
        (10.0, "90"),
        (100.0, "99"),
        (1e3, "99.9"),
        (1e4, "99.99"),
        (1e5, "99.999"),
        (1e6, "99.9999"),
        (1e7, "99.99999"),
    ];
    let marks: Vec<(f64, String)> =
        nines.iter().filter(|(at, _)| *at <= far).map(|(at, name)| (x.at(*at), format!("{name} %"))).collect();
    plot.columns(&marks, top, bottom);
    for (class, (_, points)) in lines.iter().enumerate() {
        let place = |point: &CurvePoint| (x.at(point.0), y.at(point.1));
        let untold = points.iter().position(|point| !point.2).unwrap_or(points.len());
        plot.line(&format!("s{class}"), points[..untold].iter().map(|point| Some(place(point))));
        plot.line(
            &format!("s{class} faint"),
            points[untold.saturating_sub(1)..].iter().map(|point| Some(place(point))),
        );
    }
    let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
    format!(
        "<div class=\"scroll\">{}</div>{}<p class=\"sub\">Faint: fewer than {BEYOND_MIN} samples beyond, or within the machine's own noise. Not to be told.</p>",
        plot.finish(),
        key(&names)
    )
}

/// Response, rate and backlog over the time of the run.
pub(super) fn over_time(timeline: &TimelineReport) -> String {
    let points = &timeline.points;
    let end = (points.len() as u64 * timeline.step_ns) as f64 / 1e9;
    let mut plot = Plot::new(WIDTH, 420.0, LEFT, "Response, rate and backlog over time", "wide");
    let x = Scale::linear(0.0, end, plot.left, plot.right);
    let middle = |at_ns: u64| x.at((at_ns as f64 + timeline.step_ns as f64 / 2.0) / 1e9);
    let low = points.iter().filter_map(|point| point.p50).min().unwrap_or(1) as f64;
    let high = points.iter().filter_map(|point| point.max).max().unwrap_or(10) as f64;
    let y = Scale::log(low * 0.7, high * 1.3, 214.0, 14.0);
    let marks: Vec<(f64, String)> = x.ticks().iter().map(|at| (x.at(*at), label(at * 1e9))).collect();
    plot.columns(&marks, 14.0, 396.0);
    plot.rows(&y, label);
    let values = [
        ("s1", points.iter().map(|point| point.p99).collect::<Vec<_>>()),
        ("s0", points.iter().map(|point| point.p50).collect()),
        ("s2 faint", points.iter().map(|point| point.max).collect()),
    ];
    for (class, values) in values {
        let places = points.iter().zip(values);
        plot.line(class, places.map(|(point, value)| value.map(|ns| (middle(point.at_ns), y.at(ns as f64)))));
    }
    let most = points.iter().map(|point| point.rate).fold(0.0, f64::max);
    let rates = Scale::linear(0.0, most * 1.05, 308.0, 248.0);
    plot.rows(&rates, |rate| format!("{}/s", short(rate)));
    plot.area(points.iter().map(|point| (middle(point.at_ns), rates.at(point.rate))), 308.0);
    plot.line("s0", points.iter().map(|point| Some((middle(point.at_ns), rates.at(point.rate)))));
    let most = points.iter().map(|point| point.backlog).max().unwrap_or(0).max(1) as f64;
    let backlog = Scale::linear(0.0, most * 1.05, 396.0, 336.0);
    plot.rows(&backlog, short);
    plot.area(points.iter().map(|point| (middle(point.at_ns), backlog.at(point.backlog as f64))), 396.0);
    plot.line("s3", points.iter().map(|point| Some((middle(point.at_ns), backlog.at(point.backlog as f64)))));
    plot.label(LEFT + 6.0, 240.0, "start", "events due");
    plot.label(LEFT + 6.0, 328.0, "start", "backlog");
    format!(
        "<div class=\"scroll\">{}</div>{}<p class=\"sub\">Steps of {}, by the time at which events were due. Where fewer than {BEYOND_MIN} of a step lie beyond a percentile, and where the \
         machine's own noise reaches it, there is no line. Backlog: due by the end of a step and not done.</p>",
        plot.finish(),
        key(&["p50", "p99", "max (dotted)", "backlog"]),
        duration(timeline.step_ns)
    )
}

/// A number in at most four characters or so.
pub(super) fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{} M", trim(v / 1e6)),
        v if v >= 1e3 => format!("{} k", trim(v / 1e3)),
        v => trim(v),
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Each stage from its median to its 99th percentile, with what lies beyond as a dot.
pub(super) fn stages(report: &Report) -> String {
    let latency = &report.latency_ns;
    let mut rows: Vec<(String, &Summary)> = Vec::new();
    rows.extend(latency.response.as_ref().map(|response| ("response".to_owned(), response)));
    rows.extend(latency.stages.iter().map(|(name, summary)| (name.replace('_', " "), summary)));
    rows.push(("service".to_owned(), &latency.service));
    rows.retain(|(_, summary)| summary.count > 0);
    if rows.is_empty() {
        return "<p class=\"sub\">No samples.</p>".to_owned();
    }
    let height = 30.0 + 30.0 * rows.len() as f64;
    let mut plot = Plot::new(WIDTH, height + 10.0, 120.0, "Stages", "wide");
    let low = rows.iter().filter_map(|(_, summary)| summary.p50.or(summary.min)).min().unwrap_or(1).max(1) as f64;
    let high = rows.iter().filter_map(|(_, summary)| summary.max).max().unwrap_or(10) as f64;
    let x = Scale::log(low * 0.7, high * 1.2, plot.left, plot.right - 6.0);
    let marks: Vec<(f64, String)> = x.ticks().iter().map(|ns| (x.at(*ns), label(*ns))).collect();
    plot.columns(&marks, 6.0, height - 18.0);
    let mut table = String::from(
        "<div class=\"scroll\"><table><tr><th>stage</th><th>samples</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>p99.99</th><th>max</th></tr>",
    );
    for (index, (name, summary)) in rows.iter().enumerate() {
        let y = 20.0 + 30.0 * index as f64;
        let class = if name == "response" || name == "service" { 0 } else { 1 };
        plot.label(112.0, y + 4.0, "end", name);
        stage(&mut plot, &x, class, summary, y);
        let cell = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), duration);
        let cells = summary.percentiles().map(|(_, value)| format!("<td>{}</td>", cell(value))).concat();
        let _ = write!(
            table,
            "<tr><td>{}</td><td>{}</td>{cells}<td>{}</td></tr>",
            super::escape(name),
            count(summary.count),
            cell(summary.max)
        );
    }
    table.push_str("</table></div>");
    format!(
        "<p class=\"sub\">Median (dot) to p99 (bar), p99.9 and maximum (small dots); none where it cannot be told. Stages within the engine are of one batch in 128.</p><div class=\"scroll\">{}</div>{table}",
        plot.finish()
    )
}

/// The bar and the dots of one stage. What is not told is not drawn, by no other number either.
fn stage(plot: &mut Plot, x: &Scale, class: usize, summary: &Summary, y: f64) {
    if let Some(p50) = summary.p50.map(|p50| x.at(p50.max(1) as f64)) {
        if let Some(p99) = summary.p99 {
            plot.bar(class, p50, x.at(p99 as f64), y);
        }
        plot.dot(class, p50, y, 5.0);
    }
    if let Some(p999) = summary.p99_9 {
        plot.dot(class, x.at(p999 as f64), y, 3.0);
    }
    if let Some(max) = summary.max {
        plot.dot(2, x.at(max as f64), y, 2.5);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::latency::new_histogram;

    #[test]
    fn what_cannot_be_told_is_marked() {
        let mut histogram = new_histogram();
        (1..=10_000u64).for_each(|value| histogram.saturating_record(value * 100));
        let points = curve(&histogram, 0.0);
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        let told = points.iter().filter(|point| point.2).map(|point| point.0).fold(0.0, f64::max);
        assert!((900.0..=1_001.0).contains(&told), "ten of 10,000 lie beyond p99.9: {told}");
        assert_eq!(points.last().map(|point| (point.0, point.2)), Some((10_000.0, false)));
        assert!(curve(&histogram, 0.02).iter().filter(|point| point.2).all(|point| point.0 <= 50.001));
    }

    /// A stage of which neither median nor p99 is told has its maximum and nothing else.
    #[test]
    fn a_number_that_is_not_told_is_not_drawn_by_another() {
        let told = Summary {
            count: 5_000,
            min: Some(10),
            p50: Some(100),
            p90: Some(200),
            p99: Some(300),
            max: Some(900),
            ..Summary::default()
        };
        let few = Summary { count: 500, p99: None, ..told };
        let none = Summary { count: 5, p50: None, p90: None, p99: None, ..told };
        let drawn = |summary: &Summary| {
            let mut plot = Plot::new(WIDTH, 100.0, 120.0, "a stage", "wide");
            stage(&mut plot, &Scale::log(1.0, 1e4, 0.0, 1_000.0), 0, summary, 20.0);
            let text = plot.finish();
            (text.matches("<rect").count(), text.matches("<circle").count())
        };
        assert_eq!((drawn(&told), drawn(&few), drawn(&none)), ((1, 2), (0, 2), (0, 1)));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 12.0, 999.6, 1_500.0, 2e6].map(short), ["0", "12", "999.6", "1.5 k", "2 M"]);
    }
}
