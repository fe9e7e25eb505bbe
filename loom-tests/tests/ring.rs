//! The ring: a producer and a consumer, in every interleaving and with every stale value that its orderings allow (loom),
//! or in random interleavings (shuttle).
//!
//! Each model opens with the interleaving that it hunts. Each has at least one *twin*: the same code on a ring with one
//! mistake (see `Sabotage`), in which a failure must be found.
#![cfg(any(loom, shuttle))]

use std::mem::ManuallyDrop;
use tapeline_core::event::{Slot, events};
use tapeline_core::ring::{Consumer, DUE_NONE, Producer, channel_sabotaged};
use tapeline_core::sync::{Orders, Sabotage};
use tapeline_loom_tests::{check, must_fail, must_fail_misused, must_fail_or_wedge, thread};

/// What the models' own assertions say of an event that is torn, of another lap, or missing.
const TORN: [&str; 4] = ["event ", "due of event", "nothing comes twice", "has had everything"];

/// Positions wrap within the model's events; tags do too.
const WRAP: u64 = u64::MAX - 1;

/// An event of `span` slots, all of whose words follow from `id`.
fn event(id: u64, span: usize) -> Vec<Slot> {
    let mut slots: Vec<Slot> = (0..span as u64).map(|offset| Slot::continuation([id << 8 | offset; 7])).collect();
    slots[0].kind = tapeline_core::event::KindVersion(14);
    slots[0].set_span(span);
    slots
}

/// When a consumer ends.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    /// When it has all events.
    Count,
    /// When the producer is gone and the ring was empty after that.
    End,
    /// When the ring was empty and the producer is gone after that: a misuse.
    EndAskedLate,
}

/// Pops events until it is time to end, and checks that they are events `0..` in order, whole, with their dues.
fn consume(mut consumer: Consumer, spans: &[usize], batch: bool, with_dues: bool, until: Until) -> Consumer {
    let mut next = 0;
    let mut out = [Slot::ZERO; 8];
    let mut dues = [0; 8];
    while next < spans.len() || until != Until::Count {
        // Without a yield loom believes that it need not run the producer here, and explores next to nothing.
        thread::yield_now();
        let end = until == Until::End && consumer.is_abandoned();
        let taken = if batch { consumer.pop_batch(&mut out, Some(&mut dues)) } else { consumer.pop(&mut out) };
        let mut offset = 0;
        for slots in events(&out[..taken]) {
            let expected = event(next as u64, spans[next]);
            assert_eq!(slots.slots(), expected, "event {next}");
            let due = if with_dues { 100 + next as u64 } else { DUE_NONE };
            assert!(
                !batch || dues[offset..offset + spans[next]].iter().all(|seen| *seen == due),
                "due of event {next}"
            );
            offset += spans[next];
            next += 1;
        }
        assert_eq!(offset, taken, "whole events");
        let end = end || until == Until::EndAskedLate && consumer.is_abandoned();
        if end && taken == 0 {
            assert_eq!(next, spans.len(), "a consumer that sees the end has had everything");
            break;
        }
    }
    consumer
}

fn push_until_it_fits(producer: &mut Producer, id: u64, span: usize) {
    while producer.push_due(&event(id, span), 100 + id).is_err() {
        thread::yield_now();
    }
}

