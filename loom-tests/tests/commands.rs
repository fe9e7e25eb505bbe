//! The command queue: a control thread that sends, a shard that takes one at a time.
#![cfg(any(loom, shuttle))]

use std::mem::ManuallyDrop;
use tapeline_core::commands::{SendError, channel_sabotaged};
use tapeline_core::sync::{Orders, Sabotage};
use tapeline_loom_tests::{check, must_fail, must_fail_misused, must_fail_or_wedge, thread};

/// What the models' own assertions say of commands that are torn, lost or miscounted.
const TORN: [&str; 3] = ["in order, whole", "every command that was sent", "sent and never taken"];

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
        &TORN,
        &[
            Sabotage::RelaxedPublish,
            Sabotage::RelaxedObserve,
            Sabotage::RelaxedGiveBack,
            Sabotage::RelaxedReclaim,
            Sabotage::PublishEarly,
        ],
        exchange,
    );
    must_fail_or_wedge(&TORN, &[Sabotage::OffByOneWrap, Sabotage::GiveBackEarly], exchange);
}

/// The sender is gone, and the shard ends before it has taken the last command. `asks_late` is the misuse: it looks for a
/// command, then whether the sender is gone.
fn last(asks_late: bool, orders: Orders) {
    let (mut sender, mut receiver) = channel_sabotaged::<u64>(2, 0, orders);
    let thread = thread::spawn(move || {
        sender.send(1).unwrap();
        sender.send(2).unwrap();
    });
    let mut taken = [None; 2];
    if asks_late {
        let mut next = 0;
        loop {
            thread::yield_now();
            match receiver.receive() {
                Some(command) => {
                    taken[next] = Some(command);
                    next += 1;
                }
                None if receiver.is_abandoned() => break,
                None => {}
            }
        }
    } else {
        // It looks at no slot before: see `the_end_comes_after_the_last_event` of the ring's models.
        while !receiver.is_abandoned() {
            thread::yield_now();
        }
        taken = [receiver.receive(), receiver.receive()];
    }
    assert_eq!(taken, [Some(1), Some(2)], "every command that was sent");
    assert_eq!(receiver.receive(), None, "every command that was sent, once");
    thread.join().unwrap();
}

#[test]
fn who_sees_the_sender_gone_has_every_command() {
    check(LAST_MIN, |orders| last(false, orders));
}

#[test]
fn last_twins_fail() {
    // Of orderings, which shuttle cannot see: there the misuse stands for it.
    if cfg!(loom) {
        must_fail(&TORN, &[Sabotage::RelaxedLeave], |orders| last(false, orders));
    }
    must_fail_misused(&TORN, || last(true, Orders::SOUND));
}

/// A shard that is gone is told from one that is slow, and what it left is counted. `counts_early` is the misuse: it counts before it
/// knows that the shard is gone.
fn gone(counts_early: bool, orders: Orders) {
    let (mut sender, mut receiver) = channel_sabotaged::<u64>(1, 0, orders);
    let thread = thread::spawn(move || {
        thread::yield_now();
        usize::from(receiver.receive().is_some())
    });
    let (mut sent, mut waiting) = (0, 0);
    loop {
        match sender.send(1) {
            Ok(()) => sent += 1,
            Err(SendError::Full) => {
                if counts_early {
                    waiting = sender.waiting();
                }
                thread::yield_now();
            }
            Err(SendError::Gone) => break,
        }
    }
    if !counts_early {
        waiting = sender.waiting();
    }
    let taken = thread.join().unwrap();
    assert_eq!(waiting, sent - taken, "sent and never taken");
}

#[test]
fn a_sender_learns_that_the_shard_is_gone() {
    check(GONE_MIN, |orders| gone(false, orders));
}

#[test]
fn gone_twins_fail() {
    must_fail(&TORN, &[Sabotage::RelaxedLeave, Sabotage::GiveBackEarly], |orders| gone(false, orders));
    must_fail_misused(&TORN, || gone(true, Orders::SOUND));
}

// Executions that loom must explore, half of what 0.7.2 explores.
const EXCHANGE_MIN: usize = 1_200;
const LAST_MIN: usize = 6;
const GONE_MIN: usize = 137;
