//! The ring against a `VecDeque`, on one thread and on two.

mod ring_events;

use proptest::prelude::*;
use ring_events::{STARTS, event, untagged};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use tapeline_core::event::{EventRef, Slot, events};
use tapeline_core::limits::SPAN_SLOTS_MAX;
use tapeline_core::ring::{self, CAPACITY_MIN, Consumer, DUE_NONE, Full, Producer};
use tapeline_core::testing::{CountingAlloc, PrintOnPanic, Prng, allocations, for_seeds, without_allocation};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// The naive twin: slots in order, with their dues, and how many of the last ones are claimed.
struct Model {
    slots: VecDeque<(Slot, u64)>,
    claimed: usize,
    capacity: usize,
    has_dues: bool,
}

impl Model {
    fn free(&self) -> usize {
        self.capacity - self.slots.len()
    }

    fn published(&self) -> usize {
        self.slots.len() - self.claimed
    }

    fn add(&mut self, slots: &[Slot], dues: &[u64]) {
        for (slot, due) in untagged(slots).into_iter().zip(dues) {
            self.slots.push_back((slot, if self.has_dues { *due } else { DUE_NONE }));
        }
    }

    /// Slots of whole published events that fit `room`.
    fn takes(&self, room: usize, events_max: usize) -> usize {
        let mut slots = 0;
        for _ in 0..events_max {
            if slots == self.published() || slots + self.slots[slots].0.span() > room {
                break;
            }
            slots += self.slots[slots].0.span();
        }
        slots
    }
}

