//! The duels in small: every contender moves what it is given, in order and whole, and the program reports it.

use std::process::Command;
use tapeline_bench::duel::{Options, Role};
use tapeline_bench::{count, hop, ring};

#[test]
fn every_contender_of_the_hop_passes_its_checks() {
    let table = hop::run(&Options::quick());
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
    let options = Options::quick();
    for small in [false, true] {
        // 3 leaves a rest at the end; 256 is a quarter of the queue.
        for table in ring::run_all(&options, small, &[1, 3, 8, 64, 256]) {
            assert!(table.rows.iter().all(|row| row.values[0].unwrap() > 0.0), "{}", table.name);
        }
    }
}

#[test]
fn the_counted_loops_move_every_event() {
    for contender in count::CONTENDERS {
        for batch in [1, 7, 64] {
            count::run_loop(contender, batch, 5).unwrap();
        }
    }
    assert!(count::run_loop("nobody", 1, 1).unwrap_err().contains("tapeline"));
}

#[test]
fn the_program_prints_a_table_and_json_with_the_machine() {
    let program = env!("CARGO_BIN_EXE_tapeline-bench");
    let output = Command::new(program).args(["ring", "--quick", "--batch", "8", "--json", "-"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("QUICK RUN") && text.contains("tapeline") && text.contains("C2 line stream"));
    let json: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(json["machine"]["command"].as_str().unwrap().contains("ring --quick"));
    assert_eq!(json["duels"][0]["contenders"][0]["name"], "tapeline");
    assert_eq!(json["duels"][0]["contenders"][0]["rounds"].as_array().unwrap().len(), 2);
    for wrong in [&["ring", "--batch", "0"][..], &["hop", "--cores", "0,0"], &["nothing"], &["hop", "--rounds"], &[]] {
        assert_eq!(Command::new(program).args(wrong).output().unwrap().status.code(), Some(2), "{wrong:?}");
    }
}
