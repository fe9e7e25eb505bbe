//! `tapeline import`.

use crate::cli::ImportArgs;
use crate::{files, out};
use std::io::BufWriter;
use std::thread;
use std::time::Duration;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::events;
use tapeline_runtime::ingest::{BLOCKS, BlockQueue, Capture, Ingest, IngestReport, Progress};
use tapeline_runtime::report::text::count;
use tapeline_runtime::sink::create;
use tapeline_runtime::tape::{Codec, TapeCounts, TapeOptions, TapeWriter};

pub(crate) fn run(args: &ImportArgs) -> u8 {
    if let Err(why) = files::spare(&args.captures, &[&args.output]).and_then(|()| files::once(&args.captures)) {
        return out::fail(why, 2);
    }
    // Opened before the tape is made: a name that cannot be read leaves nothing behind.
    let (captures, generated) = match files::open_all(&args.captures) {
        Ok(opened) => opened,
        Err(error) => return out::fail(&error, error.exit_code()),
    };
    let path = args.output.display();
    match write(args, captures, generated) {
        Ok((counts, report)) => {
            out::note(format_args!("{path}: {} events in {} bytes", count(counts.events), count(counts.bytes)));
            complain(&report)
        }
        Err(why) => out::fail(format_args!("{path}: {why}"), 2),
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
    let ingest = Ingest { captures, passes: 1, catalog, progress: Progress::default() };
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
