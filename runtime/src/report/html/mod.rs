//! The report as one page, and a capacity as another: a file that needs nothing beside it, without a script, in light and dark, on a desk and on a phone.
//!
//! Verdict first, then what the percentiles are, when they were what, where the time went, which events were slowest, and what was run on what. Nothing is on
//! the page that the report does not hold; a part of a percentile curve that cannot be told is drawn faint.

mod charts;
mod load;
mod plot;

pub use load::capacity;

use super::text::{count, duration, rate, utc};
use super::{Report, Speed};
use crate::replay::Told;
use std::fmt::Write as _;

/// Slow events that the page shows; the JSON has all.
const SHOWN: usize = 50;

const STYLE: &str = include_str!("style.css");

/// `told` as a page.
#[must_use]
pub fn page(told: &Told) -> String {
    let report = &told.report;
    let names: Vec<&str> = report.manifest.captures.iter().map(|capture| file_name(&capture.path)).collect();
    let mut out = begin(&format!("{} - tapeline replay", names.join(", ")));
    head(&mut out, report, &names);
    tiles(&mut out, report);
    section(&mut out, "Response by percentile", &charts::percentiles(told));
    if let Some(timeline) = &report.timeline {
        section(&mut out, "Response over time", &charts::over_time(timeline));
    }
    section(&mut out, "Where the time goes", &charts::stages(report));
    slowest(&mut out, report);
    out.push_str("<div class=\"two\">");
    handlers(&mut out, report);
    ledger(&mut out, report);
    out.push_str("</div>");
    machine(&mut out, report);
    let _ = writeln!(
        out,
        "<footer>tapeline {}{} &middot; response is from the time an event was due to the end of its cascade; events of a batch share its stamps \
         (at most {} slots)</footer></main></body></html>",
        escape(&report.version),
        report.manifest.commit.as_ref().map_or_else(String::new, |commit| format!(" &middot; {}", escape(commit))),
        report.manifest.batch_limit
    );
    out
}

/// A page up to its first element.
fn begin(title: &str) -> String {
    let mut out = String::with_capacity(128 << 10);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{}</title><style>{}</style></head>\n<body><main>",
        escape(title),
        STYLE.replace('\n', "")
    );
    out
}

/// Text for an element or an attribute of the page.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn section(out: &mut String, title: &str, body: &str) {
    let _ = writeln!(out, "<section><h2>{}</h2>{body}</section>", escape(title));
}

fn head(out: &mut String, report: &Report, names: &[&str]) {
    let verdict = if report.verdict.valid { ("VALID", "ok") } else { ("INVALID", "bad") };
    let _ = write!(
        out,
        "<header><h1>{}</h1><span class=\"badge {}\">{}</span>",
        escape(&names.join(" + ")),
        verdict.1,
        verdict.0
    );
    if report.saturated {
        out.push_str("<span class=\"badge warn\">SATURATED</span>");
    }
    if report.interrupted {
        out.push_str("<span class=\"badge warn\">INTERRUPTED</span>");
    }
    if report.manifest.generated {
        out.push_str("<span class=\"badge warn\">GENERATED</span>");
    }
    out.push_str("</header>");
    let schedule = match (report.manifest.rate, report.manifest.speed) {
        (Some(rate_), _) => format!("{} messages/s, {} arrivals", per_second(rate_), report.manifest.arrivals),
        (None, Speed::Max) => "as fast as it goes: no event was due at a time".to_owned(),
        (None, Speed::Times(times)) => format!("{times} times as captured"),
    };
    let span = report.manifest.captures.iter().filter_map(|capture| Some((capture.first_ts?, capture.last_ts?)));
    let span = span.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
    let span =
        span.map_or_else(String::new, |(first, last)| format!(" &middot; captured {} to {}", utc(first), utc(last)));
    let _ = write!(
        out,
        "<p class=\"sub\">{} &middot; {} {} &middot; driver {}{span}</p>",
        escape(&schedule),
        report.manifest.shards,
        if report.manifest.shards == 1 { "shard" } else { "shards" },
        escape(&report.manifest.driver)
    );
    if !report.verdict.reasons.is_empty() {
        let _ = write!(out, "<ul class=\"why bad\">{}</ul>", items(&report.verdict.reasons));
    }
    if !report.verdict.notes.is_empty() {
        let _ = write!(out, "<ul class=\"why sub\">{}</ul>", items(&report.verdict.notes));
    }
}

