//! Memory does not depend on the length of a capture. One test in this file: the kernel keeps one peak for all children.

mod common;

use common::Place;
use nix::sys::resource::{UsageWho, getrusage};

/// The largest resident size that any child so far has had, in KiB.
fn peak_kib() -> i64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).expect("a process may ask for its children's usage").max_rss()
}

#[test]
fn the_peak_of_a_tape_ten_times_longer_is_within_five_percent() {
    let place = Place::new();
    let generate = |events: u64| {
        place.run(&format!("gen -o {events}.tape --symbols 500 --duration 20s --events {events}")).exits(0);
    };
    let replay = |events: u64| {
        let report = place.replay(&format!("{events}.tape --driver threads --shards 1"));
        assert_eq!(report["events"]["offered"], events);
    };
    generate(200_000);
    let of_gen = peak_kib();
    replay(200_000);
    let short = peak_kib();
    assert!(short > of_gen, "a replay needs more than gen: this peak is the replay's ({of_gen} KiB, {short} KiB)");
    generate(2_000_000);
    replay(2_000_000);
    // The peak of all children never falls: were the longer run's smaller, it would be equal.
    let long = peak_kib();
    assert!(long * 100 <= short * 105, "200,000 events: {short} KiB; 2,000,000 events: {long} KiB");
}
