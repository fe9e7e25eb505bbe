//! The duels in small: every contender moves what it is given, in order and whole, and the program reports it.

use std::process::{Command, Output};
use tapeline_bench::duel::{Options, Role};
use tapeline_bench::report::Table;
use tapeline_bench::subject::{Ring, Subject};
use tapeline_bench::{count, hop};

fn tables(subject: Subject, ring: &Ring) -> Vec<Table> {
    let mut tables = Vec::new();
    subject.run(&Options::check(), ring, &mut |table| tables.push(table));
    tables
}

/// Every contender has a value in every round, unless it cannot do what the metric is about.
fn all_ran(tables: &[Table]) {
    for table in tables {
        for row in &table.rows {
            assert!(row.record.rounds.iter().all(Option::is_some), "{}: {}", table.name, row.name);
            assert!(row.values.iter().any(Option::is_some), "{}: {}", table.name, row.name);
        }
    }
}

#[test]
fn every_contender_of_the_hop_passes_its_checks() {
    let table = hop::run(&Options::check());
    assert!(table.rows.iter().all(|row| row.record.rounds.iter().all(Option::is_some)));
    assert_eq!(table.rows.iter().filter(|row| row.role == Role::Control).count(), 2);
    for row in &table.rows {
        let (min, p50, max) = (row.values[0].unwrap(), row.values[1].unwrap(), row.values[6].unwrap());
        assert!(min > 0.0 && min <= p50 && p50 <= max, "{}: {min} {p50} {max}", row.name);
    }
    assert_eq!(table.outcomes.len(), 3);
}

#[test]
fn every_contender_of_the_ring_passes_its_checks() {
    for small in [false, true] {
        // 3 leaves a rest at the end; 256 is a quarter of the queue.
        let tables = tables(Subject::Ring, &Ring { small, batches: vec![1, 3, 8, 64, 256] });
        assert_eq!(tables.len(), 5);
        all_ran(&tables);
    }
}

#[test]
fn every_contender_on_one_thread_passes_its_checks() {
    for subject in [
        Subject::Wheel,
        Subject::Queue,
        Subject::Dedup,
        Subject::Route,
        Subject::Dispatch,
        Subject::Features,
        Subject::Itch,
    ] {
        let tables = tables(subject, &Ring::default());
        assert!(!tables.is_empty(), "{}", subject.name());
        all_ran(&tables);
    }
}

#[test]
fn the_counted_loops_do_what_they_count() {
    let rows = count::rows(&[1, 7, 64]);
    assert!(rows.len() > 3 * 2 * count::CONTENDERS.len());
    for row in &rows {
        let arguments: Vec<&str> = row.arguments.iter().map(String::as_str).collect();
        let operations = count::run_loop(&arguments, 3).unwrap();
        assert!(operations >= 3, "{}: {operations}", row.name);
    }
    let mut names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rows.len(), "names are distinct");
    assert!(count::run_loop(&["ring", "nobody", "1"], 1).unwrap_err().contains("tapeline"));
    for wrong in [&["wheel", "nothing"][..], &["dispatch", "static", "2"], &[]] {
        assert!(count::run_loop(wrong, 1).is_err(), "{wrong:?}");
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tapeline-bench")).args(arguments).output().unwrap()
}

#[test]
fn the_program_prints_a_table_and_json_with_the_machine() {
    for command in [&["duel", "ring", "--check"][..], &["ring", "--check"]] {
        let output = run(&[command, &["--batch", "8", "--json", "-"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("CHECK") && text.contains("tapeline") && text.contains("C2 line stream"));
        assert!(text.contains("not a claim") && text.contains("void slices: 0.0 %"));
        let json: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert!(json["machine"]["command"].as_str().unwrap().contains("ring --check"));
        assert_eq!(json["machine"]["peers"].is_object(), cfg!(feature = "peers"));
        assert_eq!(json["duels"][0]["is_a_claim"], false);
        assert_eq!(json["duels"][0]["contenders"][0]["name"], "tapeline");
        assert_eq!(json["duels"][0]["contenders"][0]["rounds"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_budget_shortens_slices_keeps_the_rounds_and_leaves_a_file() {
    let path = std::env::temp_dir().join(format!("tapeline-bench-budget-{}.json", std::process::id()));
    let path = path.to_str().unwrap();
    let output = run(&["duel", "route", "--budget", "2s", "--rounds", "3", "--json", path]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("budget: 1 tables of 3 rounds in 2 s") && text.contains("3 ROUNDS: not a claim"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!((&json["is_whole"], &json["duels"][0]["is_a_claim"]), (&true.into(), &false.into()));
    let slice_ms = json["duels"][0]["budget_slice_ms"].as_f64().unwrap();
    assert!((2.0..=100.0).contains(&slice_ms), "{slice_ms}");
    assert_eq!(json["duels"][0]["contenders"][0]["rounds"].as_array().unwrap().len(), 3);
}

#[test]
fn wrong_usage_is_told_from_failure() {
    for wrong in [
        &["ring", "--batch", "0"][..],
        &["duel", "hop", "--cores", "0,0"],
        &["duel", "nothing"],
        &["duel", "--quick", "--check"],
        &["duel", "hop", "--rounds"],
        &["duel", "hop", "--rounds", "0"],
        &["duel", "hop", "--budget", "8"],
        &["duel", "hop", "--budget", "0m"],
        &["duel", "hop", "--budget", "8m", "--quick"],
        &["count-loop", "1", "nothing"],
        &["nothing"],
        &[],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_record_of_another_compiler_is_not_compared() {
    let path = std::env::temp_dir().join(format!("tapeline-bench-counts-{}.json", std::process::id()));
    std::fs::write(&path, r#"{"rustc":"rustc 0","target":"t","instructions_per_operation":{}}"#).unwrap();
    let output = run(&["count", "--check", "--record", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("not compared: rustc") || text.contains("skipped: valgrind is not installed"), "{text}");
    if !text.contains("skipped") {
        assert_eq!(run(&["count", "--check", "--record", "no such file"]).status.code(), Some(2));
    }
}
