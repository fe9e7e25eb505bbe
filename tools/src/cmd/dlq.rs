//! `tapeline dlq`: what a replay's dead letters are, and what becomes of them.

use crate::cli::{DlqArgs, DlqFilter, DlqListArgs, DlqPurgeArgs, DlqRedriveArgs, DlqShowArgs, DlqVerb, Format};
use crate::files::{self, Replacement};
use crate::out;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::BufWriter;
use tapeline_core::dead::ERROR_PANIC;
use tapeline_runtime::config::STANDARD;
use tapeline_runtime::letters::{Filter, Letter, Letters};
use tapeline_runtime::ndjson;
use tapeline_runtime::report::text::{count, plain, utc};
use tapeline_runtime::sink::create;

pub(crate) fn run(args: &DlqArgs) -> u8 {
    match &args.verb {
        DlqVerb::List(args) => with(&args.file, args.symbols_max, |letters| list(args, letters)),
        DlqVerb::Show(args) => with(&args.file, args.symbols_max, |letters| show(args, letters)),
        DlqVerb::Redrive(args) => with(&args.file, args.symbols_max, |letters| redrive(args, letters)),
        DlqVerb::Purge(args) => purge(args),
    }
}

fn with(path: &str, symbols_max: usize, act: impl FnOnce(&Letters) -> u8) -> u8 {
    match Letters::read(path, symbols_max) {
        Ok(letters) => act(&letters),
        Err(error) => out::fail(&error, error.exit_code()),
    }
}

/// A letter in JSON.
#[derive(Serialize)]
struct Line<'a> {
    id: u64,
    kind: &'static str,
    symbol: &'a str,
    source: &'a str,
    seq: u64,
    part: u16,
    handler: &'a str,
    /// Code of the handler's own; null for a panic, and where nothing failed yet.
    error: Option<u16>,
    /// What the engine's own codes stand for (`out_of_range`, `no_room`, ...); null for a handler's code.
    error_name: Option<&'static str>,
    panicked: bool,
    state: &'static str,
    cause: Option<&'static str>,
    attempts: u16,
    failures: u32,
    redrives: u8,
    policy: u8,
    first_failure_ns: u64,
    last_failure_ns: u64,
}

/// A page of letters in JSON.
#[derive(Serialize)]
struct Listing<'a> {
    letters: Vec<Line<'a>>,
    /// Letters of the filter, on all pages.
    matching: usize,
    /// Letters of the file.
    total: usize,
    /// Where the next page begins: `--after` this; null = there is none.
    next: Option<u64>,
}

/// `value` as JSON, fields in the order in which they stand here.
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers are JSON")
}

impl<'a> From<&'a Letter> for Line<'a> {
    fn from(letter: &'a Letter) -> Self {
        Self {
            id: letter.id,
            kind: letter.kind.name(),
            symbol: &letter.symbol,
            source: &letter.source,
            seq: letter.seq,
            part: letter.part,
            handler: &letter.handler,
            error: letter.error.filter(|code| *code != ERROR_PANIC),
            error_name: letter.error_name(),
            panicked: letter.error == Some(ERROR_PANIC),
            state: state(letter),
            cause: letter.cause.map(|cause| cause.name()),
            attempts: letter.attempts,
            failures: letter.failures,
            redrives: letter.redrives,
            policy: letter.policy,
            first_failure_ns: letter.first_failure.0,
            last_failure_ns: letter.last_failure.0,
        }
    }
}

/// Whether it waits for a person, or waited for a retry or its turn when the run was cut short.
fn state(letter: &Letter) -> &'static str {
    if letter.cause.is_some() { "parked" } else { "pending" }
}

/// A retry policy as far as the file knows it: names are in the configuration of its run, in the order of the numbers.
fn policy(number: u8) -> String {
    if number == 0 { STANDARD.to_owned() } else { format!("number {number} after {STANDARD} in its configuration") }
}

fn filter(args: &DlqFilter) -> Filter {
    Filter {
        id: None,
        kind: args.kind,
        symbol: args.symbol.clone(),
        error: args.error,
        handler: args.handler.clone(),
        since: args.since,
        until: args.until,
    }
}

fn list(args: &DlqListArgs, letters: &Letters) -> u8 {
    let page = letters.page(&filter(&args.filter), args.after, args.limit);
    if args.format == Format::Json {
        let lines: Vec<Line<'_>> = page.letters.iter().map(|letter| Line::from(*letter)).collect();
        let listing = Listing { letters: lines, matching: page.total, total: letters.all().len(), next: page.next };
        return out::data(&format!("{}\n", line(&listing)));
    }
    let mut text = String::new();
    if !page.letters.is_empty() {
        let (symbols, handlers, errors) = (
            width("symbol", page.letters.iter().map(|letter| plain(&letter.symbol))),
            width("handler", page.letters.iter().map(|letter| plain(&letter.handler))),
            width("error", page.letters.iter().map(|letter| letter.error_text())),
        );
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:>6}  {:<23}  {:<symbols$}  {:<12}  {:<handlers$}  {:>errors$}  {:<11}  {:>8}",
            "id", "last failure (UTC)", "symbol", "kind", "handler", "error", "cause", "failures"
        );
        for letter in &page.letters {
            let _ = writeln!(
                text,
                "{:>6}  {:<23}  {:<symbols$}  {:<12}  {:<handlers$}  {:>errors$}  {:<11}  {:>8}",
                letter.id,
                utc(letter.last_failure.0),
                plain(&letter.symbol),
                letter.kind.name(),
                plain(&letter.handler),
                letter.error_text(),
                letter.cause.map_or("pending", |cause| cause.name()),
                letter.failures
            );
        }
    }
    let (shown, total) = (count(page.letters.len() as u64), count(page.total as u64));
    let _ = match page.next {
        Some(after) => writeln!(text, "{shown} of {total} dead letters; the next ones: --after {after}"),
        None if args.after > 0 => writeln!(text, "the last {shown} of {total} dead letters"),
        None => writeln!(text, "{total} dead letters"),
    };
    out::data(&text)
}

