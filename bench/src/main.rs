//! `tapeline-bench`: duels and instruction counts. See the README of this crate.

use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tapeline_bench::budget::Budget;
use tapeline_bench::count::{self, Comparison, Record};
use tapeline_bench::duel::{Mode, Options};
use tapeline_bench::report::{Table, VOID_SHARE_MAX};
use tapeline_bench::subject::{Ring, Subject};
use tapeline_bench::{clock, machine, openloop, whole};

const USAGE: &str = "\
usage: tapeline-bench duel [hop|ring|wheel|queue|dedup|route|dispatch|features|itch|obs ...] [options]     all subjects when none is named
       tapeline-bench count [--batch 1,64] [--check | --write] [--record FILE]           build for x86-64-v3
       tapeline-bench mem [--events N] [--json FILE]                                      bytes behind 10,000 events
       tapeline-bench openloop [--quick] [--cores A,B] [--json FILE]                      latency against load, 10 % to 95 %
options: --quick          8 rounds of short slices, under a minute a subject: not a claim
         --check          2 rounds of a millisecond: checks the contenders, measures nothing
         --budget 8m      the full protocol in about that time (s, m or h): all rounds, slices as long as there is time for
         --rounds N       rounds (40)
         --slice-ms N     length of a slice (100 in 50 pieces; 5 for a subject of one thread)
         --pieces N       hop, ring: pieces of a round, each measured, void and repeated by itself (50)
         --cores A,B      cores of the threads (two that are allowed, share a cache, and are no hyperthreads of each other)
         --seed N         seed of the work, of the order and of the bootstrap (1)
         --json FILE      writes everything as JSON, `-` for the end of stdout
         --round-trips N  hop: round trips of a slice (100000)
         --payload 64|8   ring: bytes of an item (64)
         --batch 1,8,...  ring: sizes of batches (1,8,64,256); count: (1,64)
mem:     --events N       events that the shard is given (1000000)
count:   --check          compares our rows with the record; 1 when one moved by more than 2 %
         --write          makes the record anew
         --record FILE    the record (bench/counts.json)
exit: 0 done; 1 more than half of the slices of a table were void, or a count moved; 2 wrong usage, or a file or valgrind
that does not work";

/// What the command line says.
struct Arguments {
    options: Options,
    subjects: Vec<Subject>,
    json: Option<String>,
    ring: Ring,
    batches: Option<Vec<usize>>,
    events: usize,
    write: bool,
    record: String,
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
        "duel" => duel(&parse(rest)?),
        "hop" | "ring" => duel(&parse(arguments)?),
        "count" => instructions(&parse(rest)?),
        "mem" => bytes(&parse(rest)?),
        "openloop" => open_loop(&parse(rest)?),
        "count-loop" => {
            let [rounds, rest @ ..] = rest else { return Err(USAGE.into()) };
            let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
            println!("{}", count::run_loop(&rest, number(rounds)?)?);
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
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let options = match (has("--quick"), has("--check")) {
        (false, false) => Options::full(),
        (true, false) => Options::quick(),
        (false, true) => Options::check(),
        (true, true) => return Err("--quick and --check exclude each other".into()),
    };
    let mut parsed = Arguments {
        options,
        subjects: Vec::new(),
        json: None,
        ring: Ring::default(),
        batches: None,
        events: 1_000_000,
        write: has("--write"),
        record: concat!(env!("CARGO_MANIFEST_DIR"), "/counts.json").into(),
    };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if ["--quick", "--check", "--write"].contains(&name.as_str()) {
            continue;
        }
        if !name.starts_with("--") {
            let subject = Subject::from_name(name).ok_or_else(|| format!("no subject `{name}`\n{USAGE}"))?;
            parsed.subjects.push(subject);
            continue;
        }
        let value = rest.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
        match name.as_str() {
            "--rounds" => parsed.options.rounds = number(value)?,
            "--pieces" => parsed.options.pieces = number(value)?,
            "--budget" => parsed.options.budget = Some(Arc::new(Budget::new(duration(value)?))),
            "--round-trips" => parsed.options.round_trips = number(value)?,
            "--slice-ms" => {
                parsed.options.slice_ms = number(value)?;
                parsed.options.single_slice_ms = parsed.options.slice_ms;
                parsed.options.pieces = 1;
            }
            "--events" => parsed.events = number(value)?,
            "--record" => parsed.record.clone_from(value),
            "--seed" => parsed.options.seed = number(value)?,
            "--json" => parsed.json = Some(value.clone()),
            "--cores" => parsed.options.cores = cores(value)?,
            "--payload" => {
                parsed.ring.small = match value.as_str() {
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
                parsed.ring.batches.clone_from(&batches);
                parsed.batches = Some(batches);
            }
            _ => return Err(format!("no option `{name}`\n{USAGE}")),
        }
    }
    if parsed.options.rounds == 0 || parsed.options.slice_ms == 0 || parsed.options.round_trips == 0 {
        return Err("--rounds, --slice-ms and --round-trips are at least 1".into());
    }
    if parsed.options.budget.is_some() && parsed.options.mode != Mode::Full {
        return Err("--budget is for the full protocol, without --quick and --check".into());
    }
    Ok(parsed)
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time such as 480s, 8m or 1h\n{USAGE}");
    let seconds = [('s', 1), ('m', 60), ('h', 3_600)].into_iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(seconds)
    });
    match seconds {
        Some(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong()),
    }
}