/// A rate without its unit.
fn per_second(per_second: f64) -> String {
    rate(per_second).trim_end_matches(" events/s").trim_end_matches(" event/s").to_owned()
}

fn items(lines: &[String]) -> String {
    lines.iter().map(|line| format!("<li>{}</li>", escape(line))).collect()
}

fn tiles(out: &mut String, report: &Report) {
    let (name, summary) = match &report.latency_ns.response {
        Some(response) => ("response", response),
        None => ("service", &report.latency_ns.service),
    };
    let time = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), duration);
    let mut tiles: Vec<(String, String)> = summary
        .percentiles()
        .iter()
        .map(|(percentile, value)| (time(*value), format!("{name} {percentile}")))
        .collect();
    tiles.push((time(summary.max), format!("{name} max")));
    tiles.push((format!("{}/s", per_second(report.events_per_second)), "events".to_owned()));
    tiles.push((count(report.events.offered), "events offered".to_owned()));
    out.push_str("<div class=\"tiles\">");
    for (value, label) in tiles {
        tile(out, &value, &label);
    }
    out.push_str("</div>\n");
}

fn tile(out: &mut String, value: &str, label: &str) {
    let _ = write!(out, "<div class=\"tile\"><b>{}</b><span>{}</span></div>", escape(value), escape(label));
}

/// The slowest events, with a bar that divides the response of each.
fn slowest(out: &mut String, report: &Report) {
    if report.slowest.is_empty() {
        return;
    }
    let shown = report.slowest.len().min(SHOWN);
    let mut body = format!(
        "<p class=\"sub\">{shown} of {}. Waiting to leave, waiting in the ring, in the engine; gap: the core was taken away meanwhile.</p><div class=\"scroll\"><table>\
         <tr><th class=\"t\">event</th><th>at</th><th>response</th><th class=\"t\">lag / ring / service</th><th>lag</th><th>ring</th><th>service</th><th>batch</th>\
         <th>gap</th><th>faults</th><th>waited</th></tr>",
        report.slowest.len()
    );
    for slow in report.slowest.iter().take(SHOWN) {
        let ring_ns = slow.ring_wait_ns.unwrap_or_default();
        let all = (slow.lag_ns + ring_ns + slow.service_ns).max(1) as f64;
        let part =
            |class: &str, ns: u64| format!("<i class=\"{class}\" style=\"width:{:.1}%\"></i>", ns as f64 / all * 100.0);
        let _ = write!(
            body,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td><div class=\"bar\">{}{}{}</div></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&slow.name()),
            duration(slow.at_ns),
            duration(slow.response_ns),
            part("k2", slow.lag_ns),
            part("k3", ring_ns),
            part("k0", slow.service_ns),
            duration(slow.lag_ns),
            slow.ring_wait_ns.map_or_else(|| "-".to_owned(), duration),
            duration(slow.service_ns),
            slow.batch,
            if slow.gap_ns == 0 { "-".to_owned() } else { duration(slow.gap_ns) },
            slow.faults.map_or_else(|| "-".to_owned(), count),
            slow.waited_ns.map_or_else(|| "-".to_owned(), duration),
        );
    }
    body.push_str("</table></div>");
    section(out, "Slowest events", &body);
}

fn handlers(out: &mut String, report: &Report) {
    let mut body = String::from(
        "<div class=\"scroll\"><table><tr><th>handler</th><th>calls</th><th class=\"t\">share of time</th><th>mean</th><th>longest</th></tr>",
    );
    for handler in &report.handlers {
        let time = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), duration);
        let share = handler.share.unwrap_or_default() * 100.0;
        let _ = write!(
            body,
            "<tr><td>{}</td><td>{}</td><td><div class=\"bar\" title=\"{share:.1} %\"><i class=\"k0\" style=\"width:{share:.1}%\"></i></div></td><td>{}</td><td>{}</td></tr>",
            escape(&handler.name),
            count(handler.calls),
            time(handler.mean_ns.map(|ns| ns.round() as u64)),
            time(handler.longest_ns),
        );
    }
    body.push_str("</table></div>");
    section(out, "Handlers", &body);
}

