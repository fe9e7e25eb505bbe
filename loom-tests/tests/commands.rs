//! The command queue: a control thread that sends, a shard that takes one at a time.
#![cfg(any(loom, shuttle))]

use std::mem::ManuallyDrop;
use tapeline_core::commands::{SendError, channel_sabotaged};
use tapeline_core::sync::{Orders, Sabotage};
use tapeline_loom_tests::{check, must_fail, thread};

/// A command is taken before its last word is there, or written over before it was taken.
fn exchange(orders: Orders) {
    let (sender, mut receiver) = channel_sabotaged::<[u64; 2]>(1, u64::MAX, orders);
    // Where a twin panics, the drop must not publish what is claimed: the tool would panic again and abort.
    let mut sender = ManuallyDrop::new(sender);
    let thread = thread::spawn(move || {
        for number in 1..4u64 {
            while let Err(error) = sender.send([number, !number]) {
                assert_eq!(error, SendError::Full, "the receiver waits for all");
                thread::yield_now();
            }
        }
        drop(ManuallyDrop::into_inner(sender));
    });
    let mut next = 1;
    while next < 4 {
        thread::yield_now();
        if let Some(command) = receiver.receive() {
            assert_eq!(command, [next, !next], "in order, whole");
            next += 1;
        }
    }
    thread.join().unwrap();
    assert_eq!((receiver.receive(), receiver.is_abandoned()), (None, true));
}

#[test]
fn commands_come_in_order_and_whole() {
    check(EXCHANGE_MIN, exchange);
}

#[test]
fn exchange_twins_fail() {
    must_fail(
        &[
            Sabotage::RelaxedPublish,
            Sabotage::RelaxedObserve,
            Sabotage::RelaxedGiveBack,
            Sabotage::RelaxedReclaim,
            Sabotage::OffByOneWrap,
            Sabotage::PublishEarly,
            Sabotage::GiveBackEarly,
        ],
        exchange,
    );
}

/// The sender is gone, and the shard ends before it has taken the last command.
fn last(orders: Orders) {
    let (mut sender, mut receiver) = channel_sabotaged::<u64>(2, 0, orders);
    let thread = thread::spawn(move || {
        sender.send(1).unwrap();
        sender.send(2).unwrap();
    });
    while !receiver.is_abandoned() {
        thread::yield_now();
    }
    assert_eq!([receiver.receive(), receiver.receive(), receiver.receive()], [Some(1), Some(2), None]);
    thread.join().unwrap();
}

#[test]
fn who_sees_the_sender_gone_has_every_command() {
    check(LAST_MIN, last);
}

#[test]
fn last_twin_fails() {
    must_fail(&[Sabotage::RelaxedLeave], last);
}

/// A shard that is gone is told from one that is slow, and what it left is counted.
fn gone(orders: Orders) {
    let (mut sender, mut receiver) = channel_sabotaged::<u64>(1, 0, orders);
    let thread = thread::spawn(move || {
        thread::yield_now();
        usize::from(receiver.receive().is_some())
    });
    let mut sent = 0;
    loop {
        match sender.send(1) {
            Ok(()) => sent += 1,
            Err(SendError::Full) => thread::yield_now(),
            Err(SendError::Gone) => break,
        }
    }
    let taken = thread.join().unwrap();
    assert_eq!(sender.waiting(), sent - taken, "sent and never taken");
}

#[test]
fn a_sender_learns_that_the_shard_is_gone() {
    check(GONE_MIN, gone);
}

// Executions that loom must explore, half of what 0.7.2 explores.
const EXCHANGE_MIN: usize = 1_200;
const LAST_MIN: usize = 6;
const GONE_MIN: usize = 137;
