//! The report as a table for people: the verdict first, then what was run, the ledger, and the latencies.
//!
//! Lines are at most [`COLUMNS`] wide unless one word is longer. Times have three significant digits and the unit that
//! suits them; `-` is what cannot be told.

use super::handlers::slowest;
use super::latency::{BEYOND_MIN, Summary};
use super::{Capture, CaptureTally, Events, Manifest, Named, Report, Speed, Spilled};
use crate::jitter::GAP_NS;
use std::fmt::Write as _;
use tapeline_core::shard::{ERROR_NO_ROOM, INVALID_NAME, NO_ROOM_NAME, schema_reason};

/// Width of the table.
pub const COLUMNS: usize = 100;
/// Width of the labels at the left.
const LABEL: usize = 11;

/// `report` as text, each line ended by a line feed.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut page = Page::default();
    headline(&mut page, report);
    page.blank();
    for capture in &report.manifest.captures {
        page.lines("capture", &capture_lines(capture));
    }
    for tally in &report.tally {
        tally_lines(&mut page, tally);
    }
    for error in &report.input_errors {
        page.words("input end", &plain(error));
    }
    manifest(&mut page, &report.manifest);
    page.blank();
    ledger(&mut page, &report.events, report.ledger_balanced);
    page.list("kinds", &counts(&report.kinds));
    page.list("outputs", &counts(&report.outputs));
    page.list("limits hit", &report.limits_hit.iter().map(|hit| named(&hit.name, hit.count)).collect::<Vec<_>>());
    failures(&mut page, report);
    health(&mut page, report);
    let mut speed = format!(
        "{} in {}: {}",
        plural(report.events.offered, "event"),
        duration(report.elapsed_ns),
        rate(report.events_per_second)
    );
    if let Some(allocations) = report.allocations {
        let _ = write!(speed, "; {} allocations on hot cores", count(allocations));
    }
    page.words("speed", &speed);
    let probes: Vec<_> = report.measured_cores.iter().filter_map(|core| core.probe).collect();
    if let Some(first) = probes.first()
        && probes.iter().all(|probe| probe.gaps == 0)
    {
        // Where there were gaps, the notes have them.
        let text = format!("{} idle before the run: no gap over {}", duration(first.watched_ns), duration(GAP_NS));
        page.words("jitter", &text);
    }
    page.blank();
    topics(&mut page, report);
    handlers(&mut page, report);
    latencies(&mut page, report);
    slow_events(&mut page, report);
    page.blank();
    page.words("digest", &format!("{}, {}", report.digest, scope_text(report)));
    for note in &report.verdict.notes {
        page.words("note", &plain(note));
    }
    page.text
}

/// With `--overload live`, a line for each topic: what was offered and delivered, and how crowded it was; below it, by their names in the
/// ledger, the states in which its other events are. Nothing while the source waits for room: no policy acts then.
fn topics(page: &mut Page, report: &Report) {
    if report.manifest.overload != "live" || report.topics.is_empty() {
        return;
    }
    let (offered, delivered, peak, crowded) = ("offered", "delivered", "peak", "crowded");
    let _ = writeln!(page.text, "{:<25}{offered:>14}{delivered:>14}{peak:>9}{crowded:>9}", "topics");
    for topic in &report.topics {
        let name = format!("{} ({}, {})", plain(&topic.topic), topic.lane, topic.policy);
        let _ = writeln!(
            page.text,
            "  {name:<23}{:>14}{:>14}{:>9}{:>9}",
            count(topic.offered),
            count(topic.delivered),
            count(topic.peak_slots),
            count(topic.crowded)
        );
        let states = [
            ("refused", topic.refused),
            ("coalesced", topic.coalesced),
            ("expired", topic.expired),
            ("refused_after_admission", topic.refused_after_admission),
            ("dead_lettered", topic.dead_lettered),
            ("in_flight", topic.in_flight),
        ];
        let states = states.iter().filter(|(_, number)| *number > 0).map(|(name, number)| named(name, *number));
        page.list("", &states.collect::<Vec<_>>());
    }
    if report.topics.iter().any(|topic| topic.crowded > 0)
        && let Some(slowest) = slowest(&report.handlers)
    {
        let share = slowest.share.unwrap_or_default() * 100.0;
        page.words("slow consumer", &format!("{} takes {share:.1} % of the engine's time", plain(&slowest.name)));
    }
    page.blank();
}