/// Runs a producer and a consumer of events with these spans.
fn model(
    capacity: usize,
    with_dues: bool,
    batch: bool,
    until: Until,
    spans: &'static [usize],
    orders: Orders,
    produce: impl Fn(&mut Producer, &'static [usize]) + Send + Copy + 'static,
) {
    let (producer, consumer) = channel_sabotaged(capacity, WRAP, with_dues, orders);
    // Where a twin panics with slots claimed, the drop must not publish them: the tool would panic again and abort.
    let mut producer = ManuallyDrop::new(producer);
    let thread = thread::spawn(move || {
        produce(&mut producer, spans);
        drop(ManuallyDrop::into_inner(producer));
    });
    let consumer = consume(consumer, spans, batch, with_dues, until);
    thread.join().unwrap();
    assert!(consumer.is_empty(), "nothing comes twice");
    consumer.assert_invariants();
}

fn push_each(producer: &mut Producer, spans: &'static [usize]) {
    for (id, span) in spans.iter().enumerate() {
        push_until_it_fits(producer, id as u64, *span);
    }
}

fn claim_all_then_commit(producer: &mut Producer, spans: &'static [usize]) {
    for (id, span) in spans.iter().enumerate() {
        while producer.claim_due(&event(id as u64, *span), 100 + id as u64).is_err() {
            producer.commit();
            thread::yield_now();
        }
    }
    producer.commit();
}

fn push_as_batch(producer: &mut Producer, spans: &'static [usize]) {
    let run: Vec<Slot> = spans.iter().enumerate().flat_map(|(id, span)| event(id as u64, *span)).collect();
    let dues: Vec<u64> = spans.iter().enumerate().flat_map(|(id, span)| vec![100 + id as u64; *span]).collect();
    let mut done = 0;
    while done < run.len() {
        done += producer.push_batch(&run[done..], Some(&dues[done..]));
        if done < run.len() {
            thread::yield_now();
        }
    }
}

/// The consumer sees the tag before the payload: it would read the lap before, or a torn event.
fn single(orders: Orders) {
    model(2, false, false, Until::Count, &[1, 1, 1, 1], orders, |producer, spans| {
        for id in 0..spans.len() as u64 {
            while producer.push(&event(id, 1)).is_err() {
                thread::yield_now();
            }
        }
    });
}

#[test]
fn single_push_and_pop() {
    check(SINGLE_MIN, single);
}

#[test]
fn single_twins_fail() {
    must_fail(&TORN, &[Sabotage::RelaxedPublish, Sabotage::RelaxedObserve, Sabotage::PublishEarly], single);
    // Under shuttle's schedules the ring may be wedged before anything is torn.
    must_fail_or_wedge(&TORN, &[Sabotage::GiveBackEarly], single);
}

/// The producer, out of free slots, sees the consumer's head before the consumer has read the slot, and writes over it.
fn head_release(orders: Orders) {
    model(1, false, false, Until::Count, &[1, 1, 1], orders, push_each);
}

#[test]
fn head_release_with_more_events_than_slots() {
    check(HEAD_MIN, head_release);
}

#[test]
fn head_release_twins_fail() {
    if cfg!(loom) {
        must_fail(&TORN, &[Sabotage::RelaxedGiveBack, Sabotage::RelaxedReclaim], head_release);
    }
    // Under shuttle's schedules the ring may be wedged before anything is torn.
    must_fail_or_wedge(&TORN, &[Sabotage::OffByOneWrap, Sabotage::GiveBackEarly], head_release);
}

/// One store publishes several slots whose own words are relaxed: the consumer comes to the second event with nothing
/// but its look at the first to order it.
fn batch(orders: Orders) {
    model(2, false, true, Until::Count, &[1, 1, 1, 1], orders, claim_all_then_commit);
}

#[test]
fn batch_claim_and_commit() {
    check(BATCH_MIN, batch);
}

#[test]
fn batch_twins_fail() {
    must_fail(
        &TORN,
        &[
            Sabotage::RelaxedPublish,
            Sabotage::RelaxedObserve,
            Sabotage::RelaxedGiveBack,
            Sabotage::RelaxedReclaim,
            Sabotage::PublishEarly,
        ],
        batch,
    );
}

/// As `batch`, by the call that groups events itself, into a ring that is too small for the run.
fn push_batch(orders: Orders) {
    model(4, false, true, Until::Count, &[1, 2, 1, 1], orders, push_as_batch);
}

#[test]
fn push_batch_of_a_run_with_a_span() {
    check(PUSH_BATCH_MIN, push_batch);
}

#[test]
fn push_batch_twins_fail() {
    must_fail(
        &TORN,
        &[Sabotage::RelaxedPublish, Sabotage::RelaxedObserve, Sabotage::RelaxedGiveBack, Sabotage::PublishEarly],
        push_batch,
    );
    must_fail_or_wedge(&TORN, &[Sabotage::GiveBackEarly], push_batch);
}

/// A span whose head is at the end of the ring and whose continuation at its beginning: the consumer sees the head
/// before the continuation, or a continuation of the lap before.
fn span(orders: Orders) {
    model(4, false, false, Until::Count, &[1, 3, 2], orders, push_each);
}

#[test]
fn spans_that_wrap() {
    check(SPAN_MIN, span);
}

#[test]
fn span_twins_fail() {
    must_fail(
        &TORN,
        &[
            Sabotage::RelaxedPublish,
            Sabotage::RelaxedObserve,
            Sabotage::RelaxedGiveBack,
            Sabotage::RelaxedReclaim,
            Sabotage::PublishEarly,
        ],
        span,
    );
    must_fail_or_wedge(&TORN, &[Sabotage::OffByOneWrap], span);
}

/// The due beside a slot is published and given back with it.
fn dues(orders: Orders) {
    model(2, true, true, Until::Count, &[1, 1, 1], orders, push_each);
}

#[test]
fn dues_go_with_their_slots() {
    check(DUES_MIN, dues);
}

#[test]
fn dues_twins_fail() {
    must_fail(
        &TORN,
        &[Sabotage::RelaxedPublish, Sabotage::RelaxedObserve, Sabotage::RelaxedGiveBack, Sabotage::PublishEarly],
        dues,
    );
}

/// The consumer sees that the producer is gone, but not yet its last events, and believes that it has had everything.
///
/// It looks at no slot before: a slot that it has seen empty before a yield would not be shown stale again by loom.
fn end(orders: Orders) {
    let (mut producer, mut consumer) = channel_sabotaged(2, WRAP, false, orders);
    let thread = thread::spawn(move || {
        producer.push(&event(0, 1)).unwrap();
        producer.claim(&event(1, 1)).unwrap();
        drop(producer); // publishes the claim
    });
    while !consumer.is_abandoned() {
        thread::yield_now();
    }
    assert_eq!(consumer.pop_batch(&mut [Slot::ZERO; 4], None), 2, "a consumer that sees the end has had everything");
    thread.join().unwrap();
}

#[test]
fn the_end_comes_after_the_last_event() {
    check(END_MIN, end);
}

#[test]
fn end_twin_fails() {
    must_fail(&TORN, &[Sabotage::RelaxedLeave, Sabotage::LeaveEarly], end);
}

/// The same while the consumer takes what comes.
fn drain(until: Until, orders: Orders) {
    model(2, false, false, until, &[1, 1, 1], orders, |producer, spans| {
        push_until_it_fits(producer, 0, spans[0]);
        push_until_it_fits(producer, 1, spans[1]);
        while producer.claim(&event(2, spans[2])).is_err() {
            thread::yield_now();
        }
    });
}

#[test]
fn a_consumer_that_takes_what_comes_has_everything_at_the_end() {
    check(DRAIN_MIN, |orders| drain(Until::End, orders));
}

/// A producer that leaves before its last event is out; a consumer that looks whether the producer is gone only after it
/// has found the ring empty.
#[test]
fn drain_twins_fail() {
    must_fail(&TORN, &[Sabotage::LeaveEarly, Sabotage::PublishEarly], |orders| drain(Until::End, orders));
    must_fail_misused(&TORN, || drain(Until::EndAskedLate, Orders::SOUND));
}

/// A producer that keeps trying a full ring learns that nobody will make room. It looks whether the consumer is gone before it tries:
/// `asks_late` is the misuse.
fn gone(asks_late: bool, orders: Orders) {
    let (mut producer, mut consumer) = channel_sabotaged(1, WRAP, false, orders);
    let thread = thread::spawn(move || {
        thread::yield_now();
        let taken = consumer.pop(&mut [Slot::ZERO]);
        drop(consumer);
        taken
    });
    let mut pushed = 0;
    loop {
        let gone = !asks_late && producer.is_abandoned();
        match producer.push(&event(0, 1)) {
            Ok(()) => pushed += 1,
            Err(_) if gone || asks_late && producer.is_abandoned() => break,
            Err(_) => thread::yield_now(),
        }
    }
    let taken = thread.join().unwrap();
    assert_eq!(pushed, taken + 1, "one more than was taken fits, and no more");
}

#[test]
fn a_producer_learns_that_the_consumer_is_gone() {
    check(GONE_MIN, |orders| gone(false, orders));
}

#[test]
fn gone_twins_fail() {
    let failures = ["one more than was taken fits"];
    must_fail(&failures, &[Sabotage::RelaxedLeave, Sabotage::OffByOneWrap], |orders| gone(false, orders));
    must_fail_misused(&failures, || gone(true, Orders::SOUND));
}

/// A peek sees either nothing or the event that the next pop gives.
fn peek(orders: Orders) {
    let (producer, mut consumer) = channel_sabotaged(2, WRAP, false, orders);
    let mut producer = ManuallyDrop::new(producer);
    let thread = thread::spawn(move || {
        push_each(&mut producer, &[1, 1, 1]);
        drop(ManuallyDrop::into_inner(producer));
    });
    let mut next = 0;
    while next < 3 {
        thread::yield_now();
        if let Some(head) = consumer.peek() {
            let mut out = [Slot::ZERO];
            assert_eq!(consumer.pop(&mut out), 1, "event {next} was peeked");
            assert_eq!(([head], event(next, 1)), (out, vec![head]), "event {next}");
            next += 1;
        }
    }
    thread.join().unwrap();
}

#[test]
fn peek_agrees_with_pop() {
    check(PEEK_MIN, peek);
}

#[test]
fn peek_twins_fail() {
    must_fail(&TORN, &[Sabotage::RelaxedPublish, Sabotage::RelaxedObserve, Sabotage::PublishEarly], peek);
}

// Executions that each model must explore, half of what loom 0.7.2 explores: a change that makes a model see less turns
// it red.
const SINGLE_MIN: usize = 9_486;
const HEAD_MIN: usize = 7200;
const BATCH_MIN: usize = 84;
const PUSH_BATCH_MIN: usize = 6_896;
const SPAN_MIN: usize = 2850;
const DUES_MIN: usize = 3460;
const END_MIN: usize = 6;
const DRAIN_MIN: usize = 11_900;
const GONE_MIN: usize = 137;
const PEEK_MIN: usize = 920;