fn cores(text: &str) -> Result<Vec<usize>, String> {
    let cores = numbers(text)?;
    let allowed = clock::allowed_cores();
    match cores[..] {
        [first, second] if first != second && cores.iter().all(|core| allowed.contains(core)) => Ok(cores),
        _ => Err(format!("--cores takes two different cores out of {allowed:?}, not {text}")),
    }
}

fn duel(arguments: &Arguments) -> Result<ExitCode, String> {
    let options = &arguments.options;
    let machine = machine::describe(&options.clock, &options.cores);
    println!("{}", serde_json::to_string_pretty(&machine).map_err(|error| error.to_string())?);
    if options.core(0).is_none() {
        println!("NOT PINNED: fewer than two cores are allowed");
    }
    if !machine::IS_OPTIMISED {
        println!("NOT OPTIMISED: built without --release");
    }
    let subjects = if arguments.subjects.is_empty() { Subject::ALL } else { &arguments.subjects };
    if let Some(budget) = &options.budget {
        let mut planned = 0;
        subjects.iter().for_each(|subject| subject.run(options, &arguments.ring, &mut |_| planned += 1));
        let (total, slice_ms) = (budget.total().as_secs(), budget.start().as_secs_f64() * 1e3);
        println!(
            "budget: {planned} tables of {} rounds in {total} s, at first in slices of {slice_ms:.1} ms",
            options.rounds
        );
    }
    let began = Instant::now();
    let mut tables: Vec<Table> = Vec::new();
    let (mut duels, mut written): (Vec<Value>, Result<(), String>) = (Vec::new(), Ok(()));
    for subject in subjects {
        subject.run(options, &arguments.ring, &mut |table| {
            println!("\n{table}");
            duels.push(table.json());
            tables.push(table);
            // After each table: what was measured is kept should the run be cut short.
            if arguments.json.as_deref().is_some_and(|path| path != "-") && written.is_ok() {
                let mode = options.mode.name();
                written = write_json(
                    arguments,
                    &json!({"machine": machine, "mode": mode, "is_whole": false, "duels": duels}),
                );
            }
        });
    }
    written?;
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    println!("took {:.0} s", began.elapsed().as_secs_f64());
    if options.mode != Mode::Full {
        println!("{} run: not a claim", options.mode.name());
    }
    println!("again: {command}");
    write_json(arguments, &json!({"machine": machine, "mode": options.mode.name(), "is_whole": true, "duels": duels}))?;
    let void: Vec<&str> =
        tables.iter().filter(|table| table.void_share() > VOID_SHARE_MAX).map(|table| table.name.as_str()).collect();
    if void.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("INVALID: more than half of the slices were void: {}", void.join("; "));
    Ok(ExitCode::FAILURE)
}

fn write_json(arguments: &Arguments, value: &Value) -> Result<(), String> {
    match arguments.json.as_deref() {
        None => {}
        Some("-") => println!("{value}"),
        Some(path) => std::fs::write(path, format!("{value}\n")).map_err(|error| format!("{path}: {error}"))?,
    }
    Ok(())
}