/// A line for each handler: calls, its share of the time in which shards handled events, and the times of its calls. Then, by name,
/// those that overran their budgets, and in a saturated run the slowest.
fn handlers(page: &mut Page, report: &Report) {
    let handlers = &report.handlers;
    if handlers.is_empty() {
        return;
    }
    let _ = writeln!(page.text, "{:<25}{:>14}{:>9}{:>9}{:>9}", "handlers", "calls", "share", "mean", "longest");
    for handler in handlers {
        let cell = |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), duration);
        let share = handler.share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0));
        let name = plain(&handler.name);
        let mean = cell(handler.mean_ns.map(|ns| ns.round() as u64));
        let longest = cell(handler.longest_ns);
        let _ = writeln!(page.text, "  {name:<23}{:>14}{share:>9}{mean:>9}{longest:>9}", count(handler.calls));
    }
    if report.saturated
        && let Some(slowest) = slowest(handlers)
    {
        let share = slowest.share.unwrap_or_default() * 100.0;
        page.words("slowest", &format!("{} takes {share:.1} % of the engine's time", plain(&slowest.name)));
    }
    for handler in handlers.iter().filter(|handler| handler.overruns > 0) {
        let budget = handler.budget_ns.map_or_else(|| "-".to_owned(), duration);
        let (name, calls) = (plain(&handler.name), count(handler.calls));
        let text = format!("{name}: {} of {calls} calls took longer than its {budget}", count(handler.overruns));
        page.words("over budget", &text);
    }
    for handler in handlers {
        let own: Vec<String> = counts(&handler.counts)
            .into_iter()
            .zip(handler.counts.iter())
            .filter(|(_, (_, number))| **number > 0)
            .map(|(text, _)| text)
            .collect();
        if let [first, rest @ ..] = &own[..] {
            let first = format!("{}: {first}", plain(&handler.name));
            page.list("counted", &[&[first], rest].concat());
        }
    }
    page.blank();
}

/// What handlers failed on, and what became of it. Nothing where nothing failed.
fn failures(page: &mut Page, report: &Report) {
    for handler in &report.handlers {
        let counts = [
            (handler.failed, "failed"),
            (handler.panicked, "panicked"),
            (handler.states_lost, "states lost"),
            (handler.quarantined, "symbols quarantined"),
            (handler.skipped, "events not given"),
        ];
        if counts.iter().all(|(number, _)| *number == 0) {
            continue;
        }
        let counts = counts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| named(what, *number));
        page.words("failing", &format!("{}: {}", plain(&handler.name), counts.collect::<Vec<_>>().join(", ")));
    }
    requests(page, report);
    backfill(page, report);
    spill(page, report);
    let retries = &report.retries;
    if retries.failures == 0 {
        return;
    }
    let counts = [("retries", retries.retries), ("held", retries.held), ("succeeded", retries.succeeded)];
    let mut line: Vec<String> = counts.iter().map(|(what, number)| named(what, *number)).collect();
    line.extend((retries.postponed > 0).then(|| named("retries put off", retries.postponed)));
    line.extend(retries.parked_by.iter().map(|(cause, number)| format!("parked ({cause}) {}", count(*number))));
    line.extend(retries.refused_by.iter().map(|(reason, number)| format!("not kept ({reason}) {}", count(*number))));
    page.list("failures", &line);
    let left = report.dead_letters.iter().map(|left| {
        let error = match (left.error, left.panicked) {
            (_, true) => "panic".to_owned(),
            (Some(ERROR_NO_ROOM), _) if left.handler == NO_ROOM_NAME => "its topic was full".to_owned(),
            // A handler's own code may be any number.
            (Some(code), _) => match schema_reason(code).filter(|_| left.handler == INVALID_NAME) {
                Some(reason) => format!("breaks its schema ({})", reason.name()),
                None => format!("error {code}"),
            },
            (None, _) => "waiting".to_owned(),
        };
        format!("{} on {}, {error}: {}", plain(&left.handler), left.kind, count(left.count))
    });
    page.list("parked", &left.collect::<Vec<_>>());
}

