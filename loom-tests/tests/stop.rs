//! The stop word: a control thread that asks, a loop that looks.
#![cfg(any(loom, shuttle))]

use tapeline_core::event::Slot;
use tapeline_core::ring::channel_sabotaged;
use tapeline_core::stop::{Stop, StopWord};
use tapeline_core::sync::{Arc, Orders, Sabotage};
use tapeline_loom_tests::{check, must_fail, must_fail_misused, thread};

/// The loop sees the request, but not yet what was put into its ring before, and ends without it.
///
/// It looks at no slot before the request: a slot that it has seen empty before a yield would not be shown stale again.
fn drain(orders: Orders) {
    let (mut producer, mut consumer) = channel_sabotaged(2, 0, false, Orders::SOUND);
    let word = Arc::new(StopWord::sabotaged(orders));
    let asked = Arc::clone(&word);
    let thread = thread::spawn(move || {
        if orders.publishes_early() {
            asked.request(Stop::Drain);
        }
        producer.push(&[Slot::ZERO]).unwrap();
        producer.push(&[Slot::ZERO]).unwrap();
        asked.request(Stop::Drain);
        producer
    });
    while word.get() == Stop::Run {
        thread::yield_now();
    }
    assert_eq!(consumer.pop_batch(&mut [Slot::ZERO; 4], None), 2, "what was put in before the request");
    assert_eq!(word.get(), Stop::Drain);
    thread.join().unwrap();
}

#[test]
fn a_drain_has_all_that_came_before_the_request() {
    check(DRAIN_MIN, drain);
}

#[test]
fn drain_twins_fail() {
    must_fail(
        &["what was put in before the request"],
        &[Sabotage::RelaxedPublish, Sabotage::RelaxedObserve, Sabotage::PublishEarly],
        drain,
    );
}

/// The same while the loop works: it looks at the word, then at its ring, and ends when the ring was empty after a
/// request was seen. `looks_late` is the misuse: it looks at its ring, then at the word.
fn work(looks_late: bool) {
    let (mut producer, mut consumer) = channel_sabotaged(1, u64::MAX, false, Orders::SOUND);
    let word = Arc::new(StopWord::new());
    let asked = Arc::clone(&word);
    let thread = thread::spawn(move || {
        for _ in 0..2 {
            while producer.push(&[Slot::ZERO]).is_err() {
                thread::yield_now();
            }
        }
        asked.request(Stop::Drain);
    });
    let mut taken = 0;
    loop {
        thread::yield_now();
        let stop = if looks_late { Stop::Run } else { word.get() };
        match consumer.pop(&mut [Slot::ZERO]) {
            0 if stop != Stop::Run || looks_late && word.get() != Stop::Run => break,
            slots => taken += slots,
        }
    }
    assert_eq!(taken, 2, "nothing is left behind");
    thread.join().unwrap();
}

#[test]
fn a_loop_that_looks_at_the_word_first_leaves_nothing_behind() {
    check(WORK_MIN, |_| work(false));
}

#[test]
fn a_loop_that_looks_at_its_ring_first_leaves_something_behind() {
    must_fail_misused(&["nothing is left behind"], || work(true));
}

/// Two ask: who asks for less comes later, and the stronger request is forgotten, or what came before it is not seen.
fn two_ask(orders: Orders) {
    let (mut producer, mut consumer) = channel_sabotaged(1, 0, false, Orders::SOUND);
    let word = Arc::new(StopWord::sabotaged(orders));
    let (first, second) = (Arc::clone(&word), Arc::clone(&word));
    let drains = thread::spawn(move || first.request(Stop::Drain));
    let stops = thread::spawn(move || {
        producer.push(&[Slot::ZERO]).unwrap();
        second.request(Stop::Now);
        producer
    });
    let seen = word.get();
    let stop = word.get();
    assert!(stop >= seen, "a request only grows: {stop:?} after {seen:?}");
    if stop == Stop::Now {
        assert_eq!(consumer.pop(&mut [Slot::ZERO]), 1, "what was done before the stronger request");
    }
    drains.join().unwrap();
    stops.join().unwrap();
    assert_eq!(word.get(), Stop::Now, "the stronger request stays");
}

#[test]
fn the_stronger_of_two_requests_stays() {
    check(TWO_ASK_MIN, two_ask);
}

#[test]
fn two_ask_twins_fail() {
    must_fail(
        &["a request only grows", "what was done before the stronger request", "the stronger request stays"],
        &[Sabotage::ForgetRequests, Sabotage::RelaxedPublish, Sabotage::RelaxedObserve],
        two_ask,
    );
}

// Executions that loom must explore, half of what 0.7.2 explores.
const DRAIN_MIN: usize = 6;
const WORK_MIN: usize = 216;
const TWO_ASK_MIN: usize = 1_131;