/// Runs `ops` seeded operations on a ring and its twin.
fn run(capacity: usize, start: u64, has_dues: bool, ops: usize, prng: &mut Prng) {
    let (mut producer, mut consumer) = ring::channel_at(capacity, start, has_dues);
    let mut model = Model { slots: VecDeque::new(), claimed: 0, capacity, has_dues };
    let (mut next_id, mut popped) = (1u64, 0u64);
    // Phases that fill and phases that drain, so that full and empty both happen.
    let mut push_bias = 5;
    for _ in 0..ops {
        if prng.one_in(64) {
            push_bias = 2 + prng.in_range(0..7);
        }
        let span_max = if prng.one_in(3) { SPAN_SLOTS_MAX } else { 3 } as u64;
        let span = 1 + prng.index(span_max as usize);
        if prng.in_range(0..10) < push_bias {
            let slots = event(next_id, span, prng);
            let due = prng.next_u64() >> 1;
            let fits = span <= model.free();
            let expected = if fits { Ok(()) } else { Err(Full { shortfall: span - model.free() }) };
            match prng.in_range(0..6) {
                0 | 1 => {
                    assert_eq!(producer.push(&slots), expected);
                    if fits {
                        model.add(&slots, &vec![DUE_NONE; span]);
                        model.claimed = 0;
                    }
                }
                2 => {
                    assert_eq!(producer.push_due(&slots, due), expected);
                    if fits {
                        model.add(&slots, &vec![due; span]);
                        model.claimed = 0;
                    }
                }
                3 => {
                    assert_eq!(producer.claim(&slots), expected);
                    if fits {
                        model.add(&slots, &vec![DUE_NONE; span]);
                        model.claimed += span;
                    }
                }
                4 => {
                    assert_eq!(producer.claim_due(&slots, due), expected);
                    if fits {
                        model.add(&slots, &vec![due; span]);
                        model.claimed += span;
                    }
                }
                _ => {
                    let (mut run, mut whole) = (Vec::new(), 0);
                    for offset in 0..prng.in_range(0..100) {
                        let span = if prng.one_in(6) { 1 + prng.index(span_max as usize) } else { 1 };
                        run.extend(event(next_id + offset, span, prng));
                        if run.len() <= model.free() {
                            whole = run.len();
                        }
                    }
                    let dues: Vec<u64> = run.iter().map(|_| prng.next_u64() >> 1).collect();
                    let with_dues = prng.one_in(2);
                    assert_eq!(producer.push_batch(&run, with_dues.then_some(&dues[..])), whole);
                    let dues = if with_dues { dues } else { vec![DUE_NONE; run.len()] };
                    model.add(&run[..whole], &dues[..whole]);
                    model.claimed = 0;
                    next_id += 100;
                }
            }
            next_id += 1;
        } else if prng.one_in(6) {
            producer.commit();
            model.claimed = 0;
        } else {
            let mut out = vec![Slot { seq: 77, tag: 77, ..Slot::ZERO }; 1 + prng.index(100)];
            let mut dues = vec![77u64; out.len()];
            let single = prng.one_in(2);
            let expected = model.takes(out.len(), if single { 1 } else { usize::MAX });
            let with_dues = !single && prng.one_in(2);
            if let Some(head) = consumer.peek() {
                assert_eq!(head, model.slots[0].0);
                assert_eq!(consumer.peek_due(), Some(model.slots[0].1));
            } else {
                assert_eq!((model.published(), consumer.peek_due()), (0, None));
            }
            let taken = match (single, with_dues) {
                (true, _) => consumer.pop(&mut out),
                (false, true) => consumer.pop_batch(&mut out, Some(&mut dues)),
                (false, false) => consumer.pop_batch(&mut out, None),
            };
            assert_eq!(taken, expected, "slots taken into a buffer of {}", out.len());
            for (slot, due) in out[..taken].iter().zip(&dues) {
                let (slot_expected, due_expected) = model.slots.pop_front().unwrap();
                assert_eq!(*slot, slot_expected);
                assert!(!with_dues || *due == due_expected, "due {due}, not {due_expected}");
            }
            assert_eq!(events(&out[..taken]).map(|event| event.slots().len()).sum::<usize>(), taken, "whole events");
            popped += taken as u64;
        }
        // Invariants after each operation.
        producer.assert_invariants();
        consumer.assert_invariants();
        assert_eq!(consumer.len(), model.published());
        assert_eq!(consumer.is_empty(), model.published() == 0);
        assert_eq!(producer.claimed_slots(), model.claimed);
        assert_eq!(producer.position(), start.wrapping_add(popped + model.slots.len() as u64));
        assert_eq!(consumer.position(), start.wrapping_add(popped));
        if prng.one_in(3) {
            assert_eq!(producer.free_slots(), model.free());
            assert_eq!(producer.occupied_slots(), model.slots.len());
        }
    }
    assert!(popped > 2 * capacity as u64, "the run went around the ring");
    drop(producer);
    let mut out = [Slot::ZERO; SPAN_SLOTS_MAX];
    assert!(consumer.is_abandoned());
    let mut left = 0;
    loop {
        match consumer.pop(&mut out) {
            0 => break,
            slots => left += slots,
        }
    }
    assert_eq!(left, model.slots.len(), "dropping the producer publishes what was claimed");
}

#[test]
fn the_ring_does_what_a_vec_deque_does() {
    let capacities = [1, 2, 4, 8, 16, 32, 64, 128, 1024];
    for_seeds(0..18, |seed, prng| {
        for start in STARTS {
            let capacity = capacities[seed as usize % capacities.len()];
            run(capacity, start, seed % 2 == 1, 1_500, prng);
        }
    });
}

#[test]
fn every_span_at_every_offset_comes_out_whole() {
    let mut prng = Prng::new(1);
    for start in [0, u64::MAX - 40] {
        let (mut producer, mut consumer) = ring::channel_at(CAPACITY_MIN, start, true);
        let mut out = [Slot::ZERO; SPAN_SLOTS_MAX];
        let mut dues = [0; SPAN_SLOTS_MAX];
        for offset in 0..CAPACITY_MIN as u64 {
            for span in 1..=SPAN_SLOTS_MAX {
                let slots = event(offset * 64 + span as u64, span, &mut prng);
                producer.push_due(&slots, offset).unwrap();
                if span < SPAN_SLOTS_MAX {
                    let free = CAPACITY_MIN - span;
                    let longest = event(9, SPAN_SLOTS_MAX, &mut prng);
                    assert_eq!(producer.push(&longest), Err(Full { shortfall: SPAN_SLOTS_MAX - free }));
                }
                assert_eq!(consumer.pop(&mut out[..span - 1]), 0, "a buffer too short by one leaves the event");
                assert_eq!(consumer.pop_batch(&mut out[..span - 1], None), 0);
                assert_eq!(consumer.pop_batch(&mut out, Some(&mut dues)), span);
                assert_eq!(&out[..span], untagged(&slots));
                assert_eq!(&dues[..span], vec![offset; span]);
                assert_eq!(EventRef::first(&out).unwrap().slots().len(), span);
            }
            // Move on by one slot, so that the next round begins at another cell.
            producer.push(&event(0, 1, &mut prng)).unwrap();
            assert_eq!(consumer.pop(&mut out), 1);
        }
    }
}