/// What was beyond a bound, one line each. Nothing where all is well.
fn health(page: &mut Page, report: &Report) {
    if report.log.dropped > 0 {
        page.words(
            "log",
            &format!("{} records dropped: the log was slower than the engine", count(report.log.dropped)),
        );
    }
    for finding in &report.health.findings {
        let (component, number) = (finding.component, finding.number);
        let name = finding.name.map_or(String::new(), |name| format!(" ({})", plain(name)));
        let whose = format!("{component} {number}{name} {}", finding.state);
        if finding.reason == "dependency" {
            // Nothing was measured beyond a bound: it is not there.
            page.words("health", &format!("{whose}: dependency, none is left to do its work"));
            continue;
        }
        let (value, threshold) = match finding.reason {
            "stalled" => (duration(finding.value as u64), duration(finding.threshold as u64)),
            "memory" => (count(finding.value as u64), count(finding.threshold as u64)),
            "rate" => (rate(finding.value), rate(finding.threshold)),
            _ => (format!("{:.2} %", finding.value * 100.0), format!("{:.2} %", finding.threshold * 100.0)),
        };
        page.words("health", &format!("{whose}: {} {value}, bound {threshold}", finding.reason));
    }
}

/// What became of the requests of handlers. Nothing where nobody asked.
fn requests(page: &mut Page, report: &Report) {
    let requests = &report.requests;
    if requests.asked == 0 {
        return;
    }
    let counts = [
        ("asked", requests.asked),
        ("merged", requests.merged + requests.joined),
        ("served", requests.served),
        ("failed", requests.failed),
        ("expired", requests.expired),
        ("dropped", requests.dropped),
        ("unfinished", requests.unfinished),
    ];
    let counts = counts.iter().filter(|(_, number)| *number > 0);
    let mut line: Vec<String> = counts.map(|(what, number)| named(what, *number)).collect();
    line.extend(requests.refused_by.iter().map(|(reason, number)| format!("refused ({reason}) {}", count(*number))));
    if let Some(wait) = &requests.wait_ns {
        line.push(format!("waited p50 {} p99 {} max {}", duration(wait.p50), duration(wait.p99), duration(wait.max)));
    }
    page.list("requests", &line);
    if let Some(jobs) = &requests.jobs {
        let counts = [
            ("limit", jobs.limit),
            ("grown", jobs.grown),
            ("shrunk", jobs.shrunk),
            ("full", jobs.full),
            ("replies lost", jobs.replies_lost),
            ("stray ends", jobs.stray_ends),
        ];
        let counts = counts.iter().filter(|(_, number)| *number > 0);
        page.list("jobs", &counts.map(|(what, number)| named(what, *number)).collect::<Vec<_>>());
    }
    if let Some(workers) = &requests.workers {
        for kind in workers.kinds.iter().filter(|kind| kind.made > 0 || kind.unserved > 0) {
            let counts = [
                ("done", kind.done),
                ("gave up", kind.failed),
                ("panicked", kind.panicked),
                ("overran", kind.overran),
                ("without a worker", kind.unserved),
                ("replaced", kind.replaced),
                ("events", kind.events),
            ];
            let counts = counts.iter().filter(|(_, number)| *number > 0);
            let mut line = vec![kind.name.to_owned()];
            line.extend(counts.map(|(what, number)| named(what, *number)));
            line.push(format!("longest {}", duration(kind.longest_ns)));
            page.list("worker", &line);
        }
        let left = (workers.left_behind > 0).then(|| named("left behind", workers.left_behind as u64));
        let lines: Vec<String> = left.into_iter().chain(workers.reasons.iter().map(|reason| plain(reason))).collect();
        page.lines("workers", &lines);
    }
}

/// What became of what handlers asked of the past. Nothing where nobody asked.
fn backfill(page: &mut Page, report: &Report) {
    let Some(backfill) = report.backfill.as_ref().filter(|backfill| backfill.asked > 0) else { return };
    let counts = [
        ("asked", backfill.asked),
        ("completed before", backfill.completed),
        ("merged", backfill.merged + backfill.joined),
        ("served", backfill.served),
        ("failed", backfill.failed),
        ("cancelled", backfill.cancelled),
        ("unfinished", backfill.unfinished),
        ("events", backfill.events),
        ("late", backfill.late),
        ("stray", backfill.stray),
        ("ticks later for retries", backfill.postponed),
    ];
    let counts = counts.iter().filter(|(_, number)| *number > 0);
    let mut line: Vec<String> = counts.map(|(what, number)| named(what, *number)).collect();
    line.extend(backfill.refused_by.iter().map(|(reason, number)| format!("refused ({reason}) {}", count(*number))));
    page.list("backfill", &line);
    backfill.reasons.iter().for_each(|reason| page.words("backfill", reason));
}

