//! `tapeline import`.

use crate::cli::ImportArgs;
use crate::{files, out};
use std::fmt::Write;
use std::fs;
use std::io::BufWriter;
use std::thread;
use std::time::{Duration, Instant};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::events;
use tapeline_runtime::ingest::{BLOCKS, BlockQueue, Capture, Ingest, IngestReport, Progress};
use tapeline_runtime::report::text::count;
use tapeline_runtime::resident;
use tapeline_runtime::sink::create;
use tapeline_runtime::tape::{Codec, TapeCounts, TapeOptions, TapeWriter};

pub(crate) fn run(args: &ImportArgs) -> u8 {
    if let Err(why) = files::spare(&args.captures, &[&args.output]).and_then(|()| files::once(&args.captures)) {
        return out::fail(why, 2);
    }
    // Opened before the tape is made: a name that cannot be read leaves nothing behind.
    let options = match super::config::open_options(&args.capture_args, &args.map_args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let (captures, generated) = match files::open_all(&args.captures, &options) {
        Ok(opened) => opened,
        Err(error) => return out::fail(&error, error.exit_code()),
    };
    let path = args.output.display();
    let begun = Instant::now();
    match write(args, captures, generated) {
        Ok((counts, report)) => {
            let elapsed = begun.elapsed();
            out::note(format_args!("{path}: {} events in {} bytes", count(counts.events), count(counts.bytes)));
            tell_packets(&report);
            let written = if args.stats { out::data(&stats(args, &report, &counts, elapsed)) } else { 0 };
            out::code(written, complain(&report))
        }
        Err(why) => out::fail(format_args!("{path}: {why}"), 2),
    }
}

/// How fast an import was, from the first byte to the last: reading, decoding, merging and writing together. Bytes are those of the
/// files as they are stored; standard input and pipes have none.
fn stats(args: &ImportArgs, report: &IngestReport, counts: &TapeCounts, elapsed: Duration) -> String {
    let messages: u64 = report.captures.iter().flat_map(|capture| capture.tally.messages.values()).sum();
    let sizes = args.captures.iter().filter_map(|path| fs::metadata(path).ok()).filter(|file| file.is_file());
    let bytes_in: u64 = sizes.map(|file| file.len()).sum();
    let seconds = elapsed.as_secs_f64().max(1e-9);
    let mut text = format!("import in {seconds:.3} s\n");
    let rows: u64 = report.captures.iter().map(|capture| capture.tally.lines).sum();
    let rows = (rows > 0).then_some(("rows", rows));
    let others =
        [("messages", messages), ("events", counts.events), ("bytes in", bytes_in), ("bytes out", counts.bytes)];
    for (name, number) in rows.into_iter().chain(others) {
        let rate = (number as f64 / seconds) as u64;
        let _ = writeln!(text, "  {name:<9} {:>16}  {:>14} /s", count(number), count(rate));
    }
    if let Some(peak) = resident::peak() {
        let _ = writeln!(text, "  memory    {:>16}  bytes resident at most", count(peak));
    }
    text
}

/// Tells what the packets of captures were: also those that gave nothing.
fn tell_packets(report: &IngestReport) {
    for capture in report.captures.iter().filter(|capture| !capture.tally.packets.is_empty()) {
        let packets = capture.tally.packets.iter().map(|(name, number)| format!("{name} {}", count(*number)));
        out::note(format_args!("{}: packets: {}", capture.path, packets.collect::<Vec<_>>().join(", ")));
    }
}

/// Tells what was wrong with captures. Returns the exit code.
pub(crate) fn complain(report: &IngestReport) -> u8 {
    let mut code = 0;
    for capture in &report.captures {
        code = super::info::complain(&capture.path, &capture.tally).max(code);
    }
    report.errors.iter().map(|error| out::fail(error, error.exit_code())).min().unwrap_or(code)
}

fn write(args: &ImportArgs, captures: Vec<Capture>, generated: bool) -> Result<(TapeCounts, IngestReport), String> {
    let file = create(&args.output, args.force).map_err(|error| error.to_string())?;
    let options = TapeOptions {
        generated,
        made_by: "tapeline import".to_owned(),
        codec: if args.compress { Codec::Zstd } else { Codec::None },
        ..TapeOptions::default()
    };
    let mut tape = TapeWriter::new(BufWriter::with_capacity(1 << 20, file), options).map_err(|e| e.to_string())?;
    let catalog = Catalog::new(args.symbols_max);
    // The reader's own catalog is on its thread: this one follows it by the definitions.
    let mut names = catalog.clone();
    let queue = BlockQueue::new(BLOCKS);
    let ingest = Ingest { captures, passes: 1, messages_max: u64::MAX, catalog, progress: Progress::default() };
    let reader = {
        let queue = queue.clone();
        thread::Builder::new().name("reader".to_owned()).spawn(move || ingest.run(&queue)).map_err(|e| e.to_string())?
    };
    let written = loop {
        let Some(block) = queue.take() else {
            if reader.is_finished() && queue.ready() == 0 {
                break Ok(());
            }
            thread::sleep(Duration::from_micros(100));
            continue;
        };
        let result = events(&block.definitions)
            .try_for_each(|event| names.apply(event).map_err(|error| error.to_string()))
            .and_then(|()| tape.write(&names, block.events.slots()).map_err(|error| error.to_string()));
        let is_last = block.is_last;
        queue.give_back(block);
        if result.is_err() || is_last {
            break result;
        }
    };
    queue.stop();
    let report = reader.join().map_err(|_| "the reader's thread died".to_owned())?;
    written?;
    let counts = tape.finish().map_err(|error| error.to_string())?;
    Ok((counts, report))
}
