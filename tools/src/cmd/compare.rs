//! `tapeline compare`.

use crate::child::{self, Failure};
use crate::cli::{CompareArgs, Format};
use crate::out;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tapeline_runtime::lab::compare::{Gates, Options, compare};
use tapeline_runtime::lab::compare_text::table;
use tapeline_runtime::lab::result::{self, Outcome, ResultError};

pub(crate) fn run(args: &CompareArgs) -> u8 {
    let mut gates = Gates::default();
    if let Err(why) = gates.set(&args.gate) {
        return out::fail(format_args!("--gate: {why}"), 2);
    }
    if let Some(flag) = args.engine.args().into_iter().chain(args.schedule.args()).next().filter(|_| !args.run) {
        return out::fail(
            format_args!("{}: results are compared as they are; with --run it is for replays", flag.display()),
            2,
        );
    }
    let sides = if args.run { replayed(args) } else { read(args) };
    let Sides { a, b, names, code } = match sides {
        Ok(sides) => sides,
        Err(code) => return code,
    };
    let options =
        Options { gates, takes_invalid: args.allow_invalid, version: env!("CARGO_PKG_VERSION").to_owned(), names };
    let comparison = match compare(&a, &b, &options) {
        Ok(comparison) => comparison,
        Err(why) => return out::first_of(&[code, out::fail(why, 2)]),
    };
    let written = match args.format {
        Format::Text => out::data(&table(&comparison)),
        Format::Json => out::data(&format!("{}\n", comparison.json())),
    };
    let found = comparison.exit_code(args.allow_different_outputs);
    let is_unbalanced = comparison.a.unbalanced + comparison.b.unbalanced > 0;
    match out::first_of(&[code, written, found]) {
        // A ledger that does not balance comes before damage.
        3 if is_unbalanced => 1,
        code => code,
    }
}

/// What is to be compared, and the exit code of what happened on the way.
struct Sides {
    a: Vec<Outcome>,
    b: Vec<Outcome>,
    names: [String; 2],
    code: u8,
}

/// From two files.
fn read(args: &CompareArgs) -> Result<Sides, u8> {
    let [a, b] = &args.inputs[..] else {
        let number = args.inputs.len();
        return Err(out::fail(format_args!("{number} files: the results of A and those of B are needed, or --run"), 2));
    };
    if a == "-" && b == "-" {
        return Err(out::fail("standard input cannot be both A and B", 2));
    }
    let mut code = 0;
    let mut side = |path: &String| match open(path).and_then(|reader| result::read(path, reader)) {
        Ok((outcomes, damage)) => {
            if let Some(damage) = damage {
                code = out::fail(&damage, damage.exit_code());
            }
            Ok(outcomes)
        }
        Err(error) => Err(out::fail(&error, error.exit_code())),
    };
    let (outcomes_a, outcomes_b) = (side(a)?, side(b)?);
    Ok(Sides { a: outcomes_a, b: outcomes_b, names: [a.clone(), b.clone()], code })
}

fn open(path: &str) -> Result<Box<dyn BufRead>, ResultError> {
    if path == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(BufReader::new(file))),
        Err(error) => Err(ResultError::Io { path: path.to_owned(), error }),
    }
}

/// From replays of both, in turn.
fn replayed(args: &CompareArgs) -> Result<Sides, u8> {
    if let Err(why) = child::refuse_pipes(&args.inputs) {
        return Err(out::fail(why, 2));
    }
    let interrupt = Arc::new(AtomicBool::new(false));
    if let Err(error) = super::replay::on_interrupt(&interrupt) {
        out::note(format_args!("SIGINT will end this without a report: {error}"));
    }
    let failed = |failure| match failure {
        Failure::Failed(why, code) => out::fail(why, code),
        Failure::Interrupted => 130,
    };
    let this = child::this().map_err(failed)?;
    let side = |binary: &Option<PathBuf>, config: &Option<PathBuf>, set: &[String]| {
        let binary = binary.clone().unwrap_or_else(|| this.clone());
        let mut line: Vec<OsString> = args.engine.args();
        line.extend(args.schedule.args());
        line.extend(child::side_args(config.as_deref(), set));
        child::captures(&mut line, &args.inputs);
        (binary, line)
    };
    let sides = [side(&args.a_binary, &args.a_config, &args.a_set), side(&args.b_binary, &args.b_config, &args.b_set)];
    if sides[0] == sides[1] {
        out::note("A and B are the same: this shows what the machine's noise alone does");
    }
    let mut outcomes = [Vec::new(), Vec::new()];
    let mut code = 0;
    'rounds: for round in 0..args.repeats {
        // A B, B A, A B ..: what drifts, a clock that slows as the machine warms, meets both alike.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for number in order {
            let (binary, line) = &sides[number];
            match child::replay(binary, line, &interrupt) {
                Ok(replayed) => {
                    code = code.max(if replayed.code == 3 { 3 } else { 0 });
                    outcomes[number].push(replayed.outcome);
                }
                Err(Failure::Interrupted) => {
                    code = 130;
                    break 'rounds;
                }
                Err(failure) => return Err(failed(failure)),
            }
            let done = outcomes[0].len() + outcomes[1].len();
            out::note(format_args!("{done} of {} replays", args.repeats * 2));
        }
    }
    if outcomes.iter().any(Vec::is_empty) {
        return Err(code);
    }
    let [a, b] = outcomes;
    let names = [
        name("A", args.a_binary.as_deref(), args.a_config.as_deref(), &args.a_set),
        name("B", args.b_binary.as_deref(), args.b_config.as_deref(), &args.b_set),
    ];
    Ok(Sides { a, b, names, code })
}

/// What a side has of its own, else its letter.
fn name(letter: &str, binary: Option<&Path>, config: Option<&Path>, set: &[String]) -> String {
    let files = [binary, config].into_iter().flatten().map(|path| path.display().to_string());
    let own: Vec<String> = files.chain(set.iter().cloned()).collect();
    if own.is_empty() { letter.to_owned() } else { own.join(" ") }
}
