//! `tapeline replay`.

use crate::cli::{Format, ReplayArgs};
use crate::files::Prepared;
use crate::{files, out};
use sha2::{Digest, Sha256};
use signal_hook::consts::SIGINT;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tapeline_core::bus::{BusBuilder, End};
use tapeline_runtime::config::{Layers, Loaded};
use tapeline_runtime::engine::{self, EngineError};
use tapeline_runtime::ingest::Capture;
use tapeline_runtime::input::Input;
use tapeline_runtime::input::generate::{Config, GenerateInput};
use tapeline_runtime::letters::{self, Letters};
use tapeline_runtime::log::LogFormat;
use tapeline_runtime::pacer::Arrivals;
use tapeline_runtime::pipeline::{Assembly, Parameters};
use tapeline_runtime::replay::{Request, Told, tell};
use tapeline_runtime::report::text::count;
use tapeline_runtime::report::{csv, hgrm, hlog, html, json, text};
use tracing::Dispatch;
use tracing_subscriber::filter::LevelFilter;

pub(crate) fn run<A: Assembly>(args: &ReplayArgs, pipeline: impl Fn(BusBuilder<End>, &Parameters) -> A) -> u8 {
    let loaded = match configured(args) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    if args.print_config {
        return out::data(&loaded.print());
    }
    let replay = &loaded.config.replay;
    if args.arrivals.is_some() && replay.arrivals == Arrivals::Poisson && replay.rate.is_none() {
        return out::fail("--arrivals poisson needs a --rate: captured times are as they were", 2);
    }
    if args.trace > 0 && !replay.pace().is_paced() {
        return out::fail("--trace needs a schedule: with --speed max no event was due at a time", 2);
    }
    let written = [&args.outputs, &args.hgrm, &args.hlog, &args.csv, &args.html, &args.dead_letters];
    let written: Vec<&Path> = written.into_iter().filter_map(Option::as_deref).collect();
    if args.redriven.as_deref() == Some("-") {
        return out::fail("--redriven: name a file; standard input is for captures", 2);
    }
    let read: Vec<String> = args.captures.iter().chain(&args.redriven).cloned().collect();
    if let Err(why) = files::spare(&read, &written).and_then(|()| files::once(&args.captures)) {
        return out::fail(why, 2);
    }
    let redriven = match args.redriven.as_deref().map(|path| Letters::read(path, loaded.config.engine.symbols_max)) {
        Some(Err(error)) => return out::fail(&error, error.exit_code()),
        Some(Ok(letters)) => Some(letters),
        None => None,
    };
    // A capture that cannot be opened is told before anything starts.
    let captures = match files::open_all(&args.captures, &args.capture_args.options(&loaded.config)) {
        Ok((captures, _)) if !captures.is_empty() => captures,
        Ok(_) => built_in(),
        Err(error) => return out::fail(&error, error.exit_code()),
    };
    if loaded.config.replay.passes > 1
        && let Some(path) = args.captures.iter().find(|path| !files::is_regular(path))
    {
        return out::fail(format_args!("{path}: --loop cannot read a pipe again"), 2);
    }
    // All of them before anything runs: a report that cannot be written should not cost a run.
    let paths = [&args.hgrm, &args.hlog, &args.csv, &args.html, &args.dead_letters];
    let mut files: [Option<Prepared>; 5] = [const { None }; 5];
    for at in 0..paths.len() {
        match Prepared::new(paths[at].as_deref(), args.force) {
            Ok(file) => files[at] = file,
            Err(why) => {
                files.into_iter().flatten().for_each(Prepared::discard);
                return out::fail(why, 2);
            }
        }
    }
    let mut setup = loaded.setup(captures);
    setup.messages_max = args.messages;
    setup.log.filter.follow = args.follow;
    setup.log.memory_max = loaded.config.health.memory_bytes;
    setup.log.dispatch = logger(setup.log.format);
    setup.gives_letters = args.dead_letters.is_some();
    setup.trace = usize::from(args.trace);
    setup.only = (!args.symbols.is_empty()).then(|| args.symbols.iter().cloned().collect());
    setup.outputs = args.outputs.clone().map(|path| (path, args.force));
    let request = Request::of(&setup, env!("CARGO_PKG_VERSION"));
    let interrupt = Arc::clone(&setup.interrupt);
    if let Err(error) = on_interrupt(&interrupt) {
        out::note(format_args!("SIGINT will end the run without a report: {error}"));
    }
    let run = engine::run(
        setup,
        |bus| pipeline(bus, &loaded.config.pipeline),
        |plan, driver, why| {
            out::note(format_args!("driver {driver}: {why}"));
            out::note(plan);
        },
    );
    let run = match run {
        Ok(run) => run,
        Err(error) => {
            files.into_iter().flatten().for_each(Prepared::discard);
            let code = code_of(&error);
            return out::fail(error, code);
        }
    };
    // After the run, so that hashing takes no time from it.
    let sha256 = if args.format == Format::Json && !args.no_sha256 && !interrupt.load(Ordering::Relaxed) {
        let tapes = run.history_tapes.iter().map(|tape| &tape.path);
        args.captures.iter().chain(tapes).filter_map(|path| Some((path.clone(), sha256_of(path).ok()?))).collect()
    } else {
        BTreeMap::new()
    };
    let request = Request {
        config_sha256: Some(loaded.sha256()),
        sha256,
        commit: option_env!("TAPELINE_COMMIT").map(str::to_owned),
        health: loaded.config.health,
        ..request
    };
    let outputs = run.outputs_written.as_ref().map(|written| written.as_ref().map_err(ToString::to_string).copied());
    let outputs_failed = match outputs {
        Some(Ok(written)) => {
            out::note(format_args!("{} outputs written", count(written)));
            false
        }
        Some(Err(why)) => out::fail(why, 2) != 0,
        None => false,
    };
    super::import::complain(&run.ingest);
    let mut told = tell(run, &request);
    if let Some(messages) = args.messages {
        told.report.verdict.notes.push(format!("--messages: the first {} messages, no more", count(messages)));
    }
    if args.verbose {
        for (name, bytes) in &told.bytes {
            out::note(format_args!("{name}: {} bytes", count(*bytes as u64)));
        }
    }
    let [hgrm, hlog, csv, html, letters] = files;
    let histogram = told.response.as_ref().unwrap_or(&told.service);
    let told_io = |done: io::Result<()>| done.map_err(|error| error.to_string());
    let are_files_written = [
        hgrm.is_none_or(|file| file.fill(|file| told_io(hgrm::write(histogram, hgrm::NS_PER_US, file)))),
        hlog.is_none_or(|file| file.fill(|file| told_io(hlog::write(&told, file)))),
        csv.is_none_or(|file| file.fill(|file| told_io(csv::write(&told, file)))),
        html.is_none_or(|file| file.fill(|file| told_io(file.write_all(html::page(&told).as_bytes())))),
        letters.is_none_or(|file| file.fill(|file| write_letters(&told, redriven.as_ref(), file))),
    ];
    let written = match args.format {
        Format::Text => out::data(&text::table(&told.report)),
        Format::Json => out::data(&format!("{}\n", json::line(&told.report).trim_end())),
    };
    let code = told.report.exit_code(told.input_exit, args.strict);
    let is_written = written == 0 && !outputs_failed && are_files_written.iter().all(|is_written| *is_written);
    if is_written || told.report.interrupted { code } else { 2 }
}