/// What happened in a run, so that tests can show that it did.
#[derive(Default, Debug)]
struct Seen {
    full: u64,
    empty: u64,
    events: u64,
    longest: u64,
    wrapped_spans: u64,
    tag_wraps: u64,
    position_wraps: u64,
    withheld: u64,
    short_buffers: u64,
    laps: u64,
}

/// Contents of slot `offset` of event `id`: every word differs.
fn fill(slots: &mut [Slot], id: u64) {
    let span = slots.len();
    for (offset, slot) in slots.iter_mut().enumerate() {
        let word = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ offset as u64;
        *slot = Slot::continuation(std::array::from_fn(|at| word.wrapping_add((at as u64) << 56)));
    }
    slots[0].kind = tapeline_core::event::KindVersion(14);
    slots[0].set_span(span);
    slots[0].seq = id;
}

/// As [`run`] with buffers made beforehand: no call of the ring may allocate, and results are compared each time.
struct Fast {
    producer: Producer,
    consumer: Consumer,
    twin: VecDeque<(Slot, u64)>,
    claimed: usize,
    has_dues: bool,
    next_id: u64,
    slots: Vec<Slot>,
    dues: Vec<u64>,
    seen: Seen,
}

impl Fast {
    fn new(capacity: usize, start: u64, has_dues: bool) -> Self {
        let (producer, consumer) = ring::channel_at(capacity, start, has_dues);
        Self {
            producer,
            consumer,
            twin: VecDeque::with_capacity(capacity),
            claimed: 0,
            has_dues,
            next_id: 1,
            slots: vec![Slot::ZERO; 300],
            dues: vec![0; 300],
            seen: Seen::default(),
        }
    }

    fn free(&self) -> usize {
        self.producer.capacity() - self.twin.len()
    }

    /// Puts `count` slots of the buffer into the twin.
    fn add(&mut self, count: usize, due: impl Fn(usize) -> u64) {
        let capacity = self.producer.capacity() as u64;
        let begin = self.producer.position().wrapping_sub(count as u64);
        for offset in 0..count {
            let position = begin.wrapping_add(offset as u64);
            self.seen.tag_wraps += u64::from(position as u32 == u32::MAX);
            self.seen.position_wraps += u64::from(position == u64::MAX);
            self.seen.laps += u64::from(position.is_multiple_of(capacity));
            let slot = self.slots[offset];
            self.seen.wrapped_spans +=
                u64::from(slot.kind() == tapeline_core::event::Kind::CONTINUATION && position.is_multiple_of(capacity));
            self.twin.push_back((slot, if self.has_dues { due(offset) } else { DUE_NONE }));
        }
    }

