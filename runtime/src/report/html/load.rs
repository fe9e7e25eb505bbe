//! The page of a capacity: response times against load, with what has to hold, the knee, and the highest rate that holds.

use super::charts::{LEFT, WIDTH, key, label, short};
use super::plot::{Mark, Plot, Scale};
use super::{begin, escape, file_name, items, section, tile};
use crate::lab::capacity::{Capacity, Holds, KNEE_FACTOR, Point};
use crate::report::text::{count, duration, rate};
use std::fmt::Write as _;

/// A rate of messages without its unit.
fn messages(per_second: f64) -> String {
    rate(per_second).replace("events/s", "").replace("event/s", "").trim_end().to_owned()
}

fn time(ns: Option<f64>) -> String {
    ns.map_or_else(|| "-".to_owned(), |ns| duration(ns.round() as u64))
}

/// `found` as a page; `captures` as they were named, for its title.
#[must_use]
pub fn capacity(found: &Capacity, captures: &[String]) -> String {
    let names: Vec<&str> = captures.iter().map(|path| file_name(path)).collect();
    let names = if names.is_empty() { "the built-in session".to_owned() } else { names.join(" + ") };
    let mut out = begin(&format!("{names} - tapeline capacity"));
    head(&mut out, found, &names);
    tiles(&mut out, found);
    section(&mut out, "Response by load", &curve(found));
    section(&mut out, "Every rate that was run", &table(&found.points));
    let _ = writeln!(
        out,
        "<footer>tapeline {} &middot; response is from the time an event was due to the end of its cascade; medians over the runs of a rate</footer>\
         </main></body></html>",
        escape(&found.version)
    );
    out
}

fn head(out: &mut String, found: &Capacity, names: &str) {
    let slo = escape(&found.slo.text);
    let (verdict, class) = if found.answer.rate.is_some() { ("HOLDS", "ok") } else { ("NO RATE HOLDS", "bad") };
    let _ = write!(out, "<header><h1>{}</h1><span class=\"badge {class}\">{verdict}</span>", escape(names));
    if !found.complete {
        out.push_str("<span class=\"badge warn\">ENDED EARLY</span>");
    }
    out.push_str("</header>");
    let _ = match found.answer.rate {
        Some(rate) => write!(out, "<p class=\"sub\">{} messages/s hold {slo}</p>", messages(rate)),
        None => write!(out, "<p class=\"sub\">No rate that was run holds {slo}</p>"),
    };
    let whys: Vec<String> = found.answer.why.split("; ").map(str::to_owned).collect();
    let _ = write!(out, "<ul class=\"why sub\">{}</ul>", items(&whys));
}

fn tiles(out: &mut String, found: &Capacity) {
    let at = found.answer.rate.and_then(|rate| found.points.iter().find(|point| point.offered == rate));
    let per_second = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{}/s", messages(rate)));
    out.push_str("<div class=\"tiles\">");
    tile(out, &per_second(found.answer.rate), "messages, highest rate");
    for (name, value) in [
        ("p50 there", at.and_then(|point| point.p50)),
        ("p99 there", at.and_then(|point| point.p99)),
        ("p99.9 there", at.and_then(|point| point.p99_9)),
        ("max there", at.and_then(|point| point.max)),
    ] {
        tile(out, &time(value), name);
    }
    tile(out, &per_second(found.knee), "messages, knee");
    tile(out, &per_second(Some(found.max_events_per_second)), "events, no schedule");
    tile(out, &count(found.points.iter().map(|point| point.runs as u64).sum()), "runs");
    out.push_str("</div>\n");
}

/// One of the percentiles of a rate, ns; `None` = not told.
type Percentile = fn(&Point) -> Option<f64>;

/// Percentiles against the rate that was asked for. What a rate does not tell is a gap in its line.
fn curve(found: &Capacity) -> String {
    let points = &found.points;
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return "<p class=\"sub\">Nothing was run.</p>".to_owned();
    };
    let lines: [(&str, Percentile); 4] = [
        ("s0", |point| point.p50),
        ("s1", |point| point.p99),
        ("s3", |point| point.p99_9),
        ("s2 faint", |point| point.max),
    ];
    let bounds = &found.slo.bounds;
    let values = || {
        let told = points.iter().flat_map(|point| lines.iter().filter_map(|(_, value)| value(point)));
        told.chain(bounds.iter().map(|bound| bound.ns)).map(|ns| ns.max(1.0))
    };
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(1.0, f64::max));
    let (top, bottom, strip) = (34.0, 320.0, 344.0);
    let mut plot = Plot::new(WIDTH, 388.0, LEFT, "Response by load, both axes logarithmic", "wide");
    let x = Scale::log(first.offered * 0.8, last.offered * 1.25, plot.left, plot.right);
    let y = Scale::log(low.min(high) * 0.7, high * 1.5, bottom, top);
    plot.rows(&y, label);
    let ticks: Vec<(f64, String)> = x.ticks().iter().map(|at| (x.at(*at), format!("{}/s", short(*at)))).collect();
    plot.columns(&ticks, top, strip + 12.0);
    if let Some(rate) = found.answer.rate {
        plot.column("best", x.at(rate), top, strip + 12.0);
        plot.label_of("best", x.at(rate), 12.0, anchor(&plot, x.at(rate)), &format!("holds to {}/s", messages(rate)));
    }
    if let Some(knee) = found.knee {
        plot.column("knee", x.at(knee), top, bottom);
        plot.label_of("knee", x.at(knee), 27.0, anchor(&plot, x.at(knee)), &format!("knee {}/s", messages(knee)));
    }
    for bound in bounds {
        plot.row("bound", y.at(bound.ns));
        let text = format!("{} below {}", bound.quantile.name(), duration(bound.ns.round() as u64));
        plot.label_of("bound", plot.left + 6.0, y.at(bound.ns) - 5.0, "start", &text);
    }
    for (class, value) in lines {
        let place = |point: &Point| value(point).map(|ns| (x.at(point.offered), y.at(ns.max(1.0))));
        plot.line(class, points.iter().map(place));
    }
    plot.label(plot.left - 8.0, strip + 4.0, "end", "holds");
    for point in points {
        let mark = match point.holds {
            Holds::Yes => Mark::Yes,
            Holds::No => Mark::No,
            Holds::CannotTell => Mark::Unknown,
        };
        plot.mark(mark, x.at(point.offered), strip);
    }
    format!(
        "<div class=\"scroll\">{}</div>{}<p class=\"sub\">By messages a second of the schedule. Below: a dot where the rate holds, a cross where it fails, a ring where \
         nobody can tell. A percentile that most runs of a rate do not tell is left out. Knee: from there on p99 is more than {KNEE_FACTOR} times what it is at \
         the lowest rate.</p>",
        plot.finish(),
        key(&["p50", "p99", "max (dotted)", "p99.9"]),
    )
}

