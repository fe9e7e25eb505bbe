//! The example runs: its signals are in the report and among the outputs, whatever the number of shards, and what it failed on is
//! told.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Runs the binary in `folder` and returns what it wrote to stdout.
fn run(folder: &Path, line: &str) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_news-momentum"))
        .args(line.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("the binary starts");
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && !stderr.contains("panicked"), "{line}: {stderr}");
    String::from_utf8(ran.stdout).expect("output is UTF-8")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap_or_default()).expect("an object on the last line")
}

#[test]
fn the_built_in_session_gives_signals_in_the_report_and_among_the_outputs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let replay = "replay --speed max --format json --driver threads";
    let report = json(&run(folder.path(), &format!("{replay} --outputs a.ndjson")));
    assert_eq!(report["ledger_balanced"], true);
    let signals = report["outputs"]["signal"].as_u64().expect("signals are counted");
    assert!(signals > 20, "{}", report["outputs"]);

    let outputs = std::fs::read_to_string(folder.path().join("a.ndjson")).expect("the outputs");
    let written: Vec<Value> =
        outputs.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect();
    let all: Vec<&Value> = written.iter().filter(|output| output["kind"] == "signal").collect();
    assert_eq!(all.len() as u64, signals);
    // The default pipeline has a strategy, too.
    let (ours, others): (Vec<&Value>, Vec<&Value>) =
        all.into_iter().partition(|signal| signal["source"] == "handler.news_momentum");
    assert!(ours.len() > 20, "{}", ours.len());
    assert!(others.iter().all(|signal| signal["source"] == "handler.crossover"), "{others:?}");
    for signal in &ours {
        assert!(signal["strength"].as_f64().is_some_and(|strength| strength.abs() <= 1.0), "{signal}");
    }
    // The default pipeline is there as well: the strategy stands behind it, and lives on its features.
    assert!(report["outputs"]["features"].as_u64() > Some(10_000), "{}", report["outputs"]);

    let handlers = report["handlers"].as_array().expect("handlers");
    let names: Vec<&str> = handlers.iter().filter_map(|handler| handler["name"].as_str()).collect();
    assert_eq!(names.last(), Some(&"news_momentum"), "{names:?}");
    let ours = handlers.last().expect("it is there");
    assert!(ours["calls"].as_u64() > Some(10_000) && ours["timed_calls"] == ours["calls"], "{ours}");
    assert_eq!(ours["budget_ns"], 5_000, "{ours}");
    // News of symbols without a price are parked, news in the second after a position are tried again.
    assert!(ours["failed"].as_u64() > Some(0), "{ours}");
    let retries = &report["retries"];
    assert!(retries["parked_by"]["failed"].as_u64() > Some(0), "{retries}");
    assert_eq!(retries["parked"], report["events"]["dead_lettered"], "{retries}");

    let sharded = json(&run(folder.path(), &format!("{replay} --shards 2")));
    assert_eq!(sharded["digest"], report["digest"]);
    assert_eq!(sharded["outputs"], report["outputs"]);
}

#[test]
fn every_verb_is_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(folder.path(), "gen -o day.tape --events 10000 --symbols 5 --duration 5s");
    assert!(run(folder.path(), "info day.tape").contains("10,000"));
    let table = run(folder.path(), "replay day.tape --speed max");
    assert!(table.contains("news_momentum"), "{table}");
}