    fn push(&mut self, prng: &mut Prng) {
        let span = match prng.index(32) {
            0 if prng.one_in(2) => SPAN_SLOTS_MAX,
            0 => 1 + prng.index(SPAN_SLOTS_MAX),
            1..4 => 1 + prng.index(5),
            _ => 1,
        };
        let (claims, due) = (prng.one_in(3), prng.next_u64() >> 1);
        let with_due = prng.one_in(2);
        fill(&mut self.slots[..span], self.next_id);
        self.next_id += 1;
        let free = self.free();
        let expected = if span <= free { Ok(()) } else { Err(Full { shortfall: span - free }) };
        let (producer, event) = (&mut self.producer, &self.slots[..span]);
        let result = without_allocation(|| match (claims, with_due) {
            (true, true) => producer.claim_due(event, due),
            (true, false) => producer.claim(event),
            (false, true) => producer.push_due(event, due),
            (false, false) => producer.push(event),
        });
        assert_eq!(result, expected);
        if result.is_err() {
            self.seen.full += 1;
            return;
        }
        self.claimed = if claims { self.claimed + span } else { 0 };
        self.seen.longest += u64::from(span == SPAN_SLOTS_MAX);
        self.add(span, |_| if with_due { due } else { DUE_NONE });
    }

    fn push_batch(&mut self, prng: &mut Prng) {
        let (mut count, mut whole) = (0, 0);
        let free = self.free();
        for _ in 0..prng.index(100) {
            let span = if prng.one_in(20) { 1 + prng.index(40) } else { 1 };
            fill(&mut self.slots[count..count + span], self.next_id);
            self.next_id += 1;
            count += span;
            if count <= free {
                whole = count;
            }
            if count > 200 {
                break;
            }
        }
        let (with_dues, first) = (prng.one_in(2), prng.next_u64() >> 2);
        self.dues.iter_mut().enumerate().for_each(|(offset, due)| *due = first + offset as u64);
        let (producer, slots, dues) = (&mut self.producer, &self.slots[..count], &self.dues[..count]);
        let done = without_allocation(|| producer.push_batch(slots, with_dues.then_some(dues)));
        assert_eq!(done, whole, "of {count} slots, {free} free");
        self.seen.full += u64::from(whole < count);
        self.claimed = 0;
        self.add(whole, |offset| if with_dues { first + offset as u64 } else { DUE_NONE });
    }

    fn pop(&mut self, prng: &mut Prng) {
        let room = if prng.one_in(8) { 1 + prng.index(8) } else { SPAN_SLOTS_MAX + prng.index(64) };
        let (single, with_dues) = (prng.one_in(3), prng.one_in(2));
        let published = self.twin.len() - self.claimed;
        let mut expected = 0;
        while expected < published {
            let span = self.twin[expected].0.span();
            if expected + span > room {
                self.seen.short_buffers += 1;
                break;
            }
            expected += span;
            if single {
                break;
            }
        }
        let (consumer, slots, dues) = (&mut self.consumer, &mut self.slots[..room], &mut self.dues[..room]);
        let (peeked, peeked_due) = without_allocation(|| (consumer.peek(), consumer.peek_due()));
        let first = self.twin.front().filter(|_| published > 0);
        assert_eq!((peeked, peeked_due), (first.map(|first| first.0), first.map(|first| first.1)));
        let taken = without_allocation(|| match (single, with_dues) {
            (true, _) => consumer.pop(slots),
            (false, true) => consumer.pop_batch(slots, Some(dues)),
            (false, false) => consumer.pop_batch(slots, None),
        });
        assert_eq!(taken, expected, "slots taken into a buffer of {room}, {published} published");
        self.seen.empty += u64::from(published == 0);
        self.seen.withheld += u64::from(self.claimed > 0);
        for offset in 0..taken {
            let (slot, due) = self.twin.pop_front().unwrap();
            assert_eq!(self.slots[offset], slot);
            assert!(single || !with_dues || self.dues[offset] == due, "due {}, not {due}", self.dues[offset]);
            self.seen.events += u64::from(slot.kind() != tapeline_core::event::Kind::CONTINUATION);
        }
    }

    fn check(&mut self) {
        self.producer.assert_invariants();
        self.consumer.assert_invariants();
        assert_eq!(self.consumer.len(), self.twin.len() - self.claimed);
        assert_eq!(self.producer.free_slots(), self.free());
        assert_eq!(self.producer.claimed_slots(), self.claimed);
    }