/// What went through the store of spilled events. Nothing where nothing did.
fn spill(page: &mut Page, report: &Report) {
    let Some(spill) = report.spill.as_ref().filter(|spill| **spill != Spilled::default()) else { return };
    let counts = [
        ("spilled", spill.spilled),
        ("came back", spill.returned),
        ("refused (full)", spill.refused_full),
        ("refused (a write had failed)", spill.refused_failed),
        ("blocks written", spill.files.blocks_written),
        ("most at a time", spill.files.blocks_most),
    ];
    let counts = counts.iter().filter(|(_, number)| *number > 0);
    page.list("spill", &counts.map(|(what, number)| named(what, *number)).collect::<Vec<_>>());
    spill.files.reasons.iter().for_each(|reason| page.words("spill", &plain(reason)));
}

/// Verdict, and what heads the report beside it.
fn headline(page: &mut Page, report: &Report) {
    if report.verdict.valid {
        page.words("VALID", "");
    } else {
        for reason in &report.verdict.reasons {
            page.words("INVALID:", &plain(reason));
        }
        if report.verdict.reasons.is_empty() {
            page.words("INVALID:", "no reason was given");
        }
    }
    if report.saturated {
        let text = report.pacer.as_ref().map_or_else(String::new, |pacer| {
            format!(
                "the engine took {} of the {} that were due",
                rate(pacer.achieved_events_per_second),
                rate(pacer.requested_events_per_second)
            )
        });
        page.words("SATURATED:", &text);
    }
    if report.interrupted {
        page.words("INTERRUPTED:", "what follows is what was done until then");
    }
    if report.manifest.generated {
        let all = report.manifest.captures.iter().all(|capture| capture.generated);
        let which = if all { "these events" } else { "some of these events" };
        page.words("GENERATED:", &format!("{which} were made by a model, not by a market"));
    }
}

/// File, then what it holds.
fn capture_lines(capture: &Capture) -> [String; 2] {
    let generated = if capture.generated && capture.format != "generated" { ", generated" } else { "" };
    let mut facts = vec![plural(capture.events, "event"), plural(capture.symbols, "symbol")];
    if let (Some(first), Some(last)) = (capture.first_ts, capture.last_ts) {
        facts.push(format!("{} to {} UTC", utc(first), utc(last)));
        facts.push(duration(last.saturating_sub(first)));
    }
    [format!("{} ({}{generated})", plain(&capture.path), plain(&capture.format)), facts.join(", ")]
}

/// What an input skipped or could not read; nothing where it read all.
fn tally_lines(page: &mut Page, tally: &CaptureTally) {
    let of = plain(&tally.path);
    if !tally.packets.is_empty() {
        let packets: Vec<_> = tally.packets.iter().map(|(name, &number)| named(&plain(name), number)).collect();
        page.words("packets", &format!("{of}: {}", packets.join(", ")));
    }
    if !tally.skipped.is_empty() {
        let skipped: Vec<_> = tally.skipped.iter().map(|(name, &number)| named(&plain(name), number)).collect();
        page.words("skipped", &format!("{of}: {}", skipped.join(", ")));
    }
    if tally.bad_lines > 0 {
        let shown = tally.first_bad_lines.len() as u64;
        page.words("bad lines", &format!("{of}: {}", count(tally.bad_lines)));
        for bad in &tally.first_bad_lines {
            page.words("", &format!("line {}: {}", bad.line, plain(&bad.why)));
        }
        if shown > 0 && shown < tally.bad_lines {
            page.words("", &format!("and {} more", count(tally.bad_lines - shown)));
        }
    }
    if tally.bad_packets > 0 {
        let shown = tally.first_bad_packets.len() as u64;
        page.words("bad packet", &format!("{of}: {}", count(tally.bad_packets)));
        for bad in &tally.first_bad_packets {
            page.words("", &format!("packet {} at offset {}: {}", bad.packet, bad.offset, plain(&bad.why)));
        }
        if shown < tally.bad_packets {
            page.words("", &format!("and {} more", count(tally.bad_packets - shown)));
        }
    }
}