/// 1 where a thread of the engine failed, 2 where what was asked for cannot be.
fn code_of(error: &EngineError) -> u8 {
    let is_ours = matches!(
        error,
        EngineError::Run(_)
            | EngineError::RunAndLeft(..)
            | EngineError::Reader(_)
            | EngineError::Backfill(_)
            | EngineError::Jobs(_)
            | EngineError::Log(_)
    );
    if is_ours { 1 } else { 2 }
}

/// The configuration of this replay: file, environment, flags. What is wrong with it is told, and the exit code is given back.
fn configured(args: &ReplayArgs) -> Result<Loaded, u8> {
    if args.config.as_deref() == Some(Path::new("-")) && args.captures.iter().any(|capture| capture == "-") {
        return Err(out::fail("stdin cannot be both the configuration and a capture", 2));
    }
    let mut layers = Layers::default();
    super::config::read_layers(&mut layers, args.config.as_deref())?;
    let flags = [
        ("--shards", "engine.shards", &args.shards),
        ("--cores", "engine.cores", &args.cores),
        ("--no-pin", "engine.pin", &args.no_pin.then(|| "false".to_owned())),
        ("--driver", "engine.driver", &args.driver),
        ("--symbols-max", "engine.symbols_max", &args.symbols_max),
        ("--ring-slots", "engine.ring_slots", &args.ring_slots),
        ("--speed", "replay.speed", &args.speed),
        ("--rate", "replay.rate", &args.rate),
        ("--max-gap", "replay.max_gap", &args.max_gap),
        ("--arrivals", "replay.arrivals", &args.arrivals),
        ("--warmup", "replay.warmup", &args.warmup),
        ("--overload", "replay.overload", &args.overload),
        ("--log-level", "log.level", &args.log_level),
        ("--log-format", "log.format", &args.log_format),
        ("--loop", "replay.loop", &args.passes),
        ("--start", "replay.start", &args.start),
        ("--end", "replay.end", &args.end),
    ];
    for (flag, path, text) in flags {
        if let Some(text) = text {
            layers.flag(flag, path, text);
        }
    }
    super::config::set_layers(&mut layers, &args.set);
    layers.finish().map_err(|faults| super::config::tell(&faults, 2))
}