    fn run(mut self, ops: usize, invariants_every: usize, prng: &mut Prng) -> Seen {
        let mut push_bias = 5;
        for operation in 0..ops {
            if prng.one_in(64) {
                push_bias = 2 + prng.in_range(0..7);
            }
            match prng.in_range(0..10) {
                pushes if pushes < push_bias => match prng.index(8) {
                    0 => self.push_batch(prng),
                    _ => self.push(prng),
                },
                _ if prng.one_in(6) => {
                    self.producer.commit();
                    self.claimed = 0;
                }
                _ => self.pop(prng),
            }
            if operation % invariants_every == 0 {
                self.check();
            }
        }
        self.check();
        self.seen
    }
}

/// Runs over `seeds`, each on a ring of one of `capacities`, from a position at which something wraps in most of them.
fn operations(seeds: std::ops::Range<u64>, capacities: &[usize], ops: usize, invariants_every: usize) -> Vec<Seen> {
    let mut all = Vec::new();
    for_seeds(seeds, |seed, prng| {
        let capacity = capacities[seed as usize % capacities.len()];
        let start = STARTS[seed as usize / capacities.len() % STARTS.len()];
        let _named = PrintOnPanic(format_args!("capacity {capacity} start {start}"));
        all.push(Fast::new(capacity, start, prng.one_in(2)).run(ops, invariants_every, prng));
    });
    all
}

/// Shows that the interesting cases did happen.
fn assert_reached(all: &[Seen], least: u64) {
    let sum = |pick: fn(&Seen) -> u64| all.iter().map(pick).sum::<u64>();
    for (what, count) in [
        ("full", sum(|seen| seen.full)),
        ("empty", sum(|seen| seen.empty)),
        ("events", sum(|seen| seen.events)),
        ("spans that wrap", sum(|seen| seen.wrapped_spans)),
        ("pops while slots are claimed", sum(|seen| seen.withheld)),
        ("buffers too short", sum(|seen| seen.short_buffers)),
        ("laps", sum(|seen| seen.laps)),
    ] {
        assert!(count >= least, "{what}: {count}");
    }
    assert!(sum(|seen| seen.longest) > 20, "events of 64 slots fit");
    assert!(sum(|seen| seen.tag_wraps) > 0, "a tag wraps");
    assert!(sum(|seen| seen.position_wraps) > 0, "a position wraps");
}

#[test]
fn small_rings_keep_every_invariant_after_each_operation() {
    assert_reached(&operations(0..42, &[1, 2, 4, 8, 16, 32, 64], 100_000 / 6, 1), 500);
}

// Ten million operations in two tests, which run side by side.

#[test]
fn agrees_with_its_twin_over_ten_million_operations_in_rings_of_the_least_capacity() {
    assert_reached(&operations(100..200, &[64, 128], 50_000, 4_096), 10_000);
}

#[test]
fn agrees_with_its_twin_over_ten_million_operations_in_rings_of_the_engine() {
    assert_reached(&operations(200..300, &[1_024, 4_096], 50_000, 4_096), 500);
}

#[test]
#[ignore = "soak: 100 million operations; cargo test -p tapeline-core --test ring_model -- --ignored"]
fn soak_agrees_with_its_twin_over_a_hundred_million_operations() {
    assert_reached(&operations(1_000..1_100, &[64, 128, 1_024, 4_096], 1_000_000, 4_096), 10_000);
}

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    Claim(usize),
    Commit,
    PushBatch(Vec<usize>),
    Pop(usize),
    PopBatch(usize),
}

