//! `tapeline info`.

use crate::cli::{Format, InfoArgs};
use crate::out;
use std::collections::BTreeMap;
use std::fmt::Write;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::{Kind, events};
use tapeline_core::limits::KIND_ROWS;
use tapeline_runtime::input::detect::open;
use tapeline_runtime::input::{MESSAGE_SLOTS_MAX, SlotBuf, Status, Tally};
use tapeline_runtime::report::text::{count, utc};

pub(crate) fn run(args: &InfoArgs) -> u8 {
    let options = match super::config::open_options(&args.capture_args, &args.map_args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let mut input = match open(&args.capture, &options) {
        Ok(input) => input,
        Err(error) => return out::fail(&error, error.exit_code()),
    };
    let mut catalog = Catalog::new(args.symbols_max);
    let mut slots = SlotBuf::with_capacity(MESSAGE_SLOTS_MAX);
    let mut kinds = [0u64; KIND_ROWS];
    let mut has_symbol = vec![false; args.symbols_max];
    let (mut span, mut code) = (None::<(u64, u64)>, 0);
    loop {
        slots.clear();
        let status = input.read(&mut catalog, &mut slots);
        for event in events(slots.slots()).filter(|event| !event.kind().is_control()) {
            let head = event.head();
            kinds[head.kind().row()] += 1;
            has_symbol[head.symbol.index()] = true;
            let ts = head.ts_recv.0;
            span = Some(span.map_or((ts, ts), |(first, last)| (first.min(ts), last.max(ts))));
        }
        match status {
            Ok(Status::More) => {}
            Ok(Status::End) => break,
            Err(error) => {
                code = out::fail(&error, error.exit_code());
                break;
            }
        }
    }
    let tally = input.tally();
    let kinds: Vec<(&str, u64)> = Kind::ALL
        .iter()
        .map(|kind| (kind.name(), kinds[kind.row()]))
        .chain([("unknown", kinds[0])])
        .filter(|(_, count)| *count > 0)
        .collect();
    let events: u64 = kinds.iter().map(|(_, count)| count).sum();
    // Symbol 0 is "no symbol".
    let symbols = has_symbol.iter().skip(1).filter(|has| **has).count();
    let written = match args.format {
        Format::Json => {
            let object = serde_json::json!({
                "format": input.format(),
                "events": events,
                "symbols": symbols,
                "kinds": kinds.iter().copied().collect::<BTreeMap<_, _>>(),
                "messages": tally.messages,
                "skipped": tally.skipped,
                "first_ts": span.map(|span| span.0),
                "last_ts": span.map(|span| span.1),
                "generated": input.is_generated(),
                "bad_lines": tally.bad_lines,
                "packets": tally.packets,
                "bad_packets": tally.bad_packets,
            });
            out::data(&format!("{object}\n"))
        }
        Format::Text => {
            let mut text = String::new();
            let generated = if input.is_generated() { ", generated" } else { "" };
            let _ = writeln!(text, "{}: {}{generated}", args.capture, input.format());
            let _ = writeln!(text, "  events    {:>14}  symbols {}", count(events), count(symbols as u64));
            if let Some((first, last)) = span {
                let _ = writeln!(text, "  first     {}", utc(first));
                let _ = writeln!(text, "  last      {}", utc(last));
            }
            section(&mut text, "packets", tally.packets.iter().map(|(name, count)| (name.as_str(), *count)));
            section(&mut text, "kinds", kinds.into_iter());
            section(&mut text, "messages", tally.messages.iter().map(|(name, count)| (name.as_str(), *count)));
            section(&mut text, "skipped", tally.skipped.iter().map(|(name, count)| (name.as_str(), *count)));
            out::data(&text)
        }
    };
    let bad = complain(&args.capture, &tally);
    // What could not be read at all (2) comes before what is damaged (3).
    out::code(written, if code == 0 { bad } else { code })
}

fn section<'a>(text: &mut String, name: &str, rows: impl Iterator<Item = (&'a str, u64)>) {
    for (index, (row, number)) in rows.enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<9} {:>14}  {row}", if index == 0 { name } else { "" }, count(number));
    }
}

/// Names the first bad lines and packets on stderr. Returns the exit code that they make: 3, or 0 without any.
pub(crate) fn complain(path: &str, tally: &Tally) -> u8 {
    for (line, why) in &tally.first_bad_lines {
        out::note(format_args!("{path}: line {line}: {why}"));
    }
    if tally.bad_lines > 0 {
        out::note(format_args!("{path}: {} bad lines were skipped", tally.bad_lines));
    }
    for bad in &tally.first_bad_packets {
        out::note(format_args!("{path}: packet {} at offset {}: {}", bad.packet, bad.offset, bad.why));
    }
    if tally.bad_packets > 0 {
        out::note(format_args!("{path}: {} bad packets were skipped, in whole or in part", tally.bad_packets));
    }
    if tally.bad_lines + tally.bad_packets > 0 { 3 } else { 0 }
}
