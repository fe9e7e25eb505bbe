//! SIGINT ends a run within a second, with a report of what was done.

mod common;

use common::{Place, Ran, assert_balanced, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Starts a run and sends SIGINT after `after`. Returns what it left and how long it took to end.
fn interrupted(mut command: Command, after: Duration, meanwhile: impl FnOnce(&mut Child)) -> (Ran, Duration) {
    let mut child = command.spawn().expect("the binary starts");
    meanwhile(&mut child);
    sleep(after);
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(pid, Signal::SIGINT).expect("the run is still there");
    let begun = Instant::now();
    let input = child.stdin.take();
    let ran = wait(child, "an interrupted replay");
    let took = begun.elapsed();
    drop(input);
    (ran, took)
}

#[track_caller]
fn assert_prompt(took: Duration) {
    assert!(took < Duration::from_secs(1), "ended {took:?} after SIGINT");
}

#[test]
fn a_paced_replay_of_the_built_in_session_ends_with_its_report() {
    let place = Place::new();
    for way in ["--driver threads", "--shards 2 --no-pin"] {
        let command = place.command(&format!("replay --format json {way}"));
        let (ran, took) = interrupted(command, Duration::from_millis(1_500), |_| {});
        let report = ran.exits(130).json();
        assert_prompt(took);
        assert_balanced(&report);
        assert_eq!(report["interrupted"], true);
        assert_eq!(report["manifest"]["generated"], true);
        let offered = report["events"]["offered"].as_u64().unwrap();
        assert!(offered > 100 && offered < 1_000_000, "{offered} events in about a second of thirty");
        assert_eq!(report["latency_ns"]["response"]["count"], report["events"]["accepted"]);
    }
}

#[test]
fn the_text_report_says_that_it_is_of_a_part_and_captures_and_outputs_stay_whole() {
    let place = Place::new();
    place.run("gen -o a.tape --events 50000 --symbols 10 --duration 60s --seed 1").exits(0);
    place.run("gen -o b.tape --events 50000 --symbols 10 --duration 60s --seed 2").exits(0);
    let before = (place.read("a.tape"), place.read("b.tape"));
    let command = place.command("replay a.tape b.tape --outputs o.tape --hgrm r.hgrm --driver threads");
    let (ran, took) = interrupted(command, Duration::from_millis(2_500), |_| {});
    let ran = ran.exits(130);
    assert_prompt(took);
    assert!(ran.stdout.contains("INTERRUPTED:") && ran.stdout.contains("ledger balanced"), "{}", ran.stdout);
    assert!(before == (place.read("a.tape"), place.read("b.tape")), "a replay changes no capture");
    // What was written until then is a whole tape.
    place.run("verify o.tape").exits(0);
    assert!(!place.read("r.hgrm").is_empty());
}

/// A reader that waits for input that does not come must not hold up the end.
#[test]
fn a_replay_that_waits_for_stdin_ends_too() {
    let place = Place::new();
    let line = common::binance_lines([common::AUGUST], "ETHUSDT", 1);
    for input in ["", &line] {
        let mut command = place.command("replay - --speed max --format json --driver threads");
        command.stdin(Stdio::piped());
        let (ran, took) = interrupted(command, Duration::from_millis(700), |child| {
            child.stdin.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
        });
        assert_prompt(took);
        assert_eq!(ran.code, Some(130), "{}\n{}", ran.stdout, ran.stderr);
        let report = ran.json();
        assert_balanced(&report);
        assert_eq!(report["interrupted"], true);
    }
}
