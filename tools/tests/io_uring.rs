//! A machine that refuses io_uring, as most containers do: here by a seccomp filter, which a child inherits.

mod common;

use common::{Place, Ran, assert_balanced, wait};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::collections::BTreeMap;
use std::thread;

/// `io_uring_setup`: one of the calls whose numbers are the same on every processor.
const IO_URING_SETUP: i64 = 425;
/// "Operation not permitted".
const EPERM: u32 = 1;

/// Runs the binary where `io_uring_setup` is refused. The filter is put on a thread of its own: it cannot be taken off.
fn run_without_io_uring(place: &Place, line: &str) -> Ran {
    let mut command = place.command(line);
    let line = line.to_owned();
    let run = move || {
        let architecture = std::env::consts::ARCH.try_into().expect("a processor that seccomp knows");
        let refused = BTreeMap::from([(IO_URING_SETUP, Vec::new())]);
        let filter = SeccompFilter::new(refused, SeccompAction::Allow, SeccompAction::Errno(EPERM), architecture);
        let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter of one call");
        apply_filter(&program).expect("every thread may give up a call of its own");
        wait(command.spawn().expect("the binary starts"), &line)
    };
    thread::spawn(run).join().expect("the run ends")
}

#[test]
fn a_run_goes_on_with_threads_and_says_so_in_one_line() {
    let place = Place::new();
    place.run("gen -o a.tape --events 5000 --symbols 5 --duration 5s").exits(0);
    let expected = place.replay("a.tape --driver threads");
    let ran = run_without_io_uring(&place, "replay a.tape --speed max --format json").exits(0);
    let said: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("io_uring")).collect();
    assert_eq!(said.len(), 1, "{}", ran.stderr);
    assert!(said[0].contains("driver threads") && said[0].contains("not permitted"), "{}", said[0]);
    let report = ran.json();
    assert_balanced(&report);
    assert_eq!((&report["manifest"]["driver"], &report["digest"]), (&"threads".into(), &expected["digest"]));
}

#[test]
fn a_forced_glommio_is_refused_with_the_reason() {
    let place = Place::new();
    place.run("gen -o a.tape --events 100 --symbols 5 --duration 5s").exits(0);
    let line = "replay a.tape --speed max --driver glommio --outputs o.tape --hgrm r.hgrm";
    run_without_io_uring(&place, line).exits(2).says_once(&["glommio", "io_uring"]);
    // Nothing ran, so nothing is left behind.
    assert!(!place.path("o.tape").exists() && !place.path("r.hgrm").exists());
    let doctor = run_without_io_uring(&place, "doctor --probe 0s").exits(0);
    assert!(doctor.stdout.contains("threads") && doctor.stdout.contains("io_uring"), "{}", doctor.stdout);
}