/// Who makes lines of a log out of what the engine tells: on stderr, as everything that is no data. The engine's own level is the only one.
fn logger(format: LogFormat) -> Dispatch {
    // What cannot be written is not told on the stderr that does not take it.
    let lines =
        tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(io::stderr).log_internal_errors(false);
    match format {
        LogFormat::Text => Dispatch::new(lines.with_ansi(io::stderr().is_terminal()).with_target(false).finish()),
        LogFormat::Json => Dispatch::new(lines.json().flatten_event(true).with_target(false).finish()),
    }
}

/// The session that is played when no capture is named: generated, and labelled so.
fn built_in() -> Vec<Capture> {
    // Longer than the scanner's ranges of 20 bars, so that there are alerts; and done within a minute.
    let config = Config { events: 1_500_000, duration_ns: 30_000_000_000, ..Config::default() };
    let path = config.describe();
    let open = Box::new(move || {
        let input = GenerateInput::new(&config).expect("the default session is within its own limits");
        Ok(Box::new(input) as Box<dyn Input>)
    });
    vec![Capture { path, open }]
}

/// The first SIGINT ends the run and lets it report; the second ends the process.
pub(crate) fn on_interrupt(interrupt: &Arc<AtomicBool>) -> io::Result<()> {
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(interrupt))?;
    signal_hook::flag::register(SIGINT, Arc::clone(interrupt))?;
    Ok(())
}

/// Writes what is parked as a tape, and says how much that is.
fn write_letters(told: &Told, redriven: Option<&Letters>, file: &mut BufWriter<File>) -> Result<(), String> {
    let exported = letters::export(&told.letters, redriven, told.report.manifest.generated, file)?;
    out::note(format_args!("{} dead letters written", count(exported.letters)));
    if redriven.is_some() {
        out::note(format_args!("{} of them were redriven and keep their history", count(exported.redriven)));
    }
    if exported.too_long > 0 {
        out::note(format_args!("{} dead letters are too long to be written", count(exported.too_long)));
    }
    Ok(())
}

/// SHA-256 of a file, hex.
fn sha256_of(path: &str) -> io::Result<String> {
    if !files::is_regular(path) {
        return Err(io::Error::other("a pipe cannot be read again"));
    }
    let mut file = File::open(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_ours_that_failed_is_no_mistake_of_the_command() {
        let full = || io::Error::other("no room for a thread");
        assert_eq!(code_of(&EngineError::Reader("died".to_owned())), 1);
        assert_eq!(code_of(&EngineError::Backfill("died".to_owned())), 1);
        assert_eq!(code_of(&EngineError::Log(full())), 1);
        assert_eq!(code_of(&EngineError::Driver("no io_uring".to_owned())), 2);
    }
}