/// On which side of a line its words stand, so that they stay within the picture.
fn anchor(plot: &Plot, x: f64) -> &'static str {
    if x > (plot.left + plot.right) / 2.0 { "end" } else { "start" }
}

fn table(points: &[Point]) -> String {
    let mut text = String::from(
        "<div class=\"scroll\"><table><tr><th>offered</th><th>achieved</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>p99.99</th><th>max</th><th>runs</th>\
         <th class=\"t\">holds</th><th class=\"t\">why not</th></tr>",
    );
    for point in points {
        let _ = write!(text, "<tr><td>{}/s</td><td>{}/s</td>", messages(point.offered), messages(point.achieved));
        for value in [point.p50, point.p90, point.p99, point.p99_9, point.p99_99, point.max] {
            let _ = write!(text, "<td>{}</td>", time(value));
        }
        let marks = match (point.saturated, point.valid) {
            (true, _) => ", rings full",
            (_, false) => ", machine disturbed it",
            _ => "",
        };
        let _ = write!(
            text,
            "<td>{}</td><td class=\"t\">{}{marks}</td><td class=\"w\">{}</td></tr>",
            point.runs,
            point.holds.name(),
            escape(point.why.as_deref().unwrap_or_default())
        );
    }
    text.push_str("</table></div>");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::capacity::tests::{plan, step};
    use crate::lab::capacity::{Search, Step};

    fn found() -> Capacity {
        let mut search = Search::new(plan("p50<5us,p99.9<200us", 1e5, 8e5));
        let mut few = step(1e5, 800.0, 3_000.0);
        (few.response.count, few.response.p99_9) = (900, None);
        search.record(1e5, few);
        search.record(2e5, step(2e5, 850.0, 4_000.0));
        search.record(4e5, Step { valid: false, reason: Some("steal <1>".to_owned()), ..step(4e5, 950.0, 90_000.0) });
        search.record(6e5, step(6e5, 1_950.0, 190_000.0));
        search.record(8e5, Step { saturated: true, achieved: 612_345.0, ..step(8e5, 5e8, 9e8) });
        search.found(7.5e5, "0.1.0")
    }

    #[test]
    fn the_page_is_the_one_that_is_kept() {
        let page = capacity(&found(), &["x/a<b>.tape".to_owned(), "c.tape".to_owned()]);
        let golden = include_str!("load_golden.html");
        for (number, (line, golden)) in page.lines().zip(golden.lines()).enumerate() {
            assert_eq!(line, golden, "line {}", number + 1);
        }
        assert_eq!(page, golden);
        for foreign in ["<script", "http:", "https:", "src=", "@import", "url(", "<link", "a<b>"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }

    /// Everything that the curve has to show is there, and nothing that was not told.
    #[test]
    fn the_curve_has_its_lines_the_bounds_the_knee_and_the_answer() {
        let found = found();
        let plot = curve(&found);
        let classes = |class: &str| plot.matches(&format!("class=\"{class}\"")).count();
        assert_eq!((classes("l s0"), classes("l s1"), classes("l s3"), classes("l s2 faint")), (1, 1, 1, 1));
        // Each is a line and its words.
        assert_eq!((classes("bound"), classes("knee"), classes("best")), (4, 2, 2), "{plot}");
        assert!(plot.contains(">p99.9 below 200 µs<") && plot.contains(">knee 400 k/s<"), "{plot}");
        assert_eq!((classes("yes"), classes("no"), classes("unknown")), (2, 2, 1), "{plot}");
        let p999 = plot.split("class=\"l s3\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(p999.matches(['M', 'L']).count(), found.points.len() - 1, "the lowest rate does not tell it");
    }

    #[test]
    fn nothing_was_run_and_one_rate_alone() {
        let mut search = Search::new(plan("p99<10us", 1e3, 1e3));
        let page = capacity(&search.found(0.0, "0"), &[]);
        assert!(page.contains("NO RATE HOLDS") && page.contains("Nothing was run.") && page.contains("ENDED EARLY"));
        search.record(1e3, step(1e3, 0.0, 0.0));
        let page = capacity(&search.found(0.0, "0"), &[]);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
