//! The swap of two blocks: a recorder that never waits, a collector that asks and looks again.
#![cfg(any(loom, shuttle))]

use std::mem::ManuallyDrop;
use tapeline_core::swap::{Collector, Recorder, pair_sabotaged};
use tapeline_core::sync::{Orders, Sabotage};
use tapeline_loom_tests::{check, must_fail, thread};

/// What is recorded: a sum and a count, which agree in a block that is handed over whole.
type Block = [u64; 2];

/// What the models' own assertions say of a block that is torn or handed over at the wrong time.
const TORN: [&str; 2] = ["each value once", "the blocks as they were recorded"];

fn record(recorder: &mut Recorder<Block>, value: u64) {
    recorder.with(|block| {
        block[0] += value;
        block[1] += 1;
    });
}

/// A recorder that only [`leave`] drops: where a twin panics, the drop would make the tool panic again and abort.
fn ends(orders: Orders) -> (ManuallyDrop<Recorder<Block>>, Collector<Block>) {
    let (recorder, collector) = pair_sabotaged([0; 2], [0; 2], orders);
    (ManuallyDrop::new(recorder), collector)
}

fn leave(recorder: ManuallyDrop<Recorder<Block>>) {
    drop(ManuallyDrop::into_inner(recorder));
}

/// Waits for the held block, empties it, and returns what it held.
fn take(collector: &mut Collector<Block>) -> Block {
    loop {
        if let Some(block) = collector.with_held(std::mem::take) {
            return block;
        }
        thread::yield_now();
    }
}

/// The collector reads the block before the recorder's last value is there, or the recorder goes on in one that the
/// collector is still emptying: more requests than blocks, so that each block goes both ways.
fn turns(values: u64, requests: usize, orders: Orders) {
    let (mut recorder, mut collector) = ends(orders);
    let thread = thread::spawn(move || {
        for value in 1..=values {
            record(&mut recorder, value);
            recorder.pass();
        }
        leave(recorder);
    });
    let mut sum = [0; 2];
    for _ in 0..requests {
        collector.request();
        let block = take(&mut collector);
        sum = [sum[0] + block[0], sum[1] + block[1]];
    }
    thread.join().unwrap();
    assert!(collector.is_abandoned());
    // What came after the last swap.
    assert!(collector.request());
    let block = collector.with_held(std::mem::take).expect("a recorder that is gone answers at once");
    assert_eq!([sum[0] + block[0], sum[1] + block[1]], [values * (values + 1) / 2, values], "each value once");
    assert!(collector.request());
    assert_eq!(collector.with_held(|block| *block), Some([0; 2]), "and nothing is left");
}

fn two_turns(orders: Orders) {
    turns(3, 2, orders);
}

#[test]
fn each_value_is_collected_once() {
    check(TURNS_MIN, two_turns);
}

#[test]
fn turns_twins_fail() {
    must_fail(
        &TORN,
        &[
            Sabotage::RelaxedPublish,
            Sabotage::RelaxedObserve,
            Sabotage::RelaxedGiveBack,
            Sabotage::RelaxedReclaim,
            Sabotage::PublishEarly,
            Sabotage::GiveBackEarly,
        ],
        two_turns,
    );
}

/// The recorder is gone, and the collector takes its block before its last value is there.
fn last(orders: Orders) {
    let (mut recorder, mut collector) = ends(orders);
    let thread = thread::spawn(move || {
        record(&mut recorder, 7);
        leave(recorder);
    });
    collector.request();
    assert_eq!(take(&mut collector), [7, 1], "each value once");
    thread.join().unwrap();
}

#[test]
fn what_was_recorded_last_is_handed_over_by_the_drop() {
    check(LAST_MIN, last);
}

#[test]
fn last_twin_fails() {
    must_fail(&TORN, &[Sabotage::RelaxedLeave, Sabotage::GiveBackEarly], last);
}

/// The recorder passes, records on and is gone, between the collector's look at `passed` and its look at `gone`.
fn passes_then_leaves(orders: Orders) {
    let (mut recorder, mut collector) = ends(orders);
    let thread = thread::spawn(move || {
        record(&mut recorder, 1);
        let is_first = recorder.pass();
        record(&mut recorder, 2);
        leave(recorder);
        is_first
    });
    assert!(collector.request());
    let first = take(&mut collector);
    assert!(collector.request());
    let second = take(&mut collector);
    // Two requests have everything: the recorder is gone when it did not answer both, and then the answer is its drop.
    let is_first = thread.join().unwrap();
    assert_eq!(
        [first, second],
        if is_first { [[1, 1], [2, 1]] } else { [[3, 2], [0, 0]] },
        "the blocks as they were recorded"
    );
}

#[test]
fn a_recorder_that_passes_and_leaves_hands_over_each_block_once() {
    check(LEAVES_MIN, passes_then_leaves);
}

#[test]
fn leaves_twin_fails() {
    must_fail(&TORN, &[Sabotage::RelaxedLeave, Sabotage::PublishEarly], passes_then_leaves);
}

// Executions that loom must explore, half of what 0.7.2 explores.
const TURNS_MIN: usize = 2_158;
const LAST_MIN: usize = 6;
const LEAVES_MIN: usize = 93;