fn manifest(page: &mut Page, manifest: &Manifest) {
    let pinned = if manifest.pinned { "pinned to cores" } else { "not pinned, planned for cores" };
    let cores = core_list(&manifest.cores);
    page.words(
        "engine",
        &format!(
            "{} on driver {}, {pinned} {cores}, idle {}, batches of at most {} slots",
            plural(manifest.shards as u64, "shard"),
            plain(&manifest.driver),
            plain(&manifest.idle),
            manifest.batch_limit
        ),
    );
    let schedule = match (manifest.rate, manifest.speed) {
        (Some(per_second), _) => format!("{} arrivals at {}", manifest.arrivals, rate(per_second)),
        (None, Speed::Max) => "speed max: unpaced".to_owned(),
        (None, Speed::Times(times)) => format!("speed {times}"),
    };
    let passes = if manifest.loops > 1 { format!(", {}", plural(manifest.loops, "pass")) } else { String::new() };
    page.words("schedule", &format!("{schedule}{passes}, overload {}", plain(&manifest.overload)));
    let known = |fact: &Option<String>| fact.as_deref().map_or_else(|| "unknown".to_owned(), plain);
    page.words(
        "machine",
        &format!(
            "cpu {}, kernel {}, clock {}; tapeline {}",
            known(&manifest.cpu),
            known(&manifest.kernel),
            known(&manifest.clocksource),
            manifest
                .commit
                .as_deref()
                .map_or_else(|| "of no known commit".to_owned(), |commit| format!("at {}", plain(commit)))
        ),
    );
}

fn ledger(page: &mut Page, events: &Events, balanced: bool) {
    let state = if balanced { "ledger balanced" } else { "LEDGER NOT BALANCED" };
    page.words(
        "events",
        &format!(
            "offered {} = accepted {} + refused {}; {state}",
            count(events.offered),
            count(events.accepted),
            count(events.refused)
        ),
    );
    let mut states = format!("accepted {} = delivered {}", count(events.accepted), count(events.delivered));
    for (name, number) in [
        ("coalesced", events.coalesced),
        ("expired", events.expired),
        ("refused after admission", events.refused_after_admission),
        ("dead-lettered", events.dead_lettered),
        ("in flight", events.in_flight),
    ] {
        if number > 0 {
            let _ = write!(states, " + {}", named(name, number));
        }
    }
    page.words("", &states);
    page.list("refused", &counts(&events.refused_by));
    if events.control > 0 {
        page.words("control", &format!("{} definitions, ticks and markers, counted apart", count(events.control)));
    }
}

/// Names of the columns, each as wide as [`row`] makes it.
fn latencies(page: &mut Page, report: &Report) {
    let latency = &report.latency_ns;
    let _ = writeln!(
        page.text,
        "{:<14}{:>14}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "latency", "count", "min", "p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"
    );
    let mut rows = Vec::new();
    match &latency.response {
        Some(response) => rows.push(("response", response)),
        None => {
            let _ = writeln!(page.text, "{:<14}{:>14}  unpaced: no event was due at a time", "response", "-");
        }
    }
    rows.push(("service", &latency.service));
    rows.extend(report.pacer.iter().map(|pacer| ("pacer lag", &pacer.lag_ns)));
    for (name, summary) in rows {
        page.text.push_str(&row(name, summary));
    }
    if !latency.stages.is_empty() {
        page.text.push_str("stages\n");
        for (name, summary) in latency.stages.iter() {
            page.text.push_str(&row(&format!("  {}", plain(name)), summary));
        }
    }
    let untold =
        |summary: &Summary| summary.count > 0 && summary.percentiles().iter().any(|(_, value)| value.is_none());
    if latency.response.as_ref().is_some_and(untold) || untold(&latency.service) {
        page.words("", &format!("- : fewer than {BEYOND_MIN} samples beyond, or within the machine's noise"));
    }
}