fn operation() -> impl Strategy<Value = Op> {
    let span = || prop_oneof![4 => Just(1usize), 2 => 2usize..6, 1 => 1usize..=SPAN_SLOTS_MAX];
    prop_oneof![
        4 => span().prop_map(Op::Push),
        2 => span().prop_map(Op::Claim),
        1 => Just(Op::Commit),
        2 => prop::collection::vec(span(), 0..12).prop_map(Op::PushBatch),
        3 => (1usize..80).prop_map(Op::Pop),
        3 => (1usize..80).prop_map(Op::PopBatch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_operations_agree_with_a_vec_deque(
        log_capacity in 0u32..8,
        start in prop_oneof![Just(0u64), Just(u64::from(u32::MAX) - 5), Just(u64::MAX - 5), any::<u64>()],
        ops in prop::collection::vec(operation(), 1..60),
    ) {
        let capacity = 1 << log_capacity;
        let (mut producer, mut consumer) = ring::channel_at(capacity, start, false);
        let mut twin: VecDeque<Slot> = VecDeque::new();
        let (mut claimed, mut id) = (0, 0);
        let mut next = |span: usize| {
            let mut slots = vec![Slot::ZERO; span];
            id += 1;
            fill(&mut slots, id);
            slots
        };
        for op in ops {
            let free = capacity - twin.len();
            let published = twin.len() - claimed;
            match op {
                Op::Push(span) | Op::Claim(span) => {
                    let slots = next(span);
                    let is_claim = matches!(op, Op::Claim(_));
                    let result = if is_claim { producer.claim(&slots) } else { producer.push(&slots) };
                    prop_assert_eq!(result.is_ok(), span <= free);
                    if result.is_ok() {
                        twin.extend(slots);
                        claimed = if is_claim { claimed + span } else { 0 };
                    }
                }
                Op::Commit => {
                    producer.commit();
                    claimed = 0;
                }
                Op::PushBatch(spans) => {
                    let (mut run, mut whole) = (Vec::new(), 0);
                    for span in spans {
                        run.extend(next(span));
                        if run.len() <= free {
                            whole = run.len();
                        }
                    }
                    prop_assert_eq!(producer.push_batch(&run, None), whole);
                    twin.extend(&run[..whole]);
                    claimed = 0;
                }
                Op::Pop(room) | Op::PopBatch(room) => {
                    let is_batch = matches!(op, Op::PopBatch(_));
                    let mut expected = 0;
                    while expected < published && expected + twin[expected].span() <= room {
                        expected += twin[expected].span();
                        if !is_batch {
                            break;
                        }
                    }
                    let mut out = vec![Slot::ZERO; room];
                    let taken = if is_batch { consumer.pop_batch(&mut out, None) } else { consumer.pop(&mut out) };
                    prop_assert_eq!(taken, expected);
                    prop_assert!(twin.drain(..taken).eq(out[..taken].iter().copied()));
                }
            }
            producer.assert_invariants();
            consumer.assert_invariants();
            prop_assert_eq!(consumer.len(), twin.len() - claimed);
        }
    }
}

/// Events of the two-thread tests: an id in `seq`, a span and contents that follow from it.
fn expected_span(id: u64) -> usize {
    if id % 7 == 3 { 1 + (id as usize * 31) % SPAN_SLOTS_MAX } else { 1 }
}

fn produce(mut producer: Producer, events: u64, stop: &AtomicBool) {
    let mut prng = Prng::new(5);
    let mut id = 0;
    let mut held: Vec<Slot> = Vec::new();
    let mut dues: Vec<u64> = Vec::new();
    while id < events || !held.is_empty() {
        assert!(!stop.load(Ordering::Relaxed), "the consumer gave up");
        while id < events && held.len() < 200 {
            let slots = event(id, expected_span(id), &mut prng);
            dues.extend(slots.iter().map(|_| id));
            held.extend(slots);
            id += 1;
        }
        let span = held[0].span();
        let done = match prng.in_range(0..4) {
            0 => producer.push_batch(&held, Some(&dues)),
            1 => {
                let mut end = 0;
                while end < held.len() {
                    let span = held[end].span();
                    if end > 40 || producer.claim_due(&held[end..end + span], dues[end]).is_err() {
                        break;
                    }
                    end += span;
                }
                producer.commit();
                end
            }
            _ if producer.push_due(&held[..span], dues[0]).is_ok() => span,
            _ => 0,
        };
        if done == 0 {
            std::thread::yield_now();
        }
        held.drain(..done);
        dues.drain(..done);
    }
}

fn consume(mut consumer: Consumer, stop: &AtomicBool) -> u64 {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = Stop(stop);
    let mut prng = Prng::new(6);
    let mut out = vec![Slot::ZERO; 150];
    let mut dues = vec![0; 150];
    let mut next = 0;
    loop {
        let abandoned = consumer.is_abandoned();
        let len = SPAN_SLOTS_MAX + prng.index(86);
        let taken = if prng.one_in(3) {
            dues.fill(u64::MAX);
            consumer.pop(&mut out[..len])
        } else {
            consumer.pop_batch(&mut out[..len], Some(&mut dues))
        };
        if taken == 0 {
            if abandoned {
                std::mem::forget(stop);
                return next;
            }
            std::thread::yield_now();
            continue;
        }
        let mut offset = 0;
        for slots in events(&out[..taken]) {
            let slots = slots.slots();
            assert_eq!(slots[0].seq, next, "order");
            assert_eq!(slots, untagged(&event(next, expected_span(next), &mut prng)), "content of event {next}");
            assert!(dues[offset] == u64::MAX || dues[offset] == next, "due of event {next}");
            offset += slots.len();
            next += 1;
        }
        assert_eq!(offset, taken, "whole events only");
    }
}

fn two_threads(capacity: usize, start: u64, count: u64) {
    let (producer, consumer) = ring::channel_at(capacity, start, true);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || produce(producer, count, stop));
        assert_eq!(consume(consumer, stop), count, "the consumer had every event before it saw the end");
    });
}