fn ledger(out: &mut String, report: &Report) {
    let events = &report.events;
    let mut body = String::from("<div class=\"scroll\"><table>");
    let states = [
        ("offered", events.offered),
        ("accepted", events.accepted),
        ("refused", events.refused),
        ("delivered", events.delivered),
        ("coalesced", events.coalesced),
        ("expired", events.expired),
        ("refused after admission", events.refused_after_admission),
        ("dead-lettered", events.dead_lettered),
        ("in flight", events.in_flight),
    ];
    let kept = states.iter().enumerate().filter(|(index, (_, number))| *index < 4 || *number > 0);
    for (_, (name, number)) in kept {
        let _ = write!(body, "<tr><td>{name}</td><td>{}</td></tr>", count(*number));
    }
    for (name, number) in events.refused_by.iter() {
        let _ = write!(body, "<tr><td>refused: {}</td><td>{}</td></tr>", escape(name), count(*number));
    }
    for (name, number) in report.outputs.iter() {
        let _ = write!(body, "<tr><td>output: {}</td><td>{}</td></tr>", escape(name), count(*number));
    }
    let _ = write!(body, "<tr><td>digest</td><td><code>{}</code></td></tr></table></div>", report.digest);
    let title = if report.ledger_balanced { "Ledger: balanced" } else { "Ledger: NOT BALANCED" };
    section(out, title, &body);
}

fn machine(out: &mut String, report: &Report) {
    let manifest = &report.manifest;
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
    let mut body = String::from("<div class=\"scroll\"><table>");
    let mut row = |name: &str, value: String| {
        let _ = write!(body, "<tr><td>{name}</td><td class=\"w\">{}</td></tr>", escape(&value));
    };
    for capture in &manifest.captures {
        let sha = capture.sha256.as_ref().map_or_else(String::new, |sha| format!(", sha256 {sha}"));
        row(
            "capture",
            format!(
                "{} ({}, {} events, {} symbols{sha})",
                capture.path,
                capture.format,
                count(capture.events),
                count(capture.symbols)
            ),
        );
    }
    row("processor", known(&manifest.cpu));
    row("kernel, clock", format!("{}, {}", known(&manifest.kernel), known(&manifest.clocksource)));
    let cores = super::text::core_list(&manifest.cores);
    row("cores", format!("{cores}, {}", if manifest.pinned { "pinned" } else { "not pinned" }));
    row("idle loops", manifest.idle.clone());
    row("overload", manifest.overload.clone());
    row(
        "configuration",
        manifest.config_sha256.as_ref().map_or_else(|| "defaults".to_owned(), |sha| format!("sha256 {sha}")),
    );
    body.push_str("</table></div><div class=\"scroll\"><table><tr><th>measured core</th><th class=\"t\">role</th><th>watched</th><th>gaps</th><th>in gaps</th><th>longest</th><th>steal</th><th>switched out</th></tr>");
    for core in &report.measured_cores {
        let _ = write!(
            body,
            "<tr><td>{}</td><td class=\"t\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            core.core.map_or_else(|| "-".to_owned(), |core| core.to_string()),
            escape(&core.role),
            duration(core.watched_ns),
            count(core.gaps),
            duration(core.gap_ns),
            duration(core.longest_gap_ns),
            core.steal_ns.map_or_else(|| "-".to_owned(), duration),
            core.involuntary_switches.map_or_else(|| "-".to_owned(), count),
        );
    }
    body.push_str("</table></div>");
    section(out, "Machine and configuration", &body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_the_page() {
        assert_eq!(escape("a<b & \"c\">\u{7}"), "a&lt;b &amp; &quot;c&quot;&gt; ");
        assert_eq!((file_name("a/b c.tape"), file_name("x")), ("b c.tape", "x"));
    }
}