/// Width of a column that holds these texts under this heading.
fn width(heading: &str, texts: impl Iterator<Item = String>) -> usize {
    texts.map(|text| text.chars().count()).chain([heading.len()]).max().unwrap_or_default()
}

fn show(args: &DlqShowArgs, letters: &Letters) -> u8 {
    let Some(letter) = letters.get(args.id) else {
        return out::fail(format_args!("{}: has no dead letter {}", args.file, args.id), 2);
    };
    let mut event = Vec::new();
    ndjson::write_event(letters.catalog(), letter.event(), &mut event);
    let event = String::from_utf8_lossy(&event);
    let event = event.trim_end();
    if args.format == Format::Json {
        // The event's own line is JSON already; taken apart it could lose digits.
        let line = line(&Line::from(letter));
        return out::data(&format!("{},\"event\":{event}}}\n", line.trim_end_matches('}')));
    }
    let mut text = String::new();
    let cause = match letter.cause {
        Some(cause) => format!("parked: {}", cause.name()),
        None => "pending: the run ended before its retry or its turn".to_owned(),
    };
    let failures = format!(
        "{} ({} since it was made or redriven, redriven {} times, retry policy {})",
        count(u64::from(letter.failures)),
        count(u64::from(letter.attempts)),
        letter.redrives,
        policy(letter.policy)
    );
    for (label, value) in [
        ("letter", letter.id.to_string()),
        ("state", cause),
        ("handler", plain(&letter.handler)),
        ("error", letter.error_text()),
        ("failures", failures),
        ("first", format!("{} UTC", utc(letter.first_failure.0))),
        ("last", format!("{} UTC", utc(letter.last_failure.0))),
        ("event", event.to_owned()),
    ] {
        let _ = writeln!(text, "{label:<9} {value}");
    }
    out::data(&text)
}

fn redrive(args: &DlqRedriveArgs, letters: &Letters) -> u8 {
    let filter = Filter { id: args.id, ..filter(&args.filter) };
    let redrive = match letters.redrive(&filter, args.rate) {
        Ok(redrive) => redrive,
        Err(why) => return out::fail(why, 2),
    };
    let found = format!("{} events of {} dead letters", count(redrive.events), count(redrive.letters));
    if redrive.of_schema > 0 {
        let broken = count(redrive.of_schema);
        out::note(format_args!(
            "{broken} of the letters break their schema: a build with the schemas of that run takes them no more than it did"
        ));
    }
    let Some(output) = args.output.as_deref().filter(|_| !args.dry_run) else {
        out::note(format_args!("dry run: {found} would be redriven; nothing was written"));
        return 0;
    };
    if let Err(why) = files::spare(std::slice::from_ref(&args.file), &[output]) {
        return out::fail(why, 2);
    }
    let written = create(output, args.force)
        .map_err(|error| error.to_string())
        .and_then(|file| letters.write_events(&redrive, BufWriter::with_capacity(1 << 20, file)));
    match written {
        Ok(()) => {
            out::note(format_args!("{}: {found}; the letters stay in {} until purged", output.display(), args.file));
            out::note(format_args!("`replay --redriven {}` gives those that fail again their history", args.file));
            0
        }
        Err(why) => out::fail(format_args!("{}: {why}", output.display()), 2),
    }
}

fn purge(args: &DlqPurgeArgs) -> u8 {
    let filter = Filter { id: args.id, ..filter(&args.filter) };
    if filter == Filter::default() && !args.all {
        return out::fail("purge: name which letters, or --all of them", 2);
    }
    if args.dry_run {
        return with(&args.file, args.symbols_max, |letters| {
            let (chosen, total) = counts(letters, &filter);
            out::note(format_args!("dry run: {chosen} of {total} dead letters would go"));
            0
        });
    }
    // Before the letters are read: what another purge takes out meanwhile must not come back.
    let replacement = match Replacement::of(&args.file) {
        Ok(replacement) => replacement,
        Err(why) => return out::fail(format_args!("{}: {why}", args.file), 2),
    };
    with(&args.file, args.symbols_max, |letters| {
        let (chosen, total) = counts(letters, &filter);
        match replacement.put(|file| letters.write_without(&filter, file).map(drop)) {
            Ok(()) => {
                out::note(format_args!("{}: {chosen} of {total} dead letters are gone", args.file));
                0
            }
            Err(why) => out::fail(format_args!("{}: {why}", args.file), 2),
        }
    })
}

/// Letters of a filter, and all.
fn counts(letters: &Letters, filter: &Filter) -> (String, String) {
    let chosen = letters.page(filter, 0, 0).total as u64;
    (count(chosen), count(letters.all().len() as u64))
}