#[test]
fn two_threads_keep_order_content_and_count() {
    for (capacity, start) in [(64, 0), (64, u64::MAX - 1_000), (128, u32::MAX as u64 - 9_999), (1024, 17)] {
        two_threads(capacity, start, 60_000);
    }
}

#[test]
#[ignore = "soak: cargo test -p tapeline-core --test ring_model -- --ignored"]
fn soak_two_threads_for_minutes() {
    for capacity in [64, 128, 1024, 4096] {
        for start in STARTS {
            two_threads(capacity, start, 5_000_000);
        }
    }
}

#[test]
fn nothing_is_allocated_after_the_ring_is_made() {
    let before = allocations();
    let (mut producer, mut consumer) = ring::channel_with_dues(256);
    assert!(allocations() > before, "the allocator counts");
    let mut prng = Prng::new(3);
    let (single, span) = (event(1, 1, &mut prng), event(2, 64, &mut prng));
    let run: Vec<Slot> = (0..100).flat_map(|id| event(id, 1, &mut prng)).collect();
    let dues = vec![9; run.len()];
    let mut out = vec![Slot::ZERO; 256];
    let mut out_dues = vec![0; 256];
    let before = allocations();
    for _ in 0..1_000 {
        producer.push(&single).unwrap();
        producer.push_due(&span, 4).unwrap();
        producer.claim(&single).unwrap();
        producer.commit();
        assert_eq!(producer.push_batch(&run, Some(&dues)), 100);
        assert!(producer.push_batch(&run, None) < 100);
        producer.push(&span).unwrap_err();
        assert!(consumer.peek().is_some() && consumer.peek_due().is_some() && !consumer.is_empty());
        assert_eq!(consumer.pop(&mut out), 1);
        while consumer.pop_batch(&mut out, Some(&mut out_dues)) > 0 {}
    }
    assert_eq!(allocations(), before);
}

#[test]
fn a_new_ring_is_empty_at_any_position_and_a_lap_later() {
    // A tag that is right by chance: zeroed cells at position u32::MAX, or a start that is no multiple of the capacity.
    let mut prng = Prng::new(4);
    for capacity in [1, 2, 4, 64] {
        for start in (0..200).chain(u32::MAX as u64 - 100..u32::MAX as u64 + 100).chain(u64::MAX - 100..=u64::MAX) {
            let (mut producer, mut consumer) = ring::channel_at(capacity, start, false);
            assert!(consumer.is_empty() && consumer.peek().is_none());
            assert_eq!(consumer.len(), 0);
            assert_eq!(producer.free_slots(), capacity);
            for id in 0..capacity as u64 * 2 + 1 {
                producer.push(&event(id, 1, &mut prng)).unwrap();
                let mut out = [Slot::ZERO];
                assert_eq!((consumer.pop(&mut out), out[0].seq), (1, id));
                assert!(consumer.is_empty(), "the slot after position {id} from {start}");
            }
        }
    }
}