/// P15: response times at 10 % to 95 % of each contender's own maximum.
fn open_loop(arguments: &Arguments) -> Result<ExitCode, String> {
    let options = &arguments.options;
    let machine = machine::describe(&options.clock, &options.cores);
    println!("{}", serde_json::to_string_pretty(&machine).map_err(|error| error.to_string())?);
    if !machine::IS_OPTIMISED {
        println!("NOT OPTIMISED: built without --release");
    }
    let curves = openloop::run(options);
    println!("{curves}");
    println!("again: {}", std::env::args().collect::<Vec<_>>().join(" "));
    write_json(arguments, &json!({"machine": machine, "openloop": curves.json()}))?;
    Ok(ExitCode::SUCCESS)
}

/// P20: what stands behind ten thousand events.
fn bytes(arguments: &Arguments) -> Result<ExitCode, String> {
    let memory = whole::memory(arguments.events);
    println!("a shard for {} events at a time, after {} events", whole::EVENTS, memory.events);
    for (name, bytes) in &memory.structures {
        println!("{name:<20} {bytes:>12} B");
    }
    let share = memory.total() as f64 / whole::LIMIT as f64;
    let verdict = if memory.total() <= whole::LIMIT { "pass" } else { "FAIL" };
    println!("{:<20} {:>12} B   {share:.2} of the {} B of P20: {verdict}", "all", memory.total(), whole::LIMIT);
    let resident = |bytes: Option<usize>| bytes.map_or("not told by the kernel".into(), |bytes| format!("{bytes} B"));
    println!("resident, gained by the shard and its events: {}", resident(memory.resident));
    println!("resident, gained in the second half of them: {}", resident(memory.growth));
    let structures: serde_json::Map<_, _> =
        memory.structures.iter().map(|(name, bytes)| ((*name).to_owned(), json!(bytes))).collect();
    let value = json!({"events": memory.events, "sized_for": whole::EVENTS, "bytes": structures, "total": memory.total(),
        "limit": whole::LIMIT, "resident_gained": memory.resident, "resident_growth": memory.growth});
    write_json(arguments, &value)?;
    Ok(ExitCode::SUCCESS)
}

fn instructions(arguments: &Arguments) -> Result<ExitCode, String> {
    let options = &arguments.options;
    let is_check = options.is_check();
    if is_check && arguments.write {
        return Err("--check and --write exclude each other".into());
    }
    if !count::has_valgrind() {
        println!("skipped: valgrind is not installed");
        return Ok(ExitCode::SUCCESS);
    }
    let kept = if is_check {
        let text =
            std::fs::read_to_string(&arguments.record).map_err(|error| format!("{}: {error}", arguments.record))?;
        let kept = Record::from_json(&text).map_err(|error| format!("{}: {error}", arguments.record))?;
        // Before the counting: it takes a while.
        if let Comparison::NotComparable(why) = kept.compare(&Record::of_this_build(Vec::new())) {
            println!("not compared: {why}; `count --write` makes the record anew");
            return Ok(ExitCode::SUCCESS);
        }
        Some(kept)
    } else {
        None
    };
    let machine = machine::describe(&options.clock, &options.cores);
    println!("{}", serde_json::to_string_pretty(&machine).map_err(|error| error.to_string())?);
    println!("{:<44} instructions per operation", "");
    let ours_only = is_check || arguments.write;
    let mut rows = Vec::new();
    for row in count::rows(arguments.batches.as_deref().unwrap_or(&[1, 64])) {
        if ours_only && !row.is_ours {
            continue;
        }
        let instructions = count::callgrind(&row)?;
        println!("{:<44} {instructions:>10.2}", row.name);
        rows.push((row.name, instructions));
    }
    let by_name: serde_json::Map<_, _> = rows.iter().map(|(name, count)| (name.clone(), json!(count))).collect();
    let now = Record::of_this_build(rows);
    write_json(arguments, &json!({"machine": machine, "instructions_per_operation": by_name}))?;
    if arguments.write {
        std::fs::write(&arguments.record, now.to_json()).map_err(|error| format!("{}: {error}", arguments.record))?;
        println!("written: {}", arguments.record);
    }
    match kept.map(|kept| kept.compare(&now)) {
        None => Ok(ExitCode::SUCCESS),
        Some(Comparison::NotComparable(why)) => Err(why),
        Some(Comparison::Moved(moved)) if moved.is_empty() => {
            println!("every count is within 2 % of the record");
            Ok(ExitCode::SUCCESS)
        }
        Some(Comparison::Moved(moved)) => {
            println!("moved by more than 2 %; if that is meant, `count --write` makes the record anew:");
            moved.iter().for_each(|line| println!("  {line}"));
            Ok(ExitCode::FAILURE)
        }
    }
}
