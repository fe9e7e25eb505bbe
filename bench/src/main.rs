//! `tapeline-bench`: duels and instruction counts. See the README of this crate.

use serde_json::{Value, json};
use std::process::ExitCode;
use tapeline_bench::duel::Options;
use tapeline_bench::report::{Table, VOID_SHARE_MAX};
use tapeline_bench::{clock, count, hop, machine, ring};

const USAGE: &str = "\
usage: tapeline-bench hop   [options]
       tapeline-bench ring  [options] [--payload 64|8] [--batch 1,8,64,256]
       tapeline-bench count [--batch 1,64]            needs valgrind; build for x86-64-v3
options: --rounds N       rounds (40)
         --cores A,B      cores of the two threads (the first two allowed)
         --round-trips N  round trips of a slice of hop (100000)
         --slice-ms N     length of a throughput slice (100)
         --seed N         seed of the order and of the bootstrap (1)
         --json FILE      writes everything as JSON, `-` for the end of stdout
         --quick          a few milliseconds: checks the contenders, measures nothing
exit: 0 done; 1 more than half of the slices were void; 2 wrong usage or a file that cannot be written";

/// What the command line says.
struct Arguments {
    options: Options,
    json: Option<String>,
    small: bool,
    batches: Option<Vec<usize>>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let Some((command, rest)) = arguments.split_first() else { return Err(USAGE.into()) };
    match command.as_str() {
        "hop" => {
            let parsed = parse(rest)?;
            finish(&parsed, &[hop::run(&parsed.options)])
        }
        "ring" => {
            let parsed = parse(rest)?;
            let batches = parsed.batches.clone().unwrap_or_else(|| ring::BATCHES.to_vec());
            finish(&parsed, &ring::run_all(&parsed.options, parsed.small, &batches))
        }
        "count" => instructions(&parse(rest)?),
        "count-loop" => {
            let [contender, batch, rounds] = rest else { return Err(USAGE.into()) };
            count::run_loop(contender, number(batch)?, number(rounds)?)?;
            Ok(ExitCode::SUCCESS)
        }
        "--help" | "-h" | "help" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => Err(format!("no command `{other}`\n{USAGE}")),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number\n{USAGE}"))
}

fn numbers(text: &str) -> Result<Vec<usize>, String> {
    text.split(',').map(number).collect()
}

fn parse(arguments: &[String]) -> Result<Arguments, String> {
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let options = if quick { Options::quick() } else { Options::standard() };
    let mut parsed = Arguments { options, json: None, small: false, batches: None };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--quick" {
            continue;
        }
        let value = rest.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
        match name.as_str() {
            "--rounds" => parsed.options.rounds = number(value)?,
            "--round-trips" => parsed.options.round_trips = number(value)?,
            "--slice-ms" => parsed.options.slice_ms = number(value)?,
            "--seed" => parsed.options.seed = number(value)?,
            "--json" => parsed.json = Some(value.clone()),
            "--cores" => parsed.options.cores = cores(value)?,
            "--payload" => {
                parsed.small = match value.as_str() {
                    "64" => false,
                    "8" => true,
                    _ => return Err(format!("--payload is 64 or 8, not {value}")),
                }
            }
            "--batch" => {
                let batches = numbers(value)?;
                if batches.iter().any(|batch| !(1..=256).contains(batch)) {
                    return Err(format!("--batch is 1 to 256, not {value}"));
                }
                parsed.batches = Some(batches);
            }
            _ => return Err(format!("no option `{name}`\n{USAGE}")),
        }
    }
    if parsed.options.rounds == 0 || parsed.options.slice_ms == 0 || parsed.options.round_trips == 0 {
        return Err("--rounds, --slice-ms and --round-trips are at least 1".into());
    }
    Ok(parsed)
}

fn cores(text: &str) -> Result<Vec<usize>, String> {
    let cores = numbers(text)?;
    let allowed = clock::allowed_cores();
    match cores[..] {
        [first, second] if first != second && cores.iter().all(|core| allowed.contains(core)) => Ok(cores),
        _ => Err(format!("--cores takes two different cores out of {allowed:?}, not {text}")),
    }
}

fn finish(arguments: &Arguments, tables: &[Table]) -> Result<ExitCode, String> {
    let options = &arguments.options;
    let machine = machine::describe(&options.clock, &options.cores);
    println!("{}", serde_json::to_string_pretty(&machine).map_err(|error| error.to_string())?);
    if options.core(0).is_none() {
        println!("NOT PINNED: fewer than two cores are allowed");
    }
    for table in tables {
        println!("\n{table}");
    }
    let duels: Vec<Value> = tables.iter().map(Table::json).collect();
    write_json(arguments, json!({"machine": machine, "duels": duels}))?;
    let too_void = tables.iter().any(|table| table.void_share() > VOID_SHARE_MAX);
    if too_void {
        println!("INVALID: more than half of the slices were void");
    }
    Ok(if too_void { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn write_json(arguments: &Arguments, value: Value) -> Result<(), String> {
    match arguments.json.as_deref() {
        None => {}
        Some("-") => println!("{value}"),
        Some(path) => std::fs::write(path, format!("{value}\n")).map_err(|error| format!("{path}: {error}"))?,
    }
    Ok(())
}

fn instructions(arguments: &Arguments) -> Result<ExitCode, String> {
    let options = &arguments.options;
    let machine = machine::describe(&options.clock, &options.cores);
    println!("{}", serde_json::to_string_pretty(&machine).map_err(|error| error.to_string())?);
    println!("instructions per event\n{:<18} {:>5} {:>8} {:>8}", "", "batch", "push", "pop");
    let mut rows = Vec::new();
    for batch in arguments.batches.clone().unwrap_or_else(|| vec![1, 64]) {
        for contender in count::CONTENDERS {
            let push = count::callgrind(contender, batch, "count_push")?;
            let pop = count::callgrind(contender, batch, "count_pop")?;
            println!("{contender:<18} {batch:>5} {push:>8.2} {pop:>8.2}");
            rows.push(json!({"contender": contender, "batch": batch, "push": push, "pop": pop}));
        }
    }
    write_json(arguments, json!({"machine": machine, "instructions_per_event": rows}))?;
    Ok(ExitCode::SUCCESS)
}