/// A continuation without a tag of its own: its payload is taken for an event of the next lap.
#[test]
fn a_continuation_that_looks_like_the_next_laps_tag_is_not_an_event() {
    let (mut producer, mut consumer) = ring::channel_at(4, 0, false);
    let mut prng = Prng::new(8);
    let mut out = [Slot::ZERO; 4];
    let mut slots = event(1, 3, &mut prng);
    slots[1].tag = 6; // position 5's
    slots[2].tag = 7; // position 6's
    producer.push(&slots).unwrap();
    assert_eq!(consumer.pop(&mut out), 3);
    producer.push(&event(2, 1, &mut prng)).unwrap();
    producer.push(&event(3, 1, &mut prng)).unwrap();
    assert_eq!(consumer.pop_batch(&mut out, None), 2);
    assert!(consumer.is_empty());
    assert_eq!(consumer.len(), 0);
}

/// What is claimed is not visible, takes room, and is published as one.
#[test]
fn claims_are_published_together_and_before_what_is_pushed_after_them() {
    let mut prng = Prng::new(2);
    let (mut producer, mut consumer) = ring::channel_at(8, 6, false);
    producer.claim(&event(1, 1, &mut prng)).unwrap();
    producer.claim(&event(2, 3, &mut prng)).unwrap();
    producer.claim(&event(3, 1, &mut prng)).unwrap();
    assert!(consumer.is_empty());
    assert_eq!(consumer.len(), 0);
    assert_eq!(producer.claim(&event(4, 4, &mut prng)), Err(Full { shortfall: 1 }));
    assert_eq!((producer.claimed_slots(), producer.free_slots()), (5, 3));
    producer.push(&event(5, 1, &mut prng)).unwrap();
    assert_eq!(consumer.len(), 6);
    let mut out = [Slot::ZERO; 8];
    assert_eq!(consumer.pop_batch(&mut out, None), 6);
    assert_eq!(events(&out[..6]).map(|event| event.head().seq).collect::<Vec<_>>(), [1, 2, 3, 5]);
}

#[test]
fn empty_arguments_do_nothing() {
    let (mut producer, mut consumer) = ring::channel(64);
    assert_eq!(producer.push_batch(&[], None), 0);
    assert_eq!(producer.push_batch(&[], Some(&[])), 0);
    producer.commit();
    producer.push(&[Slot::ZERO]).unwrap();
    assert_eq!(consumer.pop(&mut []), 0);
    assert_eq!(consumer.pop_batch(&mut [], None), 0);
    assert_eq!(consumer.len(), 1);
}

#[test]
fn req_3389_3394_a_batch_is_published_as_one_operation_of_the_ring() {
    let (mut producer, mut consumer) = ring::channel(256);
    let mut prng = Prng::new(3_389);
    let slots: Vec<Slot> = (0..100).flat_map(|id| event(id, 1, &mut prng)).collect();
    // One by one and not yet published: the consumer sees none of it, then all of it.
    for slot in &slots {
        producer.claim(core::slice::from_ref(slot)).unwrap();
        assert!(consumer.is_empty());
    }
    producer.commit();
    let mut out = [Slot::ZERO; 256];
    assert_eq!(consumer.pop_batch(&mut out, None), 100);
    assert_eq!(untagged(&out[..100]), untagged(&slots));
    // A slice goes in by one call, and what does not fit stays with the caller: whole events, from the front.
    assert_eq!(producer.push_batch(&slots, None), 100);
    assert_eq!(producer.push_batch(&slots, None), 100);
    assert_eq!(producer.push_batch(&slots, None), 56);
    assert_eq!(consumer.pop_batch(&mut out, None), 256);
    assert_eq!(untagged(&out[200..]), untagged(&slots[..56]));
}