/// The slowest events and where the time of each went. Nothing unless they were asked for.
fn slow_events(page: &mut Page, report: &Report) {
    if report.slowest.is_empty() {
        return;
    }
    page.blank();
    let _ = writeln!(
        page.text,
        "{:<34}{:>9}{:>9}{:>9}{:>9}{:>9}{:>6}{:>9}{:>6}",
        "slowest", "at", "response", "lag", "ring", "service", "batch", "gap", "flts"
    );
    for slow in &report.slowest {
        let gap = if slow.gap_ns == 0 { "-".to_owned() } else { duration(slow.gap_ns) };
        let faults = slow.faults.map_or_else(|| "-".to_owned(), count);
        let name = plain(&slow.name());
        // A long name has a line of its own.
        if name.chars().count() > 31 {
            let _ = writeln!(page.text, "  {name}");
        }
        let name = if name.chars().count() > 31 { "" } else { &name };
        let _ = writeln!(
            page.text,
            "  {name:<32}{:>9}{:>9}{:>9}{:>9}{:>9}{:>6}{gap:>9}{faults:>6}",
            duration(slow.at_ns),
            duration(slow.response_ns),
            duration(slow.lag_ns),
            slow.ring_wait_ns.map_or_else(|| "-".to_owned(), duration),
            duration(slow.service_ns),
            slow.batch,
        );
    }
}

/// One line of the table of latencies: 14 columns of name, 14 of count, 8 times 9 of values.
fn row(name: &str, summary: &Summary) -> String {
    let cell = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), duration);
    let mut line = format!("{name:<14}{:>14}{:>9}", count(summary.count), cell(summary.min));
    for (_, value) in summary.percentiles() {
        let _ = write!(line, "{:>9}", cell(value));
    }
    let mean = summary.mean.map(|mean| mean.round() as u64);
    let _ = writeln!(line, "{:>9}{:>9}", cell(summary.max), cell(mean));
    line
}

fn scope_text(report: &Report) -> &'static str {
    match report.digest_scope {
        super::DigestScope::Any => "the same for any speed, shards, driver and build",
        super::DigestScope::SameShards => "the same for runs with this number of shards: a limit acted",
        super::DigestScope::ThisRun => "of this run only: a limit that depends on load acted",
    }
}

/// Values by name, as words that are not broken.
fn counts(values: &Named<u64>) -> Vec<String> {
    values.iter().map(|(name, &number)| named(&plain(name), number)).collect()
}

/// A number of things.
fn plural(number: u64, thing: &str) -> String {
    let end = match number {
        1 => "",
        _ if thing.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {thing}{end}", count(number))
}

fn named(name: &str, number: u64) -> String {
    format!("{name} {}", count(number))
}

/// Text under construction, wrapped at [`COLUMNS`].
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn blank(&mut self) {
        self.text.push('\n');
    }

    /// `label`, then `words`, wrapped between words.
    fn words(&mut self, label: &str, words: &str) {
        self.wrapped(label, words.split(' '), " ");
    }

    /// `label`, then `items`, wrapped between items only. Nothing when there are none.
    fn list(&mut self, label: &str, items: &[String]) {
        if !items.is_empty() {
            self.wrapped(label, items.iter().map(String::as_str), "  ");
        }
    }

    /// `label`, then each line as it is.
    fn lines(&mut self, label: &str, lines: &[String]) {
        for (index, line) in lines.iter().enumerate() {
            self.words(if index == 0 { label } else { "" }, line);
        }
    }

    fn wrapped<'a>(&mut self, label: &str, items: impl Iterator<Item = &'a str>, between: &str) {
        let mut line = format!("{label:<LABEL$}");
        if label.chars().count() >= LABEL {
            line.push(' ');
        }
        let mut fresh = true;
        for item in items {
            if !fresh && line.chars().count() + between.len() + item.chars().count() > COLUMNS {
                self.push_line(&line);
                line = " ".repeat(LABEL);
                fresh = true;
            }
            if !fresh {
                line.push_str(between);
            }
            line.push_str(item);
            fresh = false;
        }
        self.push_line(&line);
    }

    fn push_line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// `text` with control characters escaped, so that a file's name or a bad line cannot move the cursor.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let kept = if escaped.is_none() { Some(c) } else { None };
            escaped.into_iter().flatten().chain(kept)
        })
        .collect()
}

