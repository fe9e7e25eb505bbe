//! `tapeline capacity`.

use crate::child::{self, Failure, Replayed};
use crate::cli::{CapacityArgs, Format};
use crate::files::{self, Prepared};
use crate::out;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tapeline_runtime::lab::capacity::{Plan, Search, Step, round};
use tapeline_runtime::lab::capacity_text::table;
use tapeline_runtime::lab::slo::Slo;
use tapeline_runtime::report::html;

/// Messages of the first look: enough to be over the start, and done in a moment.
const PROBE_MESSAGES: u64 = 200_000;
/// Rate of the first look, messages a second: what the schedule asks for in events tells how many events a message has.
const PROBE_RATE: f64 = 1e6;
/// Least messages of a run: a shorter one says nothing.
const MESSAGES_MIN: f64 = 1_000.0;
/// Share of the highest rate at which the ladder begins.
const FROM_SHARE: f64 = 1.0 / 64.0;

pub(crate) fn run(args: &CapacityArgs) -> u8 {
    let slo = match Slo::parse(&args.slo) {
        Ok(slo) => slo,
        Err(error) => return out::fail(format_args!("--slo: {error}"), 2),
    };
    if args.time.is_zero() {
        return out::fail("--time: a run has to take some time", 2);
    }
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from > to
    {
        return out::fail(format_args!("--from {from} is above --to {to}"), 2);
    }
    let written: Vec<&Path> = args.csv.iter().chain(&args.html).map(PathBuf::as_path).collect();
    if let Err(why) = child::refuse_pipes(&args.captures).and_then(|()| files::spare(&args.captures, &written)) {
        return out::fail(why, 2);
    }
    let csv = match Prepared::new(args.csv.as_deref(), args.force) {
        Ok(csv) => csv,
        Err(why) => return out::fail(why, 2),
    };
    let page = match Prepared::new(args.html.as_deref(), args.force) {
        Ok(page) => page,
        Err(why) => return discard([csv, None], Failure::Failed(why, 2)),
    };
    let interrupt = Arc::new(AtomicBool::new(false));
    if let Err(error) = super::replay::on_interrupt(&interrupt) {
        out::note(format_args!("SIGINT will end this without a report: {error}"));
    }
    let runner = match child::this() {
        Ok(binary) => Runner { binary, args, interrupt: &interrupt },
        Err(failure) => return discard([csv, page], failure),
    };
    let (search, max, code) = match searched(&runner, slo) {
        Ok(found) => found,
        Err(failure) => return discard([csv, page], failure),
    };
    let found = search.found(max, env!("CARGO_PKG_VERSION"));
    let fill = |file: Option<Prepared>, text: &dyn Fn() -> String| {
        file.is_none_or(|file| file.fill(|file| file.write_all(text().as_bytes()).map_err(|error| error.to_string())))
    };
    // Both, whatever becomes of the first.
    let are_written = fill(csv, &|| found.csv()) & fill(page, &|| html::capacity(&found, &args.captures));
    let written = match args.format {
        Format::Text => out::data(&table(&found)),
        Format::Json => out::data(&format!("{}\n", found.json())),
    };
    let files = if are_written { 0 } else { 2 };
    out::first_of(&[code, written, files, found.exit_code()])
}

/// There is nothing to write.
fn discard(files: [Option<Prepared>; 2], failure: Failure) -> u8 {
    files.into_iter().flatten().for_each(Prepared::discard);
    match failure {
        Failure::Interrupted => 130,
        Failure::Failed(why, code) => out::fail(why, code),
    }
}

/// Runs replays of the same captures.
struct Runner<'a> {
    binary: PathBuf,
    args: &'a CapacityArgs,
    interrupt: &'a AtomicBool,
}

impl Runner<'_> {
    /// One replay of so many messages, by this schedule, of captures with at least `pass` messages.
    fn replay(&self, schedule: &str, messages: u64, pass: u64) -> Result<Replayed, Failure> {
        let mut line: Vec<OsString> = self.args.engine.args();
        let passes = messages.div_ceil(pass.max(1)) + 1;
        line.push(schedule.into());
        line.extend([format!("--messages={messages}"), format!("--loop={passes}")].map(OsString::from));
        line.push("--no-sha256".into());
        child::captures(&mut line, &self.args.captures);
        child::replay(&self.binary, &line, self.interrupt)
    }
}

/// The search, as far as it came; the events per second without a schedule; and the exit code of what happened on the way.
fn searched(runner: &Runner<'_>, slo: Slo) -> Result<(Search, f64, u8), Failure> {
    let args = runner.args;
    let time = args.time.as_secs_f64();
    let probe = runner.replay(&format!("--rate={PROBE_RATE}"), PROBE_MESSAGES, PROBE_MESSAGES)?;
    let mut code = if probe.code == 3 { 3 } else { 0 };
    let probe = probe.outcome;
    let failed = |why: &str| Failure::Failed(why.to_owned(), 2);
    let requested = probe.pacer.map_or(0.0, |pacer| pacer.requested_events_per_second);
    if probe.events.offered < 2 || requested <= 0.0 {
        return Err(failed("the captures hold too few events for a schedule"));
    }
    let events_per_message = (requested / PROBE_RATE).max(1.0);
    // The probe may have made two passes; half of it is one at most.
    let pass = ((probe.events.offered as f64 / events_per_message / 2.0) as u64).max(1);
    let messages = |rate: f64| (rate * time).clamp(MESSAGES_MIN, 1e15).ceil() as u64;

    let short = runner.replay("--speed=max", PROBE_MESSAGES, pass)?.outcome.events_per_second;
    let max = runner.replay("--speed=max", messages(short / events_per_message), pass)?;
    let max = max.outcome.events_per_second;
    out::note(format_args!("without a schedule: {}", tapeline_runtime::report::text::rate(max)));
    let to = args.to.unwrap_or_else(|| round(max / events_per_message).max(args.from.unwrap_or(0.0)));
    // A few more than are needed: a bound that is just not told would waste the lowest run.
    let enough = slo.samples_min() as f64 * 1.1 / time / events_per_message;
    let from = args.from.unwrap_or_else(|| round((to * FROM_SHARE).max(enough))).min(to);
    if !(from > 0.0 && to.is_finite()) {
        return Err(failed("nothing was replayed without a schedule: there is no highest rate"));
    }
    let mut search = Search::new(Plan { slo, from, to, repeats: args.repeats, is_strict: args.strict });
    let mut steps = 0;
    while let Some(rate) = search.next_rate() {
        let replayed = match runner.replay(&format!("--rate={rate}"), messages(rate), pass) {
            Ok(replayed) => replayed,
            Err(Failure::Interrupted) => return Ok((search, max, 130)),
            Err(failure) => return Err(failure),
        };
        code = code.max(if replayed.code == 3 { 3 } else { 0 });
        let step = Step::of(&replayed.outcome, rate).map_err(|why| Failure::Failed(why, 1))?;
        steps += 1;
        out::note(format_args!("run {steps}: {rate} messages/s{}", if step.saturated { ", SATURATED" } else { "" }));
        search.record(rate, step);
    }
    Ok((search, max, code))
}