/// `number` with a comma between thousands.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in ns with three significant digits and its unit: `7 ns`, `1.23 µs`, `45.6 ms`, `3600 s`.
#[must_use]
pub fn duration(ns: u64) -> String {
    if ns < 1_000 {
        return format!("{ns} ns");
    }
    significant(ns as f64 / 1_000.0, &["µs", "ms", "s"])
}

/// Events per second with three significant digits: `4.56 M events/s`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if !per_second.is_finite() || per_second < 0.0 {
        return "unknown events/s".to_owned();
    }
    significant(per_second, &["events/s", "k events/s", "M events/s", "G events/s"])
}

/// `value` with three significant digits, in the first of `units`, each 1,000 times the one before, that keeps it below
/// 1,000; in the last one whatever it is.
fn significant(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // 999.5 would be printed as 1000.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {}", units[unit])
}

/// Cores as a list of ranges: `0,2-5`; `none` when there are none.
#[must_use]
pub fn core_list(cores: &[u32]) -> String {
    let mut sorted = cores.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for core in sorted {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(core) => *last = core,
            _ => ranges.push((core, core)),
        }
    }
    if ranges.is_empty() {
        return "none".to_owned();
    }
    let texts =
        ranges.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    texts.collect::<Vec<_>>().join(",")
}

/// An instant in ns since the UNIX epoch as UTC date and time to the millisecond, cut: `2024-08-08 00:00:01.234`.
///
/// The date is by the proleptic Gregorian calendar, from days by the algorithm `civil_from_days` of H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms".
#[must_use]
pub fn utc(ns: u64) -> String {
    let (seconds, millis) = (ns / 1_000_000_000, ns / 1_000_000 % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years of 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{millis:03}",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_rates_have_three_significant_digits() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (9_994, "9.99 µs"),
            (9_996, "10.0 µs"),
            (99_949, "99.9 µs"),
            (99_951, "100 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (45_600_000, "45.6 ms"),
            (999_499_999, "999 ms"),
            (1_000_000_000, "1.00 s"),
            (3_600_000_000_000, "3600 s"),
        ] {
            assert_eq!(duration(ns), text, "{ns}");
        }
        assert_eq!(rate(0.5), "0.50 events/s");
        assert_eq!(rate(100_000.0), "100 k events/s");
        assert_eq!(rate(4_561_234.0), "4.56 M events/s");
        assert_eq!(rate(5e12), "5000 G events/s");
        assert_eq!(rate(f64::NAN), "unknown events/s");
    }

    #[test]
    fn counts_have_commas() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (24_077, "24,077"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn instants_are_dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400, "2000-02-29 00:00:00.000"),
            (951_868_800, "2000-03-01 00:00:00.000"),
            (1_723_075_201, "2024-08-08 00:00:01.000"),
            (1_735_689_599, "2024-12-31 23:59:59.000"),
            (4_107_542_399, "2100-02-28 23:59:59.000"),
            (4_107_542_400, "2100-03-01 00:00:00.000"),
        ] {
            assert_eq!(utc(seconds * 1_000_000_000), text);
        }
        assert_eq!(utc(1_999_999), "1970-01-01 00:00:00.001");
        assert_eq!(utc(u64::MAX), "2554-07-21 23:34:33.709");
    }

    #[test]
    fn cores_are_ranges() {
        assert_eq!(core_list(&[]), "none");
        assert_eq!(core_list(&[3]), "3");
        assert_eq!(core_list(&[5, 0, 2, 3, 4, 2]), "0,2-5");
        assert_eq!(core_list(&[u32::MAX, u32::MAX - 1]), "4294967294-4294967295");
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{85}é"), "a\\u{1b}[2Jb\\nc\\u{85}é");
    }

    #[test]
    fn lines_break_between_words_and_keep_them_whole() {
        let mut page = Page::default();
        page.words("label", &"word ".repeat(50));
        page.words("label", &"x".repeat(150));
        page.list("label", &vec!["two words".to_owned(); 20]);
        let mut lines = page.text.lines();
        assert!(lines.by_ref().take(3).all(|line| line.chars().count() <= COLUMNS));
        assert_eq!(lines.next().unwrap().len(), LABEL + 150, "one long word is not broken");
        for line in lines {
            assert!(line.chars().count() <= COLUMNS && line.ends_with("two words"), "{line}");
        }
    }
}
